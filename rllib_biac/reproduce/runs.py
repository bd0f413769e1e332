"""Many independent runs on Ray: one line of JSON each, written as it ends, so that a study goes on where it stopped.

Ray hands one task after another to the same worker processes: a run of half a CPU-second does not pay for the start of
a process that imports Ray and torch, as each trial of Ray Tune would.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import ray
import torch

from rllib_biac.experiments.clock import clock
from rllib_biac.experiments.cluster import worker_env
from rllib_biac.experiments.mistakes import Mistake

Row = dict[str, Any]
RETRIES = 2  # after the death of a worker process
PLAIN_PERIOD = 30.0  # s between lines where nobody watches


@dataclass(frozen=True)
class Failure:
    """A run that raised, or whose worker process died more than `RETRIES` times."""

    settings: Row
    reason: str


@dataclass(frozen=True)
class Finished:
    """What became of runs.

    Attributes:
        rows: of those that ended well, in the order their settings were given.
        failures: the others.
    """

    rows: list[Row]
    failures: list[Failure] = field(default_factory=list)


def run_all(function: Callable[..., Row], runs: Iterable[Row], raw: Path, cpus: int | None = None) -> Finished:
    """Runs `function(**settings)` for all settings that `raw` has no row of yet, appending one line per finished run.

    A row is the settings, what the function returned, `settings_keys` (which of its keys are settings) and
    `cpu_seconds`. An interrupted call keeps what was finished; the next one goes on from there.

    Args:
        function: importable by workers; returns what the run found out, as JSON values.
        runs: settings of the runs, as JSON values. Runs of equal settings are one run.
        raw: a file of JSON lines. A last line that was cut off is removed.
        cpus: runs at once; default: all of the machine, or of the Ray that is running already.

    Returns:
        The rows of all settings given, in their order, and the runs that failed.

    Raises:
        Mistake: if a line of `raw` cannot be read.
        click.ClickException: if a row cannot be written (a full disk, say); the rows before it are kept.
    """
    runs = list(runs)
    _repair(raw)
    done = {_key({key: row[key] for key in row["settings_keys"]}): row for row in _read(raw)}
    todo = {_key(settings): settings for settings in runs if _key(settings) not in done}
    failures = []
    if todo:
        with ray_for(cpus), _appending(raw) as append:
            for settings, row, reason in _finish(function, list(todo.values()), cpus):
                if row is None:
                    failures.append(Failure(settings, reason))
                else:
                    append(row)
                    done[_key(settings)] = json.loads(row)
    return Finished([done[key] for key in map(_key, runs) if key in done], failures)


def count_missing(runs: Iterable[Row], raw: Path) -> int:
    """Returns how many of these runs `raw` has no row of.

    Raises:
        Mistake: if a line of `raw` cannot be read.
    """
    done = {_key({key: row[key] for key in row["settings_keys"]}) for row in _read(raw)}
    return len({_key(settings) for settings in runs} - done)


@contextmanager
def ray_for(cpus: int | None = None) -> Iterator[None]:
    """Starts Ray on this machine for as long as the context lasts; leaves a Ray that is running already alone."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else a warning stands between our lines
    try:
        ray.init(
            num_cpus=cpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            runtime_env=worker_env(),
        )
        yield
    finally:
        ray.shutdown()


@ray.remote(num_cpus=1, max_retries=RETRIES)
def _run(function: Callable[..., Row], settings: Row) -> str:
    torch.set_num_threads(1)
    begin = time.process_time()
    found = function(**settings)
    spent = {"settings_keys": list(settings), "cpu_seconds": round(time.process_time() - begin, 2)}
    # Made into text here, so that a result which is no JSON fails its run instead of the study.
    return json.dumps({**settings, **found, **spent}, allow_nan=False)


