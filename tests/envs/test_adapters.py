"""Games of other make behind `ParallelEnv`: the same game, the same rewards, and who acts when."""

import copy
import math
import pickle
import sys
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Tuple
from pettingzoo import ParallelEnv

from rllib_biac.envs import make
from rllib_biac.envs.adapters import adapt
from rllib_biac.envs.errors import GameError
from tests.envs.playing import SEEN, play
from tests.envs.test_turns import Tree


# -- gymnasium --------------------------------------------------------------------------------------------------------
class Team(gym.Env):
    """Two agents in one environment; the first adds, the second doubles. Ends after 3 steps."""

    def __init__(self, spaces=Tuple, rewards="each", flags="one", keys=("x", "y")):
        entries = [SEEN, SEEN], [Discrete(2), Discrete(3, start=1)]
        self.keys, self.rewards, self.flags = keys, rewards, flags
        self.observation_space, self.action_space = (
            Tuple(e) if spaces is Tuple else Dict(dict(zip(keys, e, strict=True))) for e in entries
        )

    def _form(self, values):
        return tuple(values) if isinstance(self.action_space, Tuple) else dict(zip(self.keys, values, strict=True))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._form([np.zeros(1, np.float32)] * 2), {"shared": 1}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.t += 1
        played = list(action) if isinstance(action, tuple) else [action[key] for key in self.keys]
        each = [float(played[0]), 2.0 * played[1]]
        infos = {"shared": 1}
        if self.rewards == "infos":
            infos["agents_rewards"] = self._form(each)
        over = [self.t >= 2, self.t >= 3]
        if self.flags == "infos":
            infos["agents_terminated"] = self._form(over)
        seen = self._form([np.full(1, self.t, np.float32)] * 2)
        reward = sum(each) if self.rewards in ("infos", "one") else self._form(each)
        flags = self._form(over) if self.flags == "each" else self.t >= 3
        return seen, reward, flags, False, infos


def ones(env, agent, observation, info):
    assert info["shared"] == 1
    return 1


@pytest.mark.parametrize("spaces", [Tuple, Dict])
@pytest.mark.parametrize("flags", ["one", "each", "infos"])
@pytest.mark.parametrize("rewards", ["each", "infos", "one"])
def test_gymnasium_of_several_agents(spaces, rewards, flags):
    env = adapt(Team(spaces, rewards, flags))
    first, second = env.possible_agents == ["agent_0", "agent_1"], env.possible_agents == ["x", "y"]
    assert first if spaces is Tuple else second
    returns, steps, ends = play(env, ones)
    early = flags != "one"  # the first agent is over after two steps
    assert [len(actions) for actions, _ in steps] == ([2, 2, 1] if early else [2, 2, 2])
    expected = {"each": (2 if early else 3, 6), "infos": (2 if early else 3, 6)}
    # of one reward for all, each step pays 1 + 2, and the last one 0 + 2 if the first agent plays nothing any more
    expected["one"] = (6, 8) if early else (9, 9)
    assert tuple(returns.values()) == expected[rewards]
    assert ends == dict.fromkeys(env.possible_agents, (True, False))


@pytest.mark.parametrize("flag", ["False", None, math.nan])
@pytest.mark.parametrize("make", ["gymnasium", "turns"])
def test_flags_that_are_neither_true_nor_false(make, flag):
    class Flags(Team):
        def step(self, action):
            seen, reward, _, cut, infos = super().step(action)
            return seen, reward, self._form([False, flag]), cut, infos

    class TurnsFlags(Tree):
        def step(self, action):
            super().step(action)
            self.truncations[self.agent_selection] = flag

    env = adapt(Flags() if make == "gymnasium" else TurnsFlags(0))
    env.reset(seed=0)
    with pytest.raises(GameError, match=r"the flag of '.*' is .*; write True or False"):
        env.step({agent: 1 for agent in env.possible_agents})


@pytest.mark.parametrize(
    ("at", "what", "given"),
    [
        (1, "rewards", {"agent_0": 1.0, "agent_1": 1.0, "agent_2": 5.0}),
        (2, "flags", {0: True, 1: True}),
        (2, "flags", {"all": True}),
        (3, "flags", {"agent_1": True, "Agent_0": True}),
        (0, "observations", {"x": np.zeros(1, np.float32), "y": np.zeros(1, np.float32)}),
        (4, "action masks", {"action_mask": {"x": [1, 0], "y": [1, 0, 0]}}),
    ],
)
def test_what_is_said_of_somebody_else_is_refused(at, what, given):
    class Else(Team):
        def step(self, action):
            returned = list(super().step(action))
            returned[at] = given
            return tuple(returned)

    env = adapt(Else())
    env.reset(seed=0)
    with pytest.raises(GameError, match=rf"gave {what} of .*; its agents are 'agent_0', 'agent_1'"):
        env.step(dict.fromkeys(env.possible_agents, 1))


