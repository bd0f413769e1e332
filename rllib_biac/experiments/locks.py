"""One command at a time in a run's folder: two would overwrite records and delete checkpoints of each other."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock

from rllib_biac.experiments.mistakes import Mistake
from rllib_biac.experiments.remote import is_remote
from rllib_biac.files.folders import text_of

_LOCK, _OWNER = ".lock", ".lock_owner"


@contextlib.contextmanager
def locked(folder: str, say: Callable[[str], None]) -> Iterator[None]:
    """Keeps other commands out of a run's folder while the context lasts.

    The operating system frees the lock as soon as its owner is dead, however it died.

    Args:
        folder: the run's folder, or its remote address, which cannot be locked.
        say: shows a line to a person.

    Raises:
        Mistake: if another command works there.
    """
    if is_remote(folder):
        say(f"{folder} cannot be locked: let no other command work there at the same time.")
        yield
        return
    path = Path(folder)
    lock = filelock.FileLock(path / _LOCK, timeout=0)
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout as error:
        raise Mistake(
            f"another command{_owner(path)} works in {folder}. Wait for it or stop it; or write another "
            "--experiment-name or --storage-path."
        ) from error
    except (OSError, NotImplementedError) as error:
        say(f"{folder} cannot be locked ({error}): let no other command work there at the same time.")
        yield
        return
    try:
        with contextlib.suppress(OSError):
            (path / _OWNER).write_text(json.dumps({"process": os.getpid(), "machine": socket.gethostname()}))
        yield
    finally:
        lock.release()


def _owner(folder: Path) -> str:
    try:
        owner = json.loads(text_of(folder / _OWNER))
        return f" (process {owner['process']} on {owner['machine']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
