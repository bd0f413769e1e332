"""Results on storage that is no folder of this machine: `s3://bucket/results`, and what else pyarrow opens."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rllib_biac.experiments.mistakes import Mistake
from rllib_biac.files.checkpoint import METADATA

# Of each trial's whole checkpoints so many are copied; of older ones no more than their names, sizes and metadata.
CHECKPOINTS_COPIED = 2
_AT_ONCE = 8  # transfers
_PROBE = ".rllib_biac_probe"


def is_remote(place: str) -> bool:
    """Tells whether a place is an address and not a folder of this machine."""
    return "://" in place


def address_of(experiment_folder: str, path: str) -> str:
    """Returns where Tune's path lies: an address if the run's folder has one. Tune leaves the scheme out."""
    scheme, found, _ = experiment_folder.partition("://")
    return f"{scheme}://{path}" if found and not is_remote(path) else path


def _opened(address: str) -> tuple[Any, str]:
    """Returns the filesystem of an address, and the path in it.

    Raises:
        Mistake: if there is no such storage.
    """
    import pyarrow.fs

    if "?" in address:
        raise Mistake(f"{address}: write the address without '?', and options as variables such as AWS_ENDPOINT_URL.")
    try:
        return pyarrow.fs.FileSystem.from_uri(address.rstrip("/"))
    except (OSError, ValueError, ImportError, NotImplementedError) as error:
        raise Mistake(
            f"{address}: no such storage ({error}). Write an address that pyarrow opens, such as s3://bucket/folder or "
            "gs://bucket/folder; keys and endpoint come from the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, …)."
        ) from error


def check_writable(option: str, address: str) -> None:
    """Writes a small file and removes it, before any run starts.

    Args:
        option: that named the address, for the message.
        address: as it was written.

    Raises:
        Mistake: if that cannot be done.
    """
    filesystem, path = _opened(address)
    try:
        with filesystem.open_output_stream(f"{path}/{_PROBE}") as stream:
            stream.write(b"may be removed")
        filesystem.delete_file(f"{path}/{_PROBE}")
    except (OSError, ValueError) as error:  # the latter where no bucket is named
        raise Mistake(f"{option} {address}: cannot write there ({error}). Name another place.") from error


def read(address: str) -> bytes | None:
    """Returns what a file holds, None if there is none."""
    filesystem, path = _opened(address)
    try:
        with filesystem.open_input_stream(path) as stream:
            return stream.read()
    except OSError:
        return None


def write(address: str, content: bytes) -> None:
    """Writes a file: stores of this kind show all of it or nothing.

    Raises:
        OSError: if it cannot be written.
    """
    filesystem, path = _opened(address)
    with filesystem.open_output_stream(path) as stream:
        stream.write(content)


def remove(address: str) -> None:
    """Removes a file.

    Raises:
        OSError: if it cannot be removed.
    """
    filesystem, path = _opened(address)
    filesystem.delete_file(path)


def names(address: str) -> list[str]:
    """Returns the names of the files in a folder, none if there is no such folder."""
    return [info.base_name for info in _listed(*_opened(address), recursive=False)]


def _listed(filesystem: Any, path: str, *, recursive: bool) -> list[Any]:
    import pyarrow.fs

    try:
        infos = filesystem.get_file_info(pyarrow.fs.FileSelector(path, allow_not_found=True, recursive=recursive))
    except OSError as error:
        raise Mistake(f"{path} cannot be read ({error}).") from error
    return [info for info in infos if info.type == pyarrow.fs.FileType.File]


@contextlib.contextmanager
def here(place: str) -> Iterator[str]:
    """Gives a folder of this machine with what is at a place: the place itself, or a copy while the context lasts.

    Of each trial in a copy, the newest checkpoints are whole, and older ones have only their names, sizes and metadata.

    Raises:
        Mistake: if nothing is there, or it cannot be read. Mistakes about the copy name the place.
    """
    if not is_remote(place):
        yield place
        return
    filesystem, path = _opened(place)
    infos = _listed(filesystem, path, recursive=True)
    if not infos:
        raise Mistake(f"{place}: nothing is there.")
    with tempfile.TemporaryDirectory(prefix="rllib_biac_") as folder:
        copy = Path(folder, path.rpartition("/")[2])
        sizes = {info.path.removeprefix(path).lstrip("/"): info.size for info in infos}
        left_out = _left_out(sizes)

        def fetch(name: str) -> None:
            target = copy / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(target, "wb") as written:
                if name in left_out:
                    written.truncate(sizes[name])  # a hole, which takes no room
                    return
                with filesystem.open_input_stream(f"{path}/{name}") as stream:
                    while part := stream.read(1 << 24):
                        written.write(part)

        try:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                list(pool.map(fetch, sizes))
        except OSError as error:
            raise Mistake(f"{place} cannot be copied here ({error}).") from error
        try:
            yield str(copy)
        except Mistake as error:
            raise Mistake(named(error, str(copy), place)) from error


def named(told: Any, copy: str, place: str) -> str:
    """Returns what is told of a copy as told of the place that it is of."""
    return str(told).replace(copy, place.rstrip("/"))


def _left_out(sizes: dict[str, int]) -> set[str]:
    """Returns the files of older checkpoints, but for their metadata."""
    of: dict[str, dict[str, list[str]]] = {}  # trial -> checkpoint -> files
    for name in sizes:
        if found := re.match(r"(?P<trial>(?:.*/)?)(?P<checkpoint>checkpoint_\d+)/", name):
            of.setdefault(found["trial"], {}).setdefault(found["checkpoint"], []).append(name)
    left_out: set[str] = set()
    for trial, checkpoints in of.items():
        copied = 0
        for checkpoint in sorted(checkpoints, reverse=True):
            metadata = f"{trial}{checkpoint}/{METADATA}"
            if copied >= CHECKPOINTS_COPIED:
                left_out |= set(checkpoints[checkpoint]) - {metadata}
            copied += metadata in sizes
    return left_out