@pytest.mark.parametrize(("at", "what"), [(0, "observations"), (1, "rewards"), (2, "flags"), (3, "flags")])
def test_lists_are_in_nobodys_order_where_spaces_have_names(at, what):
    class Listed(Team):
        def step(self, action):
            returned = list(super().step(action))
            returned[at] = [returned[at]["leader"], returned[at]["follower"]] if at < 2 else [False, False]
            return tuple(returned)

    env = adapt(Listed(Dict, keys=("leader", "follower")))
    env.reset(seed=0)
    assert env.possible_agents == ["follower", "leader"]
    with pytest.raises(GameError, match=f"gave {what} as a list.*write agent -> value"):
        env.step(dict.fromkeys(env.possible_agents, 1))


def test_infos_of_some_agents_are_theirs():
    class Some(Team):
        def step(self, action):
            *rest, _ = super().step(action)
            return *rest, {"agent_0": {"action_mask": [1, 0]}, "shared": 1}

    env = adapt(Some())
    env.reset(seed=0)
    infos = env.step({"agent_0": 0, "agent_1": 1})[4]
    assert infos["agent_0"] == {"action_mask": [1, 0]} and "agent_1" not in infos


def test_infos_and_masks_of_each():
    class Masks(Team):
        def reset(self, *, seed=None, options=None):
            return super().reset(seed=seed)[0], [{"action_mask": [1, 0]}, {"action_mask": [0, 1, 1]}]

        def step(self, action):
            return *super().step(action)[:4], {"action_mask": ([0, 1], [1, 1, 1]), "shared": 1}

    env = adapt(Masks())
    _, infos = env.reset()
    assert infos == {"agent_0": {"action_mask": [1, 0]}, "agent_1": {"action_mask": [0, 1, 1]}}
    infos = env.step({"agent_0": 0, "agent_1": 1})[-1]
    assert infos == {
        "agent_0": {"action_mask": [0, 1], "shared": 1},
        "agent_1": {"action_mask": [1, 1, 1], "shared": 1},
    }


def test_a_time_limit_cuts_everybody():
    env = adapt(gym.wrappers.TimeLimit(Team(), 2))
    _, steps, ends = play(env, ones)
    assert len(steps) == 2
    assert ends == dict.fromkeys(env.possible_agents, (False, True))


def test_integer_keys():
    env = adapt(Team(Dict, keys=(0, 1)))
    assert env.possible_agents == ["0", "1"]
    assert play(env, ones)[0] == {"0": 3, "1": 6}


@pytest.mark.parametrize("old", ["reset", "step"])
def test_old_forms_are_told(old):
    class Old(Team):
        def reset(self, *, seed=None, options=None):
            return super().reset(seed=seed)[0] if old == "reset" else super().reset(seed=seed)

        def step(self, action):
            seen, reward, over, _, infos = super().step(action)
            return seen, reward, over, infos

    with pytest.raises(GameError, match=f"{old}\\(\\) of .*Old.* as gymnasium's does"):
        play(adapt(Old()), ones)


def test_highway_of_two_cars():
    config = {
        "controlled_vehicles": 2,
        "duration": 4,
        "initial_vehicle_count": 2,
        "observation": {"type": "MultiAgentObservation", "observation_config": {"type": "Kinematics"}},
        "action": {
            "type": "MultiAgentAction",
            "action_config": {"type": "DiscreteMetaAction", "lateral": False, "target_speeds": [0, 4.5, 9]},
        },
    }
    env = make("intersection-v0", config=config)
    assert env.possible_agents == ["agent_0", "agent_1"]
    returns, _, ends = play(env, lambda env, agent, *_: {"agent_0": 2, "agent_1": 0}[agent])  # faster, slower
    assert set(ends) == set(env.possible_agents)
    assert returns["agent_0"] > 0 == returns["agent_1"]  # the reward of each, not their mean


