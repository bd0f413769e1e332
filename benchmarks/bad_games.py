"""This program shows: what becomes of games that break the rules, one fault each, by kind, runner and space.

How to run:
    python benchmarks/bad_games.py               # 60 faults, drawn with seed 0; about a minute on one core
    python benchmarks/bad_games.py --count 1000  # more draws of the same kinds
    python benchmarks/bad_games.py --kinds nan text --out /tmp

A game of two agents, `ann` and `bob`, is clean but for one fault: of one kind, at one step, of one agent, from one
episode on, in observations of one space, read by one runner. `joint` is `ParallelEnvBatch` sampled by `Sampler`;
`stock` is the same game as RLlib's `MultiAgentEnv`; `native` is a `MultiAgentEnv` by somebody else, read for `joint`;
`play` is greedy, as in evaluation. Each kind states what is right:

- caught: a GameError or a ValueError that names what is wrong, where: agent and step, or agent and space;
- harmless: every row equals the row of the same seed without the fault (or of a game that says the same in plain
  words);
- allowed: the rows may differ, but the game must get nothing but actions it allows.

What is harmless may also be refused. Besides, in every game: no action outside of the action space or of the mask.
Faults are: SILENT (not caught, and rows that differ), CRASH (another exception, or one that ends the program), HANG,
and VAGUE (caught, with a message that leaves out the agent or the place). With any, the program ends with code 1.

Results to expect: none.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import argparse
import contextlib
import copy
import io
import re
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from pettingzoo import ParallelEnv
from studies import RESULTS, markdown, versions

sys.path.insert(0, str(Path(__file__).parents[1]))

from rllib_biac.algorithms.biac import BiAC
from rllib_biac.envs.adapters import adapt
from rllib_biac.envs.errors import GameError
from rllib_biac.learning.games import StateReader, make_games
from rllib_biac.learning.hierarchy import Hierarchy
from rllib_biac.learning.sampler import Sampler
from tests.training import checked

ANN, BOB = AGENTS = ("ann", "bob")
HIERARCHY = [[ANN], [BOB]]
STEPS = 6  # of one episode
NUM_GAMES, ROWS = 3, 90  # five episodes of each copy
SECONDS = 20  # until a case counts as hanging

CAUGHT, HARMLESS, ALLOWED = "caught", "harmless", "allowed"
SILENT, CRASH, HANG, VAGUE = "SILENT", "CRASH", "HANG", "VAGUE"

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

    def mask(self, agent: Any) -> np.ndarray:
        allowed = np.ones(3, np.int8)
        allowed[(self.number + self.time + list(self.possible_agents).index(agent)) % 3] = 0
        return allowed

    def observe(self) -> tuple[dict, dict]:
        observations: dict[Any, Any] = {agent: self.seen(agent) for agent in self.possible_agents}
        infos: dict[Any, Any] = {agent: {} for agent in self.possible_agents}
        self.masks = {agent: self.mask(agent) for agent in self.possible_agents} if self.masked else {}
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
EVERYWHERE = ("joint", "stock", "native")


def changes(
    name: str, right: str, change: Callable[[Faulty, Parts], Any], at: str = "now", masked: str = "", **more: Any
):
    """Adds a kind whose fault is a change of what the game returns."""
    if masked and "twin" not in more:
        more["twin"] = lambda case: lambda: Clean(case, masked)
    KINDS[name] = Kind(right, lambda case: lambda: Faulty(case, change, masked, at), **more)


def sees(name: str, right: str, value: Callable[[Any, spaces.Space], Any], **more: Any) -> None:
    """Adds a kind in which an agent's observation is wrong: `value(observation, space)`."""

    def change(game: Faulty, parts: Parts) -> None:
        agent = game.case.agent
        parts[OBS][agent] = value(parts[OBS][agent], SPACES[game.case.space])

    changes(name, right, change, runners=EVERYWHERE, **more)


def without(part: str) -> Callable[[Faulty, Parts], None]:
    """Leaves the agent out of one part of what is returned."""

    def change(game: Faulty, parts: Parts) -> None:
        del parts[part][game.case.agent]

    return change


def earns(name: str, right: str, value: Callable[[float], Any], **more: Any) -> None:
    """Adds a kind in which an agent's reward is wrong."""

    def change(game: Faulty, parts: Parts) -> None:
        parts[REW][game.case.agent] = value(parts[REW][game.case.agent])

    changes(name, right, change, first=1, runners=EVERYWHERE, **more)


def masks(name: str, right: str, value: Callable[[np.ndarray], Any], at: str = "now", **more: Any) -> None:
    """Adds a kind in which an agent's mask is wrong, once in infos and once beside the observation."""
    for masked in ("info", "dict"):

        def change(game: Faulty, parts: Parts, masked: str = masked) -> None:
            place = parts[INFO if masked == "info" else OBS][game.case.agent]
            place["action_mask"] = value(place["action_mask"])

        changes(f"{name} ({masked})", right, change, at, masked, **more)


