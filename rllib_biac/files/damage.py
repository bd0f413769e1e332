"""Files that are not as they were written: the one error for them, and the seals by which they are known."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

# What stands in a file where its seal will be. A seal is the SHA-256 of the whole file, with this in its own place.
UNSEALED = "sha256:" + "0" * 64
_SEAL = re.compile(rb'"sha256:([0-9a-f]{64})"')
# Two larger numbers multiplied are none in float32: what networks with such weights say is infinite.
LARGEST = float(np.sqrt(np.finfo(np.float32).max))
# Statistics of inputs and of returns, in the game's own units. They are not multiplied with each other.
_IN_UNITS = ("mean", "std", "tried")


class DamagedFile(ValueError):
    """A file that is damaged, cut short, or made by somebody to do harm.

    Raised for checkpoints, weights and policies. A SHA-256 in a file stops accidents. It does not stop people: who
    changes a file can write another one.

    Args:
        path: of the file.
        text: what is wrong, as a whole sentence.
    """

    def __init__(self, path: str | Path, text: str) -> None:
        super().__init__(text)
        self.path = Path(path)

    def __reduce__(self) -> tuple[type[DamagedFile], tuple[Path, str]]:
        return type(self), (self.path, str(self))


def sealed(data: bytes) -> bytes:
    """Returns a file's content with its seal in the place of `UNSEALED`.

    Args:
        data: has `UNSEALED` in it, as a JSON string.

    Raises:
        ValueError: if it has not.
    """
    place = data.index(f'"{UNSEALED}"'.encode()) + len('"sha256:')
    digest = hashlib.sha256(data).hexdigest().encode()
    return data[:place] + digest + data[place + len(digest) :]


def seal_holds(data: bytes) -> bool | None:
    """Tells whether a file's content is what was sealed; None if it has no seal."""
    found = _SEAL.search(data)
    if found is None:
        return None
    digest = hashlib.sha256(data[: found.start(1)])
    digest.update(b"0" * 64)
    digest.update(memoryview(data)[found.end(1) :])
    return digest.hexdigest().encode() == found[1]


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unusable(arrays: Mapping[str, np.ndarray]) -> str | None:
    """Says which numbers cannot be played with: those that are not finite, and weights beyond `LARGEST`.

    Args:
        arrays: of networks and normalisers, by name.

    Returns:
        The rest of a sentence that begins with the file's name; None if all is well.
    """
    for name, values in arrays.items():
        if np.iscomplexobj(values):
            return f"{name} holds complex numbers"
        if not np.issubdtype(values.dtype, np.number) or not values.size:
            continue
        # Infinity and NaN go through sums: one pass, and no array of booleans.
        with np.errstate(all="ignore"):
            finite = np.isfinite(values.sum(dtype=np.float64)) or np.isfinite(values).all()
        if not finite:
            return f"{name} holds numbers that are not finite (NaN or infinity)"
        statistics = re.split(r"[/._]", name)
        if not set(statistics) & set(_IN_UNITS) and max(abs(float(values.max())), abs(float(values.min()))) > LARGEST:
            return f"{name} holds weights beyond {LARGEST:.2g}, with which float32 overflows"
    return None
