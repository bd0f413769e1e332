"""What a family draws: a game, who leads in it, its discount, and its exact answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pettingzoo import ParallelEnv

DECIDED = 0.02
"""Least margin of a game that counts, in standard deviations of the stage payoffs: closer calls are anybody's."""


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """One draw of a family, decided or not.

    Attributes:
        game: the plain form.
        leader: the player who leads, of two.
        gamma: discount.
        answer: the exact answer; None where the draw is not what the family promises, so that another is drawn.
        margin: that decides the answer, in standard deviations of the stage payoffs.
        about: numbers that describe the game, such as its size, for tables.
    """

    game: ParallelEnv
    leader: int
    gamma: float
    answer: Any
    margin: float
    about: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class ZooGame:
    """A decided game of a family.

    Attributes:
        family, seed: its name.
        game: the plain form, a PettingZoo `ParallelEnv`.
        hierarchy: levels of agents, top first.
        gamma: the discount for which the answer is exact.
        answer: the exact answer.
        margin: that decides it, in standard deviations of the stage payoffs.
        undecided: draws before this one whose margin was below `DECIDED`.
        others: draws before this one that were not what the family promises, such as of another stratum.
        about: numbers that describe the game.
    """

    family: str
    seed: int
    game: ParallelEnv
    hierarchy: tuple[tuple[str, ...], ...]
    gamma: float
    answer: Any
    margin: float
    undecided: int
    others: int
    about: dict[str, Any]