def _finish(function: Callable[..., Row], todo: list[Row], cpus: int | None) -> Iterator[tuple[Row, str | None, str]]:
    """Yields settings, row (None where the run failed) and the reason of the failure, as runs end."""
    slots = min(int(ray.cluster_resources().get("CPU", 1)), cpus or sys.maxsize)
    waiting = list(reversed(todo))
    pending: dict[Any, Row] = {}
    progress = _Progress(len(todo))
    progress.show(0)
    try:
        while waiting or pending:
            # No more than can run: what is submitted and not begun could not be taken back.
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
            progress.show(len(todo) - len(waiting) - len(pending))
    finally:
        progress.end()


def _reason(error: Exception) -> str:
    if isinstance(error, ray.exceptions.WorkerCrashedError):
        return f"its worker process died, {1 + RETRIES} times over (killed, or out of memory)"
    cause = getattr(error, "cause", None) or error
    return f"{type(cause).__name__}: {str(cause).strip().splitlines()[0] if str(cause).strip() else ''}"


class _Progress:
    """One line that is written over and over on a terminal, and elsewhere a line now and then."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._watched = sys.stderr.isatty()
        self._begin = time.monotonic()
        self._first: tuple[int, float] | None = None
        self._last = self._begin

    def show(self, finished: int) -> None:
        now = time.monotonic()
        text = f"{finished:,} of {self._total:,} runs, {clock(now - self._begin)}"
        if self._first is not None:
            # From the first run that ended on: until then processes were starting.
            done, since = self._first
            text += f", about {clock((now - since) / (finished - done) * (self._total - finished))} left"
        elif finished:
            self._first = (finished, now)
        if self._watched:
            print(f"\r{text}\033[K", end="", file=sys.stderr, flush=True)
        elif now - self._last >= PLAIN_PERIOD or finished in (0, self._total):
            self._last = now
            print(text, file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._watched:
            print(file=sys.stderr)


@contextmanager
def _appending(raw: Path) -> Iterator[Callable[[str], None]]:
    """Gives a function that appends a line; it is on its way to the disk when the function returns."""
    written = 0

    def failed(error: OSError) -> click.ClickException:
        return click.ClickException(
            f"cannot write to {raw}: {error.strerror or error}. {written:,} run(s) finished before are kept in it; "
            "once that is mended, the same command goes on from there."
        )

    def append(line: str) -> None:
        nonlocal written
        rest = memoryview(f"{line}\n".encode())
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except OSError as error:
            raise failed(error) from error
        written += 1

    try:
        raw.parent.mkdir(parents=True, exist_ok=True)
        # Without a buffer of Python's nothing is left to be written when writing has failed.
        file = open(raw, "ab", buffering=0)  # noqa: SIM115  (closed below; errors of opening are told apart)
    except OSError as error:
        raise failed(error) from error
    with file:
        yield append


def _repair(raw: Path) -> None:
    """Ends the last line of a file: by a line break, or by removing it where it was cut off."""
    if not raw.exists():
        return
    content = raw.read_bytes()
    last = content[content.rfind(b"\n") + 1 :]
    if not last:
        return
    with open(raw, "r+b") as file:
        try:
            json.loads(last)
        except ValueError:
            file.truncate(len(content) - len(last))
        else:
            file.seek(0, os.SEEK_END)
            file.write(b"\n")


def _read(raw: Path) -> Iterator[Row]:
    if not raw.exists():
        return
    content = raw.read_bytes()
    lines = content.splitlines()
    if lines and not content.endswith(b"\n"):
        try:
            json.loads(lines[-1])
        except ValueError:
            lines.pop()  # cut off
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            yield row | {"settings_keys": [key for key in row["settings_keys"] if key in row]}
        except (ValueError, TypeError, KeyError):
            raise Mistake(
                f"{raw}, line {number}: this is no row of a finished run. Remove the line, and its run is done again; "
                "or choose another folder with --out."
            ) from None


def _key(settings: Row) -> str:
    return json.dumps(settings, sort_keys=True)
