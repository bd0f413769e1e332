"""How far a long task is: one line that is written over in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time

import click


class Ticker:
    """Shows the progress of a task on stderr: often in a terminal, else at most once in `period` seconds.

    Args:
        what: is being done.
        unit: of what is counted.
        period: seconds between two lines where there is no terminal.
    """

    def __init__(self, what: str, unit: str, period: float = 3.0) -> None:
        self._what, self._unit = what, unit
        self._terminal = sys.stderr.isatty()
        self._period = 0.2 if self._terminal else period
        self._last = self._begin = time.monotonic()
        self._shown = False

    def __call__(self, done: int, total: int) -> None:
        """Shows how much is done, if it is time to."""
        now = time.monotonic()
        if now - self._last < self._period:
            return
        self._last, self._shown = now, True
        text = f"{self._what}: {done:,} of {total:,} {self._unit}"
        if done:
            text += f", about {(now - self._begin) * (total / done - 1):.0f}s left"
        click.echo(f"\r\x1b[K{text}" if self._terminal else text, err=True, nl=not self._terminal)

    def close(self) -> None:
        """Removes the line from the terminal."""
        if self._terminal and self._shown:
            click.echo("\r\x1b[K", err=True, nl=False)
            self._shown = False
