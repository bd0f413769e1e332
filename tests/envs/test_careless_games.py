"""What careless games do with agents, flags and infos: it is read right, or refused in words."""

import threading

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from pettingzoo import AECEnv

from rllib_biac.envs.errors import GameError
from rllib_biac.envs.parallel_batch import MOST_OUTCOMES, OTHER_OUTCOMES, ParallelEnvBatch
from tests.foreign import Foreign


def batch(game):
    return ParallelEnvBatch(game, 1, np.random.default_rng(0))


class OneList(Foreign):
    """`agents` and `possible_agents` are one list, of which agents are taken out."""

    def reset(self, seed=None, options=None):
        super().reset(seed)
        self.agents = self.possible_agents
        return {agent: self.see(agent) for agent in self.agents}, {}

    def flags(self):
        over = {agent: self.over() or (agent == "b" and self.time == 2) for agent in self.agents}
        return over, dict.fromkeys(self.agents, False)

    def leave(self, terminated, truncated):
        for agent in [agent for agent in self.agents if terminated[agent]]:
            self.agents.remove(agent)


class OneListInTurns(AECEnv):
    metadata = {"name": "one_list_v0"}  # noqa: RUF012

    def __init__(self):
        self.possible_agents = ["a", "b"]

    def observation_space(self, agent):
        return spaces.Discrete(9)

    def action_space(self, agent):
        return spaces.Discrete(2)

    def observe(self, agent):
        return self.time

    def reset(self, seed=None, options=None):
        self.agents, self.time = self.possible_agents, 0
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict(self.rewards)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations, self.infos = dict(self.terminations), {agent: {} for agent in self.agents}
        self.agent_selection = "a"

    def step(self, action):
        agent = self.agent_selection
        if self.terminations[agent]:
            return self._was_dead_step(action)
        self.time += 1
        self._cumulative_rewards[agent] = 0.0
        self.terminations = dict.fromkeys(self.agents, self.time == 4)
        self.agent_selection = self.agents[self.time % 2]


class OneListOfRLlib:
    """RLlib's make, told by what it offers."""

    observation_spaces = action_spaces = dict.fromkeys("ab", spaces.Discrete(2))

    def __init__(self):
        self.possible_agents = ["a", "b"]

    def reset(self, *, seed=None):
        self.agents, self.time = self.possible_agents, 0
        return dict.fromkeys(self.agents, 0), {}

    def step(self, actions):
        self.time += 1
        seen = dict.fromkeys(self.agents, 0)
        if self.time == 2:
            self.agents.remove("b")
        return seen, dict.fromkeys(seen, 1.0), {"b": self.time == 2, "__all__": self.time == 4}, {}, {}


@pytest.mark.parametrize("game", [OneList, OneListInTurns, OneListOfRLlib])
def test_one_list_for_all_agents_and_for_those_who_are_there(game):
    with pytest.raises(GameError, match=r"agent '[ab]' is no longer among the game's possible_agents.*list\("):
        batch(game)


class Reached(Foreign):
    """Flags who reaches its goal, and lets it go on."""

    kind = bool

    def pay(self, agent, actions):
        return 0.0

    def step(self, actions):
        seen, rewards, terminated, *rest = super().step(actions)
        flags = {a: self.kind(over or (a == "b" and self.time == 2)) for a, over in terminated.items()}
        return seen, rewards, flags, *rest


@pytest.mark.parametrize("kind", [bool, np.bool_, int, lambda flag: np.array([flag])])
def test_who_is_terminated_and_goes_on(kind):
    class Flags(Reached):
        pass

    Flags.kind = staticmethod(kind)
    with pytest.raises(GameError, match="agent 'b' goes on in game 0 at step 3, after it was terminated"):
        batch(Flags)


class ReachedInATuple(gym.Env):
    observation_space = action_space = spaces.Tuple((spaces.Discrete(9), spaces.Discrete(9)))

    def reset(self, *, seed=None):
        self.time = 0
        return (0, 0), {}

    def step(self, actions):
        self.time += 1
        return (self.time,) * 2, [0.0, 0.0], [self.time == 4, self.time in (2, 4)], [False, False], {}


class ReachedOfRLlib(OneListOfRLlib):
    def step(self, actions):
        self.time += 1
        seen = dict.fromkeys("ab", 0)
        return seen, {}, {"b": self.time == 2, "__all__": self.time == 4}, {}, {}


@pytest.mark.parametrize("game", [ReachedInATuple, ReachedOfRLlib])
def test_who_is_terminated_and_goes_on_in_games_of_other_makes(game):
    with pytest.raises(GameError, match=r"agent '(agent_1|b)' goes on after it was terminated .*at step 3"):
        batch(game)


