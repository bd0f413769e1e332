"""Gymnasium's games of several agents behind `ParallelEnv`: the same game, the same rewards, and who acts when."""

import math

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Dict, Discrete, Tuple

from rllib_biac.envs import make
from rllib_biac.envs.adapters import adapt
from rllib_biac.envs.errors import GameError
from tests.envs.playing import SEEN, play
from tests.envs.test_turns import Tree


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
