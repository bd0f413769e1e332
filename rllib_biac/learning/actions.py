"""Actions as networks see them: one vector per action, discrete or continuous, through which gradients can flow."""

from __future__ import annotations

import math

import gymnasium as gym
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from rllib_biac.envs.space_words import in_words
from rllib_biac.walk import best, restrict

Epsilon = float | torch.Tensor
"""A probability of random actions, in [0, 1], or one for each state of a batch, (batch,)."""


class ActionCoder(nn.Module):
    """Turns one agent's actions into vectors and an actor's outputs into actions.

    A discrete action is a one-hot vector, a continuous one lies in [-1, 1] from bound to bound. A mask is (..., |A_i|)
    bool, which actions are allowed; of a continuous action (..., 1), whether the agent acts: if not, its action is 0,
    the middle of its range.

    Args:
        space: Discrete, or a one-dimensional Box with finite bounds.

    Attributes:
        size: |A_i|, or the dimension of a continuous action.
        discrete: whether it is a choice among `size`.
    """

    low: torch.Tensor
    high: torch.Tensor

    def __init__(self, space: gym.Space) -> None:
        super().__init__()
        self.size = action_size(space)
        self.discrete = not isinstance(space, gym.spaces.Box)
        if isinstance(space, gym.spaces.Box):
            _check_bounds(space)
        low, high = (space.low, space.high) if isinstance(space, gym.spaces.Box) else (-1.0, 1.0)
        self.register_buffer("low", torch.as_tensor(low, dtype=torch.float32), persistent=False)
        self.register_buffer("high", torch.as_tensor(high, dtype=torch.float32), persistent=False)

    def encode(self, action: torch.Tensor) -> torch.Tensor:
        """Returns actions as vectors: (batch,) int64 or (batch, size) -> (batch, size)."""
        if self.discrete:
            return F.one_hot(action, self.size).to(torch.float32)
        return 2.0 * (action - self.low) / (self.high - self.low) - 1.0

    def decode(self, vector: torch.Tensor) -> torch.Tensor:
        """Returns the action a vector stands for, of a discrete one the likeliest: the inverse of `encode`."""
        if self.discrete:
            return vector.argmax(-1)
        action = self.low + 0.5 * (vector + 1.0) * (self.high - self.low)
        return torch.minimum(torch.maximum(action, self.low), self.high)  # rounding may lead out of the bounds

    def act(self, output: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Returns the greedy action's vector for an actor's output, logits or what tanh bounds: (..., size)."""
        if not self.discrete:
            return acting(output.tanh(), mask)
        return F.one_hot(best(output, mask), self.size).to(torch.float32)

    def relax(
        self,
        output: torch.Tensor,
        temperature: float,
        mask: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """Returns an action's vector through which gradients reach the actor: (batch, size).

        Of a discrete action a Gumbel-Softmax sample (Jang et al. 2016), of a continuous one the greedy action.
        """
        if not self.discrete:
            return acting(output.tanh(), mask)
        noise = -torch.empty_like(output).exponential_(generator=generator).log()
        return ((restrict(output, mask) + noise) / temperature).softmax(1)


def acting(vector: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Returns continuous actions, 0 of those who do not act: vector (..., size), mask (..., 1) bool -> (..., size)."""
    return vector if mask is None else vector * mask


def _check_bounds(space: gym.spaces.Box) -> None:
    """Checks that float32 can tell actions apart between their bounds.

    Raises:
        ValueError: if it cannot.
    """
    low, high = np.float32(space.low), np.float32(space.high)
    with np.errstate(over="ignore"):
        span = high - low
        middle = low + np.float32(0.5) * span
        twice = np.float32(2.0) * span  # as in `encode`
    apart = ((low < middle) & (middle < high)) | (space.low == space.high)
    if not (np.isfinite(twice).all() and apart.all()):
        raise ValueError(
            f"float32 has no numbers between the bounds of the actions {in_words(space)}, or not their difference: let "
            "the game count in other units."
        )


def action_size(space: gym.Space) -> int:
    """Returns the number of discrete actions, or the dimension of a continuous one."""
    return int(space.n) if isinstance(space, gym.spaces.Discrete) else math.prod(space.shape or ())


def explores(epsilon: Epsilon) -> bool:
    """Tells whether anything may be played at random."""
    return isinstance(epsilon, torch.Tensor) or epsilon > 0.0


def explore(
    greedy: torch.Tensor,
    epsilon: Epsilon,
    num_actions: int,
    *,
    mask: torch.Tensor | None = None,
    generator: torch.Generator | None = None,
    coin: torch.Tensor | None = None,
) -> torch.Tensor:
    """Replaces actions by uniformly random allowed ones with probability epsilon.

    Args:
        greedy: (batch,) int64.
        epsilon: of all, or of each, (batch,).
        num_actions: |A_i|.
        mask: (batch, |A_i|) bool, allowed actions.
        generator: draws coins and actions.
        coin: (batch,) bool, who explores, where that is decided for all agents at once.

    Returns:
        (batch,) int64.
    """
    if not explores(epsilon):
        return greedy
    size, device = greedy.shape, greedy.device
    if coin is None:
        coin = torch.rand(size, generator=generator, device=device) < epsilon
    if mask is None:
        random = torch.randint(num_actions, size, generator=generator, device=device)
    else:
        random = torch.multinomial(mask.to(torch.float32), 1, generator=generator).squeeze(1)
    return torch.where(coin, random, greedy)


def explore_vector(
    coder: ActionCoder,
    greedy: torch.Tensor,
    epsilon: Epsilon,
    *,
    noise: float,
    mask: torch.Tensor | None = None,
    generator: torch.Generator | None = None,
    coin: torch.Tensor | None = None,
) -> torch.Tensor:
    """Replaces actions by uniformly random ones with probability epsilon; continuous ones are noisy otherwise.

    Args:
        coder: of the agent.
        greedy: (batch, size), actions as vectors.
        epsilon: of all, or of each, (batch,); where it is the number 0 nothing is explored.
        noise: standard deviation of the noise on continuous actions, in half their range.
        mask: (batch, |A_i|) bool, allowed actions; of a continuous action (batch, 1), whether it is taken.
        generator: draws coins, actions and noise.
        coin: (batch,) bool, who explores, where that is decided for all agents at once.

    Returns:
        (batch, size).
    """
    if not explores(epsilon):
        return greedy
    if coder.discrete:
        action = explore(greedy.argmax(1), epsilon, coder.size, mask=mask, generator=generator, coin=coin)
        return coder.encode(action)
    if coin is None:
        coin = torch.rand(len(greedy), generator=generator, device=greedy.device) < epsilon
    near = greedy + noise * torch.randn(greedy.shape, generator=generator, device=greedy.device)
    anywhere = 2.0 * torch.rand(greedy.shape, generator=generator, device=greedy.device) - 1.0
    return acting(torch.where(coin.unsqueeze(1), anywhere, near.clamp(-1.0, 1.0)), mask)
