"""What a policy remembers that was trained with a `history`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rllib_biac.walk.recent import Recent


class Memory:
    """Keeps the last k of what is seen in one game, or in a batch of games in step, for a policy trained on them.

    .. code-block:: python

        memory = policy.memory()
        while playing:
            policy.act(memory.see(state))  # or policy.act(observations=memory.see(observations))
        memory.forget()  # before the next episode

    Args:
        length: k; 1 remembers nothing.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self._recent: dict[Any, Recent] = {}

    def forget(self) -> None:
        """Begins a new episode."""
        self._recent = {}

    def see(self, seen: Any) -> Any:
        """Takes in what is seen now, once per step of the game, and returns the last k as the policy wants them.

        Args:
            seen: a state or an observation, shape or (n, *shape); or observations, agent -> array.

        Raises:
            ValueError: if it has another shape than what was seen before in this episode.
        """
        if isinstance(seen, Mapping):
            return {agent: self._see(agent, own) for agent, own in seen.items()}
        return self._see(None, seen)

    def _see(self, name: Any, seen: Any) -> np.ndarray:
        row = np.asarray(seen)[None]
        if name in self._recent:
            self._recent[name].add(row)
        else:
            self._recent[name] = Recent(self.length)
            self._recent[name].start(row)
        return self._recent[name]()[0]
