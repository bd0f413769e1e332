"""How much is played at random while learning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rllib_biac.learning.schedules import Schedule, piecewise


class Exploration:
    """Epsilon by its schedule, whose clock starts once there is something to learn from.

    As long as every reward has been the same and no game has come to an end of its own, no action is better than
    another: the schedule waits at its first value. So a game that pays at its end alone is explored until it is met.

    Args:
        schedule: of epsilon, over env steps.

    Attributes:
        waited: env steps after which there was something to learn; None as long as there is not.
    """

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self.waited: int | None = None
        self._rewards: dict[str, float] = {}  # the first of each agent

    def epsilon(self, env_steps: int) -> float:
        """Returns the probability of a random action after so many env steps."""
        return piecewise(self._schedule, 0 if self.waited is None else env_steps - self.waited)

    def see(self, env_steps: int, rewards: Mapping[str, np.ndarray], terminated: np.ndarray) -> None:
        """Looks at what a step brought.

        Args:
            env_steps: before it.
            rewards: agent -> (N,).
            terminated: (N,) bool, whether a game came to an end of its own.
        """
        if self.waited is not None:
            return
        for agent, own in rewards.items():
            if len(own) and (own != self._rewards.setdefault(agent, float(own[0]))).any():
                self.waited = env_steps
        if np.any(terminated):
            self.waited = env_steps

    def get_state(self) -> dict[str, Any]:
        """Returns what `set_state` needs."""
        return {"waited": self.waited, "rewards": dict(self._rewards)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes back what `get_state` returned."""
        self.waited, self._rewards = state["waited"], dict(state["rewards"])
