"""Training that has come to numbers nobody can use: it is stopped before they are saved, and says whose they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from rllib_biac.files.damage import unusable
from rllib_biac.learning.team import Team

_REMEDY = (
    "Training cannot go on from here, and nothing of it is saved: go on from an earlier checkpoint with a smaller lr "
    "or with grad_clip, and look at the size of the rewards."
)


class Diverged(RuntimeError):
    """A loss, a target or a weight is not finite, or so large that float32 overflows. Names the agent and what."""


class Watch:
    """Looks at networks, target networks and tables, and at what is reported of them.

    What normalises them is not looked at: where that is not finite, no loss is.

    Args:
        teams: who plays and who learns, on their final device. Their tensors are changed in place only.
        flat: parameters of their (target) networks, many to a tensor: looking at few tensors takes less time.
    """

    def __init__(self, teams: Sequence[Team], flat: Sequence[torch.Tensor]) -> None:
        self._teams = teams
        states = (member.state_dict() for team in teams for member in team.members().values())
        tables = [t for state in states for t in state.values() if t.is_floating_point()]
        self._tensors = [tensor.view(-1) for tensor in flat or tables]

    @torch.no_grad()
    def check(self, reported: Mapping[tuple[str, str], float], num_updates: int) -> None:
        """Looks once, in one reading of all numbers.

        Args:
            reported: (agent, name of a loss or metric) -> its value.
            num_updates: that were made so far.

        Raises:
            Diverged: naming the agent, and the network or the loss.
        """
        when = f"after {num_updates:,} updates"
        # A square overflows where a number is not finite or too large. Nothing is faster than this product.
        squares = [torch.dot(tensor, tensor) for tensor in self._tensors]
        if not math.isfinite(sum(squares)):
            for team in self._teams:
                check_weights(team, when)
        for (agent, name), value in reported.items():
            if not math.isfinite(value):
                raise Diverged(f"{when}, {name} of {agent} is {value}. {_REMEDY}")


def check_weights(team: Team, when: str = "now") -> None:
    """Checks that a team's networks, target networks and normalisers hold numbers that one can go on from.

    Args:
        team: that is trained.
        when: begins the message.

    Raises:
        Diverged: naming the agent and the network.
    """
    for agent, own in team.weights().items():
        if wrong := unusable({name: np.asarray(values) for name, values in own.items()}):
            raise Diverged(f"{when}, of {agent}, {wrong}. {_REMEDY}")