def made(name: str, right: str, factory: Callable[[Case], Callable[[], Any]], **more: Any) -> None:
    """Adds a kind that is a game, or a factory, of its own."""
    KINDS[name] = Kind(right, factory, **more)


def first_part(observation: Any, change: Callable[[Any], Any]) -> Any:
    """Changes the vector in an observation, whatever it lies in."""
    if isinstance(observation, dict):
        return observation | {"x": change(observation["x"])}
    if isinstance(observation, tuple):
        return (change(observation[0]), *observation[1:])
    return change(observation)


def with_entry(value: Any) -> Callable[[Any, spaces.Space], Any]:
    """Puts a value into the first entry of an observation, in whatever dtype holds it."""

    def put(observation: Any, space: spaces.Space) -> Any:
        def change(part: Any) -> Any:
            if np.ndim(part) == 0:
                return value
            kind = np.result_type(np.asarray(part).dtype, np.asarray(value).dtype)
            changed = np.asarray(part).astype(kind)
            changed[0] = value
            return changed

        return first_part(observation, change)

    return put


# Observations.

sees("NaN", CAUGHT, with_entry(np.nan), spaces=(*FLOATS, "Dict", "Tuple"))
sees("infinity", CAUGHT, with_entry(-np.inf), spaces=(*FLOATS, "Dict", "Tuple"))
sees("NaN in whole numbers", CAUGHT, with_entry(np.nan), spaces=WHOLE)
sees("above its bounds", CAUGHT, with_entry(201), spaces=tuple(SPACES))
sees("far above its bounds", CAUGHT, with_entry(300))
sees("below its bounds", CAUGHT, with_entry(-3))
sees("half a number", CAUGHT, with_entry(0.5), spaces=WHOLE)
sees("text", CAUGHT, lambda o, s: "far")
sees("text of a number", CAUGHT, lambda o, s: first_part(o, lambda x: np.asarray(x).astype(str)))
sees("complex numbers", CAUGHT, lambda o, s: first_part(o, lambda x: np.asarray(x) + 1j))
sees("no observation but None", CAUGHT, lambda o, s: None)
sees("an object array", CAUGHT, lambda o, s: first_part(o, lambda x: np.array([None, {}, 3], object)))
sees(
    "one entry too many",
    CAUGHT,
    lambda o, s: first_part(o, lambda x: np.append(x, x)),
    spaces=(*FLOATS, "uint8", "Dict"),
)
sees(
    "no entries", CAUGHT, lambda o, s: first_part(o, lambda x: np.asarray(x)[..., :0]), spaces=(*FLOATS, "MultiBinary")
)
sees("one axis too many", CAUGHT, lambda o, s: first_part(o, lambda x: np.asarray(x)[None]), spaces=(*FLOATS, "uint8"))
sees(
    "one number for a vector",
    CAUGHT,
    lambda o, s: np.float32(1),
    spaces=(*FLOATS, "uint8", "MultiBinary", "MultiDiscrete"),
)
sees("ragged lists", CAUGHT, lambda o, s: [[1, 2], [0]], spaces=(*FLOATS, "uint8", "MultiDiscrete"))
sees("a Dict for another space", CAUGHT, lambda o, s: {"observation": o}, spaces=FLAT)
sees("a key is missing", CAUGHT, lambda o, s: {"x": o["x"]}, spaces=("Dict",))
sees("a key too many", HARMLESS, lambda o, s: o | {"y": np.zeros(2, np.float32)}, spaces=("Dict",))
sees("a part is missing", CAUGHT, lambda o, s: o[:1], spaces=("Tuple",))
sees("another dtype of the same numbers", HARMLESS, lambda o, s: np.asarray(o, np.float64), spaces=("float32",))
sees("whole numbers in a wider dtype", HARMLESS, lambda o, s: np.asarray(o, np.int64), spaces=WHOLE)
sees("a list for an array", HARMLESS, lambda o, s: np.asarray(o).tolist(), spaces=FLAT)
sees("a tensor for an array", HARMLESS, lambda o, s: torch.as_tensor(np.asarray(o)), spaces=FLAT)
sees(
    "backwards strides",
    HARMLESS,
    lambda o, s: first_part(o, lambda x: np.asarray(x)[..., ::-1].copy()[..., ::-1]),
    spaces=(*FLOATS, "uint8"),
)
sees(
    "big-endian numbers",
    HARMLESS,
    lambda o, s: first_part(o, lambda x: np.asarray(x).astype(x.dtype.newbyteorder(">"))),
    spaces=(*FLOATS, "Dict", "Tuple"),
)


