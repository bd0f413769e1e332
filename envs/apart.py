"""Copies of a game that are not apart: what one does changes what another sees."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from rllib_biac.envs.batched import BatchedGame
from rllib_biac.envs.look import random_actions

STEPS = 12  # of one copy, which tell
SEEDS = 20202, 20203, 20204  # of the one copy, twice, and of the other
_SEED = 20205  # of what they do


def share(alone: Callable[[int], BatchedGame], other: BatchedGame) -> bool:
    """Tells whether two copies of a game share what they are in, such as a variable of their module.

    One copy plays the same actions three times: from two seeds, and once more while the other copy plays between its
    steps. Only of a game in which the seed does not matter can anything be told: others differ for good reasons.

    Args:
        alone: seed -> the one copy, to be reset.
        other: the other one, to be reset.
    """

    def told(seed: int, beside: BatchedGame | None = None) -> list[bytes]:
        with _generators_kept():  # or what is drawn from these would be other each time
            return _played(alone(seed), beside)

    first = told(SEEDS[0])
    return first == told(SEEDS[1]) and first != told(SEEDS[0], other)


def _played(game: BatchedGame, beside: BatchedGame | None = None) -> list[bytes]:
    """Returns what a copy shows and pays over `STEPS` random steps."""
    rng, others = np.random.default_rng(_SEED), np.random.default_rng(_SEED + 1)
    game.reset()
    if beside is not None:
        with _generators_kept():
            beside.reset()
    told = []
    for _ in range(STEPS):
        told += [seen.tobytes() for seen in game.observe().values()]
        step = game.step(random_actions(game, rng))
        told += [paid.tobytes() for paid in step.rewards.values()]
        if beside is not None:
            with _generators_kept():
                beside.reset(_over(beside.step(random_actions(beside, others))))
        if (over := _over(step)).any():
            told.append(b"over")
            game.reset(over)
    return told


def _over(step: Any) -> np.ndarray:
    return step.terminated | step.truncated


@contextmanager
def _generators_kept() -> Iterator[None]:
    """Puts the generators back that a whole process shares: to draw from them is no harm."""
    torch = sys.modules.get("torch")
    kept = random.getstate(), np.random.get_state(), torch.get_rng_state() if torch else None
    try:
        yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])
        if torch:
            torch.set_rng_state(kept[2])
