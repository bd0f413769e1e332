"""Runs inside one library's environment: does jobs from standard input and answers on standard output, in JSON lines.

python worker.py LIBRARY
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from job import CHECKED, NAMES, Job, Status

WARM = 100  # updates before anything is timed

Train = Callable[[Job], Iterator[Status]]


class Clock:
    """CPU time, user and system, of this process and of its living descendants, such as Ray's.

    Descendants here watch the machine and do no work for the run: what they spend goes by the wall clock. On a machine
    shared with others that is more of it, so they are counted as if this process had a core for itself.
    """

    def __init__(self) -> None:
        self._children, self._wall, self._begin = self.children(), time.monotonic(), time.process_time()

    def own(self) -> float:
        """Returns the seconds of this process alone."""
        return time.process_time() - self._begin

    def all(self) -> float:
        """Returns the seconds of all; what a process spent that has ended since is lost."""
        own, wall = self.own(), time.monotonic() - self._wall
        return own + max(0.0, self.children() - self._children) * min(1.0, own / wall)

    @staticmethod
    def children() -> float:
        """Returns the seconds of all living descendants so far."""
        import psutil  # where ours runs, Ray brings it along, and puts it where it can be found when it is imported

        spent = 0.0
        for child in psutil.Process().children(recursive=True):
            try:
                times = child.cpu_times()
            except psutil.Error:  # it has ended
                continue
            spent += times.user + times.system
        return spent


def timed(run: Iterator[Status], seconds: float) -> dict[str, float]:
    """Trains for so many CPU-seconds; returns updates and env steps per CPU-second."""
    first = last = next(run)
    clock = Clock()
    while clock.own() < seconds:
        last = next(run)
    spent = clock.all()
    return {"updates": (last.updates - first.updates) / spent, "steps": (last.steps - first.steps) / spent}


def solved(run: Iterator[Status], steps: int) -> dict[str, Any]:
    """Trains for so many env steps, looking at greedy play every `CHECKED`.

    Returns:
        `play`, the greedy joint action at the end; and `at`, the env steps and CPU-seconds after which it was C-Z each
        time until the end, None if it was not.
    """
    status = next(run)
    spent, looked, at = 0.0, 0, None
    while status.steps < steps:
        clock = Clock()
        while status.steps - looked < CHECKED and status.steps < steps:
            status = next(run)
        spent += clock.all()
        looked, play = status.steps, status.greedy()
        if play != [2, 2]:
            at = None
        elif at is None:
            at = {"steps": status.steps, "seconds": spent}
    return {"at": at, "play": "-".join(names[action] for names, action in zip(NAMES, play, strict=True))}


def work(library: str) -> None:
    """Does what is asked for until there is no more to read."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # all other output is a log
    warnings.simplefilter("ignore")
    train: Train = importlib.import_module(f"train_{library.lower()}").train
    runs: dict[Job, Iterator[Status]] = {}  # being timed; they go on from round to round
    start_up = 0.0
    for line in sys.stdin:
        task = json.loads(line)
        job = Job(**{name: frozen(value) for name, value in task["job"].items()})
        if not start_up:
            next(run := train(job))
            start_up = time.process_time() + Clock.children()
            run.close()
        if "seconds" in task:
            if job not in runs:
                runs[job] = train(job)
                while next(runs[job]).updates < WARM:
                    pass
            answer = timed(runs[job], task["seconds"])
        else:
            while runs:
                runs.popitem()[1].close()
            answer = solved(run := train(job), task["steps"])
            run.close()
        answers.write(json.dumps(answer | {"start_up": start_up}) + "\n")


def frozen(value: Any) -> Any:
    """Returns a value of JSON's with tuples for lists, so that it can be hashed."""
    return tuple(frozen(item) for item in value) if isinstance(value, list) else value


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    work(sys.argv[1])