def test_a_dead_agent_that_still_is_shown_and_flagged_is_none_that_goes_on():
    class Dead(ReachedOfRLlib):
        def step(self, actions):
            seen, rewards, terminated, *rest = super().step(actions)
            return seen, rewards, terminated | {"b": self.time >= 2}, *rest

    assert batch(Dead).look.absences


class TakesASeedAlone(Foreign):
    names = (0, 1)

    def reset(self, seed=None):
        return super().reset(seed)


class TakesASeedAloneInATuple(ReachedInATuple):
    def step(self, actions):
        *given, _, cut, infos = super().step(actions)
        return *given, [self.time == 4] * 2, cut, infos


class WantsOptions(TakesASeedAloneInATuple):
    def reset(self, seed, options):
        return super().reset()


@pytest.mark.parametrize("game", [TakesASeedAlone, TakesASeedAloneInATuple, WantsOptions])
def test_a_reset_that_takes_no_options_or_none_but_with_options(game):
    assert batch(game).look.episodes > 2


def telling(info):
    class Tells(Foreign):
        length, told = 1, 0

        def info(self, agent):
            type(self).told += agent == "a"
            return info(self.told) if self.over() else {}

    return Tells


@pytest.mark.parametrize(
    "info", [3, "outcome: won", [1], {"outcome": 0.5}, {"outcome": np.ones(2)}, {"outcome": None}, {"outcome": ""}]
)
def test_infos_that_name_no_outcome(info):
    games = batch(telling(lambda told: info))
    games.reset()
    step = games.step({"a": np.zeros(1, int), "b": np.zeros(1, int)})
    assert step.outcome[0] == -1 and games.outcome_names == []


def test_outcomes_without_end():
    games = batch(telling(lambda told: {"outcome": told}))
    games.reset()
    for _ in range(2 * MOST_OUTCOMES):
        games.step({"a": np.zeros(1, int), "b": np.zeros(1, int)})
        games.reset()
    assert len(games.outcome_names) == MOST_OUTCOMES + 1 and games.outcome_names[-1] == OTHER_OUTCOMES


def test_agents_are_listed_by_other_things_than_their_names():
    class Car:
        pass

    class Lists(Foreign):
        def reset(self, seed=None, options=None):
            given = super().reset(seed)
            self.agents = [Car(), Car()]
            return given

    with pytest.raises(GameError, match=r"`agents` hold <.*Car .* in game 0 at step 0, which is none of its possible"):
        batch(Lists)


def test_episodes_without_a_step():
    class Over(Foreign):
        def reset(self, seed=None, options=None):
            given = super().reset(seed)
            if self.rng.random() < 0.3:
                self.agents, given = [], ({}, {})
            return given

    with pytest.raises(GameError, match=r"reset\(\) returned nobody who plays in game 0"):
        batch(Over)


def test_nothing_at_all_is_no_end_while_agents_are_listed():
    class Silent(Foreign):
        def step(self, actions):
            given = super().step(actions)
            return ({}, {}, {}, {}, {}) if self.time == 2 else given

    with pytest.raises(GameError, match=r"returned nothing at all in game 0 at step 2, though .* \['a', 'b'\]"):
        batch(Silent)


@pytest.mark.parametrize("name", ["final_observation", "final_obs", "terminal_observation"])
@pytest.mark.parametrize("own", [True, False])
def test_games_that_begin_anew_by_themselves(name, own):
    class Anew(Foreign):
        def step(self, actions):
            *given, infos = super().step(actions)
            if self.over():
                given[0], _ = self.reset()
                infos = {"a": {name: 0}} if own else {name: [0, 0]}
            return *given, infos

    with pytest.raises(GameError, match=f"begin anew by itself in game 0 at step 4.*{name}"):
        batch(Anew)


def test_spaces_that_cannot_be_copied():
    class Locked(Foreign):
        def __init__(self):
            super().__init__()
            self.seeing = spaces.Box(0.0, 9.0, (2,))
            self.seeing.lock = threading.Lock()

    with pytest.raises(ValueError, match=r"agent 'a': its spaces .* cannot be copied"):
        batch(Locked)


def test_observations_in_turns_that_cannot_be_copied():
    class Computes(OneListInTurns):
        def observe(self, agent):
            return torch.ones((), requires_grad=True) * 2

    with pytest.raises(GameError, match=r"observation of agent 'a' cannot be copied .*write an array"):
        batch(Computes)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_that_overflow_in_networks(dtype):
    class Nothing(Foreign):
        """Sees the largest number where there is nothing to see."""

        seeing = spaces.Box(0.0, np.inf, (2,), dtype)

        def see(self, agent):
            return np.array([1.0, np.finfo(np.float32).max], dtype)

    with pytest.raises(GameError, match=r"holds 3.4\d+e\+38, which is too large for float32.* a distance to nothing"):
        batch(Nothing)
