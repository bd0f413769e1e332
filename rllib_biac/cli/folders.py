"""Folders that a command writes to."""

from __future__ import annotations

import tempfile
from pathlib import Path

from rllib_biac.experiments.mistakes import Mistake


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
    made = [] if keep else [each for each in (folder, *folder.parents) if not each.exists()]
    try:
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