class OneBuffer(Clean):
    """Returns the same array every time and writes into it: copies of what was seen must be taken."""

    def seen(self, agent: Any) -> Any:
        fresh = super().seen(agent)
        kept = self.__dict__.setdefault("kept", {}).setdefault(agent, np.empty_like(fresh))
        kept[...] = fresh
        return kept


made("one buffer for all steps", HARMLESS, lambda case: lambda: OneBuffer(case), spaces=(*FLOATS, "uint8"))
changes("agent missing in observations", CAUGHT, without(OBS), last=5)
changes(
    "observation under another name",
    CAUGHT,
    lambda game, parts: parts[OBS].update(eve=parts[OBS].pop(game.case.agent)),
    last=5,
)
changes("observations of a stranger", HARMLESS, lambda game, parts: parts[OBS].update(eve=np.zeros(3, np.float32)))
changes(
    "another order of agents", HARMLESS, lambda game, parts: parts.update({OBS: dict(reversed(parts[OBS].items()))})
)
changes("observations None", CAUGHT, lambda game, parts: parts.update({OBS: None}), names=("place",), last=5)
changes(
    "observations a list", CAUGHT, lambda game, parts: parts.update({OBS: list(parts[OBS].values())}), names=("place",)
)

# Rewards.

earns("reward NaN", CAUGHT, lambda r: float("nan"))
earns("reward infinite", CAUGHT, lambda r: np.inf)
earns("reward beyond float32", CAUGHT, lambda r: 1e39)
earns("reward None", CAUGHT, lambda r: None)
earns("reward text", CAUGHT, lambda r: "much")
earns("reward complex", CAUGHT, lambda r: 1 + 1j)
earns("reward a vector", CAUGHT, lambda r: np.array([r, 1.0]))
earns("reward a vector of one", HARMLESS, lambda r: np.array([r]))
earns("reward a tensor", HARMLESS, lambda r: torch.tensor(r))
earns("reward an int", HARMLESS, lambda r: int(r))
changes("no reward of an agent", CAUGHT, without(REW), first=1)
changes("reward of a stranger", HARMLESS, lambda game, parts: parts[REW].update(eve=1.0), first=1)
changes("rewards None", CAUGHT, lambda game, parts: parts.update({REW: None}), first=1, names=("place",))
changes("rewards one number", CAUGHT, lambda game, parts: parts.update({REW: 1.0}), first=1, names=("place",))

# Flags and ends.

END: dict[str, Any] = {"at": "end", "first": 1}


def flag(value: Any) -> Callable[[Faulty, Parts], None]:
    """Gives the agent another flag of termination."""
    return lambda game, parts: parts[TERM].update({game.case.agent: value})


changes(
    "flags 0 and 1",
    HARMLESS,
    lambda game, parts: parts.update({TERM: {a: int(v) for a, v in parts[TERM].items()}}),
    "always",
    first=1,
)
changes("flag as text", CAUGHT, flag("False"), first=1, last=5)
changes("flag None", CAUGHT, flag(None), first=1, last=5)
changes("flag NaN", CAUGHT, flag(float("nan")), first=1, last=5)
changes("flag a vector", CAUGHT, flag(np.array([True, False])), first=1)
changes("flags None", CAUGHT, lambda game, parts: parts.update({TERM: None}), first=1, names=("place",))
changes("flag of a stranger", HARMLESS, lambda game, parts: parts[TERM].update(eve=True), first=1, last=5)
changes("terminated and truncated", HARMLESS, lambda game, parts: parts.update({TRUNC: dict(parts[TERM])}), **END)


def end_all(game: Faulty, parts: Parts) -> None:
    parts.update({TERM: {"__all__": not game.agents}, TRUNC: {"__all__": False}})


changes("ends under __all__", HARMLESS, end_all, "always", first=1)
changes(
    "ends by emptying agents", HARMLESS, lambda game, parts: parts.update({TERM: dict.fromkeys(AGENTS, False)}), **END
)
changes("ends without flags", HARMLESS, lambda game, parts: parts.update({TERM: {}, TRUNC: {}}), **END)
changes(
    "ends with nothing at all",
    HARMLESS,
    lambda game, parts: ({}, parts[REW], {}, {}, {}),
    **END,
    twin=lambda case: lambda: Faulty(case, lambda game, parts: parts.update({OBS: {}}), at="end"),
)


def stop_here(game: Faulty, parts: Parts) -> None:
    game.agents = []
    parts[TERM] = dict.fromkeys(AGENTS, True)


def emptied(game: Faulty, parts: Parts) -> None:
    game.agents = []


changes("agents emptied halfway", HARMLESS, emptied, first=1, last=4, twin=lambda case: lambda: Faulty(case, stop_here))


class NeverEnds(Clean):
    """Has no end."""

    def step(self, actions: dict) -> Any:
        given = super().step(actions)
        self.agents = list(self.possible_agents)
        return given[0], given[1], dict.fromkeys(AGENTS, False), given[3], given[4]


