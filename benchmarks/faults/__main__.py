"""This program shows: training survives what happens to it on shared machines, and no step that was reported is lost.

How to run:
    python benchmarks/faults                    # ten seeds of every fault; three hours
    python benchmarks/faults --seeds 1 --only "a game" --out /tmp

Each case trains Bi-AC on Maintain, does harm in the middle of it, and lets training go on: by itself, or from the
latest checkpoint where the table says so. A case counts as survived if

- greedy play in the end is A-X, the exact Stackelberg equilibrium;
- steps and updates that were reported never go back, and replay holds at least the steps that were reported;
- every checkpoint found is whole;
- a run that went on from a checkpoint has come to the very networks, optimizers and replay of a run that nothing
  happened to, to the last bit, and no iteration was reported twice with different numbers ("exact" below; runners that
  play beside each other in place have no such order).

What is finished is kept in `faults.jsonl`, so that the same command goes on after Ctrl-C. Cases that want a disk of
their own need root, to mount one, and say so where they are left out. Code 1 if anything was not survived.

Results to expect: all seeds of all cases.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", RAY_worker_niceness="0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")


import argparse
import contextlib
import json
import logging
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from buckets import bucket_lost
from commands import (
    command_killed,
    head_killed,
    hung_up,
    interrupted,
    killed_at_each_change,
    killed_while_saving,
    memory_runs_out,
    newest_damaged,
    save_for_ever,
    terminated,
    terminated_in_vain,
    two_commands,
)
from disks import can_mount, disk_full_for_a_checkpoint, disk_full_for_results
from nodes import CLUSTER, node_of_the_trial_replaced, node_replaced, store_full, store_full_for_good
from processes import (
    async_runner_killed,
    evaluation_runner_killed,
    game_hangs,
    game_hangs_async,
    game_hangs_in_evaluation,
    game_raises,
    game_raises_in_a_trial,
    game_raises_remotely,
    learner_killed,
    learner_killed_in_python,
    observation_is_nan,
    one_of_two_learners_killed,
    reward_is_nan,
    runner_killed,
    stock_runner_killed,
    trial_killed,
)
from ray.cluster_utils import Cluster
from studies import RESULTS, markdown, versions
from survivors import SEEDS

from rllib_biac.experiments.cluster import worker_env


@dataclass(frozen=True)
class Case:
    """A fault, how training goes on after it, and whether it needs a disk of its own."""

    fault: str
    does: Callable[[int, Path], None]
    goes_on: str
    needs_disk: bool = False


IN_PLACE, CAUGHT = "in place", "in place, by calling `train()` again"
MAX_FAILURES, RESUME = "exact, from the checkpoint, `max_failures`", "exact, from the checkpoint, `--resume`"
FROM_CHECKPOINT = "exact, from the checkpoint, `from_checkpoint()`"

# Which Ray they need -> cases.
GROUPS: dict[str, tuple[Case, ...]] = {
    "one machine": (
        Case("env runner killed", runner_killed, IN_PLACE),
        Case("env runner killed, asynchronous sampling", async_runner_killed, IN_PLACE),
        Case("env runner killed, RLlib's own runner", stock_runner_killed, IN_PLACE),
        Case("evaluation runner killed", evaluation_runner_killed, IN_PLACE),
        Case("remote learner killed", learner_killed, MAX_FAILURES),
        Case("one of two remote learners killed", one_of_two_learners_killed, MAX_FAILURES),
        Case("remote learner killed, in Python", learner_killed_in_python, FROM_CHECKPOINT),
        Case("a game raises", game_raises, CAUGHT),
        Case("a game raises in one of two remote runners", game_raises_remotely, CAUGHT),
        Case("a game raises in a trial", game_raises_in_a_trial, "from the checkpoint, `max_failures`"),
        Case("a game returns NaN as a reward", reward_is_nan, CAUGHT),
        Case("a game returns NaN in an observation, in a remote runner", observation_is_nan, CAUGHT),
        Case("a game hangs in one of two remote runners", game_hangs, IN_PLACE),
        Case("a game hangs, asynchronous sampling", game_hangs_async, IN_PLACE),
        Case("a game hangs in an evaluation runner", game_hangs_in_evaluation, IN_PLACE),
        Case("disk full for a checkpoint", disk_full_for_a_checkpoint, "exact, in place", needs_disk=True),
        Case("disk full for checkpoints and results", disk_full_for_results, RESUME, needs_disk=True),
        Case("Tune trial killed", trial_killed, MAX_FAILURES),
        Case("killed in the middle of a save", killed_while_saving, FROM_CHECKPOINT),
        Case("killed at each rename and removal of a save", killed_at_each_change, FROM_CHECKPOINT),
        Case("Ctrl-C", interrupted, RESUME),
        Case("the command killed", command_killed, RESUME),
        Case("SIGTERM", terminated, RESUME),
        Case("SIGHUP", hung_up, RESUME),
        Case("SIGTERM to a trial that hangs", terminated_in_vain, "from the checkpoint, `--resume`"),
        Case("the head of Ray killed", head_killed, RESUME),
        Case("two commands in one folder", two_commands, RESUME),
        Case("a bit of the newest checkpoint flipped", newest_damaged, RESUME),
        Case("memory runs out in one of two trials", memory_runs_out, MAX_FAILURES),
        Case("a bucket lost in the middle of a run", bucket_lost, RESUME),
    ),
    "several nodes": (
        Case("node removed and another added: of the runners", node_replaced, IN_PLACE),
        Case("node removed and another added: of the trial", node_of_the_trial_replaced, MAX_FAILURES),
    ),
    "small object store": (Case("object store full, with room to spill", store_full, IN_PLACE),),
    "small object store, no disk": (Case("object store full, nowhere to spill", store_full_for_good, CAUGHT),),
}


@contextlib.contextmanager
def ray_of(group: str) -> Iterator[None]:
    """Starts the Ray that the cases of a group share."""
    options: dict[str, Any] = {"include_dashboard": False}
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "CRITICAL", "runtime_env": worker_env()}
    if group == "several nodes":
        # A node that is gone is noticed at once, where Ray would wait for half a minute.
        fast = {"health_check_period_ms": 1000, "health_check_failure_threshold": 5}
        options |= {"num_cpus": 0, "_system_config": fast}
        cluster = Cluster(initialize_head=True, head_node_args=options)
        CLUSTER[:] = [cluster, cluster.add_node(num_cpus=2)]
        ray.init(address=cluster.address, **quiet)
        yield
        ray.shutdown()
        cluster.shutdown()
        return
    if group.startswith("small object store"):
        options["object_store_memory"] = 100_000_000
    if group == "small object store, no disk":
        options["_system_config"] = {"local_fs_capacity_threshold": 0.0}  # as if the disk were full
    ray.init(address="local", num_cpus=4, **options, **quiet)
    yield
    ray.shutdown()


def run(group: str, names: list[str], seeds: int, raw: Path) -> None:
    """Runs those cases of a group that have no row yet, and appends a row for each."""
    done = {(row["fault"], row["seed"]) for row in read(raw)}
    todo = [
        (case, seed)
        for seed in range(seeds)
        for case in GROUPS[group]
        if case.fault in names and (case.fault, seed) not in done
    ]
    if not todo:
        return
    mounts = can_mount()
    with ray_of(group), open(raw, "a", encoding="utf-8") as file:
        for case, seed in todo:
            if case.needs_disk and not mounts:
                print(f"{case.fault}: left out, for mounting a small disk needs root", flush=True)
                continue
            begin, why = time.monotonic(), ""
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                try:
                    case.does(seed, Path(folder))
                except Exception as error:
                    why = f"{type(error).__name__}: {error}"
                    traceback.print_exc()
            seconds = round(time.monotonic() - begin, 1)
            row = {"fault": case.fault, "seed": seed, "survived": not why, "why": why, "seconds": seconds}
            file.write(json.dumps(row) + "\n")
            file.flush()
            print(f"{case.fault}, seed {seed}: {why or 'survived'}, {seconds} s", flush=True)


def read(raw: Path) -> list[dict[str, Any]]:
    """Returns the rows so far."""
    return [json.loads(line) for line in raw.read_text(encoding="utf-8").splitlines()] if raw.exists() else []


def table(rows: list[dict[str, Any]], words: str) -> str:
    """Returns the table of all rows."""
    cells = []
    for case in (case for cases in GROUPS.values() for case in cases):
        own = [row for row in rows if row["fault"] == case.fault]
        if own:
            survived = sum(row["survived"] for row in own)
            seconds = np.median([row["seconds"] for row in own])
            cells.append([case.fault, f"{survived} of {len(own)}", case.goes_on, f"{seconds:.0f}"])
    return f"""# Faults

