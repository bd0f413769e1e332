"""This program shows: the grid from which every method's learning rate was chosen, on seeds used for nothing else.

How to run:
    python benchmarks/learning_rates.py                       # 1,050 short runs and 54 of Merge; about 25 minutes
    python benchmarks/learning_rates.py --only escape maintain

The rule is the same for every method and knows nothing of leaders. Matrix games: the rate whose greedy play after 1,000
and after 3,000 env steps pays both players together the most, on average over seeds and both times; of rates within 1%
of the best, the one nearest to 0.001. Merge: likewise, by the mean reward of both cars together in greedy play from
1,000 starts; rates fall to a tenth over the second half of training, as in the tuned examples.

Raw results (one line per run) and the table go to benchmarks/results. What was chosen stands in tuned_examples/.
"""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from pathlib import Path
from statistics import fmean

from studies import RESULTS, markdown, run_all, versions

from rllib_biac.envs.merge import rules
from rllib_biac.reproduce import matrix_games, merge_study
from rllib_biac.reproduce.runs import Row
from rllib_biac.reproduce.training import ALGORITHMS, settings

RATES = {
    "escape": (0.0001, 0.0003, 0.001, 0.003, 0.01),
    "maintain": (0.0001, 0.0003, 0.001, 0.003, 0.01),
    "merge": (0.0003, 0.001, 0.003),
}
SEEDS = {"escape": range(1000, 1020), "maintain": range(1000, 1020), "merge": range(1000, 1003)}
GAMES = tuple(RATES)


def runs(game: str) -> list[Row]:
    """Returns the settings of all runs of a game, rate by rate."""
    return [
        settings(run, game, "main", seed, lr=schedule(game, rate))
        for run in ALGORITHMS
        for rate in RATES[game]
        for seed in SEEDS[game]
    ]


def schedule(game: str, rate: float) -> float | list[list[float]]:
    """Returns the learning rate as the tuned examples write it."""
    return [[0, rate], [12_000, rate], [24_000, rate / 10]] if game == "merge" else rate


def rate_of(row: Row) -> float:
    """Returns the learning rate a run began with."""
    lr = row["config"]["lr"]
    return lr[0][1] if isinstance(lr, list) else lr


def score(game: str, row: Row) -> float:
    """Returns what greedy play pays both players together."""
    if game == "merge":
        outcomes = merge_study.outcomes_of(row["outcomes"])
        return fmean(sum(rules.REWARDS[outcome]) for outcome in outcomes.tolist())
    return fmean(sum(row["greedy"][str(step)]["returns"].values()) for step in matrix_games.JUDGED)


def chosen(scores: dict[float, float]) -> float:
    """Returns the best rate; of those within 1% of it the one nearest to 0.001."""
    best = max(scores.values())
    close = [rate for rate, value in scores.items() if value >= best - 0.01 * abs(best)]
    return min(close, key=lambda rate: abs(math.log(rate / 0.001)))


def table(game: str, rows: list[Row]) -> str:
    """Returns a game's table as Markdown: what both players get together, per method and rate."""
    lines = []
    for run, (name, _) in ALGORITHMS.items():
        scores = {
            rate: fmean(score(game, row) for row in rows if row["run"] == run and rate_of(row) == rate)
            for rate in RATES[game]
        }
        lines.append([name, *(f"{value:.2f}" for value in scores.values()), f"{chosen(scores):g}"])
    return markdown(["method", *(f"{rate:g}" for rate in RATES[game]), "chosen"], lines)


def main() -> None:
    """Runs the grid, or the games asked for, and writes its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=GAMES, default=list(GAMES))
    parser.add_argument("--cpus", type=int, help="runs at once")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of results")
    args = parser.parse_args()
    text = ""
    for game in args.only:
        study = merge_study if game == "merge" else matrix_games
        rows = run_all(study.learn, runs(game), args.out / "learning_rates.jsonl", args.cpus)
        seeds = f"seeds {SEEDS[game][0]} to {SEEDS[game][-1]}"
        text += f"\n## {game.title()}, {seeds}: mean of both players' rewards together\n\n{table(game, rows)}\n"
    command = shlex.join(["python", "benchmarks/learning_rates.py", *sys.argv[1:]])
    head = f"# Learning rates\n\nMade by `{command}` ({versions()}). The rule is in the program.\n"
    (args.out / "learning_rates.md").write_text(head + text, encoding="utf-8")
    print(head + text)


if __name__ == "__main__":
    main()