made("never ends", ALLOWED, lambda case: lambda: NeverEnds(case))
made("never ends, greedily", ALLOWED, lambda case: lambda: NeverEnds(case), names=(), runners=("play",))


def left(game: Faulty, parts: Parts, back: bool = False) -> None:
    """The agent leaves at its step; where it comes back, it does so with all rights two steps later."""
    agent, since = game.case.agent, game.time - game.case.step
    parts[TERM][agent] = since == 0 or parts[TERM][game.case.other]
    if since == 1 or (since > 1 and not back):
        for part in (OBS, REW, TERM, TRUNC, INFO):
            parts[part].pop(agent)
    if game.agents:
        game.agents = [a for a in AGENTS if a != agent or (back and since > 1)]


def rewarded_later(game: Faulty, parts: Parts) -> None:
    left(game, parts)
    if game.time > game.case.step:
        parts[REW][game.case.agent] = 5.0


changes("leaves early", ALLOWED, left, "from", first=1, last=4)
changes("leaves and comes back", CAUGHT, lambda game, parts: left(game, parts, True), "from", first=1, last=3)
changes("reward after termination", CAUGHT, rewarded_later, "from", first=1, last=4)
changes("terminated, but stays", CAUGHT, flag(True), first=1, last=4)

# Masks.

masks("mask of another length", CAUGHT, lambda m: np.append(m, 1), last=5)
masks("mask of two axes", CAUGHT, lambda m: m[None], last=5)
masks("mask of 0 and -inf", CAUGHT, lambda m: np.where(m, 0.0, -np.inf), "always", last=5)
masks("mask of 0 and 2", CAUGHT, lambda m: m * 2, last=5)
masks("mask of NaN", CAUGHT, lambda m: np.where(m, 1.0, np.nan), last=5)
masks("mask of text", CAUGHT, lambda m: "101", last=5)
masks("mask of bools", HARMLESS, lambda m: m.astype(bool), "always")
masks("mask of floats", HARMLESS, lambda m: m.astype(np.float32), "always")
masks("mask a list", HARMLESS, lambda m: m.tolist(), "always")


class Masked(Clean):
    """Masks as its function says: `rule(game, agent, mask)` returns a mask, or None for none at this step."""

    def __init__(self, case: Case, masked: str, rule: Callable[[Masked, Any, np.ndarray], np.ndarray | None]) -> None:
        super().__init__(case, masked)
        self.rule = rule

    def observe(self) -> tuple[dict, dict]:
        observations, infos = super().observe()
        for agent, mask in list(self.masks.items()):
            given = self.rule(self, agent, mask)
            place = infos[agent] if self.masked == "info" else observations[agent]
            if given is None:
                del place["action_mask"], self.masks[agent]
            else:
                place["action_mask"] = self.masks[agent] = given
        return observations, infos


def masked_by(masked: str, rule: Callable[[Masked, Any, np.ndarray], np.ndarray | None]):
    """Returns what makes a game with these masks."""
    return lambda case: lambda: Masked(case, masked, rule)


ALL = np.ones(3, np.int8)
made(
    "first mask late",
    HARMLESS,
    masked_by("info", lambda g, a, m: m if g.time >= g.case.step else None),
    first=1,
    last=5,
    twin=masked_by("info", lambda g, a, m: m if g.time >= g.case.step else ALL),
)
made(
    "mask only at times",
    HARMLESS,
    masked_by("info", lambda g, a, m: m if g.time % 2 else None),
    twin=masked_by("info", lambda g, a, m: m if g.time % 2 else ALL),
)
made(
    "mask of one agent only",
    HARMLESS,
    masked_by("info", lambda g, a, m: m if a == g.case.agent else None),
    twin=masked_by("info", lambda g, a, m: m if a == g.case.agent else ALL),
)
for where in ("info", "dict"):
    made(
        f"nothing allowed ({where})",
        ALLOWED,
        masked_by(where, lambda g, a, m: m * 0 if a == g.case.agent and g.now else m),
        last=5,
    )


class MaskBesideGoal(Masked):
    """A Dict of observation, mask, and one entry more."""

    def __init__(self, case: Case) -> None:
        super().__init__(case, "dict", lambda g, a, m: m)
        for agent, space in self.observation_spaces.items():
            self.observation_spaces[agent] = spaces.Dict({**space, "goal": spaces.Discrete(3)})  # type: ignore[dict-item]

    def observe(self) -> tuple[dict, dict]:
        observations, infos = super().observe()
        for seen in observations.values():
            seen["goal"] = self.number % 3
        return observations, infos


made("mask beside another entry", ALLOWED, lambda case: lambda: MaskBesideGoal(case))

# Infos.

