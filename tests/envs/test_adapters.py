"""Games of other make behind `ParallelEnv`: the same game, the same rewards, and who acts when."""

import copy
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete
from pettingzoo import ParallelEnv

from rllib_biac.envs.adapters import adapt
from tests.envs.playing import SEEN, play
from tests.envs.test_gymnasium_games import Team
from tests.envs.test_rllib_games import Coming
from tests.envs.test_turns import Tree


# -- multi-agent-rlenv ------------------------------------------------------------------------------------------------
class Shared:
    """A `MARLEnv` without the package: two agents share their reward; the second may not play 2 at first."""

    n_agents, observation_shape, extras_shape, state_shape, state_extras_shape = 2, (3,), (0,), (1,), (1,)

    def __init__(self, continuous=False, extras=0, cut=False):
        self.extras_shape, self.cut, self.continuous = (extras,), cut, continuous
        ends = {"low": np.full((2, 2), -1.0), "high": np.ones((2, 2)), "shape": (2, 2)} if continuous else {"size": 3}
        self.action_space = SimpleNamespace(is_continuous=continuous, **ends)

    def available_actions(self):
        return np.array([[True] * 3, [True, True, self.t > 0]])

    def get_observation(self):
        seen, more = np.full((2, 3), self.t), np.ones((2, *self.extras_shape))
        return SimpleNamespace(data=seen, extras=more, available_actions=self.available_actions())

    def get_state(self):
        return SimpleNamespace(data=np.array([self.t]), extras=np.array([7]))

    def reset(self, *, seed=None):
        self.t = 0
        return self.get_observation(), self.get_state()

    def step(self, action):
        assert len(action) == 2
        self.t += 1
        reward = np.array([np.sum(action)], np.float32)
        over = self.t >= 2
        return self.get_observation(), self.get_state(), reward, over and not self.cut, over and self.cut, {"win": 1}


@pytest.mark.parametrize("cut", [False, True])
def test_shared_rewards_and_masks(cut):
    env = adapt(SimpleNamespace(build=lambda: Shared(cut=cut, extras=2)))
    assert env.possible_agents == ["agent_0", "agent_1"]
    _, infos = env.reset()
    assert [infos[a]["action_mask"].tolist() for a in env.possible_agents] == [[1, 1, 1], [1, 1, 0]]
    returns, steps, ends = play(env, lambda *_: 1)
    assert returns == {"agent_0": 4, "agent_1": 4}
    assert ends == dict.fromkeys(env.possible_agents, (not cut, cut))
    seen, *_, infos = steps[-1][1]
    assert env.observation_space("agent_0").contains(seen["agent_0"])
    assert env.state_space.contains(env.state())
    assert infos["agent_1"]["win"] == 1
    env.close()  # although the game has nothing to close


def test_shared_rewards_and_continuous_actions():
    env = adapt(Shared(continuous=True))
    assert env.action_space("agent_1") == Box(-1, 1, (2,), np.float32)
    assert env.observation_space("agent_1") == Box(-np.inf, np.inf, (3,), np.float32)
    returns, steps, _ = play(env, lambda *_: np.ones(2, np.float32))
    assert returns == {"agent_0": 8, "agent_1": 8}
    assert not any("action_mask" in info for _, (*_, infos) in steps for info in infos.values())


# -- names and late spaces --------------------------------------------------------------------------------------------
class Plain(ParallelEnv):
    metadata = {"name": "plain"}  # noqa: RUF012

    def __init__(self, agents=("a", "b"), late=False):
        self.names, self.late = list(agents), late
        if not late:
            self.possible_agents, self.spaces = self.names, True

    def observation_space(self, agent):
        assert self.spaces
        return SEEN

    def action_space(self, agent):
        return Discrete(2)

    def reset(self, seed=None, options=None):
        self.spaces, self.agents = True, list(self.names)
        return dict.fromkeys(self.agents, np.zeros(1, np.float32)), {a: {} for a in self.agents}

    def step(self, actions):
        assert list(actions) == self.names
        seen = dict.fromkeys(self.names, np.zeros(1, np.float32))
        self.agents = []
        return seen, {a: float(x) for a, x in actions.items()}, *({a: f for a in self.names} for f in (True, False)), {}


def test_what_needs_no_adapter_stays_as_it_is():
    env = Plain()
    assert adapt(env) is env
    adapted = adapt(Team())
    assert adapt(adapted) is adapted


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("agents", [("a", "b"), (0, 1)])
def test_integer_names_and_late_spaces(agents, late):
    env = adapt(Plain(agents, late))
    assert env.possible_agents == [str(a) for a in agents]
    assert [env.action_space(a) for a in env.possible_agents] == [Discrete(2)] * 2
    assert play(env, lambda *_: 1)[0] == {str(a): 1 for a in agents}


@pytest.mark.parametrize(
    "game",
    [Tree(0), Team(), Team(Dict, keys=(0, 1)), Coming(), Shared(), Plain((0, 1))],
    ids=lambda g: type(g).__name__,
)
@pytest.mark.parametrize(
    "again", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))], ids=["copied", "pickled"]
)
def test_copies_play_as_the_game_does(game, again):
    one = adapt(game)
    one.reset(seed=0)
    other = again(one)

    def first(env, agent, *_):
        return int(env.action_space(agent).start)

    assert str(play(one, first)) == str(play(other, first))


def test_rllibs_wrappers_of_pettingzoo():
    wrapped = pytest.importorskip("ray.rllib.env.wrappers.pettingzoo_env")
    game = Tree(0)
    assert adapt(wrapped.PettingZooEnv(game)).unwrapped is game
    plain = Plain()
    assert adapt(wrapped.ParallelPettingZooEnv(plain)) is plain


def test_a_class_is_no_game():
    with pytest.raises(ValueError, match="is a class"):
        adapt(Tree)


def test_names_that_are_written_alike():
    with pytest.raises(ValueError, match="written alike"):
        adapt(Plain((0, "0")))


def test_games_without_agents_or_of_no_known_make():
    with pytest.raises(ValueError, match="names no agents; set `possible_agents`"):
        adapt(Plain(()))
    for other in (SimpleNamespace(), 3, None):
        with pytest.raises(ValueError, match=r"no game of a make that is known.*ParallelEnv or AECEnv"):
            adapt(other)
