"""What `same_bits.py` trains: tiny games, and the cases that are made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

Levels = list[list[str]]


class Walk(ParallelEnv):
    """A game of up to 4 steps on a ring of three places, which all agents' actions turn. It ends at place 2.

    The state is (place, time, 1). Agent 0 sees the place, agent 1 the time, agent 2 the place.
    """

    metadata = {"name": "walk_v0"}  # noqa: RUF012  (PettingZoo's own way)
    names: tuple[str, ...] = ("one", "two")
    actions: tuple[spaces.Space, ...] = (spaces.Discrete(3), spaces.Discrete(3), spaces.Discrete(2))
    last_step = 4
    masked = False
    state_space = spaces.Box(-10.0, 10.0, (3,), np.float32)
    seen = spaces.Box(-10.0, 10.0, (2,), np.float32)

    def __init__(self) -> None:
        self.possible_agents = list(self.names)
        self.agents: list[str] = []
        self.rng = np.random.default_rng(0)
        self.place = self.time = 0

    def observation_space(self, agent: str) -> spaces.Space:
        return self.seen

    def action_space(self, agent: str) -> spaces.Space:
        return self.actions[self.names.index(agent)]

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.agents = list(self.names)
        self.place, self.time = int(self.rng.integers(2)), 0
        return self.observe(), self.infos()

    def state(self) -> np.ndarray:
        return np.array([self.place, self.time, 1.0], np.float32)

    def observe(self) -> dict[str, np.ndarray]:
        parts = (self.place, self.time, self.place)
        return {agent: np.array([parts[i], 1.0], np.float32) for i, agent in enumerate(self.names)}

    def infos(self) -> dict[str, Any]:
        if not self.masked:
            return {agent: {} for agent in self.names}
        sizes = [int(space.n) if isinstance(space, spaces.Discrete) else 0 for space in self.actions]
        return {
            agent: {"action_mask": np.arange(sizes[i]) != (self.time + i) % sizes[i]}
            for i, agent in enumerate(self.names)
        }

    def step(self, actions: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        values = [float(np.asarray(actions[agent], np.float64).ravel()[0]) for agent in self.names]
        rewards = {}
        for i, agent in enumerate(self.names):
            others = sum(values) - values[i]
            rewards[agent] = 1.0 - (values[i] - 0.5 * self.place - 0.5 * i) ** 2 + 0.25 * (i + 1) * others * self.place
        self.place = (self.place + round(sum(values))) % 3
        self.time += 1
        terminated = self.place == 2
        truncated = not terminated and self.time == self.last_step
        if terminated or truncated:
            self.agents = []
        both = dict.fromkeys(self.names, terminated), dict.fromkeys(self.names, truncated)
        return self.observe(), rewards, *both, self.infos()


class Seen(Walk):
    """Agents see the state."""

    seen = Walk.state_space

    def observe(self) -> dict[str, np.ndarray]:
        return {agent: self.state() for agent in self.names}


class OneStep(Walk):
    """One step, then the game is cut."""

    last_step = 1


class Masked(Walk):
    """Each agent may not take one of its actions, another one at each step."""

    masked = True


class Three(Walk):
    """Three agents."""

    names = ("one", "two", "three")


class MaskedThree(Three):
    """Three agents with forbidden actions."""

    masked = True


_VECTOR = spaces.Box(np.array([-1.0, 0.0], np.float32), np.array([1.0, 3.0], np.float32))
_NUMBER = spaces.Box(-1.0, 2.0, (1,), np.float32)


class Continuous(Walk):
    """One agent chooses a number, the other a vector of two."""

    actions = (_NUMBER, _VECTOR)


class Kinds(Three):
    """A discrete leader, a vector below it, a discrete agent at the bottom."""

    actions = (spaces.Discrete(3), _VECTOR, spaces.Discrete(2))


class Images(Walk):
    """The state and what agents see is an image."""

    state_space = seen = spaces.Box(0, 255, (8, 8, 3), np.uint8)

    def state(self) -> np.ndarray:
        image = np.zeros((8, 8, 3), np.uint8)
        image[2 * self.time : 2 * self.time + 2, :, self.place] = 200
        return image

    def observe(self) -> dict[str, np.ndarray]:
        return {agent: self.state() for agent in self.names}


@dataclass(frozen=True)
class Case:
    """What is trained.

    Attributes:
        run: the algorithm.
        game: a factory, or the id of a game.
        levels: the hierarchy; default: one leads two in BiAC and BiLevelQ, else all agents are peers.
        training: settings of `training()`.
        runners: settings of `env_runners()`.
        model: of the networks, beside tiny layers.
        state: what critics see, as `environment()` has it.
    """

    run: str
    game: Any = Walk
    levels: Levels | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    runners: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    state: str = "env"

    @property
    def hierarchy(self) -> Levels:
        """The levels, the default filled in."""
        if self.levels is not None:
            return self.levels
        return [["one"], ["two"]] if self.run in ("BiAC", "BiLevelQ") else [list(self.game.names)]


CHAIN = [["one"], ["two"], ["three"]]
_SCHEDULES = {
    "lr": [[0, 0.01], [200, 0.001]],
    "critic_lr": {"one": 0.02, "two": [[0, 0.01], [300, 0.0]]},
    "actor_lr": 0.005,
    "adam_epsilon": 1e-4,
    "tau": 0.1,
    "target_network_update_freq": 3,
    "gamma": 0.9,
}
_CONVOLUTIONS = {"conv_filters": [[4, 4, 2], [4, [2, 3], 1, "valid"]]}
NORMALISED = {"normalize_observations": True}

CASES: dict[str, Case] = {
    "BiAC": Case("BiAC"),
    "BiAC, one step": Case("BiAC", OneStep),
    "BiAC, the second leads": Case("BiAC", levels=[["two"], ["one"]]),
    "BiAC, masked": Case("BiAC", Masked),
    "BiAC, images": Case("BiAC", Images, model=_CONVOLUTIONS),
    "BiAC, normalised observations": Case("BiAC", training=NORMALISED),
    "BiAC, raw targets": Case("BiAC", training={"normalize_targets": False}),
    "BiAC, observations as state": Case("BiAC", runners={"exploration": "joint"}, state="observations"),
    "BiAC, sampled": Case("BiAC", training={"response": "sampled"}),
    "BiAC, sampled, masked": Case("BiAC", Masked, training={"response": "sampled"}),
    "BiAC, enumerated": Case("BiAC", training={"response": "enumerated"}),
    "BiAC, gumbel_softmax": Case("BiAC", training={"actor_loss": "gumbel_softmax", "gumbel_temperature": 0.5}),
    "BiAC, score_function": Case("BiAC", Masked, training={"actor_loss": "score_function", "entropy_coeff": 0.1}),
    **{
        f"BiAC, clipped by {by}": Case("BiAC", training={"grad_clip": 0.01, "grad_clip_by": by})
        for by in ("value", "norm", "global_norm")
    },
    "BiAC, schedules": Case("BiAC", training=_SCHEDULES, model={"fcnet_activation": "tanh"}),
    "BiAC, approximators": Case("BiAC", training={"approximators": True}),
    "BiAC, hypotheses": Case("BiAC", training={"num_hypotheses": 3, "updates_per_round": 40}),
    "BiAC, hypotheses, masked": Case("BiAC", Masked, training={"num_hypotheses": 2, "updates_per_round": 40}),
    "BiAC, stock runner": Case("BiAC", runners={"env_runner_cls": "stock"}),
    "BiAC, merge_v0": Case("BiAC", "merge_v0", [["main_0"], ["auxiliary_0"]]),
    "levels, three": Case("BiAC", Three, CHAIN),
    "levels, three, masked": Case("BiAC", MaskedThree, CHAIN),
    "levels, two followers": Case("BiAC", Three, [["three"], ["two", "one"]], training=NORMALISED),
    "levels, two leaders": Case("BiAC", Three, [["one", "three"], ["two"]]),
    "levels, continuous": Case("BiAC", Continuous),
    "levels, soft_q": Case("BiAC", Continuous, training={"continuous_leader": "soft_q", "num_leader_actions": 16}),
    "levels, both kinds of actions": Case("BiAC", Kinds, CHAIN, training={"grad_clip": 0.05}),
    "levels, approximators": Case("BiAC", Kinds, CHAIN, training={"approximators": True}),
    "BiLevelQ": Case("BiLevelQ"),
    "BiLevelQ, masked": Case("BiLevelQ", Masked, training={"initial_q": 1.0}),
    "BiLevelQ, schedule": Case("BiLevelQ", OneStep, training={"lr": [[0, 0.5], [300, 0.0]]}),
    "IDQN": Case("IDQN"),
    "IDQN, masked": Case("IDQN", MaskedThree),
    "IDQN, images": Case("IDQN", Images, model=_CONVOLUTIONS),
    "IDQN, normalised observations": Case("IDQN", Seen, training=NORMALISED),
    "IDQN, stock runner": Case("IDQN", Masked, runners={"env_runner_cls": "stock"}),
    "HystereticDQN": Case("HystereticDQN", training={"hysteresis": 0.3}),
    "LenientDQN": Case("LenientDQN"),
    "LenientDQN, masked": Case("LenientDQN", Masked),
    "MADDPG": Case("MADDPG"),
    "MADDPG, three, masked": Case("MADDPG", MaskedThree),
    "MADDPG, continuous": Case("MADDPG", Continuous),
    "MADDPG, normalised observations": Case("MADDPG", Seen, training=NORMALISED),
    "MATD3": Case("MATD3", training={"grad_clip": 0.05, "grad_clip_by": "norm"}),
    "MATD3, continuous": Case("MATD3", Continuous),
    "MATD3, both kinds of actions": Case("MATD3", Kinds),
}
"""name -> what is trained."""
