"""A replay buffer of joint transitions: preallocated columns, written as a ring, sampled by one fancy index."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

from rllib_biac.learning.transitions import JointTransitions


class JointReplayBuffer:
    """A ring of joint transitions, sampled uniformly with replacement.

    Columns are allocated when the first rows arrive, in their dtypes and shapes.

    Args:
        capacity: rows it holds; the oldest are overwritten.
        seed: of the generator that samples.
    """

    def __init__(self, capacity: int, seed: int | None = None) -> None:
        self.capacity = int(capacity)
        self.columns: dict[Hashable, np.ndarray] = {}
        self.num_agents = 0
        self.num_added = 0
        self._rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        return min(self.num_added, self.capacity)

    def add(self, transitions: JointTransitions) -> None:
        """Appends rows, overwriting the oldest once the ring is full.

        Raises:
            ValueError: if columns, dtypes or shapes differ from those of the rows before; if so many rows do not fit
                into memory.
        """
        if not self.columns:
            self.num_agents = transitions.num_agents
            try:
                self.columns = {
                    key: np.zeros((self.capacity, *column.shape[1:]), column.dtype)
                    for key, column in transitions.columns.items()
                }
            except (MemoryError, ValueError):  # NumPy's, of what would not fit into any memory
                row = sum(column[0].nbytes for column in transitions.columns.values())
                raise ValueError(
                    f"replay_buffer_config: a capacity of {self.capacity:,} steps of {row} bytes each, "
                    f"{self.capacity * row / 1e9:.1f} GB, does not fit into memory: write a smaller one."
                ) from None
        if self.columns.keys() != transitions.columns.keys():
            raise ValueError(
                f"rows have columns {list(transitions.columns)}, but the replay buffer holds {list(self.columns)}."
            )
        rows = len(transitions)
        skipped = max(rows - self.capacity, 0)  # rows that later rows of the same call would overwrite
        at = (self.num_added + np.arange(skipped, rows)) % self.capacity
        for key, column in transitions.columns.items():
            held = self.columns[key]
            if column.shape[1:] != held.shape[1:] or column.dtype != held.dtype:
                raise ValueError(
                    f"column {key!r} has rows of {column.dtype} {column.shape[1:]}, "
                    f"but the replay buffer holds {held.dtype} {held.shape[1:]}."
                )
            held[at] = column[skipped:]
        self.num_added += rows

    def sample(self, num_rows: int) -> JointTransitions:
        """Draws rows uniformly, with replacement.

        Raises:
            ValueError: if the buffer is empty.
        """
        if not self.num_added:
            raise ValueError("cannot sample from an empty replay buffer.")
        at = self._rng.integers(len(self), size=num_rows)
        return JointTransitions({key: column[at] for key, column in self.columns.items()}, self.num_agents)

    def get_state(self, *, rows: bool = True, copy: bool = True) -> dict[str, Any]:
        """Returns everything a restored buffer needs to go on exactly: rows, write position, generator.

        Args:
            rows: whether to; without them a restored buffer is empty.
            copy: whether the rows are the caller's to keep, or the buffer's own, to be written somewhere at once.
        """
        held = {key: column[: len(self)] for key, column in self.columns.items()} if rows else {}
        return {
            "columns": {key: column.copy() for key, column in held.items()} if copy else held,
            "num_agents": self.num_agents if rows else 0,
            "num_added": self.num_added if rows else 0,
            "rng": self._rng.bit_generator.state,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned.

        Raises:
            ValueError: if the saved rows do not lie in a ring of this capacity as they did in theirs.
        """
        rows = min(state["num_added"], self.capacity)
        saved = len(next(iter(state["columns"].values()), ()))
        if saved != rows:
            raise ValueError(
                f"the checkpoint's replay buffer holds {saved} rows, which do not fit one of capacity {self.capacity}: "
                "restore with the capacity it was saved with."
            )
        self.columns = {}
        for key, column in state["columns"].items():
            self.columns[key] = np.zeros((self.capacity, *column.shape[1:]), column.dtype)
            self.columns[key][:rows] = column
        self.num_agents = state["num_agents"]
        self.num_added = state["num_added"]
        self._rng.bit_generator.state = state["rng"]
