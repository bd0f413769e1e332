"""The more two players' payoffs agree, the more both gain by leading and following (paper, Figs. 2 and 8-12).

    results = run()
    draw(results, size=10).savefig("figure_2.png")

Random games of five sizes and 41 covariances; in each game the SE is compared with the average pure NE. A second pass
over the same games, payoffs rounded to integers, counts the SE of games in which payoffs tie (paper, footnote 2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rllib_biac.equilibria.random_games import Comparison, Estimate, compare

TRIALS = {5: 2000, 10: 2000, 20: 500, 50: 200, 100: 100}
"""Games per covariance, by size, as in the paper: Figs. 8, 9 (and 2), 10, 11, 12."""

COVARIANCES = tuple(step / 20 for step in range(-20, 21))

INTEGER_SPREAD = 3
"""Standard deviation of the integer payoffs: most are of one digit, as in tables of payoffs made by hand."""

_FEWEST = 10  # games behind a point that is drawn: a standard error from fewer says little
_BLUE, _SKY, _VERMILION = "#0072B2", "#56B4E9", "#D55E00"  # told apart by colour-blind readers too (Okabe and Ito)


def _silent(done: int, total: int) -> None:
    pass


def run(
    sizes: Iterable[int] = tuple(TRIALS),
    trials: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] = _silent,
) -> list[Comparison]:
    """Draws and solves the games.

    Every pair of size and covariance has its own random stream, so that its numbers do not depend on the other sizes.

    Args:
        sizes: numbers of actions of each player, one figure each.
        trials: games per size and covariance; None for the paper's numbers, `TRIALS`.
        seed: at least 0; the same seed gives the same results.
        progress: called with the numbers of points done and of all points, after each point.

    Returns:
        By size: one comparison per covariance in ascending order with continuous payoffs, then the same with integers.

    Raises:
        ValueError: if a number is out of range, or if the paper has no number of trials for a size and none is given.
    """
    sizes = list(sizes)
    unknown = [size for size in sizes if size not in TRIALS]
    if trials is None and unknown:
        raise ValueError(
            f"trials must be given for sizes {unknown}: the paper has numbers of trials for {list(TRIALS)} only."
        )
    points = [
        (size, spread, index)
        for size in sizes
        for spread in (None, INTEGER_SPREAD)
        for index in range(len(COVARIANCES))
    ]
    results = []
    for done, (size, spread, index) in enumerate(points, start=1):
        rng = np.random.default_rng([seed, size, index])  # the same for both spreads: the same games, rounded
        games = TRIALS[size] if trials is None else trials
        results.append(compare(games, size, COVARIANCES[index], rng, spread))
        progress(done, len(points))
    return results


def table(results: Sequence[Comparison]) -> tuple[list[str], list[list[str | float]]]:
    """Lists all numbers, one row per comparison, rounded to four decimals.

    Args:
        results: as `run` returns them, or some of them.

    Returns:
        The columns' names and the rows. A mean has the name of its attribute in `Comparison`, the column behind it has
        its standard error. Numbers over games with a pure NE are NaN where no game has one.
    """
    estimates = [field.name for field in fields(Comparison) if field.type == Estimate.__name__]
    columns = ["size", "payoffs", "covariance", "trials", "games_with_ne"]
    columns += [column for name in estimates for column in (name, f"{name}_error")]
    rows: list[list[str | float]] = []
    for result in results:
        payoffs = "continuous" if result.integer_spread is None else "integer"
        row: list[str | float] = [result.size, payoffs, result.covariance, result.trials, result.games_with_ne]
        for name in estimates:
            estimate: Estimate = getattr(result, name)
            row += [round(estimate.mean, 4), round(estimate.standard_error, 4)]
        rows.append(row)
    return columns, rows


def _curve(axes: Axes, results: Sequence[Comparison], name: str, color, label: str = "", line: str = "-") -> None:
    """Draws one estimate against the covariance, with a band of two standard errors to either side."""
    covariance = [result.covariance for result in results]
    estimates = [getattr(result, name) for result in results]
    mean = np.array([estimate.mean for estimate in estimates])
    error = np.array([estimate.standard_error for estimate in estimates])
    axes.plot(covariance, mean, line, color=color, label=label, linewidth=1.8)
    axes.fill_between(covariance, mean - 2 * error, mean + 2 * error, color=color, alpha=0.2, linewidth=0)


def _finish(axes: Axes, title: str, ylabel: str) -> None:
    axes.set(title=title, xlabel="covariance of the two payoffs", ylabel=ylabel, xlim=(-1, 1))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def draw(results: Sequence[Comparison], size: int) -> Figure:
    """Draws the paper's figure for one size: payoffs in the SE and in the average NE, and how many NE there are.

    Args:
        results: as `run` returns them.
        size: one of the sizes that were run.

    Returns:
        A figure of four panels, with the reading of games without a pure NE below them.

    Raises:
        ValueError: if the results do not have that size.
    """
    shown = [result for result in results if result.size == size and result.integer_spread is None]
    if not shown:
        raise ValueError(f"size must be one of {sorted({result.size for result in results})}, as run; got {size}.")
    enough = [result for result in shown if result.games_with_ne >= _FEWEST]
    figure = Figure(figsize=(10, 8), layout="constrained")
    (leader, follower), (count, share) = figure.subplots(2, 2)
    leader.sharey(follower)
    for axes, player in ((leader, "leader"), (follower, "follower")):
        _curve(axes, shown, f"{player}_se", _BLUE, "SE, all games")
        _curve(axes, enough, f"{player}_ne", _VERMILION, "average NE, games with a pure NE")
        _curve(axes, enough, f"{player}_se_paired", _SKY, "SE, games with a pure NE", "--")
        axes.legend(loc="lower right", frameon=False, fontsize=9)
        _finish(axes, player.capitalize(), "mean payoff")
    _curve(count, shown, "ne_count", _VERMILION)
    _finish(count, "Number of pure NE", "mean per game")
    _curve(share, shown, "has_ne", _VERMILION)
    _finish(share, "Games with a pure NE", "share of all games")
    share.set_ylim(-0.03, 1.03)
    figure.suptitle(f"SE and average NE of random {size}×{size} games, {shown[0].trials} per covariance")
    figure.supxlabel(
        "NE are pure, averaged first over a game's NE, then over the games that have one: games without a pure NE are "
        "left out\nof the NE's mean, and count as 0 NE in the number. The dashed SE is over the same games as the NE, "
        f"the solid SE over all.\nDashed SE and NE are drawn where at least {_FEWEST} games have a pure NE. "
        "Bands: two standard errors to either side.",
        fontsize=9,
    )
    return figure


def draw_counts(results: Sequence[Comparison]) -> Figure:
    """Draws how many SE games have, for continuous and for integer payoffs, all sizes together (paper, footnote 2).

    Args:
        results: as `run` returns them.

    Returns:
        A figure of four panels: the number of SE, and the share of games with several SE and with several NE.
    """
    sizes = sorted({result.size for result in results})
    colors = colormaps["viridis"](np.linspace(0, 0.85, len(sizes)))
    figure = Figure(figsize=(11, 8), layout="constrained")
    panels = figure.subplots(2, 2, sharey="row")
    spreads = (("continuous payoffs", None), ("integer payoffs", INTEGER_SPREAD))
    for (count, several), (payoffs, spread) in zip(panels.T, spreads, strict=True):
        for size, color in zip(sizes, colors, strict=True):
            shown = [result for result in results if result.size == size and result.integer_spread == spread]
            _curve(count, shown, "se_count", color)
            _curve(several, shown, "several_se", color)
            _curve(several, shown, "several_ne", color, line="--")
        _finish(count, f"Number of SE, {payoffs}", "mean per game (log scale)")
        _finish(several, f"Games with several equilibria, {payoffs}", "share of all games")
    count.set_yscale("log")
    count.set_ylim(bottom=0.9)
    count.set_yticks([1, 2, 5, 10], labels=["1", "2", "5", "10"])
    count.minorticks_off()
    keys = [Line2D([], [], color=color, label=f"{size}×{size}") for size, color in zip(sizes, colors, strict=True)]
    keys += [Line2D([], [], color="black", label="SE"), Line2D([], [], color="black", linestyle="--", label="NE")]
    figure.legend(handles=keys, loc="outside right center", frameon=False)
    figure.suptitle("How many Stackelberg equilibria random games have")
    figure.supxlabel(
        "SE: pairs of an action and a best response to it that give the leader the most of all such pairs (strong SE). "
        "NE: pure ones.\nWith continuous payoffs nothing ties, and every game has one SE: the SE lines of all sizes "
        f"coincide.\nInteger payoffs: the same games, payoffs times {INTEGER_SPREAD}, rounded. "
        "Bands: two standard errors to either side.",
        fontsize=9,
    )
    return figure
