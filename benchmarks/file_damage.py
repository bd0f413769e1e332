"""What can become of a file besides a flipped bit. `benchmarks/bit_flips.py` does each to each file of a run."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

NOBODY = 65534
UNREADABLE = "not to be read by its rights"


def cut_off(path: Path, other: Path) -> None:
    """The second half is lost."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def last_byte_lost(path: Path, other: Path) -> None:
    """The last byte is lost."""
    path.write_bytes(path.read_bytes()[:-1])


def emptied(path: Path, other: Path) -> None:
    """Nothing is left in it."""
    path.write_bytes(b"")


def longer(path: Path, other: Path) -> None:
    """Something has been appended."""
    path.write_bytes(path.read_bytes() + b"\0" * 100)


def zeros(path: Path, other: Path) -> None:
    """A disk gives zeros instead of it."""
    path.write_bytes(b"\0" * path.stat().st_size)


def exchanged(path: Path, other: Path) -> None:
    """Another file is in its place."""
    path.write_bytes(other.read_bytes() + (b" " if other.read_bytes() == path.read_bytes() else b""))


def missing(path: Path, other: Path) -> None:
    """It is gone."""
    path.unlink()


def a_folder(path: Path, other: Path) -> None:
    """A folder of its name is in its place."""
    path.unlink()
    path.mkdir()


def a_loop(path: Path, other: Path) -> None:
    """A link to itself is in its place."""
    path.unlink()
    path.symlink_to(path)


def a_link_to_nothing(path: Path, other: Path) -> None:
    """A link to a file that is gone is in its place."""
    path.unlink()
    path.symlink_to(path.with_name("gone"))


def a_pipe(path: Path, other: Path) -> None:
    """A pipe, which nobody writes to, is in its place."""
    path.unlink()
    os.mkfifo(path)


def unreadable(path: Path, other: Path) -> None:
    """Its rights let nobody read it."""
    path.chmod(0)


DAMAGE: dict[str, Callable[[Path, Path], None]] = {
    "cut off in the middle": cut_off,
    "the last byte lost": last_byte_lost,
    "emptied": emptied,
    "longer": longer,
    "zeros": zeros,
    "another file of its kind": exchanged,
    "missing": missing,
    "a folder": a_folder,
    "a link to itself": a_loop,
    "a link to nothing": a_link_to_nothing,
    "a pipe": a_pipe,
    UNREADABLE: unreadable,
}


@contextlib.contextmanager
def damaged(path: Path, other: Path, kind: str) -> Iterator[None]:
    """Damages a file while the context lasts.

    Args:
        path: of the file.
        other: another file of its kind, such as the same one of another run.
        kind: one of `DAMAGE`.
    """
    kept = path.with_name(f".{path.name}.kept")
    shutil.copy2(path, kept)
    try:
        DAMAGE[kind](path, other)
        with rights_count() if kind == UNREADABLE else contextlib.nullcontext():
            yield
    finally:
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
        os.replace(kept, path)


@contextlib.contextmanager
def rights_count() -> Iterator[None]:
    """Lets rights of files count for root too."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
