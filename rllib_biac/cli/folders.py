"""Folders that a command writes to."""

from __future__ import annotations

import tempfile
from pathlib import Path

from rllib_biac.experiments.mistakes import Mistake


def writable(option: str, path: str) -> Path:
    """Makes a folder if needed and tests that it can be written, before any run starts.

    Args:
        option: that named the folder, for the message.
        path: as it was written.

    Raises:
        Mistake: if it cannot be made or written.
    """
    folder = Path(path).expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise Mistake(
            f"{option} {path}: cannot write there ({error.strerror or error}). Name another folder."
        ) from error
    return folder
