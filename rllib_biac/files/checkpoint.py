"""What a checkpoint is on disk: whole or not there at all, of a format that says by which versions it can be read."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rllib_biac.files import inert

# Raised whenever older versions of the library could not read what is written, or newer ones what was. Version 0.1.0
# wrote format 2.
FORMAT = 3
# Every RLlib checkpoint has these files at its root.
METADATA = "rllib_checkpoint.json"
MADE_BY = "class_and_ctor_args.pkl"
_OWN = "rllib_biac"
_FILES = "files"


def metadata(**facts: Any) -> dict[str, Any]:
    """Returns what a checkpoint says of itself beside RLlib's own, for `METADATA`."""
    return {_OWN: {"format": FORMAT, "version": version("rllib_biac"), **facts}}


@contextlib.contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Gives a folder to write a checkpoint to, which takes the place of `folder` in one step once all is written.

    Whoever is killed on the way leaves `folder` as it was, and beside it a hidden folder that nobody takes for a
    checkpoint. A checkpoint that is there already is replaced as a whole; other files in `folder` stay.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    written = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".saving", dir=folder.parent))
    try:
        yield written
        _list_files(written)
        if not folder.exists() or not any(folder.iterdir()):
            os.chmod(written, 0o777 & ~_umask())  # temporary folders are their owner's alone
            os.replace(written, folder)
        elif (folder / METADATA).is_file():
            os.chmod(written, folder.stat().st_mode & 0o777)
            old = _set_aside(folder)
            os.replace(folder, old)
            os.replace(written, folder)
            shutil.rmtree(old)
        else:
            # Somebody's own folder: by the last file moved it becomes a checkpoint.
            for entry in sorted(written.iterdir(), key=lambda entry: entry.name == METADATA):
                os.replace(entry, folder / entry.name)
    finally:
        shutil.rmtree(written, ignore_errors=True)


def _set_aside(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.replaced"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _list_files(folder: Path) -> None:
    """Writes all files' sizes into the metadata, by which a copy that was cut short is known."""
    files = {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / METADATA
    }
    about = json.loads((folder / METADATA).read_text(encoding="utf-8"))
    about.setdefault(_OWN, {})[_FILES] = files
    (folder / METADATA).write_text(json.dumps(about, indent=1), encoding="utf-8")


def check(folder: Path) -> dict[str, Any]:
    """Looks a checkpoint over before anything in it is read.

    Returns:
        What it says of itself: `format` at least, 2 where version 0.1.0 made it, 1 where it says nothing.

    Raises:
        ValueError: if there is no checkpoint, it is not whole, or a newer version of the library made it.
    """
    if not folder.exists() and _set_aside(folder).is_dir():
        os.replace(_set_aside(folder), folder)  # whoever was about to replace it was killed between two steps
    if not (folder / METADATA).is_file():
        raise ValueError(f"{folder} is no checkpoint of an algorithm: it has no {METADATA}.")
    try:
        about = dict(json.loads((folder / METADATA).read_text(encoding="utf-8")).get(_OWN) or {"format": 1})
        made = int(about["format"])
        files = dict(about.get(_FILES, {}))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder} is damaged: {METADATA} cannot be read ({error!r}).") from error
    if made > FORMAT:
        raise ValueError(
            f"{folder} was made by a newer version of rllib_biac, {about.get('version')}: it has format {made}, and "
            f"this version, {version('rllib_biac')}, reads up to {FORMAT}. Upgrade the library to read it."
        )
    for name, size in files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            there = f"has {path.stat().st_size} of {size} bytes" if path.is_file() else "is missing"
            raise ValueError(
                f"{folder} is damaged: {name} {there}. It was probably cut short on its way here; take an earlier "
                "checkpoint, or copy it again."
            )
    return about


def check_current(folder: Path) -> None:
    """Looks over a checkpoint that a run is to go on from.

    Raises:
        ValueError: as `check`; if version 0.1.0 made it, whose training cannot go on, or another library.
    """
    about = check(folder)
    if about["format"] == FORMAT:
        return
    check_own(folder)
    raise ValueError(
        f"{folder} was made by version {about.get('version', '0.1.0')} of rllib_biac: its networks can be taken over "
        "with `rllib export CHECKPOINT FILE` and `algo.load_weights(FILE)`, but its training cannot be resumed."
    )


def check_own(folder: Path) -> str:
    """Returns the name of the algorithm that made a checkpoint of version 0.1.0. Nothing in the file is executed.

    Raises:
        ValueError: if the file is damaged, or it was another library's algorithm or one of the user's own.
    """
    if not (folder / MADE_BY).is_file():
        raise ValueError(f"{folder} is damaged: {MADE_BY} is missing.")
    # Tune derives a class from the algorithm's, and cloudpickle writes it as a whole.
    names = [(module, name) for module, name in inert.names(folder / MADE_BY) if "cloudpickle" not in module]
    if not names:
        raise ValueError(f"{folder} is damaged: {MADE_BY} cannot be read.")
    for module, name in names:
        if module.startswith(f"{_OWN}.algorithms."):
            return name
    raise ValueError(f"{folder} was made by {names[0][1]}, not by an algorithm of rllib_biac.")


def is_whole(folder: Path) -> bool:
    """Tells whether `check` finds nothing wrong with a checkpoint."""
    try:
        check(folder)
    except ValueError:
        return False
    return True