changes("infos None", HARMLESS, lambda game, parts: parts.update({INFO: None}))
changes("infos empty", HARMLESS, lambda game, parts: parts.update({INFO: {}}))
changes("info None", HARMLESS, lambda game, parts: parts[INFO].update({game.case.agent: None}))

# Shape of what is returned.

changes("step returns four", CAUGHT, lambda game, parts: tuple(parts.values())[:4], first=1, names=("place",))
changes("step returns None", CAUGHT, lambda game, parts: (), first=1, names=("place",))
changes("reset returns observations alone", CAUGHT, lambda game, parts: parts[OBS], last=0, names=("place",))


# Exceptions, and what games do to the program they run in.


def raises(error: BaseException) -> Callable[[Faulty, Parts], Any]:
    def change(game: Faulty, parts: Parts) -> Any:
        raise error

    return change


changes("step raises", CAUGHT, raises(KeyError("ann")), first=1, names=("place",))
changes("step raises an assertion", CAUGHT, raises(AssertionError()), first=1, names=("place",))
changes("reset raises", CAUGHT, raises(OSError("no file")), last=0, names=("place",))
changes("step exits the program", CAUGHT, raises(SystemExit(3)), first=1, names=("place",))
changes("step raises StopIteration", CAUGHT, raises(StopIteration()), first=1, names=("place",))


class CloseRaises(Clean):
    def close(self) -> None:
        raise RuntimeError("no window")


class StateRaises(Clean):
    state_space = spaces.Box(0, 1, (1,), np.float32)

    def state(self) -> np.ndarray:
        if not self.agents:
            raise RuntimeError("no state after the end")
        return np.zeros(1, np.float32)


made("close raises", HARMLESS, lambda case: lambda: CloseRaises(case))
made("state raises, and nobody asked", HARMLESS, lambda case: lambda: StateRaises(case))


def does(act: Callable[[], Any]) -> Callable[[Faulty, Parts], None]:
    def change(game: Faulty, parts: Parts) -> None:
        act()

    return change


def fork() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


changes("prints", HARMLESS, does(lambda: print("hello")), "always")
changes("warns", HARMLESS, does(lambda: warnings.warn("careful", stacklevel=1)), "always")
changes("forks", HARMLESS, does(fork))
changes("is slow once", HARMLESS, does(lambda: time.sleep(0.3)), last=0)
changes("seeds numpy for all", HARMLESS, does(lambda: np.random.seed(0)), "always")
changes("seeds torch for all", HARMLESS, does(lambda: torch.manual_seed(0)), "always")
changes("makes numpy raise", HARMLESS, does(lambda: np.seterr(all="raise")))
changes("changes the folder", HARMLESS, does(lambda: os.chdir("/")))


class ClearsActions(Clean):
    """Empties the dict of actions that it was handed."""

    def step(self, actions: dict) -> Any:
        given = super().step(actions)
        actions.clear()
        return given


made("empties the actions", HARMLESS, lambda case: lambda: ClearsActions(case))

# Agents, spaces and factories.


def with_attributes(name: str, right: str, change: Callable[[Clean], Any], **more: Any) -> None:
    """Adds a kind that is a clean game, changed once it is made."""

    def factory(case: Case) -> Callable[[], Clean]:
        def make() -> Clean:
            game = Clean(case)
            change(game)
            return game

        return make

    made(name, right, factory, **more)


def renamed(game: Clean, names: tuple) -> None:
    game.possible_agents = list(names)
    for held in (game.observation_spaces, game.action_spaces):
        held.update({new: held.pop(old) for old, new in zip(AGENTS, names, strict=True)})


def shared(case: Case) -> Callable[[], Clean]:
    one = Clean(case)
    return lambda: one


def set_action_space(space: spaces.Space) -> Callable[[Clean], None]:
    return lambda game: game.action_spaces.update({game.case.agent: space})


def set_observation_space(space: Any) -> Callable[[Clean], None]:
    return lambda game: game.observation_spaces.update({game.case.agent: space})