# -- RLlib ------------------------------------------------------------------------------------------------------------
class Coming(gym.Env):
    """RLlib's way, without RLlib: `late` comes at step 2, `early` leaves at 3, `slow` acts at every other step."""

    possible_agents = ("early", "slow", "late")

    def __init__(self, cut=False, per_agent_spaces=True, agents=None):
        self.cut, self.names = cut, agents or self.possible_agents
        if agents:
            self.possible_agents = agents
        if per_agent_spaces:
            self.observation_spaces = dict.fromkeys(self.names, SEEN)
            self.action_spaces = dict.fromkeys(self.names, Discrete(2))
        else:
            self.observation_space = Dict({str(a): SEEN for a in self.names})
            self.action_space = Discrete(2)  # one for all

    def get_observation_space(self, agent):
        spaces = getattr(self, "observation_spaces", None) or self.observation_space
        return spaces[agent]

    def get_action_space(self, agent):
        return self.action_spaces[agent] if hasattr(self, "action_spaces") else self.action_space

    def _seen(self):
        early, slow, late = self.names
        on = {early: self.t < 3, slow: self.t % 2 == 0, late: self.t >= 2}
        return {a: np.full(1, self.t, np.float32) for a in self.names if on[a]}

    def reset(self, *, seed=None, options=None):
        self.t = 0
        self.asked = self._seen()
        return self.asked, {}

    def step(self, action_dict):
        assert set(action_dict) == set(self.asked)
        self.t += 1
        early, slow, _ = self.names
        rewards = {a: float(x) for a, x in action_dict.items()} | ({slow: 10.0} if self.t == 2 else {})
        over = self.t >= 5
        seen = self._seen()
        terminated = {early: True} if self.t == 3 else {}
        self.asked = {} if over else seen
        flags = terminated | {"__all__": over and not self.cut}, {"__all__": over and self.cut}
        return seen, rewards, *flags, {"__common__": {"t": self.t}}


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("per_agent_spaces", [False, True])
def test_rllibs_agents_come_leave_and_act_at_times(cut, per_agent_spaces):
    env = adapt(Coming(cut, per_agent_spaces))
    returns, steps, ends = play(env, lambda *_: 1)
    assert [set(actions) for actions, _ in steps] == [
        {"early", "slow"},
        {"early"},
        {"early", "slow", "late"},
        {"late"},
        {"slow", "late"},
    ]
    assert returns == {"early": 3, "slow": 3 + 10, "late": 3}
    at_the_end = (not cut, cut)
    assert ends == {"early": (True, False), "slow": at_the_end, "late": at_the_end}
    assert not any("__all__" in over for _, (_, _, over, _, _) in steps)


class Shifts(gym.Env):
    """Who gets an observation, earns and ends is drawn at random, as RLlib allows it; what each earned is kept."""

    possible_agents = ("a", "b", "c")
    observation_spaces = dict.fromkeys(possible_agents, SEEN)
    action_spaces = dict.fromkeys(possible_agents, Discrete(2))

    def get_observation_space(self, agent):
        return SEEN

    def get_action_space(self, agent):
        return Discrete(2)

    def _some(self, of):
        return [a for a in of if self.rng.random() < 0.6]

    def _see(self, agents):
        self.asked = agents
        return {a: np.full(1, self.t, np.float32) for a in agents}

    def reset(self, *, seed=None, options=None):
        self.rng, self.t, self.alive = np.random.default_rng(seed), 0, list(self.possible_agents)
        self.earned, self.log = dict.fromkeys(self.alive, 0.0), []
        return self._see(self._some(self.alive)), {}

    def step(self, action_dict):
        assert sorted(action_dict) == sorted(self.asked)
        self.t += 1
        rewards = {a: float(self.rng.integers(-3, 4)) for a in self._some(self.alive)}
        self.earned = {a: r + rewards.get(a, 0.0) for a, r in self.earned.items()}
        ending = [a for a in self.alive if self.rng.random() < 0.05]
        cut = bool(self.rng.random() < 0.5)
        self.alive = [a for a in self.alive if a not in ending]
        seen = self._see(self._some(self.alive))
        over = self.t >= 20 or not self.alive
        flags = [{"__all__": False}, {"__all__": False}]
        flags[cut] |= dict.fromkeys(ending, True) | {"__all__": over}
        self.asked = [] if over else self.asked
        return seen | {a: np.zeros(1, np.float32) for a in self._some(ending)}, rewards, *flags, {}


