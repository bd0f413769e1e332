"""Names of games: what they lead to, and what is said when they lead nowhere."""

import sys

import gymnasium as gym
import pytest

from rllib_biac.envs import make
from tests.envs.playing import play
from tests.envs.test_gymnasium_games import ones


@pytest.fixture
def user_module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    written = []

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        written.append(name)

    yield write
    for name in written:
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("game", "words"),
    [
        ("pettingzoo.classic:nothing_v1", "has no callable 'nothing_v1'"),
        ("pettingzoo.classic", "has none of parallel_env, env, raw_env"),
        ("nowhere.at_all:env", "module 'nowhere' is not installed"),
        ("Nowhere-v0", "name the module that registers it"),
        ("nowhere:Game-v0", "module 'nowhere' is not installed"),
        ("gymnasium:Nowhere-v0", "unknown game"),
        ("merge_v9", "Did you mean 'merge_v0'"),
    ],
)
def test_names_that_lead_nowhere(game, words):
    with pytest.raises(ValueError, match=words) as error:
        make(game)
    assert game in str(error.value)


def test_the_innermost_module_that_fails_is_named(user_module):
    user_module("outer_game", "import inner_game")
    user_module("inner_game", "try:\n    import far_away\nexcept ImportError:\n    raise RuntimeError('sorry')")
    with pytest.raises(ValueError, match=r"module 'far_away', which .*inner_game\.py:2 needs, is not installed"):
        make("outer_game:env")
    user_module("renamed_in", "from gymnasium import no_such_thing")
    with pytest.raises(ValueError, match=r"no_such_thing.*renamed_in\.py:1"):
        make("renamed_in:env")


def test_an_object_is_no_factory(user_module):
    user_module("one_object", "from tests.envs.test_gymnasium_games import Team\ngame = Team()\nmake = Team")
    with pytest.raises(ValueError, match="one object for all copies"):
        make("one_object:game")
    with pytest.raises(ValueError, match="unexpected keyword argument 'size'"):
        make("one_object:make", size=3)
    assert make("one_object:make", rewards="one").possible_agents == ["agent_0", "agent_1"]


def test_gymnasium_ids(user_module, monkeypatch):
    monkeypatch.setattr("gymnasium.envs.registration.registry", dict(gym.registry))
    register = "from gymnasium import register\nregister('{}-v0', entry_point='{}', max_episode_steps=2)\n"
    broken = register.format("BrokenInside", "broken_inside:Game")
    user_module("registers", register.format("TwoCars", "tests.envs.test_gymnasium_games:Team") + broken)
    user_module("broken_inside", "import far_away")
    with pytest.raises(ValueError, match=r"`TwoCars` doesn't exist.*name the module that registers it"):
        make("TwoCars-v0")
    for game in ("registers:TwoCars-v0", "TwoCars-v0"):  # the second time it is known
        _, steps, ends = play(make(game, rewards="infos"), ones)
        assert len(steps) == 2
        assert set(ends.values()) == {(False, True)}
    with pytest.raises(ValueError, match="unexpected keyword argument 'size'"):
        make("registers:TwoCars-v0", size=3)
    with pytest.raises(ValueError, match=r"module 'far_away', which .*broken_inside\.py:1 needs"):
        make("BrokenInside-v0")


def test_methods_and_modules_inside(user_module):
    user_module(
        "inside",
        "import pettingzoo.classic\nfrom tests.envs.test_turns import Tree as T\nclass Tree(T):\n    of = T",
    )
    assert make("inside:Tree.of", seed=1).possible_agents == ["a", "b", "c"]
    assert make("inside:pettingzoo.classic.tictactoe_v3").possible_agents == ["player_1", "player_2"]
    with pytest.raises(ValueError, match="'Tree' has no callable 'off'; did you mean 'of'"):
        make("inside:Tree.off", seed=1)


def test_what_fails_while_a_game_is_made_is_said_with_its_place(user_module):
    user_module("fails", "def make(n=1):\n    return {}[n]\ndef refuse():\n    raise ValueError('write n')")
    with pytest.raises(ValueError, match=r"making it raised KeyError: 3 \(.*fails\.py:2\)"):
        make("fails:make", n=3)
    with pytest.raises(ValueError, match=r"^write n$"):
        make("fails:refuse")


def test_the_old_gym_is_told(user_module):
    user_module("gym", "class Env:\n    def reset(self): ...\n    def step(self, action): ...")
    user_module("old_game", "import gym\nclass Game(gym.Env): ...")
    with pytest.raises(ValueError, match=r"old_game\.Game, an environment of the old `gym`"):
        make("old_game:Game")


def test_a_single_agent_is_refused():
    for name in ("CartPole-v1", "Blackjack-v1"):
        with pytest.raises(ValueError, match=r"are not one entry per agent.*single agent"):
            make(name)


def test_rllibs_creators(user_module):
    user_module(
        "creators",
        "from tests.envs.test_rllib_games import Coming\ndef of(config):\n"
        "    assert config.worker_index == 0 and not config.remote\n"
        "    return Coming(config.get('cut', False))\n"
        "def other(size):\n    return Coming()",
    )
    for kwargs, end in (({}, (True, False)), ({"cut": True}, (False, True))):
        assert play(make("creators:of", **kwargs), lambda *_: 1)[2]["late"] == end
    with pytest.raises(ValueError, match="missing a required argument: 'size'"):
        make("creators:other")
