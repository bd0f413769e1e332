"""Memory over ten million env steps: what each process holds after the first million, and at the end.

This program shows
    the resident memory (RSS) of the trial's own process (the driver), and of remote runners, while Bi-AC trains with
    everything that a long run has: replay (full long before the first million), metrics, evaluation and checkpoints.
How to run
    python benchmarks/memory.py --out benchmarks/results/memory.md
    python benchmarks/memory.py --only Escape --steps 2000000
    Two to five minutes of CPU time a row. What is finished is kept in `memory.jsonl` beside the table; delete that file
    to begin anew.
Results to expect
    No process holds more than 1.05 times at the end what it held after a tenth of the steps, and nothing grows with the
    number of steps: where the last column is not near zero, something is kept that should not be.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

# One core; and no lower priority for runners, which the driver waits for.
os.environ.update(OMP_NUM_THREADS="1", RAY_worker_niceness="0")
os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # this machine's own processes only

import numpy as np
import ray
import torch
from studies import made_with

from rllib_biac import BiACConfig

GAMES = 4096  # in all, at once; an iteration is one step of all of them
BATCH, INTENSITY = 64, 0.25  # one update of 64 rows every 256 env steps
CAPACITY = 200_000
EVALUATED, SAVED = 25, 100  # every so many iterations
LOOKS = 100  # at memory, equally far apart


@dataclass(frozen=True)
class Case:
    """A game, and who plays it."""

    game: str
    levels: tuple[tuple[str], ...]
    settings: dict[str, Any] = field(default_factory=dict)


ESCAPE, MERGE = ("escape_v0", (("player_0",), ("player_1",))), ("merge_v0", (("main_0",), ("auxiliary_0",)))
REMOTE = {"num_env_runners": 2}
CASES: dict[str, Case] = {
    "Escape": Case(*ESCAPE),
    "Escape, 2 remote runners": Case(*ESCAPE, REMOTE),
    "Highway Merge": Case(*MERGE),
    "Highway Merge, 2 remote runners": Case(*MERGE, REMOTE),
    "Highway Merge, 2 remote runners, asynchronous": Case(*MERGE, REMOTE | {"max_sampling_lag": 100}),
}


@dataclass
class Memory:
    """What was seen of a case: env steps, and of each process its RSS in MB at these steps."""

    steps: list[int]
    held: dict[str, list[float]]
    updates: int
    iterations: int
    checkpoints: int
    seconds: float


def run(name: str, steps: int) -> Memory:
    """Trains a case in this process, and looks at memory `LOOKS` times."""
    import psutil  # Ray brings it along

    case = CASES[name]
    runners = case.settings.get("num_env_runners", 0)
    ray.init(num_cpus=1 + runners, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    torch.set_num_threads(1)
    algo = (
        BiACConfig()
        .environment(case.game)
        .hierarchy([list(level) for level in case.levels])
        .env_runners(num_envs_per_env_runner=GAMES // max(runners, 1))
        .update_from_dict(case.settings)
        .training(
            train_batch_size_per_learner=BATCH,
            training_intensity=INTENSITY,
            replay_buffer_config={"capacity": CAPACITY},
        )
        .evaluation(evaluation_interval=EVALUATED, evaluation_duration=100)
        .reporting(min_sample_timesteps_per_iteration=GAMES)
        .debugging(seed=0, log_level="ERROR")
        .build_algo()
    )
    pids = algo.env_runner_group.foreach_env_runner(lambda runner: os.getpid(), local_env_runner=False)
    processes = {"driver": psutil.Process()} | {f"runner {i + 1}": psutil.Process(pid) for i, pid in enumerate(pids)}
    held: dict[str, list[float]] = {process: [] for process in processes}
    seen: list[int] = []
    done = iterations = checkpoints = 0
    begin, told = time.monotonic(), 0.0
    with tempfile.TemporaryDirectory() as folder:
        while done < steps:
            result = algo.train()
            iterations += 1
            done = int(result["env_runners"]["num_env_steps_sampled_lifetime"])
            if iterations % SAVED == 0:
                algo.save_to_path(Path(folder, "checkpoint"))
                checkpoints += 1
            if done >= (len(seen) + 1) * steps / LOOKS:
                seen.append(done)
                gc.collect()  # what is only waiting to be collected is not kept; runners collect when they like
                for process, handle in processes.items():
                    held[process].append(handle.memory_info().rss / 1e6)
            if (spent := time.monotonic() - begin) - told > 20 or done >= steps:
                told = spent
                now = ", ".join(f"{process} {values[-1]:,.1f} MB" for process, values in held.items() if values)
                left = spent / done * max(steps - done, 0) / 60
                print(f"{name}: {done:,} steps, {now} (about {left:.1f} min left)", file=sys.stderr, flush=True)
    updates = int(result["learners"]["__all_modules__"]["num_updates_lifetime"])
    seconds = time.monotonic() - begin
    algo.stop()
    ray.shutdown()
    return Memory(seen, held, updates, iterations, checkpoints, seconds)


def row(name: str, process: str, memory: Memory) -> str:
    """Returns a process's row of the table."""
    held, steps = np.array(memory.held[process]), np.array(memory.steps)
    tenth = LOOKS // 10 - 1
    growth = np.polyfit(steps[tenth:] / 1e6, 1e3 * held[tenth:], 1)[0]
    return (
        f"| {name} | {process} | {held[0]:,.1f} | {held[tenth]:,.1f} | {held[-1]:,.1f} | {held[tenth:].max():,.1f} "
        f"| {held[-1] / held[tenth]:.3f} | {growth:,.0f} |"
    )