made("one object for all copies", CAUGHT, shared, names=())
made("factory returns None", CAUGHT, lambda case: lambda: None, names=())
made("factory returns a class", CAUGHT, lambda case: lambda: Clean, names=())
made("factory raises", CAUGHT, lambda case: lambda: {}["rom"], names=())
with_attributes("no agents", CAUGHT, lambda game: setattr(game, "possible_agents", []), names=())
with_attributes("agents None", CAUGHT, lambda game: setattr(game, "possible_agents", None), names=())
with_attributes(
    "an agent twice", CAUGHT, lambda game: setattr(game, "possible_agents", [ANN, ANN, BOB]), names=("agent",)
)
with_attributes("agents in a tuple", HARMLESS, lambda game: setattr(game, "possible_agents", AGENTS))
with_attributes("agents with numbers for names", ALLOWED, lambda game: renamed(game, (0, 1)), names=())
with_attributes(
    "no observation space", CAUGHT, lambda game: game.observation_spaces.pop(game.case.agent), names=("agent",)
)
with_attributes("no action space", CAUGHT, lambda game: game.action_spaces.pop(game.case.agent), names=("agent",))
with_attributes("observation space None", CAUGHT, set_observation_space(None), names=("agent",))
with_attributes("observation space of text", CAUGHT, set_observation_space(spaces.Text(5)), names=("agent",))
with_attributes(
    "observation space of any length",
    CAUGHT,
    set_observation_space(spaces.Sequence(spaces.Discrete(2))),
    names=("agent",),
)
with_attributes("action space None", CAUGHT, set_action_space(None), names=("agent",))  # type: ignore[arg-type]
with_attributes(
    "action space without bounds", CAUGHT, set_action_space(spaces.Box(-np.inf, np.inf, (2,))), names=("agent",)
)
with_attributes("action space of one action", ALLOWED, set_action_space(spaces.Discrete(1)))
with_attributes("actions that start at 5", ALLOWED, set_action_space(spaces.Discrete(3, start=5)), names=("agent",))
with_attributes("actions in float64", ALLOWED, set_action_space(spaces.Box(0.1, 0.3, (2,), np.float64)))
with_attributes("actions in float16", ALLOWED, set_action_space(spaces.Box(0.1, 0.3, (2,), np.float16)))
with_attributes(
    "actions in whole numbers", ALLOWED, set_action_space(spaces.Box(0, 3, (2,), np.int64)), names=("agent",)
)
with_attributes("actions of two axes", ALLOWED, set_action_space(spaces.Box(-1.0, 1.0, (2, 2))), names=("agent",))
with_attributes("actions MultiDiscrete", ALLOWED, set_action_space(spaces.MultiDiscrete([2, 3])), names=("agent",))
with_attributes("actions MultiBinary", ALLOWED, set_action_space(spaces.MultiBinary(2)), names=("agent",))


class NewSpaces(Clean):
    """Makes its spaces anew whenever it is asked."""

    def observation_space(self, agent: Any) -> spaces.Space:
        return copy.deepcopy(super().observation_space(agent))

    def action_space(self, agent: Any) -> spaces.Space:
        return copy.deepcopy(super().action_space(agent))


class FewerActions(Clean):
    """From one step on there is one action less."""

    def action_space(self, agent: Any) -> spaces.Space:
        late = getattr(self, "time", 0) >= self.case.step and self.episode >= self.case.episode
        return spaces.Discrete(2) if late and agent == self.case.agent else super().action_space(agent)


class SpacesAfterReset(Clean):
    """Knows its spaces only after the first reset."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self.later = self.observation_spaces, self.action_spaces
        del self.observation_spaces, self.action_spaces

    def reset(self, seed: int | None = None, options: dict | None = None) -> Any:
        self.observation_spaces, self.action_spaces = self.later
        return super().reset(seed, options)


class Unseeded(Clean):
    """`reset` takes no seed."""

    def reset(self) -> Any:  # type: ignore[override]
        return super().reset()


made("spaces made anew", HARMLESS, lambda case: lambda: NewSpaces(case))
made("fewer actions later", CAUGHT, lambda case: lambda: FewerActions(case), first=1, last=4)
made("spaces after reset", HARMLESS, lambda case: lambda: SpacesAfterReset(case), names=())
made("reset takes no seed", ALLOWED, lambda case: lambda: Unseeded(case), names=("place",))


# What becomes of a case.


class Hanging(BaseException):
    """A case has taken too long."""


@contextlib.contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Raises `Hanging` after so many seconds, and puts back what games do to the whole program."""

    def ring(*_: Any) -> None:
        raise Hanging

    before, folder, errors = signal.signal(signal.SIGALRM, ring), Path.cwd(), np.geterr()
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        os.chdir(folder)
        np.seterr(**errors)


def joint_rows(factory: Callable[[], Any], hierarchy: list[list[str]]) -> dict[str, np.ndarray]:
    """Plays a game as the joint runner does, at random. Returns all columns of all rows."""
    settings = checked(BiAC, hierarchy, state="observations")
    games = make_games(factory, NUM_GAMES, np.random.default_rng(5), {})
    sampler = Sampler(games, settings, torch.Generator().manual_seed(5), 100)
    torch.manual_seed(5)
    sampler.team = BiAC.build_team(sampler.state.team_spec(Hierarchy(hierarchy), settings))
    rows = sampler.sample(ROWS, random_actions=True)
    games.close()
    return dict(rows.columns)


