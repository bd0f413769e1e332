"""RLlib's games behind `ParallelEnv`: the same game, the same rewards, and who acts when."""

import sys
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Dict, Discrete

from rllib_biac.envs import make
from rllib_biac.envs.adapters import adapt
from rllib_biac.envs.errors import GameError
from tests.envs.playing import SEEN, play


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
