"""All families of the zoo, and their budgets."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from rllib_biac.envs.zoo import continuous, corridors, doorways, markov, merges, one_step
from rllib_biac.envs.zoo.game import DECIDED, Draft, ZooGame

Draw = Callable[[np.random.Generator, int], Draft]

_MOST_DRAWS = 10_000


@dataclass(frozen=True, slots=True)
class Family:
    """A generator of games.

    Attributes:
        group: of the table: `one-step`, `Markov`, `corridor`, `doorway`, `continuous`, `exploration`, `Merge`.
        draw: draws one game, decided or not, from a generator and the game's seed.
        steps: the budget, env steps.
        cpu_seconds: the cap of a run.
        target: whether runs are counted as solved or not; exploration families only show.
    """

    group: str
    draw: Draw
    steps: int
    cpu_seconds: float
    target: bool = True

    @property
    def doc(self) -> str:
        """One line on its games."""
        return (self.draw.__doc__ or "").strip().splitlines()[0]


def _one_step(draw: Draw) -> Family:
    return Family("one-step", draw, 20_000, 60.0)


FAMILIES: Mapping[str, Family] = {
    "normal": _one_step(one_step.normal),
    "integer": _one_step(one_step.integer),
    "outlier": _one_step(one_step.outlier),
    "sparse": _one_step(one_step.sparse),
    "rectangular": _one_step(one_step.rectangular),
    "units": _one_step(one_step.units),
    "noise_25": _one_step(one_step.noisy(0.25)),
    "noise_50": _one_step(one_step.noisy(0.5)),
    "noise_100": _one_step(one_step.noisy(1.0)),
    "markov_one": Family("Markov", markov.stratum("one"), 20_000, 200.0),
    "markov_several": Family("Markov", markov.stratum("several"), 20_000, 200.0),
    "markov_none": Family("Markov", markov.stratum("none"), 20_000, 200.0, target=False),
    "corridor_10": Family("corridor", corridors.corridor(10), 20_000, 200.0),
    "corridor_25": Family("corridor", corridors.corridor(25), 20_000, 200.0),
    "corridor_100": Family("corridor", corridors.corridor(100), 100_000, 200.0),
    "doorway": Family("doorway", doorways.doorway, 120_000, 200.0),
    **{name: Family("continuous", draw, 40_000, 200.0) for name, draw in continuous.DRAWS.items()},
    **{name: Family("Merge", merges.merge(name), 60_000, 200.0) for name in merges.RANGES},
    "corridor_back_10": Family("exploration", corridors.corridor(10, back=True), 20_000, 200.0, target=False),
    "corridor_back_25": Family("exploration", corridors.corridor(25, back=True), 20_000, 200.0, target=False),
}
"""Family by name. Seeds 0 to 999 are for reporting, those from 1000 on for tuning."""


def zoo_game(family: str, seed: int) -> ZooGame:
    """Draws the game of a family and a seed: the first draw that is decided.

    Args:
        family: a name in `FAMILIES`.
        seed: 0 or more; every seed is another game. Report on seeds below 1000, tune on those from 1000 on.

    Raises:
        ValueError: if there is no such family, or the seed is no whole number of at least 0.
    """
    if family not in FAMILIES:
        raise ValueError(f"unknown family {family!r}: write one of {', '.join(FAMILIES)}.")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"seed must be a whole number, at least 0; got {seed!r}.")
    rng = np.random.default_rng([zlib.crc32(family.encode()), int(seed)])
    undecided = others = 0
    for _ in range(_MOST_DRAWS):
        draft = FAMILIES[family].draw(rng, int(seed))
        if draft.answer is None:
            others += 1
            continue
        if draft.margin >= DECIDED:
            break
        undecided += 1
    else:
        raise RuntimeError(f"{family}, seed {seed}: no decided game in {_MOST_DRAWS:,} draws.")
    agents = draft.game.possible_agents
    hierarchy = getattr(draft.game, "hierarchy", None) or ((agents[draft.leader],), (agents[1 - draft.leader],))
    return ZooGame(
        family,
        int(seed),
        draft.game,
        hierarchy,
        draft.gamma,
        draft.answer,
        draft.margin,
        undecided,
        others,
        draft.about,
    )