def stock_rows(factory: Callable[[], Any], hierarchy: list[list[str]]) -> dict[str, np.ndarray]:
    """Plays a game as the stock runner does, at random. Returns all it was told, in order."""
    from rllib_biac.rllib.multi_agent_env import PettingZooMultiAgentEnv, team_spec

    env = PettingZooMultiAgentEnv(factory, "observations", {})
    agents = list(env.possible_agents)
    told: list[tuple[dict, dict, dict, dict]] = []
    settings = checked(BiAC, hierarchy, state="observations")
    seen_and_done = {agent: (env.get_observation_space(agent), env.get_action_space(agent)) for agent in agents}
    BiAC.build_team(team_spec(seen_and_done, Hierarchy(hierarchy), settings))
    rng = np.random.default_rng(5)
    for episode in range(4):
        observations, _ = env.reset(seed=5 if episode == 0 else None)
        told.append((observations, {}, {}, {}))
        for _ in range(3 * STEPS):
            actions = {}
            for agent in agents:
                space, mask = env.get_action_space(agent), observations[agent].get("action_mask")
                space.seed(int(rng.integers(2**31)))
                if mask is None:
                    actions[agent] = space.sample()
                else:
                    actions[agent] = space.sample(np.asarray(mask, np.int8))
            observations, rewards, terminated, truncated, _ = env.step(actions)
            told.append((observations, rewards, terminated, truncated))
            if terminated["__all__"] or truncated["__all__"]:
                break
    env.close()
    columns: dict[str, list] = {}
    for number, parts in enumerate(told):
        for what, part in zip((OBS, REW, TERM, TRUNC), parts, strict=True):
            for agent, value in part.items():
                for key, one in value.items() if isinstance(value, dict) else [("", value)]:
                    columns.setdefault(f"{what} {agent} {key}", []).append(np.append(np.ravel(one), number))
    return {name: np.stack(values) for name, values in columns.items()}


def native_rows(factory: Callable[[], Any], hierarchy: list[list[str]]) -> dict[str, np.ndarray]:
    """Plays a game that is a `MultiAgentEnv` by somebody else."""
    from ray.rllib.env.multi_agent_env import MultiAgentEnv

    class Native(MultiAgentEnv):
        def __init__(self) -> None:
            super().__init__()
            self.game = factory()
            self.possible_agents = self.agents = list(self.game.possible_agents)
            self.observation_spaces, self.action_spaces = self.game.observation_spaces, self.game.action_spaces

        def reset(self, *, seed: int | None = None, options: dict | None = None) -> Any:
            return self.game.reset(seed)

        def step(self, action_dict: dict) -> Any:
            result = self.game.step(action_dict)
            result[2].setdefault("__all__", not self.game.agents)
            result[3].setdefault("__all__", False)
            return result

    return joint_rows(lambda: adapt(Native()), hierarchy)


def greedy_play(factory: Callable[[], Any], hierarchy: list[list[str]]) -> dict[str, np.ndarray]:
    """Plays an episode as `rllib evaluate` does, with a team that has learned nothing."""
    from rllib_biac.evaluation import Trained, play

    settings = checked(BiAC, hierarchy, state="observations", max_episode_steps=10 * STEPS)
    games = make_games(factory, 1, np.random.default_rng(5), {})
    spec = StateReader(games, "observations").team_spec(Hierarchy(hierarchy), settings)
    played = play(Trained(BiAC.build_team(spec), factory), episodes=1, seed=5)
    if played.lengths[0] != STEPS and not played.cut:
        raise AssertionError("an episode was cut, and nobody says so")
    return {agent: np.array(earned) for agent, earned in played.returns.items()}


RUNNERS = {"joint": joint_rows, "stock": stock_rows, "native": native_rows, "play": greedy_play}


def play(case: Case, factory: Callable[[], Any], broken: list[str]) -> dict[str, np.ndarray]:
    """Plays a case's game in its runner; `broken` gets what its copies complained of."""
    copies: list[Any] = []

    def kept() -> Any:
        copies.append(factory())
        return copies[-1]

    names = [["0"], ["1"]] if "numbers for names" in case.kind else HIERARCHY
    try:
        return RUNNERS[case.runner](kept, names)
    finally:
        broken += [word for one in copies for word in getattr(one, "broken", ())]


def differ(rows: dict[str, np.ndarray], twin: dict[str, np.ndarray]) -> str:
    """Returns in words what is not the same, "" if all is."""
    if rows.keys() != twin.keys():
        return f"other columns: {sorted(rows.keys() ^ twin.keys())[:3]}"
    for name, column in rows.items():
        if column.shape != twin[name].shape:
            return f"{name} has shape {column.shape}, not {twin[name].shape}"
        if not np.array_equal(column, twin[name], equal_nan=column.dtype.kind == "f"):
            row = int(np.argwhere(np.atleast_2d((column != twin[name]).reshape(len(column), -1)).any(1))[0, 0])
            return f"{name} differs from row {row} on: {column[row]}, not {twin[name][row]}"[:200]
    return ""


