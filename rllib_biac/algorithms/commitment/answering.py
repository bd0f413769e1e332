"""How followers answer: best, or by a softmax of what they like (quantal response)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from rllib_biac.walk import best


def told(chances: torch.Tensor, table: torch.Tensor, hears: bool) -> torch.Tensor:
    """Returns a table over joint actions as one over answers.

    Args:
        chances: (..., |A_1|), what the leader does.
        table: (..., |A_1|, |A_2|).
        hears: whether the follower sees the leader's action.

    Returns:
        (..., K, |A_2|): K is |A_1| if it does, else 1, for the mean.
    """
    return table if hears else (chances[..., None] * table).sum(-2, keepdim=True)


def response(liked: torch.Tensor, temperature: torch.Tensor | float) -> torch.Tensor:
    """Returns the probabilities of answers, (..., |A_2|), of what they are worth; 0 is the temperature of best ones."""
    if temperature:
        return (liked / temperature).softmax(-1)
    return F.one_hot(best(liked), liked.shape[-1]).to(liked.dtype)


def entropy(chances: torch.Tensor) -> torch.Tensor:
    """Returns the entropy of probabilities, (..., n) -> (...), in nats."""
    return torch.special.entr(chances).sum(-1)


def erring(q: torch.Tensor, temperature: torch.Tensor, hears: bool, generator: torch.Generator | None) -> torch.Tensor:
    """Returns a table (batch, |A_1|, |A_2|) whose best answers are drawn from `response` (Gumbel's trick)."""
    noise = torch.empty(len(q), q.shape[1] if hears else 1, q.shape[2], device=q.device, dtype=q.dtype)
    return q / temperature - noise.exponential_(generator=generator).log()