Training in which harm is done; survived, with what is asked of a survivor, is defined at the head of
`benchmarks/faults/__main__.py`. Every row of every seed is in `faults.jsonl`.

{markdown(["fault", "survived, of seeds", "goes on", "median seconds"], cells)}

Bi-AC on Maintain, default settings; seconds of a whole case, including starts of processes, on a machine shared with
other programs. {versions()}.

    {words}
"""


def main() -> int:
    """Runs all cases, those of one Ray in one process. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--only", nargs="+", default=[""], metavar="WORDS", help="cases whose names begin so")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--group", choices=list(GROUPS), help=argparse.SUPPRESS)
    parser.add_argument("--save-for-ever", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.CRITICAL)
    if arguments.save_for_ever:
        save_for_ever(arguments.save_for_ever, arguments.seed)
    raw = arguments.out / "faults.jsonl"
    arguments.out.mkdir(parents=True, exist_ok=True)
    names = [
        case.fault
        for cases in GROUPS.values()
        for case in cases
        if any(case.fault.startswith(words) for words in arguments.only)
    ]
    if arguments.group:
        run(arguments.group, names, arguments.seeds, raw)
        return 0
    for group in GROUPS:
        # Sockets lie there: a short path. No other `ray.init()` on this machine finds what is there.
        scratch = tempfile.mkdtemp(prefix="ray", dir="/tmp")
        argv = [
            sys.executable,
            __file__,
            "--group",
            group,
            "--seeds",
            str(arguments.seeds),
            "--out",
            str(arguments.out),
        ]
        subprocess.run([*argv, "--only", *arguments.only], env=os.environ | {"RAY_TMPDIR": scratch}, check=True)
        shutil.rmtree(scratch, ignore_errors=True)
    rows = read(raw)
    (arguments.out / "faults.md").write_text(table(rows, f"python {' '.join(sys.argv)}"), encoding="utf-8")
    print((arguments.out / "faults.md").read_text(encoding="utf-8"))
    return int(not all(row["survived"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