def judge(case: Case) -> tuple[str, str]:
    """Returns what became of a case, one of the words above, and why."""
    kind = KINDS[case.kind]
    broken: list[str] = []
    try:
        with bounded(SECONDS):
            rows = play(case, kind.factory(case), broken)
    except Hanging:
        return HANG, f"after {SECONDS} s"
    except (GameError, ValueError) as error:
        told = str(error)
        if missing := [what for what in kind.names if not NAMED[what](told, case)]:
            return VAGUE, f"no {' and no '.join(missing)} in: {told}"
        return CAUGHT, told
    except BaseException as error:  # whatever it is, the user would see it
        return CRASH, f"{type(error).__name__}: {error}"
    if broken:
        return SILENT, broken[0]
    if kind.right == ALLOWED:
        return ALLOWED, ""
    with bounded(SECONDS):
        twin = play(case, kind.twin(case) if kind.twin else (lambda: Clean(case)), [])
    difference = differ(rows, twin)
    return (SILENT, difference) if difference else (HARMLESS, "")


NAMED: dict[str, Callable[[str, Case], bool]] = {
    "agent": lambda told, case: bool(re.search(r"\b(ann|bob|eve)\b", told)),
    "place": lambda told, case: bool(re.search(r"\bstep \d|\breset\b|\bspace\b", told)),
}
FAULTS = (SILENT, CRASH, HANG, VAGUE)


def draw(count: int, seed: int, kinds: list[str], runners: list[str]) -> list[Case]:
    """Draws cases: kinds in turn, each round in a new order, everything else at random."""
    rng = np.random.default_rng(seed)
    cases: list[Case] = []
    while len(cases) < count:
        for name in rng.permutation(kinds)[: count - len(cases)]:
            kind = KINDS[str(name)]
            possible = [runner for runner in kind.runners if runner in runners] or list(kind.runners)
            cases.append(
                Case(
                    kind=str(name),
                    runner=str(rng.choice(possible)),
                    space=str(rng.choice(kind.spaces)),
                    step=int(rng.integers(kind.first, kind.last + 1)),
                    agent=str(rng.choice(AGENTS)),
                    episode=int(rng.integers(3)),
                )
            )
    return cases


def report(cases: list[Case], verdicts: list[tuple[str, str]], seed: int) -> str:
    """Returns the page: counts, then each case."""
    counts = Counter(verdict for verdict, _ in verdicts)
    order = (CAUGHT, HARMLESS, ALLOWED, *FAULTS)
    table = [["right", *order]]
    for right in (CAUGHT, HARMLESS, ALLOWED):
        of = Counter(v for c, (v, _) in zip(cases, verdicts, strict=True) if KINDS[c.kind].right == right)
        table.append([right, *(str(of[word]) for word in order)])
    rows = [["kind", "runner", "space", "step", "agent", "from episode", "right", "became", "why"]]
    for case, (verdict, why) in sorted(zip(cases, verdicts, strict=True), key=lambda pair: pair[1][0] not in FAULTS):
        said = " ".join(why.split()).replace("|", "\\|")
        rows.append(
            [
                case.kind,
                case.runner,
                case.space,
                str(case.step),
                case.agent,
                str(case.episode),
                KINDS[case.kind].right,
                verdict,
                said[:160],
            ]
        )
    wrong = sum(counts[word] for word in FAULTS)
    return "\n".join(
        [
            "# Games that break the rules",
            "",
            f"{len(cases)} faults of {len({case.kind for case in cases})} kinds, drawn with seed {seed}: in {wrong} "
            "the library is wrong. What the words mean is said in `benchmarks/bad_games.py`.",
            "",
            markdown(table[0], table[1:]),
            "",
            markdown(rows[0], rows[1:]),
            "",
            f"Made by `python benchmarks/bad_games.py --count {len(cases)} --seed {seed}` with {versions()}.",
            "",
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=60, help="how many faults (default: 60)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", default=sorted(KINDS), help="only these kinds")
    parser.add_argument("--runners", nargs="+", default=list(RUNNERS), choices=RUNNERS)
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder of bad_games.md")
    options = parser.parse_args()
    if unknown := set(options.kinds) - set(KINDS):
        parser.error(f"no such kinds: {sorted(unknown)}; there are: {', '.join(sorted(KINDS))}")
    cases = draw(options.count, options.seed, options.kinds, options.runners)
    verdicts = []
    for number, case in enumerate(cases):
        verdicts.append(judge(case))
        if verdicts[-1][0] in FAULTS:
            print(f"{number}: {case}: {verdicts[-1][0]}: {verdicts[-1][1]}"[:600], flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "bad_games.md").write_text(report(cases, verdicts, options.seed), encoding="utf-8")
    print(dict(Counter(verdict for verdict, _ in verdicts)))
    return int(any(verdict in FAULTS for verdict, _ in verdicts))


if __name__ == "__main__":
    sys.exit(main())
