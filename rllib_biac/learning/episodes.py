"""The last finished episodes, for smoothed metrics."""

from __future__ import annotations

from typing import Any

import numpy as np


class FinishedEpisodes:
    """The last `window` finished episodes, for smoothed metrics, and how many there were in all."""

    def __init__(self, window: int, agents: list[str]) -> None:
        self.agents = agents
        self._returns = np.zeros((window, len(agents)))
        self._lengths = np.zeros(window, np.int64)
        self._outcomes = np.full(window, -1)
        self.count = 0

    def add(self, returns: np.ndarray, lengths: np.ndarray, outcomes: np.ndarray) -> None:
        """Takes episodes in: returns (n, agents), lengths (n,), outcomes (n,)."""
        window = len(self._lengths)
        n = len(lengths)
        kept = slice(max(n - window, 0), n)
        at = (self.count + np.arange(n)[kept]) % window
        self._returns[at], self._lengths[at], self._outcomes[at] = returns[kept], lengths[kept], outcomes[kept]
        self.count += n

    def returns(self) -> np.ndarray:
        """Returns (episodes, agents)."""
        return self._returns[: self.count]

    def lengths(self) -> np.ndarray:
        """Returns (episodes,)."""
        return self._lengths[: self.count]

    def get_state(self) -> dict[str, Any]:
        """Returns what `set_state` needs."""
        kept = {"returns": self._returns, "lengths": self._lengths, "outcomes": self._outcomes}
        return {"count": self.count} | {name: array.copy() for name, array in kept.items()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes back what `get_state` returned; of another window as many of the last episodes as there is room for."""
        window = len(state["lengths"])
        if window == len(self._lengths):
            self._returns, self._lengths = state["returns"].copy(), state["lengths"].copy()
            self._outcomes, self.count = state["outcomes"].copy(), state["count"]
        else:
            last = np.arange(max(state["count"] - window, 0), state["count"]) % window
            self.add(state["returns"][last], state["lengths"][last], state["outcomes"][last])

    def outcome_shares(self, names: list[str]) -> dict[str, float]:
        """Returns the share of each outcome among the episodes that name one."""
        named = self._outcomes[: self.count]
        named = named[named >= 0]
        counts = np.bincount(named, minlength=len(names))
        return {name: float(counts[i] / max(len(named), 1)) for i, name in enumerate(names)}
