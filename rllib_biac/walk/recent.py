"""The last few of what was seen, side by side: what networks take in where a run has a `history`."""

from __future__ import annotations

import numpy as np


class Recent:
    """The last `length` of what was seen in N games, the oldest first.

    They lie side by side along the last axis: k vectors (d,) make one of (k·d,), k pictures (height, width, c) one of
    (height, width, k·c). At the start of an episode its first look fills all places.

    Args:
        length: k, at least 1.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self._seen: np.ndarray | None = None  # (k, N, *shape)

    def start(self, seen: np.ndarray, mask: np.ndarray | None = None) -> None:
        """Begins anew.

        Args:
            seen: (N, *shape), the first look of every game.
            mask: (N,) bool, the games that begin; all by default.
        """
        if mask is None or self._seen is None:
            self._seen = np.repeat(seen[None], self.length, axis=0)
        else:
            self._seen[:, mask] = seen[mask]

    def add(self, seen: np.ndarray) -> None:
        """Takes in what all games show now, (N, *shape), and forgets the oldest."""
        assert self._seen is not None
        self._seen = np.concatenate([self._seen[1:], seen[None]])

    def __call__(self) -> np.ndarray:
        """Returns the last k side by side, (N, *shape but for the last axis, k times that)."""
        assert self._seen is not None
        return np.concatenate(list(self._seen), axis=-1)

    def get_state(self) -> np.ndarray | None:
        """Returns what `set_state` needs, (k, N, *shape); None before the first start."""
        return None if self._seen is None else self._seen.copy()

    def set_state(self, seen: np.ndarray) -> None:
        """Takes back what `get_state` returned."""
        self._seen = seen.copy()
