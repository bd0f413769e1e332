"""How training grows with the number of remote runners, and what would stop it first: Bi-AC on Highway Merge.

This program shows
    wall time per env step of two remote runners against one; time per iteration, bytes per env step and CPU time of
    the trial's own process (the driver), phase by phase, with 1 to 16 runners; the same driver before 1,000 runners
    that are played by stand-ins; and from these, on paper, how many runners a driver, a learner, a network can serve.
How to run
    python benchmarks/scaling --out benchmarks/results/scaling.md
    python benchmarks/scaling --parts speedup
Results to expect
    Where playing is most of the work, two runners on two quiet cores take at most 1 / 1.5 of the time of one. Where
    learning is, more runners change nothing. A fragment costs the driver about the same however long it is: longer
    fragments move the driver's limit, and only fewer updates per step that of the learner.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[threads] = "1"  # numpy reads them when it is imported
os.environ.update(RAY_worker_niceness="0")  # else runners give way to the driver, and to everything else
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
# Runners are told of functions and classes by their names, and look for them here.
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, (str(Path(__file__).resolve().parent), os.environ.get("PYTHONPATH")))
)

import ray
import torch

sys.path.insert(1, str(Path(__file__).parents[1]))

from driver import ABOUT_COSTS, Costs, cost_rows, costs
from paper import ABOUT_PAPER, on_paper
from speedup import ABOUT_SPEEDUP, compare
from studies import made_with

PARTS = ("speedup", "runners", "stand-ins")


def main() -> None:
    """Measures and prints, and writes where `--out` says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="which (default: all)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="of one runner against two (default: %(default)s)")
    parser.add_argument(
        "--quiet", type=float, default=0.1, help="cores that others may use in a round (default: %(default)s)"
    )
    parser.add_argument(
        "--patience", type=float, default=120.0, help="seconds to wait for quiet rounds (default: %(default)s)"
    )
    parser.add_argument(
        "--real-time", action="store_true", help="let no other process come between while speedups are measured (root)"
    )
    parser.add_argument("--out", type=Path, help="where to write the tables")
    args = parser.parse_args()

    torch.set_num_threads(1)
    ray.init(address="local", num_cpus=64, include_dashboard=False, log_to_driver=False)
    lines = ["# Remote runners: how training grows with their number", ""]
    if "speedup" in args.parts:
        lines += ["## Two against one", "", *compare(args), "", *ABOUT_SPEEDUP, ""]
    measured: Costs = {}
    for part, standing_in in (("runners", False), ("stand-ins", True)):
        if part in args.parts:
            measured |= costs(args, standing_in)
    if measured:
        lines += ["## What the driver pays", "", *cost_rows(measured), "", *ABOUT_COSTS, ""]
    if {"runners", "stand-ins"} <= set(args.parts):
        lines += ["## On paper: up to 1,000 runners", "", *on_paper(measured), "", *ABOUT_PAPER, ""]
    ray.shutdown()
    lines += [
        *made_with("ray", "torch", "numpy"),
    ]
    table = "\n".join(lines) + "\n"
    print(table)
    if args.out:
        args.out.write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()
