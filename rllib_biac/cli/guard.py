"""Games and files of the user run in the command's own process: they may not end it, nor write its answer."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

from rllib_biac.experiments.mistakes import Mistake


@contextlib.contextmanager
def guarded(what: str) -> Iterator[None]:
    """Says so where the user's code ends the process. The command would end too, with any exit code, and in silence.

    Args:
        what: runs meanwhile, for the message.

    Raises:
        Mistake: if it calls `sys.exit` or `os._exit`.
    """
    ours, end = os.getpid(), os._exit

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
