"""This program shows: what many short runs cost when each starts a process of its own, and when processes go on.

How to run:
    python benchmarks/many_seeds.py                # 20 runs of each kind, about five minutes on two cores
    python benchmarks/many_seeds.py --runs 4 --out /tmp

Every run is Escape with the settings of tuned_examples/escape_biac.yaml, 1,000 env steps, its own seed; two at once:
as a plain Ray Tune experiment of N trials; the same with `reuse_actors=True`, as `rllib train` does; and by
`rllib_biac.reproduce.runs`, as `rllib reproduce` does. Each kind runs in a fresh Ray whose start is not counted. CPU
time is that of all processes of that Ray and of the driver.

Results to expect: a process that goes on does a run in about a second; one of its own costs several seconds more.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shlex
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from studies import RESULTS, markdown, versions

STEPS = 1_000
AT_ONCE = 2


def config_of(seed: int) -> tuple[type, dict[str, Any]]:
    """Returns the algorithm and the config of one run, as Tune takes them."""
    from rllib_biac.reproduce.training import settings
    from rllib_biac.rllib.config_keys import build
    from rllib_biac.rllib.registry import config_class

    plain = settings("BiAC", "escape", "main", seed)
    config = build(
        config_class(plain["run"]),
        plain["config"] | {"env": plain["env"], "min_sample_timesteps_per_iteration": STEPS, "log_sys_usage": False},
    )
    assert config.algo_class is not None
    return config.algo_class, config.to_dict()


def by_tune(runs: int, folder: Path, reuse_actors: bool) -> None:
    """Runs N trials of one experiment."""
    from ray import tune

    algorithm, config = config_of(0)
    tune.run(
        algorithm,
        config=config | {"seed": tune.grid_search(list(range(runs)))},
        stop={"num_env_steps_sampled_lifetime": STEPS},
        storage_path=str(folder),
        reuse_actors=reuse_actors,
        verbose=0,
    )


def by_runs(runs: int, folder: Path) -> None:
    """Runs N runs of the reproduction's harness."""
    from rllib_biac.reproduce import matrix_games
    from rllib_biac.reproduce.runs import run_all
    from rllib_biac.reproduce.training import settings

    short = [settings("BiAC", "escape", "main", seed) | {"steps": STEPS} for seed in range(runs)]
    finished = run_all(matrix_games.learn, short, folder / "runs.jsonl")
    if finished.failures:
        raise RuntimeError(finished.failures[0].reason)


KINDS: dict[str, Callable[[int, Path], None]] = {
    "Ray Tune, a process per trial": lambda runs, folder: by_tune(runs, folder, reuse_actors=False),
    "Ray Tune, `reuse_actors=True`": lambda runs, folder: by_tune(runs, folder, reuse_actors=True),
    "`rllib_biac.reproduce.runs`": by_runs,
}


def measure(kind: str, runs: int, answer: Any) -> None:
    """Does all runs of a kind in this process and a Ray of its own; answers with wall and CPU seconds."""
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    import ray

    from rllib_biac.experiments.cluster import worker_env

    ray.init(
        num_cpus=AT_ONCE,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env=worker_env(),
    )
    with tempfile.TemporaryDirectory() as folder, CpuSeconds() as cpu:
        begin, before = time.monotonic(), cpu.total()
        KINDS[kind](runs, Path(folder))
        wall, spent = time.monotonic() - begin, cpu.total() - before
    ray.shutdown()
    answer.put((wall, spent))


class CpuSeconds:
    """The CPU time of this process and of all that were ever below it, looked at every 0.1 s.

    Ray does not wait for its workers, so that the time of one that has ended is told nowhere afterwards.
    """

    def __init__(self) -> None:
        self._seen: dict[int, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> CpuSeconds:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            self.total()

    def total(self) -> float:
        """Returns the seconds so far."""
        import psutil  # Ray brings it along

        me = psutil.Process()
        for process in (me, *me.children(recursive=True)):
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            self._seen[process.pid] = times.user + times.system
        return sum(self._seen.values())


def main() -> None:
    """Measures all kinds, one after another, and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20, help="of each kind")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of results")
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    lines = []
    for kind in KINDS:
        answer = context.Queue()
        process = context.Process(target=measure, args=(kind, args.runs, answer))
        process.start()
        process.join()
        if process.exitcode:
            sys.exit(f"{kind}: failed.")
        wall, spent = answer.get()
        lines.append([kind, f"{wall:.1f}", f"{wall / args.runs:.2f}", f"{spent / args.runs:.2f}"])
    table = markdown(["", f"{args.runs} runs, s", "wall s per run", "CPU s per run"], lines)
    command = shlex.join(["python", "benchmarks/many_seeds.py", *sys.argv[1:]])
    text = (
        f"# Many seeds\n\n{args.runs} runs of Escape, {STEPS:,} env steps each, {AT_ONCE} at once, Bi-AC. Ray's own "
        f"start is not counted, the workers' is. Made by `{command}` ({versions()}).\n\n{table}\n"
    )
    (args.out / "many_seeds.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
