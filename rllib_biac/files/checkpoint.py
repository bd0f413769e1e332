"""What a checkpoint is on disk: whole or not there at all, of a format that says by which versions it can be read."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

from rllib_biac.files import inert
from rllib_biac.files.damage import UNSEALED, DamagedFile, seal_holds, sealed, sha256
from rllib_biac.files.folders import no_file

# Raised whenever older versions of the library could not read what is written, or newer ones what was. Version 0.1.0
# wrote format 2.
FORMAT = 3
# Every RLlib checkpoint has these files at its root.
METADATA = "rllib_checkpoint.json"
MADE_BY = "class_and_ctor_args.pkl"
_OWN = "rllib_biac"
# A part that every algorithm's checkpoint has, and the modules that it names from this format on.
_PART, _NOW = "learner_group", "rllib_biac.rllib."
_FILES = "files"
_UNFINISHED = ".saving"
_MOST_BYTES = 2**26
_SEAL = "rllib_biac_seal"  # of the metadata; beside `_OWN`, so that one flipped bit does not hide both


def metadata(**facts: Any) -> dict[str, Any]:
    """Returns what a checkpoint says of itself beside RLlib's own, for `METADATA`."""
    return {_OWN: {"format": FORMAT, "version": version("rllib_biac"), **facts}}


@contextlib.contextmanager
def replacing(folder: Path, owner: str = "") -> Iterator[Path]:
    """Gives a folder to write a checkpoint to, which takes the place of `folder` in one step once all is written.

    Whoever is killed on the way leaves `folder` as it was, and beside it a hidden folder that nobody takes for a
    checkpoint; `clear_unfinished` removes it. A checkpoint that is there already is replaced as a whole; other files
    in `folder` stay.

    Args:
        folder: the checkpoint.
        owner: whose it is, where its own name is new each time: a trial's name.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    clear_unfinished(folder.parent, owner or folder.name)
    written, held = _unfinished(folder.parent, owner or folder.name)
    try:
        yield written
        _list_files(written)
        old = _set_aside(folder)
        if not folder.exists() or not any(folder.iterdir()):
            os.chmod(written, 0o777 & ~_umask())  # temporary folders are their owner's alone
            os.replace(written, folder)
        elif (folder / METADATA).is_file():
            os.chmod(written, folder.stat().st_mode & 0o777)
            _clear(old, folder)  # whoever replaced it before was killed before he could
            os.replace(folder, old)
            os.replace(written, folder)
        else:
            _move(written, folder)  # somebody's own folder
        _clear(old, folder)
    finally:
        shutil.rmtree(written, ignore_errors=True)
        if held is not None:
            os.close(held)


def clear_unfinished(place: Path, owner: str) -> None:
    """Removes what this owner's saves left behind that were killed; never what is being written, nor another's.

    Args:
        place: the folder of the checkpoints.
        owner: as for `replacing`.
    """
    name = re.compile(rf"\.{re.escape(owner)}\.\w+{re.escape(_UNFINISHED)}")
    for path in place.iterdir():
        if name.fullmatch(path.name):
            with contextlib.suppress(OSError):  # it is being written, or may not be removed
                if (held := _hold(path)) is not None:
                    shutil.rmtree(path, ignore_errors=True)
                    os.close(held)


def _unfinished(place: Path, owner: str) -> tuple[Path, int | None]:
    """Makes a folder to write a checkpoint to, and holds it."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f".{owner}.", suffix=_UNFINISHED, dir=place))
        try:
            return folder, _hold(folder)
        except (BlockingIOError, FileNotFoundError):  # somebody was faster, and took it for left behind
            continue


def _hold(folder: Path) -> int | None:
    """Locks a folder until the file that is returned is closed, or its process dies.

    Returns:
        None where folders cannot be locked: there none is held, and none is taken for left behind.

    Raises:
        BlockingIOError: if somebody else holds it.
        FileNotFoundError: if it is gone.
    """
    if fcntl is None:
        return None
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        raise
    except OSError:
        os.close(held)
        return None
    return held


