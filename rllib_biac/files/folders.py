"""Files and folders inside of a folder that others write to as well: what is in it may be anything, or vanish."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any


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


def no_file(path: Path) -> str | None:
    """Returns why there is no file to be read, such as `is missing`; None if there is one."""
    try:
        return None if stat.S_ISREG(path.stat().st_mode) else "is no file"
    except FileNotFoundError:
        return "is a link to nothing" if path.is_symlink() else "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def opened(path: Path, errors: str = "strict", newline: str | None = None) -> Any:
    """Opens a text file in UTF-8, unless it is none: reading a pipe that lies in its place might never end.

    Raises:
        OSError: if there is no file.
    """
    if why := no_file(path):
        raise OSError(f"{path} {why}")
    return open(path, encoding="utf-8", errors=errors, newline=newline)


def text_of(path: Path, errors: str = "strict") -> str:
    """Reads a text file whole; arguments and errors as for `opened`."""
    with opened(path, errors) as file:
        return str(file.read())
