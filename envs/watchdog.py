"""A game that hangs while it is looked at: it is named, interrupted where that can be done, and ended where it cannot.

What hangs may hold Python's own lock, in C code, so that no thread of this process runs any more. Therefore another
process watches.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from types import FrameType
from typing import Any, Self

from rllib_biac.envs.errors import GameError

# A call may take so long, in seconds; from when on its user is told; how long it may take to give in.
CALL_SECONDS, TOLD_SECONDS, GRACE_SECONDS = 300.0, 20.0, 5.0
# What interrupts the main thread, sleeps included. Few programs use it, and Ctrl-C is its user's.
_SIGNAL: signal.Signals | None = getattr(signal, "SIGVTALRM", None)

# The watching process: reads what is called now, a line each, until its standard input ends.
_WATCHES = """
import os, select, signal, sys
parent, number, call, told, grace = int(sys.argv[1]), int(sys.argv[2]), *map(float, sys.argv[3:])
for other in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(other, signal.SIG_IGN)
def say(text):
    os.write(2, text.encode() + b"\\n")
def hangs(seconds):
    while not select.select([0], [], [], seconds)[0]:
        if os.getppid() == parent:
            return True
        sys.exit()
    global doing
    given = os.read(0, 4096)
    if not given:
        sys.exit()
    doing = given.decode().split("\\n")[-2]
    return False
doing = ""
while True:
    if not hangs(told):
        continue
    say(f"{doing} of the game has not come back in {told:g} s; it is waited for {call:g} s.")
    if not hangs(call - told):
        continue
    if number:
        os.kill(parent, number)
        if not hangs(grace):
            continue
    say(f"Error: {doing} of the game hangs: it has not come back in {call:g} s, and cannot be interrupted. "
        "This process is ended.")
    os.kill(parent, signal.SIGKILL)
    sys.exit()
"""


class Watchdog:
    """Watches over calls to a game while its context lasts.

    A call that takes more than `CALL_SECONDS` raises a `GameError` that names it, in the main thread, also out of a
    sleep. What does not give in to that within `GRACE_SECONDS`, such as C code, or what hangs in another thread, cannot
    be saved: the call is named on stderr, and the process is killed (exit code 137, as shells have it).
    """

    def __init__(self) -> None:
        self._call = ""
        self._watching: subprocess.Popen[bytes] | None = None
        self._before: Any = None

    def __enter__(self) -> Self:
        if not hasattr(os, "getppid") or _SIGNAL is None or not sys.executable:
            return self  # no POSIX
        interrupts = threading.current_thread() is threading.main_thread()
        if interrupts:
            self._before = signal.signal(_SIGNAL, self._interrupt)
        numbers = [os.getpid(), int(_SIGNAL) if interrupts else 0, CALL_SECONDS, TOLD_SECONDS, GRACE_SECONDS]
        with contextlib.suppress(OSError):  # no process to be had: play goes on unwatched
            self._watching = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _WATCHES, *map(str, numbers)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
            )
        return self

    def __call__(self, call: str) -> None:
        """Says which call comes next: `"reset()"`. Its time begins."""
        if call != self._call and self._watching is not None and self._watching.stdin is not None:
            self._call = call
            with contextlib.suppress(OSError):
                os.write(self._watching.stdin.fileno(), f"{call}\n".encode())

    def __exit__(self, *raised: object) -> None:
        if self._watching is not None:
            self._watching.kill()
            self._watching.communicate()
        if self._before is not None and _SIGNAL is not None:
            signal.signal(_SIGNAL, self._before)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        raise GameError(f"{self._call} hangs: it has not come back in {CALL_SECONDS:g} s.")
