"""What all libraries are given: one job is one way to train on Escape, and a run tells how far it is.

Only the standard library is imported here, since this is read in every library's environment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

BATCH = 128
HIDDENS = [30, 30]
CAPACITY = 50_000 // 64 * 64  # XuanCe wants a multiple of the number of games
STARTS = 100  # env steps before the first update, where a library lets one say
GAMMA, TAU = 0.99, 0.01
AGENTS = ("player_0", "player_1")
NAMES = ("ABC", "XYZ")  # of their actions
CHECKED = 64  # env steps between looks at greedy play

# Epsilon by env steps. AgileRL has none: noise on actions instead.
ANNEALED, UNIFORM = ((0, 1.0), (2000, 0.1)), ((0, 1.0), (2000, 1.0))


@dataclass(frozen=True)
class Job:
    """One way to train.

    Attributes:
        library: who trains.
        method: the algorithm's name there.
        payoffs: of both players alike, rows A B C, columns X Y Z.
        horizon: steps of an episode; of one step it is terminated, after more it is truncated.
        games: played at once, and updates made per call.
        lr: learning rate of all networks.
        explore: epsilon's schedule, or AgileRL's noise.
        seed: of everything random.
        report: env steps between our algorithms' reports.
        defaults: whether ours keep all their default settings, those above aside.
    """

    library: str
    method: str
    payoffs: tuple[tuple[float, ...], ...]
    horizon: int = 1
    games: int = 1
    lr: float = 1e-3
    explore: Any = ANNEALED
    seed: int = 0
    report: int = 1000
    defaults: bool = False


@dataclass
class Status:
    """Env steps and updates so far, and how to ask for the greedy joint action."""

    steps: int
    updates: int
    greedy: Callable[[], list[int]]
