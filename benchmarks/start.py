"""This program shows: how long `rllib train file` takes to say something, and to end its first iteration.

How to run, on a quiet machine:
    python benchmarks/start.py                # about two minutes

Each round starts, one after the other, the floor (a program that imports RLlib and Tune and starts a Ray, as every
trial needs it) and `rllib train file escape_biac`, and then imports RLlib's `AlgorithmConfig` and our `BiACConfig`,
each in a process of its own. Raw rows go to benchmarks/results/start.jsonl, the table with medians to start.md.

Results to expect on two quiet cores: the first line within 1 s, the first iteration within 8 s; `BiACConfig` at most
0.4 s of CPU time above `AlgorithmConfig`. What else runs on the machine makes all of it slower: see the load.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from studies import RESULTS, made_with

FLOOR = """
import ray
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray import tune
ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")
print("ready", flush=True)
"""
TRAIN = "from rllib_biac.cli.main import main; main()"
RLLIB, OURS = "from ray.rllib.algorithms.algorithm_config import AlgorithmConfig", "from rllib_biac import BiACConfig"
ROWS = {
    "floor": "RLlib and Tune imported, Ray started; no trial, no library of ours, s",
    "first line": "`rllib train file escape_biac`: first line, s",
    "first iteration": "`rllib train file escape_biac`: end of the first iteration, s",
    "RLlib's import": "`from ray.rllib.algorithms.algorithm_config import AlgorithmConfig`, CPU-s",
    "our import": "`from rllib_biac import BiACConfig`, CPU-s",
    "above RLlib's": "our import above RLlib's, CPU-s",
    "load": "load of the machine at the end of the round (1 minute)",
}


def seconds_until(command: list[str], *starts: str) -> list[float]:
    """Returns after how many seconds a command says a line that starts so, one after the other.

    Raises:
        RuntimeError: if it ends before.
    """
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    begin, found = time.perf_counter(), []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if len(found) < len(starts) and line.startswith(starts[len(found)]):
                found.append(time.perf_counter() - begin)
    if len(found) < len(starts):
        raise RuntimeError(f"{command} never said {starts[len(found)]!r}:\n{''.join(said)}")
    return found


def cpu_seconds(code: str) -> float:
    """Returns the CPU time of a fresh Python that runs some code."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def one_round() -> dict[str, float]:
    """Measures everything once."""
    (floor,) = seconds_until([sys.executable, "-c", FLOOR], "ready")
    with tempfile.TemporaryDirectory() as place:
        train = [sys.executable, "-c", TRAIN, "train", "file", "escape_biac", "--storage-path", place]
        line, iteration = seconds_until(train, "escape_biac", "iter 1 ")
    rllibs, ours = cpu_seconds(RLLIB), cpu_seconds(OURS)
    values = (floor, line, iteration, rllibs, ours, ours - rllibs, os.getloadavg()[0])
    return dict(zip(ROWS, values, strict=True))


def page(rounds: list[dict[str, float]]) -> str:
    """Returns the table."""
    lines = ["# From Enter to the first iteration", "", "| | median | all rounds |", "|---|---:|---|"]
    for key, about in ROWS.items():
        values = [each[key] for each in rounds]
        lines.append(f"| {about} | {statistics.median(values):.2f} | {', '.join(f'{v:.2f}' for v in values)} |")
    about = "Files are in the page cache from the second round on. A machine with a load above 1 is not quiet."
    return "\n".join([*lines, "", about, "", *made_with("ray", "torch")]) + "\n"


def main() -> None:
    """Measures, round by round, and writes the table."""
    parser = argparse.ArgumentParser(description="How long a start takes.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS / "start.md")
    args = parser.parse_args()
    rounds = [one_round() for _ in range(args.rounds)]
    args.out.with_suffix(".jsonl").write_text("".join(json.dumps(row) + "\n" for row in rounds), encoding="utf-8")
    args.out.write_text(text := page(rounds), encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
