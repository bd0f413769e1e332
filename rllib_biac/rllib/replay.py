"""The replay buffer as a part of RLlib's checkpoints, with files of its own beside RLlib's pickles."""

from __future__ import annotations

import json
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.fs

from rllib_biac.files.arrays import DAMAGE, read_columns, write_columns
from rllib_biac.files.damage import DamagedFile
from rllib_biac.learning.replay import JointReplayBuffer

_ROWS, _STATE = "rows.npz", "state.json"


class SavedReplayBuffer(JointReplayBuffer):
    """A replay buffer that RLlib saves and restores.

    Args:
        capacity: as for `JointReplayBuffer`.
        seed: as for `JointReplayBuffer`.
        compressed: whether its rows are compressed where they are saved.
    """

    def __init__(self, capacity: int, seed: int | None = None, *, compressed: bool = False) -> None:
        super().__init__(capacity, seed)
        self.compressed = compressed

    def save_to_path(
        self, path: Path, *, state: dict[str, Any], filesystem: pyarrow.fs.FileSystem, **kwargs: Any
    ) -> None:
        """Writes a state that `get_state` returned: the rows as a NumPy archive, the rest as JSON."""
        filesystem.create_dir(path.as_posix(), recursive=True)
        if state["columns"]:
            with filesystem.open_output_stream((path / _ROWS).as_posix()) as file:
                write_columns(file, state["columns"], compressed=self.compressed)
        rest = {key: value for key, value in state.items() if key != "columns"}
        with filesystem.open_output_stream((path / _STATE).as_posix()) as file:
            file.write(json.dumps(rest).encode())

    def restore_from_path(self, path: Path, *, filesystem: pyarrow.fs.FileSystem, **kwargs: Any) -> None:
        """Restores what `save_to_path` wrote.

        Raises:
            DamagedFile: if the files are damaged.
            ValueError: as `set_state`.
        """
        try:
            with filesystem.open_input_stream((path / _STATE).as_posix()) as file:
                state = json.loads(file.read())
            columns: dict[Hashable, np.ndarray] = {}
            if state["num_added"]:
                with filesystem.open_input_file((path / _ROWS).as_posix()) as file:
                    columns = read_columns(file)
        except DAMAGE as error:
            raise DamagedFile(path, f"{path} is damaged: the replay buffer cannot be read ({error!r}).") from error
        self.set_state(state | {"columns": columns})