def _set_aside(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.replaced"


def _clear(old: Path, folder: Path) -> None:
    """Removes a checkpoint that was replaced. What is no part of it moves to the new one's folder."""
    if not old.is_dir():
        return
    try:
        listed = json.loads((old / METADATA).read_text(encoding="utf-8"))[_OWN][_FILES]
    except (OSError, ValueError, KeyError, TypeError):
        listed = {}  # not ours to sort
    parts = {name.partition("/")[0] for name in listed} | {METADATA}
    for entry in sorted(old.iterdir(), key=lambda entry: entry.name == METADATA):
        if listed and entry.name not in parts and not (folder / entry.name).exists():
            os.replace(entry, folder / entry.name)
        elif entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    old.rmdir()


def _move(written: Path, folder: Path) -> None:
    """Moves files into a folder that has others. By the last one it becomes a checkpoint.

    An earlier move may have been cut short, so folders may be there already.
    """
    for entry in sorted(written.iterdir(), key=lambda entry: entry.name == METADATA):
        target = folder / entry.name
        if entry.is_dir() and target.is_dir():
            _move(entry, target)
        else:
            os.replace(entry, target)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _list_files(folder: Path) -> None:
    """Writes all files' sizes and hashes into the metadata, and seals it."""
    files = {
        path.relative_to(folder).as_posix(): [path.stat().st_size, sha256(path)]
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / METADATA
    }
    about = json.loads((folder / METADATA).read_text(encoding="utf-8"))
    about.setdefault(_OWN, {})[_FILES] = files
    about[_SEAL] = UNSEALED
    (folder / METADATA).write_bytes(sealed(json.dumps(about, indent=1).encode()))


def check(folder: Path, *, hashes: bool = True) -> dict[str, Any]:
    """Looks a checkpoint over before anything in it is read.

    Files that it does not list are left alone: Tune adds some later.

    Args:
        folder: the checkpoint.
        hashes: whether each file is read and its SHA-256 compared, or its size alone. Checkpoints of version 0.1.0 have
            only sizes.

    Returns:
        What it says of itself: `format` at least, 2 where version 0.1.0 made it, 1 where it says nothing.

    Raises:
        DamagedFile: if it is not whole. It is a ValueError.
        ValueError: if there is no checkpoint, or a newer version of the library made it.
    """
    if not os.path.exists(folder) and os.path.isdir(_set_aside(folder)):
        os.replace(_set_aside(folder), folder)  # whoever was about to replace it was killed between two steps
    if why := no_file(folder / METADATA):
        if os.path.lexists(folder / METADATA) or os.path.isfile(folder / MADE_BY):
            raise DamagedFile(folder / METADATA, f"{folder} is damaged: {METADATA} {why}. Take an earlier checkpoint.")
        raise ValueError(
            f"{folder} is no checkpoint of an algorithm: it has no {METADATA}. Name the folder that has it, such as "
            "checkpoint_000000 in a trial's folder."
        )
    about, files = _read_metadata(folder)
    if about["format"] < FORMAT and _is_of_now(folder):
        raise DamagedFile(
            folder / METADATA,
            f"{folder} is damaged: {METADATA} lacks what was written into it. Take an earlier checkpoint.",
        )
    _check_files(folder, files, hashes=hashes)
    return about


def _is_of_now(folder: Path) -> bool:
    """Tells whether this format's library made a checkpoint, by what a part of it names; metadata may be exchanged."""
    try:
        return any(module.startswith(_NOW) for module, _ in inert.names(folder / _PART / MADE_BY))
    except OSError:  # not there, or not to be read
        return False


def _check_files(folder: Path, files: Mapping[str, Any], *, hashes: bool = True) -> None:
    for name, listed in files.items():
        size, digest = listed if isinstance(listed, list) else (listed, None)
        path = folder / name
        if (there := no_file(path)) is None:
            if (found := path.stat().st_size) == size and (
                digest is None or not hashes or _digest(folder, path) == digest
            ):
                continue
            there = f"has {found} of {size} bytes" if found != size else "is not as it was written"
        raise DamagedFile(
            path,
            f"{folder} is damaged: {name} {there}. It was cut short or changed on its way here; take an earlier "
            "checkpoint, or copy it again.",
        )


def check_part(part: Path) -> None:
    """Looks over a folder inside of a checkpoint, if it is inside of one: the files of that part alone.

    Raises:
        DamagedFile: if one of its files is not as it was written. It is a ValueError.
    """
    part = part.absolute()
    for folder in part.parents:
        if not (folder / METADATA).is_file() or not (files := _read_metadata(folder)[1]):
            continue  # parts have metadata of RLlib's too
        _check_files(folder, {name: one for name, one in files.items() if (folder / name).is_relative_to(part)})
        return


def _read_metadata(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns what a checkpoint says of itself, and its files: name -> [bytes, SHA-256], or bytes alone."""
    path = folder / METADATA
    try:
        if (size := path.stat().st_size) > _MOST_BYTES:
            raise ValueError(f"{size:,} bytes are more than a list of files has")
        data = path.read_bytes()
        holds = seal_holds(data)
        whole = json.loads(data)
        about = dict(whole.get(_OWN) or {"format": 1})
        made = int(about["format"])
        files = dict(about.get(_FILES, {}))
        unlisted = [name for name, listed in files.items() if made >= FORMAT and not _is_listing(listed)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedFile(path, f"{folder} is damaged: {METADATA} cannot be read ({error!r}).") from error
    if holds is False or (holds is None and (made == FORMAT or _SEAL in whole)):
        raise DamagedFile(path, f"{folder} is damaged: {METADATA} is not as it was written.")
    if made > FORMAT:
        raise ValueError(
            f"{folder} was made by a newer version of rllib_biac, {about.get('version')}: it has format {made}, and "
            f"this version, {version('rllib_biac')}, reads up to {FORMAT}. Upgrade the library to read it."
        )
    if unlisted:
        raise DamagedFile(path, f"{folder} is damaged: {METADATA} has no hash of {unlisted[0]}.")
    return about, files


def _is_listing(listed: Any) -> bool:
    return isinstance(listed, list) and [type(entry) for entry in listed] == [int, str]


def _digest(folder: Path, path: Path) -> str:
    try:
        return sha256(path)
    except OSError as error:
        name = path.relative_to(folder).as_posix()
        raise DamagedFile(path, f"{folder} is damaged: {name} cannot be read ({error}).") from error


def newest_whole(folders: Sequence[Path]) -> tuple[Path | None, list[str]]:
    """Returns the newest checkpoint that is whole, and what is wrong with each that is newer.

    Args:
        folders: checkpoints, the newest last.
    """
    wrong: list[str] = []
    for folder in reversed(folders):
        try:
            check(folder)
        except ValueError as error:
            wrong.append(str(error))
        else:
            return folder, wrong
    return None, wrong


def check_current(folder: Path, *, hashes: bool = True) -> None:
    """Looks over a checkpoint that a run is to go on from; arguments as for `check`.

    Raises:
        ValueError: as `check`; if version 0.1.0 made it, whose training cannot go on, or another library.
    """
    about = check(folder, hashes=hashes)
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
        raise DamagedFile(folder / MADE_BY, f"{folder} is damaged: {MADE_BY} is missing.")
    # Tune derives a class from the algorithm's, and cloudpickle writes it as a whole.
    names = [(module, name) for module, name in inert.names(folder / MADE_BY) if "cloudpickle" not in module]
    if not names:
        raise DamagedFile(folder / MADE_BY, f"{folder} is damaged: {MADE_BY} cannot be read.")
    for module, name in names:
        if module.startswith(f"{_OWN}.algorithms."):
            return name
    raise ValueError(
        f"{folder} was made by {names[0][1]}, not by an algorithm of rllib_biac: load it with that one's own "
        "from_checkpoint()."
    )


def is_whole(folder: Path, *, hashes: bool = True) -> bool:
    """Tells whether `check` finds nothing wrong with a checkpoint."""
    try:
        check(folder, hashes=hashes)
    except ValueError:
        return False
    return True
