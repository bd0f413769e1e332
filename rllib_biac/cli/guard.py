"""Games and files of the user run in the command's own process: they may not end it, nor write its answer."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

from rllib_biac.experiments.mistakes import Mistake

ENDING_SECONDS = 10.0


@contextlib.contextmanager
def guarded(what: str) -> Iterator[None]:
    """Says so where the user's code ends the process. The command would end too, with any exit code, and in silence.

    Standard output and errors are put back where that code replaces them.

    Args:
        what: runs meanwhile, for the message.

    Raises:
        Mistake: if it calls `sys.exit` or `os._exit`.
    """
    ours, end = os.getpid(), os._exit
    streams = sys.stdout, sys.stderr

    def refused(code: int) -> NoReturn:
        if os.getpid() != ours:
            end(code)  # a child that was forked ends as it always does
        raise _Exit(code)

    os._exit = refused  # type: ignore[assignment]
    try:
        yield
    except SystemExit as error:
        name = "os._exit" if isinstance(error, _Exit) else "sys.exit"
        raise Mistake(f"{what} called {name}({error.code}), which would end this command: take it out.") from error
    finally:
        os._exit = end
        sys.stdout, sys.stderr = streams


def end_in_time(code: Any) -> None:
    """Sees to it that the process ends soon: Python waits without limit for threads and processes that a game started.

    Args:
        code: of `SystemExit`, with which the process is to end.
    """
    threads = [one.name for one in threading.enumerate() if not one.daemon and one is not threading.main_thread()]
    running = threads + [one.name for one in multiprocessing.active_children()]

    def end() -> None:
        told = ", ".join(running[:3]) + (" and others" if len(running) > 3 else "")
        print(f"{told}, which the game started, ran on: ended.", file=sys.stderr, flush=True)
        os._exit(code if isinstance(code, int) else int(code is not None))

    if running:
        timer = threading.Timer(ENDING_SECONDS, end)
        timer.daemon = True
        timer.start()


class _Exit(SystemExit):
    """`os._exit` was called."""


@contextlib.contextmanager
def stdout_for_the_answer(only: bool) -> Iterator[None]:
    """Sends what is written to stdout meanwhile to stderr, what C libraries and child processes write as well.

    Args:
        only: whether stdout is for the command's answer only.
    """
    if not only:
        yield
        return
    stdout: Any = sys.stdout
    stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    try:
        yield
    finally:
        sys.stderr.flush()
        sys.stdout = stdout
        os.dup2(kept, 1)
        os.close(kept)