@pytest.mark.parametrize("seed", range(30))
def test_rllibs_agents_at_random(seed):
    game = Shifts()
    returns, steps, ends = play(adapt(game), lambda *_: 0, seed)
    assert returns == game.earned
    assert set(ends) == set(game.possible_agents)  # each ends once, as the helper that plays holds
    assert len(steps) == game.t


@pytest.mark.parametrize(("at", "name"), [(2, "all"), (2, "A"), (3, "nobody")])
def test_rllibs_flags_of_somebody_else_are_refused(at, name):
    class Else(Shifts):
        def step(self, action_dict):
            returned = list(super().step(action_dict))
            returned[at] = returned[at] | {name: True}
            return tuple(returned)

    env = adapt(Else())
    env.reset(seed=0)
    with pytest.raises(GameError, match=f"gave flags of '{name}'; its agents are "):
        env.step(dict.fromkeys(env.agents, 0))


def test_rllibs_agents_are_not_guessed_from_parts_of_an_observation():
    class Unnamed(Coming):  # as RLlib's own connect four
        possible_agents = ()

        def __init__(self):
            self.observation_space, self.action_space = Dict({"observation": SEEN, "action_mask": SEEN}), Discrete(2)
            self.names = ("a", "b", "c")

    with pytest.raises(ValueError, match="names no agents; set `possible_agents`"):
        adapt(Unnamed())

    class Other(Coming):
        def _seen(self):
            return super()._seen() | {"stranger": np.zeros(1, np.float32)}

    with pytest.raises(GameError, match=r"\['stranger'\] are none of the game's `possible_agents`"):
        adapt(Other()).reset()


def test_rllibs_sets_of_agents_have_one_order():
    names = [f"car_{i}" for i in range(9)]
    env = Shifts()
    env.possible_agents, env._agent_ids = list(set(names)), set(names)
    assert adapt(env).possible_agents == names


def test_rllibs_wrappers_of_pettingzoo():
    wrapped = pytest.importorskip("ray.rllib.env.wrappers.pettingzoo_env")
    game = Tree(0)
    assert adapt(wrapped.PettingZooEnv(game)).unwrapped is game
    plain = Plain()
    assert adapt(wrapped.ParallelPettingZooEnv(plain)) is plain


def test_rllibs_integer_agents():
    env = adapt(Coming(agents=(0, 1, 2)))
    assert env.possible_agents == ["0", "1", "2"]
    assert play(env, lambda *_: 1)[0] == {"0": 3, "1": 13, "2": 3}


def test_rllib_itself():
    pytest.importorskip("ray.rllib")
    from ray.rllib.env.multi_agent_env import MultiAgentEnv

    class Own(MultiAgentEnv):
        def __init__(self, config):
            super().__init__()
            self.agents = self.possible_agents = ["a", "b"]
            self.observation_space, self.action_space, self.steps = SEEN, Discrete(2), config.get("steps", 2)

        def reset(self, *, seed=None, options=None):
            self.t = 0
            return dict.fromkeys(self.agents, np.zeros(1, np.float32)), {}

        def step(self, action_dict):
            self.t += 1
            flags = {"__all__": self.t >= self.steps}, {"__all__": False}
            return dict.fromkeys(self.agents, np.zeros(1, np.float32)), {"a": 1.0}, *flags, {}

    module = sys.modules["games_of_a_user"] = SimpleNamespace(Own=Own)
    try:
        for kwargs, length in (({}, 2), ({"steps": 4}, 4)):
            returns, steps, _ = play(make("games_of_a_user:Own", **kwargs), lambda *_: 0)
            assert len(steps) == length
            assert returns == {"a": length, "b": 0}
        assert module.Own is Own
    finally:
        del sys.modules["games_of_a_user"]


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


def test_what_somebody_who_is_over_is_paid_is_shown():
    class Pays(Team):
        def step(self, action):
            seen, _, *rest = super().step(action)
            return seen, (1.0, 1.0), *rest

    _, steps, _ = play(adapt(Pays(flags="each")), ones)
    assert [set(rewards) for _, (_, rewards, *_) in steps] == [{"agent_0", "agent_1"}] * 3
    for game in (Team(rewards="infos", flags="infos"), Pays(flags="infos")):  # highway-env's own way of saying it
        _, steps, _ = play(adapt(game), ones)
        assert set(steps[-1][1][1]) == {"agent_1"}


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