def main() -> None:
    """Runs the cases, each in a process of its own, and writes where `--out` says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10_000_000, help="env steps of each row (default: %(default)s)")
    parser.add_argument("--only", nargs="*", choices=list(CASES), default=list(CASES), help="these rows")
    parser.add_argument("--out", type=Path, help="where to write the table")
    parser.add_argument("--case", choices=list(CASES), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        print(json.dumps(asdict(run(args.case, args.steps))))
        return

    raw = args.out.with_suffix(".jsonl") if args.out else None
    found = read(raw, args.steps) if raw else {}
    for name in args.only:
        if name not in found:
            command = [sys.executable, __file__, "--case", name, "--steps", str(args.steps)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[name] = Memory(**json.loads(done.stdout.strip().split("\n")[-1]))
            if raw:
                with raw.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"case": name} | asdict(found[name])) + "\n")
        text = page({case: found[case] for case in CASES if case in found}, args.steps)
        if args.out:
            args.out.write_text(text, encoding="utf-8")
    print(text)


def read(raw: Path, steps: int) -> dict[str, Memory]:
    """Returns the cases that a file holds which ran for so many steps."""
    lines = raw.read_text(encoding="utf-8").splitlines() if raw.exists() else []
    rows = [json.loads(line) for line in lines]
    return {row.pop("case"): Memory(**row) for row in rows if 0 <= row["steps"][-1] - steps < GAMES}


def page(found: dict[str, Memory], steps: int) -> str:
    """Returns the table of all cases that are done, and how it was made."""
    tenth = f"{steps // 10:,}"
    what = "; ".join(
        f"{name}: {m.iterations:,} iterations, {m.updates:,} updates, {m.checkpoints:,} checkpoints, {m.seconds:,.0f} s"
        for name, m in found.items()
    )
    lines = [
        f"# Memory over {steps:,} env steps",
        "",
        f"| | process | MB after {steps // LOOKS:,} steps | after {tenth} | at the end | most, from {tenth} on "
        f"| end / after {tenth} | growth from {tenth} on, kB per million steps |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
        *(row(name, process, memory) for name, memory in found.items() for process in memory.held),
        "",
        "Resident memory (RSS), with all libraries, weights, replay, and what is mapped of Ray's object store. Growth "
        f"is the slope of a straight line through {LOOKS - LOOKS // 10 + 1} looks. Bi-AC at its defaults but for "
        f"these: {GAMES:,} games at once, one update of {BATCH} rows every {BATCH / INTENSITY:g} env steps, replay of "
        f"{CAPACITY:,} steps, iterations of {GAMES:,} steps, an evaluation of 100 episodes every {EVALUATED} "
        f"iterations, a checkpoint with replay every {SAVED}. {what}.",
        "",
        *made_with("ray", "torch", "numpy"),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
