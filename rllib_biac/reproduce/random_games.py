"""Figures 2 and 8-12: random games, the SE beside the average NE, by how much the players' payoffs agree."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING

from rllib_biac.equilibria.random_games import Comparison, Estimate
from rllib_biac.reproduce import cooperation
from rllib_biac.reproduce.experiment import Experiment, Table
from rllib_biac.reproduce.runs import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIG2_SIZE = 10
COLUMNS = {
    "leader_se": "leader: SE, all games",
    "leader_se_paired": "leader: SE, games with a pure NE",
    "leader_ne": "leader: average NE",
    "follower_se": "follower: SE, all games",
    "follower_se_paired": "follower: SE, games with a pure NE",
    "follower_ne": "follower: average NE",
    "ne_count": "pure NE per game",
    "has_ne": "games with a pure NE",
}


def runs(sizes: tuple[int, ...], seeds: int) -> list[Row]:
    """Returns one run per size, of `seeds` times as many games as in the paper."""
    return [{"size": size, "trials": seeds * cooperation.TRIALS[size], "seed": 0} for size in sizes]


def compare(size: int, trials: int, seed: int) -> Row:
    """One run: all games of a size. What is NaN, a mean over no game, is null."""
    return {"comparisons": [_plain(result) for result in cooperation.run([size], trials, seed)]}


def _plain(comparison: Comparison) -> Row:
    values = {field.name: getattr(comparison, field.name) for field in fields(comparison)}
    return {
        name: [None if math.isnan(x) else x for x in (value.mean, value.standard_error)]
        if isinstance(value, Estimate)
        else value
        for name, value in values.items()
    }


def comparisons(rows: list[Row]) -> list[Comparison]:
    """Returns what `cooperation.run` returned."""
    return [_comparison(plain) for row in rows for plain in row["comparisons"]]


def _comparison(plain: Row) -> Comparison:
    values: Row = {
        name: Estimate(*(math.nan if x is None else x for x in value)) if isinstance(value, list) else value
        for name, value in plain.items()
    }
    return Comparison(**values)


def tables(rows: list[Row]) -> list[Table]:
    """Returns the numbers behind the figures; those of integer payoffs are in the raw rows."""
    lines = []
    for result in comparisons(rows):
        if result.integer_spread is None:
            estimates = [getattr(result, name) for name in COLUMNS]
            cells = [_text(estimate) for estimate in estimates]
            lines.append([f"{result.size}×{result.size}", f"{result.covariance:+.2f}", f"{result.trials:,}", *cells])
    return [Table("Means ± standard errors", ["size", "covariance", "games", *COLUMNS.values()], lines)]


def _text(estimate: Estimate) -> str:
    if math.isnan(estimate.mean):
        return "–"
    error = "" if math.isnan(estimate.standard_error) else f" ± {estimate.standard_error:.3f}"
    return f"{estimate.mean:.3f}{error}"


def _fig2(rows: list[Row]) -> list[tuple[str, Figure]]:
    return [("SE and average NE of 10×10 games", cooperation.draw(comparisons(rows), FIG2_SIZE))]


def _figs8to12(rows: list[Row]) -> list[tuple[str, Figure]]:
    results = comparisons(rows)
    drawn = [
        (f"Figure {number}: {size}×{size} games", cooperation.draw(results, size))
        for number, size in enumerate(cooperation.TRIALS, 8)
    ]
    return [*drawn, ("How many Stackelberg equilibria games have", cooperation.draw_counts(results))]


def _experiment(
    name: str, title: str, sizes: tuple[int, ...], figures: Callable[[list[Row]], list[tuple[str, Figure]]]
) -> Experiment:
    return Experiment(
        name=name,
        title=title,
        seeds=1,
        runs=partial(runs, sizes),
        run=compare,
        tables=tables,
        figures=figures,
        notes=(
            "NE are pure ones, averaged first over a game's NE, then over the games that have one; games without are "
            "left out of that mean. Only the SE over the games with a pure NE compares like with like.",
            "As many games as in the paper; --seeds N draws N times as many.",
        ),
        raw="figs8-12",
    )


FIG2 = _experiment("fig2", "Figure 2: SE against average NE, by cooperation level", (FIG2_SIZE,), _fig2)
FIGS8TO12 = _experiment(
    "figs8-12", "Figures 8 to 12: SE against average NE, five sizes", tuple(cooperation.TRIALS), _figs8to12
)
