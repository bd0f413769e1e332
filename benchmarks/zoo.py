"""The zoo: who learns games that nobody tuned for, and whose play stays right.

This program shows
    algorithm x family x game x seed: whether greedy play is right at the end of the family's budget (solved), whether
    it was right throughout the last quarter (holds), regrets, and from which env step and CPU-second on it was right
    for good. What right means, thresholds and budgets are in `rllib_biac.envs.zoo.scoring`, whose hash is in the table.
How to run
    python benchmarks/zoo.py --algorithms BiAC BiLevelQ --games 4 --seeds 1 --jobs 2
    python benchmarks/zoo.py --families corridor_25 --first 1000 --config '{"training_intensity": 64}' --label often
    python benchmarks/zoo.py --table                          # only writes table and picture from the rows there are
Rows that are there are not run again. Rows of another scoring stay in the file and out of the table. Games 0 to 999
are for reporting, those from 1000 on for tuning.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[threads] = "1"  # numpy reads them when it is imported

from zoo_learners import COUNTING, KERNEL, make_learner  # beside this file

from rllib_biac.envs.zoo import FAMILIES, zoo_game
from rllib_biac.envs.zoo.scoring import RULES, rules_hash, summary, verdict, wilson

RESULTS = Path(__file__).parent / "results"
HEADINGS = (
    *("family", "budget", "who", "games x seeds", "solved", "holds", "holds, 95% by game", "leader's regret %"),
    *(
        "follower's regret %",
        "answers right %",
        "error %",
        "steps until right for good",
        "CPU-s until then",
        "CPU-s in all",
    ),
    *("updates", "excluded"),
)
KEY = ("label", "algorithm", "family", "game", "seed", "rules")


def play(job: dict[str, Any]) -> dict[str, Any]:
    """Trains once, looks at greedy play on the way, and returns a row.

    Args:
        job: label, algorithm, family, game, seed and config.
    """
    import torch

    torch.set_num_threads(1)
    family, zoo = FAMILIES[job["family"]], zoo_game(job["family"], job["game"])
    try:
        learner = make_learner(job["algorithm"], zoo, job["seed"], job["config"])
    except ValueError as error:  # not for this algorithm
        return job | {"rules": rules_hash(), "cannot": str(error)}
    each = family.steps // RULES.looks
    looks, seconds, score, begin, spent = [], [], None, time.process_time(), 0.0
    failed = None
    for _ in range(RULES.looks):
        try:
            learner.train(each)
        except ValueError as error:  # such as more states than a table holds
            failed = str(error)
            break
        spent = time.process_time() - begin
        if spent > family.cpu_seconds:
            break
        score = learner.look()
        looks.append(score.right)
        seconds.append(round(spent, 3))
    found = verdict(looks)
    at = found.right_from
    return job | {
        "rules": rules_hash(),
        "solved": found.solved,
        "holds": found.holds,
        "steps": None if at is None else (at + 1) * each,
        "cpu_seconds": None if at is None else seconds[at],
        "cpu_seconds_in_all": round(spent, 2),
        "updates": learner.updates,
        "looks": "".join("01"[right] for right in looks),
        "leader_regret": score and _number(score.leader_regret),
        "response_regret": score and _number(score.response_regret),
        "answers": score and _number(score.answers),
        "error": score and _number(score.error),
        "margin": _number(zoo.margin),
        "undecided": zoo.undecided,
        "about": zoo.about,
        "failed": failed,
    }


def _number(value: float) -> float | None:
    return round(value, 5) if math.isfinite(value) else None


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Returns the rows of a file, of equal runs the last one, and no line that was cut off."""
    rows = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        rows[tuple(row[key] for key in KEY)] = row
    return list(rows.values())


def run_all(jobs: list[dict[str, Any]], raw: Path, workers: int) -> None:
    """Runs the jobs that have no row yet, several at once, and appends their rows as they come."""
    done = {tuple(row[key] for key in KEY) for row in rows_of(raw)}
    left = [job for job in jobs if tuple((job | {"rules": rules_hash()})[key] for key in KEY) not in done]
    print(f"{len(left)} of {len(jobs)} runs to do", flush=True)
    with (
        raw.open("a", encoding="utf-8") as file,
        ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool,
    ):
        for ended in as_completed([pool.submit(play, job) for job in left]):
            row = ended.result()
            file.write(json.dumps(row) + "\n")
            file.flush()
            if "cannot" in row:
                print(f"{row['algorithm']} cannot play {row['family']}: {row['cannot']}", flush=True)
                continue
            shown = "holds" if row["holds"] else "solved" if row["solved"] else "wrong"
            where = " ".join(str(row[key]) for key in KEY[:-1])
            print(f"{where}: {shown}, {row['cpu_seconds_in_all']} CPU-s", flush=True)


def by_cell(rows: Iterable[dict[str, Any]]) -> dict[tuple[str, str, str], list[dict[str, Any]]]:
    """Returns the rows by label, algorithm and family, families in the zoo's order."""
    cells = defaultdict(list)
    for row in rows:
        cells[row["label"], row["algorithm"], row["family"]].append(row)
    order = list(FAMILIES)
    return dict(sorted(cells.items(), key=lambda cell: (order.index(cell[0][2]), cell[0][:2])))


