"""What a team has learned to do, without exploration, on plain arrays."""

from __future__ import annotations

import numpy as np
import torch

from rllib_biac.learning.team import Team, as_tensors


def greedy(
    team: Team,
    state: np.ndarray,
    observations: dict[str, np.ndarray] | None = None,
    masks: dict[str, np.ndarray] | None = None,
    generator: torch.Generator | None = None,
) -> dict[str, np.ndarray]:
    """Returns the joint action that was learned, without exploration.

    Args:
        team: that was trained.
        state: (batch, *state shape).
        observations: agent -> (batch, *observation shape); needed by agents that act on nothing else.
        masks: agent -> (batch, |A_i|) bool, allowed actions; None allows all.
        generator: draws the answers of a policy that samples them (`response: sampled`); default: torch's own.

    Returns:
        agent -> (batch,) int64, or (batch, *action shape) float32 of a continuous action.
    """
    with torch.no_grad():
        actions = team.act(
            torch.from_numpy(state),
            observations=as_tensors(observations),
            masks=as_tensors(masks),
            generator=generator,
        )
    return {agent: action.numpy() for agent, action in actions.items()}


def greedy_on_observations(
    team: Team, observations: dict[str, np.ndarray], masks: dict[str, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """Returns what every agent's approximator does by the agent's own observation; shapes as for `greedy`.

    Raises:
        ValueError: if no approximators were trained.
    """
    with torch.no_grad():
        actions = team.act_on_observations(as_tensors(observations) or {}, masks=as_tensors(masks))
    return {agent: action.numpy() for agent, action in actions.items()}
