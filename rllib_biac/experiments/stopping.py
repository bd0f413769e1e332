"""How a run is stopped from outside: by Ctrl-C, a supervisor (SIGTERM, SIGUSR1), a terminal that closes (SIGHUP)."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name))
GRACE_S = "RLLIB_BIAC_GRACE_S"
# Kubernetes and Slurm kill after 30 s by default. Who pressed Ctrl-C can press it again.
_SUPERVISOR_S, _PERSON_S = 25.0, 600.0
# Of this time, for what comes after all trials have saved: Tune's last record, and ending Ray.
_ENDING_S = 10.0


class Stopped(KeyboardInterrupt):
    """The run ends at once.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number

    @property
    def exit_code(self) -> int:
        """As shells have it: 128 and the signal's number."""
        return 128 + self.number


class Stopping:
    """Takes signals while its context lasts.

    While trials train, the first signal lets them save: `requested` is set, and `overdue` tells when it is time to stop
    waiting for them. At any other time, and from the second signal on, `Stopped` is raised in the main thread. If the
    process is still there when the time is over, it is ended from another thread: nothing that hangs can prevent it.

    Args:
        say: shows a line to a person.
        end: ends the process with an exit code.
    """

    def __init__(self, say: Callable[[str], None], end: Callable[[int], None] = os._exit) -> None:
        self._say, self._end = say, end
        self._training = False
        self._deadline = float("inf")
        self._last: threading.Timer | None = None
        self._before: dict[int, Any] = {}
        self.requested = threading.Event()
        self.number: int | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in SIGNALS}
            self.take()
        return self

    def __exit__(self, *raised: Any) -> None:
        if self._last is not None:
            self._last.cancel()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def exit_code(self) -> int:
        """128 and the number of the first signal; 0 if there was none."""
        return 0 if self.number is None else 128 + self.number

    @property
    def overdue(self) -> bool:
        """Whether trials that have not saved are not waited for any longer."""
        return time.monotonic() >= self._deadline

    @contextlib.contextmanager
    def training(self) -> Iterator[None]:
        """While trials train, the first signal lets them save.

        Raises:
            Stopped: at once, if there was a signal before.
        """
        if self.number is not None:
            raise Stopped(self.number)
        self.take()
        self._training = True
        try:
            yield
        finally:
            self._training = False

    def take(self) -> None:
        """Takes signals again: starting Ray puts a handler of its own in the place of ours."""
        for number in self._before:
            if number == signal.SIGHUP and self._before[number] == signal.SIG_IGN:
                continue  # nohup
            signal.signal(number, self._handle)

    def take_over(self, number: int) -> Any:
        """Takes a signal from whoever had it in the meantime; returns that handler."""
        handler = signal.getsignal(number)
        if number in self._before:
            signal.signal(number, self._handle)
        return handler

    def _handle(self, number: int, frame: Any) -> None:
        if number == getattr(signal, "SIGHUP", None):
            _leave_terminal()
        again, self.number = self.number is not None, self.number or number
        seconds = _grace(number)
        if again or not self._training:
            self._end_within(min(_ENDING_S, seconds))
            raise Stopped(self.number)
        self._deadline = time.monotonic() + max(seconds - _ENDING_S, seconds / 2)
        self._end_within(seconds)
        self.requested.set()
        name = "" if number == signal.SIGINT else f" ({signal.Signals(number).name})"
        self._say(f"\nStopping after this iteration{name}, within {seconds:g} s (again to stop at once) ...")

    def _end_within(self, seconds: float) -> None:
        if self._last is not None:
            self._last.cancel()
        self._last = threading.Timer(seconds, self._end, (self.exit_code,))
        self._last.daemon = True
        self._last.start()


def _grace(number: int) -> float:
    try:
        return max(float(os.environ[GRACE_S]), 1.0)
    except (KeyError, ValueError):
        return _PERSON_S if number == signal.SIGINT else _SUPERVISOR_S


def _leave_terminal() -> None:
    """Writes to nowhere from now on if the terminal is gone: every line would raise an error."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            fd = stream.fileno()
            try:
                os.write(fd, b"\n")
            except OSError:
                with open(os.devnull, "wb") as nowhere:
                    os.dup2(nowhere.fileno(), fd)
