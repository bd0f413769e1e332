"""Agents that are truncated alone, while others go on: what they could still have earned counts, and is not seen.

Of such a row, next states are two: in that which comes, the agent is absent; its own value is that of the same state in
which it still is there. Of later rows it has no part: they pay it nothing, and count as its end.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np
import torch

from rllib_biac.learning.team import TeamSpec
from rllib_biac.learning.transitions import CUT, NEXT_ACTION_MASK, NEXT_OBS, NEXT_STATE

Rows = Mapping[Hashable, torch.Tensor]

# The key of a column as it would be had those stayed who were truncated alone: (STAYED, the column's own key).
STAYED = "stayed"


def stayed(rows: Rows, spec: TeamSpec) -> dict[Hashable, torch.Tensor]:
    """Returns next states, observations and masks as they would be had the truncated agents stayed.

    Args:
        rows: joint transitions, as a game with such agents gives them.
        spec: of the team.

    Returns:
        Columns by (`STAYED`, key); none where all rows have none of these agents.
    """
    cut = {agent: rows[CUT, agent].any(1) for agent in spec.agents}
    if not any(bool(one.any()) for one in cut.values()):
        return {}
    state = rows[NEXT_STATE].clone()
    found: dict[Hashable, torch.Tensor] = {(STAYED, NEXT_STATE): state}
    for (agent, gone), place in zip(cut.items(), _presence(spec), strict=True):
        state[gone, place] = 1
        allowed = rows[NEXT_ACTION_MASK, agent]
        found[STAYED, (NEXT_ACTION_MASK, agent)] = torch.where(gone[:, None], rows[CUT, agent], allowed)
        if (NEXT_OBS, agent) in rows:
            own = found[STAYED, (NEXT_OBS, agent)] = rows[NEXT_OBS, agent].clone()
            own[gone, -1] = 1
    return found


def _presence(spec: TeamSpec) -> np.ndarray:
    """Returns which number of the state says of each agent that it acts."""
    sizes = [int(np.prod(spec.observation_spaces[agent].shape or ())) for agent in spec.agents]
    if spec.settings.state == "observations":
        return np.cumsum(sizes) - 1
    assert spec.state_space.shape is not None
    return np.arange(spec.state_space.shape[0] - len(sizes), spec.state_space.shape[0])


def as_if_stayed(rows: Rows) -> dict[Hashable, torch.Tensor]:
    """Returns rows in which those stayed who were truncated alone."""
    own = {key[1]: column for key, column in rows.items() if isinstance(key, tuple) and key[0] == STAYED}
    return {**rows, **own}
