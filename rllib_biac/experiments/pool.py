"""Many independent calls in Ray's worker processes, which one call after another reuses."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
import torch

from rllib_biac.experiments.cluster import start_here
from rllib_biac.experiments.local_ray import nothing_left_of_ray

Row = dict[str, Any]
RETRIES = 2  # after the death of a worker process


@contextmanager
def ray_for(cpus: int | None = None) -> Iterator[None]:
    """Starts Ray on this machine while the context lasts. Uses a Ray that runs already and does not stop it."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray prints a warning between our lines
    with nothing_left_of_ray():
        start_here(cpus)
        yield


def run_each(
    function: Callable[..., Row], todo: list[Row], cpus: int | None = None
) -> Iterator[tuple[Row, str | None, str]]:
    """Calls a function in worker processes, once for each of many settings. Ray runs already.

    Args:
        function: workers must be able to import it; returns JSON values.
        todo: the settings of each call.
        cpus: how many calls at the same time; None for all CPUs.

    Yields:
        As calls end: the settings; settings and results as a line of JSON, None where the call failed; the reason of
        the failure.
    """
    slots = min(int(ray.cluster_resources().get("CPU", 1)), cpus or sys.maxsize)
    waiting = list(reversed(todo))
    pending: dict[Any, Row] = {}
    while waiting or pending:
        # Submit only what can run now: a submitted task that waits could not be taken back.
        while waiting and len(pending) < slots:
            settings = waiting.pop()
            pending[_run.remote(function, settings)] = settings
        (ready, *_), _ = ray.wait(list(pending))
        settings = pending.pop(ready)
        try:
            row, reason = ray.get(ready), ""
        except ray.exceptions.RayError as error:
            row, reason = None, _reason(error)
        yield settings, row, reason


@ray.remote(num_cpus=1, max_retries=RETRIES)
def _run(function: Callable[..., Row], settings: Row) -> str:
    torch.set_num_threads(1)
    begin = time.process_time()
    found = function(**settings)
    spent = {"settings_keys": list(settings), "cpu_seconds": round(time.process_time() - begin, 2)}
    # Encoded here, so that a result that is not JSON fails this run and not the study.
    return json.dumps({**settings, **found, **spent}, allow_nan=False)


def _reason(error: Exception) -> str:
    if isinstance(error, ray.exceptions.WorkerCrashedError):
        return f"its worker process died, {1 + RETRIES} times over (killed, or out of memory)"
    cause = getattr(error, "cause", None) or error
    return f"{type(cause).__name__}: {str(cause).strip().splitlines()[0] if str(cause).strip() else ''}"
