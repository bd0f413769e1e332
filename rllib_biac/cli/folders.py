"""Folders that a command reads and writes."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from rllib_biac.experiments.mistakes import Mistake


def readable(path: str) -> Path:
    """Returns a folder that a command is to read; ~ is its user's own.

    Raises:
        Mistake: if nothing is written, or there is no such folder.
    """
    if not path.strip():
        raise Mistake("no folder is given: the path is empty (a variable of the shell that is not set?).")
    folder = Path(os.path.expanduser(path))
    if os.path.isfile(folder):
        raise Mistake(f"{path} is a file, not a folder: name the folder of a run, a trial or a checkpoint.")
    if not os.path.isdir(folder):
        raise Mistake(
            f"{path}: no such folder. `rllib train` prints at its end where its results are, and `rllib reproduce` "
            "writes them to --out."
        )
    return folder


def writable(option: str, path: str, *, keep: bool = True) -> Path:
    """Makes a folder if needed and tests that it can be written, before any run starts.

    Args:
        option: that named the folder, for the message.
        path: as it was written.
        keep: whether folders that were made for this stay.

    Raises:
        Mistake: if it cannot be made or written.
    """
    folder = Path(path).expanduser().absolute()
    try:
        made = [] if keep else [each for each in (folder, *folder.parents) if not each.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        for each in made:
            each.rmdir()
    except OSError as error:
        raise Mistake(
            f"{option} {path}: cannot write there ({error.strerror or error}). Name another folder."
        ) from error
    return folder
