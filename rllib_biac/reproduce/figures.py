"""The pictures: drawn without a display, in one set of colours."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

# Okabe and Ito's colours, told apart by colour-blind people too.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, BLACK = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#F0E442",
    "#333333",
)
GREY = "#BBBBBB"
JOINT_COLOURS = (BLUE, SKY, "#C9DDEB", RED, ORANGE, YELLOW, PURPLE, "#E8D0DD", GREEN)  # A-X, A-Y, ..., C-Z

Ends = tuple[str, Mapping[str, int], Sequence[Sequence[float]], Sequence[float | None]]


def ends_and_payoffs(game: str, lines: Sequence[Ends], joint: Sequence[str], wanted: str) -> Figure:
    """Draws per line where its runs end, as stacked bars, and the means of both payoffs beside the paper's.

    Args:
        game: its name, for the title.
        lines: label; joint action -> runs; payoffs of the leader's and the follower's runs; the paper's two means.
        joint: all nine joint actions, in the order of colours.
        wanted: the equilibrium, whose bars come first.
    """
    figure = Figure(figsize=(12, 0.36 * len(lines) + 1.9), layout="constrained")
    ends, leader, follower = figure.subplots(1, 3, sharey=True, width_ratios=(2, 1, 1))
    order = [wanted, *(name for name in joint if name != wanted)]
    at = np.arange(len(lines))
    left = np.zeros(len(lines))
    for name in order:
        shares = np.array([100 * counts.get(name, 0) / sum(counts.values()) for _, counts, _, _ in lines])
        if shares.any():
            ends.barh(at, shares, left=left, color=JOINT_COLOURS[joint.index(name)], label=name, height=0.72)
        left += shares
    ends.set_yticks(at, [label for label, *_ in lines])
    ends.set_ylim(len(lines) - 0.4, -0.6)
    ends.set(xlim=(0, 100), xlabel="runs that end at, %", title=f"{game}: greedy joint action in the end")
    figure.legend(*ends.get_legend_handles_labels(), loc="outside lower left", ncols=9, frameon=False, columnspacing=1)
    algorithms = [label.partition(" · ")[0] for label, *_ in lines]
    for border in np.flatnonzero([a != b for a, b in itertools.pairwise(algorithms)]):
        for axis in (ends, leader, follower):
            axis.axhline(border + 0.5, color=GREY, linewidth=0.6)
    highest = max(max(values) for _, _, payoffs, _ in lines for values in payoffs)
    for index, (axis, who) in enumerate(((leader, "leader"), (follower, "follower"))):
        for y, (_, _, payoffs, paper) in enumerate(lines):
            values, counts = np.unique(np.round(payoffs[index], 2), return_counts=True)
            axis.scatter(values, np.full(values.size, y), s=8 + 60 * counts / counts.sum(), color=GREY, zorder=2)
            axis.plot(np.mean(payoffs[index]), y, "o", color=BLACK, markersize=5, zorder=4)
            if paper[index] is not None:
                axis.plot(paper[index], y, "x", color=RED, markersize=6, markeredgewidth=1.8, zorder=5)
        axis.set(title=f"{who}'s payoff", xlabel="payoff", xlim=(-0.04 * highest, 1.04 * highest))
        axis.grid(axis="x", color="#E5E5E5", zorder=0)
        axis.set_axisbelow(True)
    marks = [("runs, by number", GREY, "o", ""), ("mean", BLACK, "o", ""), ("paper's mean", RED, "x", "")]
    _legend(figure, marks, "outside lower right", 3)
    return figure


def _legend(figure: Figure, entries: Sequence[tuple[str, str, str, Any]], where: Any, columns: int) -> None:
    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle=line, label=label)
        for label, colour, marker, line in entries
    ]
    figure.legend(handles=handles, frameon=False, loc=where, ncols=columns)


Strip = tuple[str, Sequence[float], float | None]


def strips(panels: Sequence[tuple[str, str, Sequence[Strip], float | None]]) -> Figure:
    """Draws panels in rows of two: per algorithm one dot per seed, their mean, and the paper's number.

    Args:
        panels: title; what the values are, in percent; per algorithm its name, a value per seed and the paper's number;
            the exact answer.
    """
    figure = Figure(figsize=(12, 3.6 * -(-len(panels) // 2) + 0.4), layout="constrained")
    for axis, (title, unit, groups, exact) in zip(figure.subplots(-(-len(panels) // 2), 2).flat, panels, strict=True):
        for x, (_, values, paper) in enumerate(groups):
            # Side by side in the order of seeds, so that equal ones stay apart.
            beside = np.linspace(-0.3, 0.3, len(values)) if len(values) > 1 else np.zeros(1)
            axis.scatter(x + beside, values, s=16, color=BLUE, zorder=3)
            axis.plot([x - 0.36, x + 0.36], [np.mean(values)] * 2, color=BLACK, linewidth=1.8, zorder=2)
            if paper is not None:
                axis.plot(x, paper, "x", color=RED, markersize=8, markeredgewidth=2, zorder=4)
        if exact is not None:
            axis.axhline(exact, color=GREEN, linewidth=1.5, linestyle="--", zorder=2.5)
        axis.set_xticks(
            range(len(groups)),
            [name if len(name) < 10 else name.replace("-", "-\n") for name, *_ in groups],
            fontsize=9,
        )
        axis.set(ylim=(-4, 104), ylabel=unit, title=title)
        axis.grid(axis="y", color="#E5E5E5", zorder=0)
        axis.spines[["top", "right"]].set_visible(False)
    entries = [("one seed", BLUE, "o", ""), ("mean", BLACK, "", "-"), ("exact equilibrium", GREEN, "", "--")]
    _legend(figure, [*entries, ("paper", RED, "x", "")], "outside lower center", 4)
    return figure


ANSWERS = (("X", BLUE), ("Y", ORANGE), ("Z", GREEN))


def convergence(columns: Sequence[tuple[str, Sequence[int], Mapping[str, np.ndarray]]]) -> Figure:
    """Draws Figure 4, one column per way to train: Q_1(C, ·), Q_2(C, ·), pi_2(· | C), the leader's choice.

    Args:
        columns: title; env steps of the looks; `q1`, `q2`, `pi2` (seeds, looks, 3) and `leader` (seeds, looks).
    """
    figure = Figure(figsize=(12, 9), layout="constrained")
    axes = figure.subplots(4, len(columns), sharex=True, sharey="row", squeeze=False)
    for column, (title, at, looks) in enumerate(columns):
        for axis, key in zip(axes[:3, column], ("q1", "q2", "pi2"), strict=True):
            for answer, (name, colour) in enumerate(ANSWERS):
                values = looks[key][:, :, answer]  # (seeds, looks)
                low, middle, high = np.quantile(values, (0.1, 0.5, 0.9), axis=0)
                axis.fill_between(at, low, high, color=colour, alpha=0.2, linewidth=0)
                axis.plot(at, middle, color=colour, linewidth=1.8, label=f"C-{name}")
                axis.plot(at, values[0], color=colour, linewidth=0.7, alpha=0.8)
        for action, (name, colour) in enumerate(zip("ABC", (BLUE, ORANGE, GREEN), strict=True)):
            axes[3, column].plot(at, 100 * (looks["leader"] == action).mean(0), color=colour, linewidth=1.8, label=name)
        axes[0, column].set_title(title)
        axes[3, column].set_xlabel("env steps")
        axes[3, column].set_xlim(0, 1_000)  # nothing moves after that
    for axis, label in zip(axes[:, 0], ("Q1(C, ·)", "Q2(C, ·)", "pi2(· | C)", "leader takes, % of seeds"), strict=True):
        axis.set_ylabel(label)
        axis.legend(loc="center right", frameon=False, fontsize=9)
    for axis in axes.flat:
        axis.grid(color="#E5E5E5")
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def areas(panels: Sequence[tuple[str, np.ndarray]], names: Sequence[str]) -> Figure:
    """Draws shares of joint actions as areas on top of each other.

    Args:
        panels: title; (steps, joint actions) shares in [0, 1].
        names: of the joint actions.
    """
    figure = Figure(figsize=(12, 4.4), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, (title, shares) in zip(axes, panels, strict=True):
        # A point every ten steps: more could not be told apart.
        axis.stackplot(
            np.arange(1, len(shares) + 1)[::10], 100 * shares[::10].T, colors=JOINT_COLOURS, labels=names, linewidth=0
        )
        axis.set(title=title, xlabel="env steps", xlim=(1, len(shares)), ylim=(0, 100))
    axes[0].set_ylabel("share of the last 100 steps, %")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(names), frameon=False)
    return figure


def outcome_lines(panels: Sequence[tuple[str, np.ndarray]]) -> Figure:
    """Draws the outcomes of Highway Merge over episodes.

    Args:
        panels: title; (seeds, episodes, 3) shares in percent of main first, auxiliary first, crash.
    """
    figure = Figure(figsize=(12, 4.4), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, (title, curves) in zip(axes, panels, strict=True):
        # A point every ten episodes: more could not be told apart; none while there are hardly any to take shares of.
        shown = slice(99, None, 10)
        episodes = np.arange(1, curves.shape[1] + 1)[shown]
        for outcome, (name, colour) in enumerate((("main first", BLUE), ("auxiliary first", ORANGE), ("crash", RED))):
            axis.plot(episodes, curves[:, shown, outcome].T, color=colour, linewidth=0.6, alpha=0.45)
            axis.plot(episodes, curves[:, shown, outcome].mean(0), color=colour, linewidth=2.4, label=name)
        axis.set(title=title, xlabel="episodes", xlim=(0, None), ylim=(0, 100))
        axis.grid(color="#E5E5E5")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("share of the last 400 episodes, %")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure
