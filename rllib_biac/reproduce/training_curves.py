"""Figures 5 and 7: what is played while training, exploration included, by Bi-AC and by MADDPG."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from rllib_biac.envs.merge import rules
from rllib_biac.evaluation.statistics import mean_text
from rllib_biac.learning.transitions import ACTIONS
from rllib_biac.reproduce import merge_study
from rllib_biac.reproduce.experiment import Experiment, Table
from rllib_biac.reproduce.matrix_games import PLAYERS, equilibrium_of, game_of
from rllib_biac.reproduce.merge_study import digits, outcomes_of
from rllib_biac.reproduce.runs import Row
from rllib_biac.reproduce.training import ALGORITHMS, built, replayed, settings, train_until

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COMPARED = ("BiAC", "MADDPG")
WINDOW = 100  # env steps, as the paper's Fig. 5 says
EPISODES = 400  # per point of Fig. 7
FIRST, LAST = 500, 1_000  # episodes


def _compared() -> list[str]:
    return [run for run in COMPARED if run in ALGORITHMS]


def maintain_runs(seeds: int) -> list[Row]:
    """Returns the settings of Fig. 5's runs, seed by seed."""
    return [settings(run, "maintain", "main", seed) for seed in range(seeds) for run in _compared()]


def learn_maintain(run: str, env: str, variant: str, seed: int, steps: int, config: Row) -> Row:
    """One run: every joint action of its training, a digit each: 3 · row + column."""
    with built(run, env, config, every=1_000) as algo:
        train_until(algo, steps)
        row, column, _ = replayed(algo, steps, *((ACTIONS, player) for player in PLAYERS))
    return {"joint_actions": digits(3 * row[:steps] + column[:steps])}


def recent_shares(joint_actions: np.ndarray, window: int = WINDOW) -> np.ndarray:
    """Returns the share of each of the nine joint actions among the last `window` steps, up to every step.

    Args:
        joint_actions: (steps,) integers in 0..8.
        window: steps; fewer where there are not so many yet.

    Returns:
        (steps, 9), rows adding up to 1.
    """
    counts = np.eye(9)[joint_actions].cumsum(0)  # (steps, 9)
    counts[window:] -= counts[:-window].copy()
    return counts / np.minimum(np.arange(1, len(counts) + 1), window)[:, None]


def _names() -> list[str]:
    return [game_of("maintain").outcome_name((a1, a2)) for a1 in range(3) for a2 in range(3)]


def maintain_tables(rows: list[Row]) -> list[Table]:
    """Returns what is played in the last 100 steps."""
    names, lines = _names(), []
    for run in _compared():
        last = np.array(
            [recent_shares(outcomes_of(row["joint_actions"]))[-1] for row in rows if row["run"] == run]
        )  # (seeds, 9)
        most = Counter(names[index] for index in last.argmax(1))
        lines.append(
            [
                ALGORITHMS[run][0],
                *(mean_text(100 * column, 1) for column in last.T),
                ", ".join(f"{name} {count}" for name, count in most.most_common()),
            ]
        )
    columns = ["algorithm", *(f"{name}, %" for name in names), "most frequent, runs"]
    title = f"Joint actions in the last {WINDOW} steps of training: mean over seeds [95%]; equilibrium A-X"
    assert equilibrium_of("maintain") == "A-X"
    return [Table(title, columns, lines)]


def maintain_figures(rows: list[Row]) -> list[tuple[str, Figure]]:
    """Draws the shares of joint actions over env steps, mean over seeds."""
    from rllib_biac.reproduce.figures import areas

    panels = []
    for run in _compared():
        curves = [recent_shares(outcomes_of(row["joint_actions"])) for row in rows if row["run"] == run]
        panels.append((f"{ALGORITHMS[run][0]}, mean of {len(curves)} seed(s)", np.mean(curves, axis=0)))
    return [(f"Maintain: joint actions of the last {WINDOW} steps while training", areas(panels, _names()))]


FIG5 = Experiment(
    name="fig5",
    title="Figure 5: joint actions in Maintain while training",
    seeds=20,
    runs=maintain_runs,
    run=learn_maintain,
    tables=maintain_tables,
    figures=maintain_figures,
    notes=(
        f"Shares among the {WINDOW} steps before, exploration included, of the actions really taken (read from the "
        "replay buffer); epsilon falls from 1 to 0.1.",
        "The paper: Bi-AC goes to A-X, MADDPG to B-Y.",
    ),
)


def merge_runs(seeds: int) -> list[Row]:
    """Returns the settings of Fig. 7's runs: those of Table 4, with start speeds U(30,40)."""
    return merge_study.runs(seeds, tuple(_compared()), lows=(30.0,))


def outcome_curves(rows: list[Row], window: int = EPISODES) -> np.ndarray:
    """Returns the shares of outcomes among the last `window` episodes, up to every episode, in percent.

    Returns:
        (seeds, episodes, 3), to the last episode that all seeds have.
    """
    ended = [outcomes_of(row["episodes"]) for row in rows]
    shortest = min(map(len, ended))
    counts = np.eye(3)[np.array([outcomes[:shortest] for outcomes in ended])].cumsum(1)
    counts[:, window:] -= counts[:, :-window].copy()
    return 100 * counts / np.minimum(np.arange(1, shortest + 1), window)[None, :, None]


def merge_tables(rows: list[Row]) -> list[Table]:
    """Returns outcomes at the beginning and in the end of training."""
    lines = []
    for run in _compared():
        group = [row for row in rows if row["run"] == run]
        for name, text in (
            (f"first {FIRST:,}", [row["episodes"][:FIRST] for row in group]),
            (f"last {LAST:,}", [row["episodes"][-LAST:] for row in group]),
        ):
            by_seed = np.array([merge_study.shares(episodes) for episodes in text])  # (seeds, 3)
            lines.append([ALGORITHMS[run][0], name, *(mean_text(column, 1) for column in by_seed.T)])
    columns = ["algorithm", "episodes", *(f"{name.replace('_', ' ')}, % [95%]" for name in rules.OUTCOMES)]
    return [Table("Outcomes while training: mean over seeds", columns, lines)]


def merge_figures(rows: list[Row]) -> list[tuple[str, Figure]]:
    """Draws the shares of outcomes over episodes: mean over seeds, and every seed thin."""
    from rllib_biac.reproduce.figures import outcome_lines

    panels = []
    for run in _compared():
        curves = outcome_curves([row for row in rows if row["run"] == run])
        panels.append((f"{ALGORITHMS[run][0]}, mean of {len(curves)} seed(s)", curves))
    return [("Highway Merge: outcomes while training", outcome_lines(panels))]


FIG7 = Experiment(
    name="fig7",
    title="Figure 7: outcomes in Highway Merge while training",
    seeds=10,
    runs=merge_runs,
    run=merge_study.learn,
    tables=merge_tables,
    figures=merge_figures,
    notes=(
        f"Start speeds U(30,40) m/s; shares among the {EPISODES} episodes before, exploration included. Thick: mean "
        "over seeds; thin: every seed.",
        "The runs are those of Table 4, in its file.",
    ),
    raw="table4",
)
