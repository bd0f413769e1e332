"""What returns can add up to, by the rewards that were seen."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import distributed


class Attainable:
    """The least and the largest return that the rewards seen so far of one agent can add up to.

    A return is rewards of steps after which the agent goes on, and at last perhaps one that ends its part. If the
    largest of the former is r and of the latter R, it is at most the larger of R and r / (1 - gamma), for any other
    number of steps lies between these two. No value of any policy is outside; estimates are at times, and those that
    are too high feed on themselves where a state leads back to itself.

    Args:
        gamma: the discount.
        num_learners: which see different rows.

    Attributes:
        low, high: the bounds.
    """

    def __init__(self, gamma: float, num_learners: int = 1) -> None:
        self._horizon = 1 / (1 - gamma) if gamma < 1 else math.inf
        self._num_learners = num_learners
        # Of rewards and their negatives: the largest after which it goes on, and at the end.
        self._largest = torch.full((2, 2), -torch.inf)
        self.low, self.high = -math.inf, math.inf

    @torch.no_grad()
    def see(self, rewards: torch.Tensor, goes_on: torch.Tensor) -> None:
        """Takes note of rewards, (rows,), and of whether the agent goes on after each, (rows,) bool."""
        signed = torch.stack([rewards, -rewards])  # (2, rows)
        kinds = torch.stack([goes_on, ~goes_on])[:, None]  # (2, 1, rows)
        found = signed.masked_fill(~kinds, -torch.inf).amax(2)  # (2 kinds, 2 signs)
        if self._num_learners > 1:
            distributed.all_reduce(found, distributed.ReduceOp.MAX)
        self.restore(torch.maximum(self._largest, found.to("cpu", torch.float32)).numpy())

    def state(self) -> np.ndarray:
        """Returns what it remembers."""
        return self._largest.numpy()

    def restore(self, largest: np.ndarray) -> None:
        """Takes back what `state` returned."""
        self._largest = torch.as_tensor(largest)
        if np.isfinite(largest).any():  # else nothing was seen
            bounds = (max(end, self._forever(on)) for on, end in largest.T.tolist())
            # Where nothing is discounted and no end was seen, all returns are infinite: that bounds no estimate.
            high, low = (bound if bound > -math.inf else math.inf for bound in bounds)
            self.low, self.high = -low, high

    def _forever(self, reward: float) -> float:
        return reward * self._horizon if reward else 0.0
