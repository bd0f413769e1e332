"""Faults of flags, and games that end in ways of their own, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bad_games.kinds import (
    AGENTS,
    ALLOWED,
    CAUGHT,
    HARMLESS,
    INFO,
    NOT_RLLIB,
    OBS,
    REW,
    TERM,
    TRUNC,
    Clean,
    Faulty,
    Parts,
    changes,
    made,
)

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
changes("flag as text", CAUGHT, flag("False"), first=1, last=5, runners=NOT_RLLIB)
changes("flag None", CAUGHT, flag(None), first=1, last=5, runners=NOT_RLLIB)
changes("flag NaN", CAUGHT, flag(float("nan")), first=1, last=5, runners=NOT_RLLIB)
changes("flag a vector", CAUGHT, flag(np.array([True, False])), first=1, runners=NOT_RLLIB)
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
