"""What a kind of fault is: a clean game, how it may be changed, and what is right to do about it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

ANN, BOB = AGENTS = ("ann", "bob")
STEPS = 6  # of one episode

CAUGHT, HARMLESS, ALLOWED = "caught", "harmless", "allowed"

SPACES: dict[str, spaces.Space] = {
    "float32": spaces.Box(-2.0, 2.0, (3,), np.float32),
    "float64": spaces.Box(-2.0, 2.0, (3,), np.float64),
    "uint8": spaces.Box(0, 200, (3,), np.uint8),
    "Discrete": spaces.Discrete(4),
    "MultiDiscrete": spaces.MultiDiscrete([3, 4]),
    "MultiBinary": spaces.MultiBinary(3),
    "Dict": spaces.Dict({"x": spaces.Box(-2.0, 2.0, (2,), np.float32), "k": spaces.Discrete(3)}),
    "Tuple": spaces.Tuple((spaces.Box(-2.0, 2.0, (2,), np.float32), spaces.Discrete(3))),
}
FLOATS = ("float32", "float64")
WHOLE = ("uint8", "Discrete", "MultiDiscrete", "MultiBinary")
FLAT = (*FLOATS, *WHOLE)


@dataclass(frozen=True)
class Case:
    """One fault: of what kind, read by which runner, in which space, at which step of whom, from which episode on."""

    kind: str
    runner: str
    space: str
    step: int
    agent: str
    episode: int

    @property
    def other(self) -> str:
        """The agent without the fault."""
        return BOB if self.agent == ANN else ANN


class Clean(ParallelEnv):
    """Two agents, three actions each. What they see is drawn from its space, what they earn is what they do.

    Attributes:
        broken: what the game was asked to do and never allowed: the reason why a run is SILENT.
    """

    metadata = {"name": "clean"}  # noqa: RUF012  (PettingZoo's own way)

    def __init__(self, case: Case, masked: str = "") -> None:
        self.case, self.masked = case, masked
        self.possible_agents, self.agents = list(AGENTS), []
        self.observation_spaces = {agent: copy.deepcopy(SPACES[case.space]) for agent in AGENTS}
        if masked == "dict":
            mask = spaces.Box(0, 1, (3,), np.int8)
            self.observation_spaces = {
                agent: spaces.Dict({"observation": space, "action_mask": mask})
                for agent, space in self.observation_spaces.items()
            }
        self.action_spaces: dict[Any, spaces.Space] = {agent: spaces.Discrete(3) for agent in AGENTS}
        self.episode = -1
        self.broken: list[str] = []
        self.masks: dict[Any, np.ndarray] = {}

    def observation_space(self, agent: Any) -> spaces.Space:
        return self.observation_spaces[agent]

    def action_space(self, agent: Any) -> spaces.Space:
        return self.action_spaces[agent]

    @property
    def now(self) -> bool:
        """Whether the fault is to come at this very step."""
        return self.time == self.case.step and self.episode >= self.case.episode

    def seen(self, agent: Any) -> Any:
        space = SPACES[self.case.space]
        space.seed(self.number * 100 + self.time * 10 + list(self.possible_agents).index(agent))
        return space.sample()

    def permits(self, agent: Any) -> np.ndarray:
        allowed = np.ones(3, np.int8)
        allowed[(self.number + self.time + list(self.possible_agents).index(agent)) % 3] = 0
        return allowed

    def observe(self) -> tuple[dict, dict]:
        observations: dict[Any, Any] = {agent: self.seen(agent) for agent in self.possible_agents}
        infos: dict[Any, Any] = {agent: {} for agent in self.possible_agents}
        self.masks = {agent: self.permits(agent) for agent in self.possible_agents} if self.masked else {}
        for agent, mask in self.masks.items():
            if self.masked == "dict":
                observations[agent] = {"observation": observations[agent], "action_mask": mask}
            else:
                infos[agent]["action_mask"] = mask
        return observations, infos

    def reset(self, seed: int | None = None, options: dict | None = None) -> Any:
        if seed is not None or not hasattr(self, "rng"):
            self.rng = np.random.default_rng(seed)
        self.number = int(self.rng.integers(10_000))
        self.agents, self.time = list(self.possible_agents), 0
        self.episode += 1
        return self.observe()

    def step(self, actions: dict) -> Any:
        for agent in self.agents:
            action, mask = actions.get(agent), self.masks.get(agent)
            if not self.action_space(agent).contains(action):
                self.broken.append(f"{agent} was made to play {action!r}, outside of {self.action_space(agent)}")
            elif mask is not None and mask.any() and not mask[action]:
                self.broken.append(f"{agent} was made to play {action!r}, which {mask} forbids")
        self.time += 1
        rewards = {agent: float(np.sum(actions.get(agent, 0))) for agent in self.possible_agents}
        over = self.time >= STEPS
        flags = {agent: over for agent in self.possible_agents}
        observations, infos = self.observe()
        if over:
            self.agents = []
        return observations, rewards, flags, dict.fromkeys(self.possible_agents, False), infos


# A fault changes what step() and reset() return: `change(game, parts)` at the step of the case.
Parts = dict[str, Any]
OBS, REW, TERM, TRUNC, INFO = "observations", "rewards", "terminations", "truncations", "infos"


class Faulty(Clean):
    """The clean game, but what it returns at one step is changed."""

    def __init__(self, case: Case, change: Callable[[Faulty, Parts], Any], masked: str = "", at: str = "now") -> None:
        super().__init__(case, masked)
        self.change, self.at = change, at

    def due(self) -> bool:
        """Whether what is returned now is to be changed."""
        if self.time < KINDS[self.case.kind].first:
            return False
        if self.at == "end":
            return not self.agents and self.time > 0 and self.episode >= self.case.episode
        if self.at == "from":
            return self.time >= self.case.step and self.episode >= self.case.episode
        if self.at == "always":
            return self.episode >= self.case.episode
        return self.now

    def reset(self, seed: int | None = None, options: dict | None = None) -> Any:
        observations, infos = super().reset(seed, options)
        parts = {OBS: observations, INFO: infos}
        if self.due() and (given := self.change(self, parts)) is not None:
            return given
        return parts[OBS], parts[INFO]

    def step(self, actions: dict) -> Any:
        parts = dict(zip((OBS, REW, TERM, TRUNC, INFO), super().step(actions), strict=True))
        if self.due() and (given := self.change(self, parts)) is not None:
            return given
        return tuple(parts.values())


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        right: caught, harmless or allowed.
        factory: makes what makes the game of a case.
        spaces: those it can happen in.
        twin: makes the game that rows are compared with; None: the clean one.
        first, last: steps it can happen at.
        names: what the message must hold, of "agent" and "place".
        runners: those it can happen in.
    """

    right: str
    factory: Callable[[Case], Callable[[], Any]]
    spaces: tuple[str, ...] = tuple(SPACES)
    twin: Callable[[Case], Callable[[], Any]] | None = None
    first: int = 0
    last: int = STEPS
    names: tuple[str, ...] = ("agent", "place")
    runners: tuple[str, ...] = ("joint", "stock")


KINDS: dict[str, Kind] = {}
EVERYWHERE = ("joint", "stock", "native", "gymnasium")
NOT_RLLIB = ("joint", "stock", "gymnasium")


def changes(
    name: str, right: str, change: Callable[[Faulty, Parts], Any], at: str = "now", masked: str = "", **more: Any
):
    """Adds a kind whose fault is a change of what the game returns."""
    if masked and "twin" not in more:
        more["twin"] = lambda case: lambda: Clean(case, masked)
    KINDS[name] = Kind(right, lambda case: lambda: Faulty(case, change, masked, at), **more)


def made(name: str, right: str, factory: Callable[[Case], Callable[[], Any]], **more: Any) -> None:
    """Adds a kind that is a game, or a factory, of its own."""
    KINDS[name] = Kind(right, factory, **more)


def without(part: str) -> Callable[[Faulty, Parts], None]:
    """Leaves the agent out of one part of what is returned."""

    def change(game: Faulty, parts: Parts) -> None:
        del parts[part][game.case.agent]

    return change
