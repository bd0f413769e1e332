"""Folders inside of a folder, while somebody else may be removing them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def folders_in(top: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yields every folder at or below `top`, and the names of its files.

    Links to folders are followed; a folder that several ways lead to comes once. What cannot be read, or vanishes
    meanwhile, is passed over.
    """
    seen: set[str] = set()
    for at, inside, files in os.walk(top, followlinks=True):
        if (real := os.path.realpath(at)) in seen:
            inside.clear()
            continue
        seen.add(real)
        inside.sort()
        yield Path(at), files
