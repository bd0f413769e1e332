"""Two runners against one, by the clock."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import numpy as np
from ray.rllib.utils.actor_manager import FaultTolerantActorManager
from ray.thirdparty_files import psutil
from settings import BATCH, LAGS, Setting, Window, build, runners_of, switch, train_for

PYTHON_GAME = "rllib_biac.envs.merge_v0:parallel_env"

# name -> the game, games of a runner, steps of a fragment, rows trained per row
SPEEDUPS: dict[str, tuple[str, int, int, float]] = {
    "Merge, little learning": ("merge_v0", 256, 16, 0.0625),
    "Merge, as much learning as in the tuned example": ("merge_v0", 32, 4, 16.0),
    "Merge as a PettingZoo game in Python": (PYTHON_GAME, 16, 16, 4.0),
}


@contextmanager
def first_in_line(wanted: bool) -> Iterator[None]:
    """Lets this program's processes go before all others on the machine, if wanted, for a few seconds."""
    me = psutil.Process()
    threads = [thread.id for process in (me, *me.children(recursive=True)) for thread in process.threads()]

    def schedule(policy: int, priority: int) -> None:
        for thread in threads if wanted else ():
            with suppress(ProcessLookupError):
                os.sched_setscheduler(thread, policy, os.sched_param(priority))

    schedule(os.SCHED_RR, 1)
    try:
        yield
    finally:
        schedule(os.SCHED_OTHER, 0)


def compare(args: argparse.Namespace) -> list[str]:
    """Measures one and two runners in turn, round by round; returns the lines of the table."""
    lines = [
        "| what | | games x steps of a fragment | an update of 64 rows every | wall time per env step, µs: one runner "
        "| two | times as fast, median | range | cores that others used beside one, two | rounds |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, (env, games, fragment, intensity) in SPEEDUPS.items():
        algo = build(Setting(2, games, fragment, intensity), env)
        both = runners_of(algo)
        for how, lag in LAGS.items():
            setting = Setting(2, games, fragment, intensity, lag)
            rounds: list[list[float]] = []  # of one and of two: wall time per env step; cores that others used
            begin = time.monotonic()
            quiet = 0
            while len(rounds) < args.rounds or (quiet < args.rounds and time.monotonic() - begin < args.patience):
                walls, others = [], []
                for runners in (1, 2):
                    switch(algo, replace(setting, runners=runners), both[:runners])
                    with first_in_line(args.real_time):
                        algo.train()
                        window = Window(algo)
                        steps, _ = train_for(algo, args.seconds)
                        spent = window.spent()
                    walls.append(spent["wall"] / steps)
                    others.append(spent["others"])
                rounds.append([*walls, *others])
                quiet += max(others) <= args.quiet
            # The quietest rounds, whatever they say: chosen by what others did, not by what was measured.
            chosen = np.array(sorted(rounds, key=lambda each: max(each[2:]))[: args.rounds])
            one, two = 1e6 * np.median(chosen[:, :2], axis=0)
            ratios = chosen[:, 0] / chosen[:, 1]
            lines.append(
                f"| {name} | {how} | {games} x {fragment} | {BATCH / intensity:,.0f} steps | {one:.1f} | {two:.1f} "
                f"| {np.median(ratios):.2f} | {ratios.min():.2f} to {ratios.max():.2f} "
                f"| {np.median(chosen[:, 2]):.2f}, {np.median(chosen[:, 3]):.2f} | {len(rounds)} |"
            )
            print(lines[-1], flush=True)
        algo.env_runner_group._worker_manager = FaultTolerantActorManager(both, init_id=1)
        algo.stop()
    return lines


ABOUT_SPEEDUP = (
    "Bi-AC, hidden layers 64-64, wall time of whole iterations: playing, replay, learning, weights. With `sync` every "
    "runner plays with the newest weights and the slowest is waited for; with `async` (`max_sampling_lag`) playing "
    "goes on while learning does. One and two runners take turns within each round, some seconds each. Of all rounds "
    "those count in which others used the machine least, whatever they say of the ratio. With `--real-time` nobody "
    "else comes between while it is measured, and others have what is left over.",
)
