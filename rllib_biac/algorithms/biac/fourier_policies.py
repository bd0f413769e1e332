"""Policies drawn at random, each unlike the others, for leaders to commit to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from rllib_biac.walk import best

CANDIDATES = 8  # policies drawn, of which the one least like the others is kept

# `w` (n, |A|, d) and `b` (n, |A|, 1) of n policies. The logit of an action is cos(w · s + b), a random Fourier feature
# of the state: the policy plays one action everywhere where w is small, and another in every state where w is large.
Policies = Mapping[str, torch.Tensor]


def draw_policies(
    states: torch.Tensor, mask: torch.Tensor | None, num_actions: int, count: int, generator: torch.Generator
) -> dict[str, torch.Tensor]:
    """Draws policies that differ as much as possible in the states given.

    Args:
        states: (batch, d).
        mask: (batch, |A|) bool, allowed actions.
        num_actions: |A|.
        count: how many to draw.
        generator: draws them.

    Returns:
        `w` (count, |A|, d) and `b` (count, |A|, 1).
    """
    draw: dict[str, Any] = {"generator": generator, "device": generator.device}
    kept: list[torch.Tensor] = []
    policies = []
    for _ in range(count):
        scale = torch.exp2(torch.randint(-1, 5, (CANDIDATES, 1, 1), **draw))  # from 1/2 to 16
        drawn = {
            "w": scale * torch.randn(CANDIDATES, num_actions, states.shape[1], **draw),
            "b": 2 * math.pi * torch.rand(CANDIDATES, num_actions, 1, **draw),
        }
        actions = policy_actions(drawn, states, mask)  # (candidates, batch)
        nearest = [(actions != other).float().mean(1) for other in kept]  # (candidates,) each
        chosen = int(torch.stack(nearest).amin(0).argmax()) if kept else 0
        kept.append(actions[chosen])
        policies.append({name: values[chosen] for name, values in drawn.items()})
    return {name: torch.stack([one[name] for one in policies]) for name in ("w", "b")}


def policy_actions(policies: Policies, states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Returns the actions of n policies, (n, batch) int64, in states (batch, d) with masks (batch, |A|) bool."""
    logits = torch.cos(policies["w"] @ states.T + policies["b"]).transpose(1, 2)  # (n, batch, |A|)
    return best(logits, mask)
