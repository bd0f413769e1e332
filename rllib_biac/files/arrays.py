"""Named columns of numbers in one file: a NumPy archive, which holds nothing that could be executed."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Hashable, Mapping
from typing import IO

import numpy as np

# What reading a damaged archive may raise.
DAMAGE = (OSError, zipfile.BadZipFile, zlib.error, ValueError, KeyError, EOFError)

Columns = Mapping[Hashable, np.ndarray]


def write_columns(file: IO[bytes], columns: Columns, *, compressed: bool = False) -> None:
    """Writes columns, one after the other, straight from memory.

    Args:
        file: open for writing in binary; it need not seek.
        columns: name -> rows; a name is a string, or a pair of strings. The first string holds no slash.
        compressed: whether to compress them, which takes longer.
    """
    compression = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(file, "w", compression, compresslevel=1) as archive:
        for key, column in columns.items():
            name = "/".join(key) if isinstance(key, tuple) else str(key)
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, column, allow_pickle=False)


def read_columns(file: IO[bytes]) -> dict[Hashable, np.ndarray]:
    """Reads what `write_columns` wrote.

    Args:
        file: open for reading in binary; it must seek.

    Raises:
        DAMAGE: if the file is damaged.
    """
    columns: dict[Hashable, np.ndarray] = {}
    with np.load(file) as archive:
        for name in archive.files:
            column, _, agent = name.partition("/")
            columns[(column, agent) if agent else column] = archive[name]
    return columns
