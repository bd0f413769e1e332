"""Many independent runs on Ray. Each writes one line of JSON when it ends, so an interrupted study can continue.

Ray gives one task after another to the same worker processes. So a run of half a CPU-second does not start a process
that imports Ray and torch. With Ray Tune each trial would.
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

from rllib_biac.experiments.clock import clock
from rllib_biac.experiments.mistakes import Mistake
from rllib_biac.experiments.pool import ray_for, run_each

Row = dict[str, Any]
PLAIN_PERIOD = 30.0  # s between lines if the output is not a terminal


@dataclass(frozen=True)
class Failure:
    """A run that raised an error, or whose worker process died more than `RETRIES` times."""

    settings: Row
    reason: str


@dataclass(frozen=True)
class Finished:
    """The results of runs.

    Attributes:
        rows: one row for each run that succeeded, in the order of the given settings.
        failures: the runs that failed.
    """

    rows: list[Row]
    failures: list[Failure] = field(default_factory=list)


def run_all(function: Callable[..., Row], runs: Iterable[Row], raw: Path, cpus: int | None = None) -> Finished:
    """Runs `function(**settings)` for all settings without a row in `raw`, and appends one line per finished run.

    A row is the settings, what the function returned, `settings_keys` (which of its keys are settings) and
    `cpu_seconds`. An interrupted call keeps its finished runs; the next call continues from there.

    Args:
        function: workers must be able to import it; returns the results of a run as JSON values.
        runs: settings of the runs, as JSON values. Runs of equal settings are one run.
        raw: a file of JSON lines. If its last line was cut off, it is removed.
        cpus: how many runs at the same time; None for all CPUs of the machine, or of a Ray that runs already.

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
    """Returns how many of these runs have no row in `raw`.

    Raises:
        Mistake: if a line of `raw` cannot be read.
    """
    done = {_key({key: row[key] for key in row["settings_keys"]}) for row in _read(raw)}
    return len({_key(settings) for settings in runs} - done)


def _finish(function: Callable[..., Row], todo: list[Row], cpus: int | None) -> Iterator[tuple[Row, str | None, str]]:
    """Yields settings, row (None where the run failed) and the reason of the failure, as runs end."""
    progress = _Progress(len(todo))
    progress.show(0)
    try:
        for finished, ended in enumerate(run_each(function, todo, cpus), 1):
            yield ended
            progress.show(finished)
    finally:
        progress.end()


class _Progress:
    """Shows progress: on a terminal one line that is overwritten, elsewhere a new line from time to time."""

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
            # Counted from the first finished run, because processes start before it.
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
    """Opens `raw` and gives a function that appends a line. The line is written when the function returns."""
    written = 0

    def failed(error: OSError) -> click.ClickException:
        return click.ClickException(
            f"cannot write to {raw}: {error.strerror or error}. {written:,} run(s) finished before are kept in it. "
            "Correct this and run the same command again: it continues from there."
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
        # Without a buffer in Python, nothing is left to write after a failed write.
        file = open(raw, "ab", buffering=0)  # noqa: SIM115  (closed below; errors of opening are told apart)
    except OSError as error:
        raise failed(error) from error
    with file:
        yield append


def _repair(raw: Path) -> None:
    """Completes the last line of a file: adds a missing line break, or removes a line that was cut off."""
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
                f"{raw}, line {number}: this is not a row of a finished run. Remove the line to repeat its run, "
                "or choose another folder with --out."
            ) from None


def _key(settings: Row) -> str:
    return json.dumps(settings, sort_keys=True)