def table(rows: list[dict[str, Any]]) -> str:
    """Returns all cells as Markdown."""
    lines = [f"| {' | '.join(HEADINGS)} |", "|" + " --- |" * len(HEADINGS)]
    for (label, algorithm, family), own in by_cell(rows).items():
        games = {row["game"] for row in own}
        held = [all(row["holds"] for row in own if row["game"] == game) for game in games]
        low, high = wilson(sum(held), len(held))
        undecided = {row["game"]: row["undecided"] for row in own}
        kind = FAMILIES[family]
        counted = kind.target
        name = algorithm if label == "defaults" else f"{algorithm}, {label}"
        cells = [
            family,
            f"{kind.steps:,}",
            name,
            f"{len(games)} x {len({row['seed'] for row in own})}",
            _share([row["solved"] for row in own]) if counted else "no target",
            _share([row["holds"] for row in own]) if counted else "no target",
            f"{100 * low:.0f} to {100 * high:.0f}" if counted else "–",
            _mean(own, "leader_regret"),
            _mean(own, "response_regret"),
            _mean(own, "answers"),
            _errors(own),
            _median(own, "steps", "{:,.0f}"),
            _median(own, "cpu_seconds", "{:.1f}"),
            _median(own, "cpu_seconds_in_all", "{:.1f}"),
            _median(own, "updates", "{:,.0f}"),
            f"{100 * sum(undecided.values()) / (sum(undecided.values()) + len(games)):.0f}%",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _share(flags: list[bool]) -> str:
    return f"{sum(flags)} of {len(flags)}"


def _mean(rows: list[dict[str, Any]], key: str) -> str:
    known = [row[key] for row in rows if row[key] is not None]
    return f"{100 * sum(known) / len(known):.1f}" if known else "–"


def _errors(rows: list[dict[str, Any]]) -> str:
    known = [100 * row["error"] for row in rows if row["error"] is not None]
    return f"{summary(known):.1f} / {max(known):.1f}" if known else "–"


def _median(rows: list[dict[str, Any]], key: str, form: str) -> str:
    value = summary([row[key] for row in rows])
    return form.format(value) if math.isfinite(value) else "–"


def picture(rows: list[dict[str, Any]], path: Path) -> None:
    """Draws the share of runs that hold, family by family, a bar per algorithm, with Wilson's intervals by game."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams["svg.hashsalt"] = "zoo"  # the same rows make the same file
    cells = {key: own for key, own in by_cell(rows).items() if FAMILIES[key[2]].target}
    who = sorted({key[:2] for key in cells})
    families = [family for family in FAMILIES if any(key[2] == family for key in cells)]
    figure, axes = plt.subplots(figsize=(8, 1 + 0.22 * len(families) * max(len(who), 1)), layout="constrained")
    height = 0.8 / max(len(who), 1)
    for k, (label, algorithm) in enumerate(who):
        at, shares, errors = [], [], []
        for i, family in enumerate(families):
            own = cells.get((label, algorithm, family))
            if own is None:
                continue
            games = {row["game"] for row in own}
            held = [all(row["holds"] for row in own if row["game"] == game) for game in games]
            share, (low, high) = sum(held) / len(held), wilson(sum(held), len(held))
            at.append(i + k * height)
            shares.append(100 * share)
            errors.append((100 * max(share - low, 0.0), 100 * max(high - share, 0.0)))
        name = algorithm if label == "defaults" else f"{algorithm}, {label}"
        thin = {"lw": 0.8, "capsize": 2}
        axes.barh(at, shares, height, xerr=list(zip(*errors, strict=True)), label=name, error_kw=thin)
    axes.set_yticks([i + 0.4 - height / 2 for i in range(len(families))], families)
    axes.invert_yaxis()
    axes.set(xlim=(0, 100), xlabel="% of games in which all runs hold")
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Runs what is asked for, and writes table and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--algorithms", nargs="+", default=["BiAC"], help=f"{', '.join(KERNEL)}, or {COUNTING!r}")
    parser.add_argument("--families", nargs="+", choices=list(FAMILIES), default=list(FAMILIES), metavar="FAMILY")
    parser.add_argument("--games", type=int, default=4, help="per family")
    parser.add_argument("--first", type=int, default=0, help="the first game's seed; from 1000 on for tuning")
    parser.add_argument("--seeds", type=int, default=1, help="runs per game")
    parser.add_argument("--config", type=json.loads, default={}, help="changed settings, JSON")
    parser.add_argument("--label", default="defaults", help="what changed settings are called in the table")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    parser.add_argument("--out", type=Path, default=RESULTS / "zoo", help="without suffix: .jsonl, .md and .svg")
    parser.add_argument("--table", action="store_true", help="run nothing")
    args = parser.parse_args()
    if args.config and args.label == "defaults":
        parser.error("changed settings need a --label of their own.")
    jobs = [
        {"label": args.label, "algorithm": a, "family": f, "game": g, "seed": s, "config": args.config}
        for g in range(args.first, args.first + args.games)
        for s in range(args.seeds)
        for f in args.families
        for a in args.algorithms
    ]
    raw = args.out.with_suffix(".jsonl")
    if not args.table:
        run_all(jobs, raw, args.jobs)
    rows = [row for row in rows_of(raw) if row["rules"] == rules_hash() and "cannot" not in row]
    text = (
        "# The zoo\n\n"
        f"Made by `benchmarks/zoo.py`; scoring, thresholds and budgets `{rules_hash()}`. A game counts from a margin "
        f"of {RULES.decided:g} standard deviations of its stage payoffs (excluded: the share of draws below). Solved: "
        f"right at the last of {RULES.looks} looks; holds: at all looks of the last quarter. Regrets: means at the "
        "last look; error: median and worst, of continuous actions in % of their range, of Merge's starts in %. Steps "
        "and CPU-seconds: medians, of runs that are right for good.\n\n"
        f"{table(rows)}\n\n![Share of games in which all runs hold]({args.out.with_suffix('.svg').name})\n"
    )
    args.out.with_suffix(".md").write_text(text, encoding="utf-8")
    picture(rows, args.out.with_suffix(".svg"))
    print(text)


if __name__ == "__main__":
    main()
