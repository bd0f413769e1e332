"""Training that has come to numbers nobody can use: it is stopped before they are saved, and says whose they are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from rllib_biac.files.damage import unusable
from rllib_biac.learning.team import Team

_REMEDY = (
    "Training cannot go on from here, and nothing of it is saved: go on from an earlier checkpoint with a smaller lr "
    "or with grad_clip, and look at the size of the rewards, and of what is seen (normalize_observations)."
)


class Diverged(RuntimeError):
    """A loss, a target or a weight is not finite, or so large that float32 overflows. Names the agent and what."""


def check_all(teams: Iterable[Team], reported: Mapping[tuple[str, str], float], num_updates: int) -> None:
    """Checks networks, target networks and tables, and what is reported of them.

    Args:
        teams: who plays and who learns.
        reported: (agent, name of a loss or metric) -> its value.
        num_updates: that were made so far.

    Raises:
        Diverged: naming the agent, and the network or the loss.
    """
    when = f"after {num_updates:,} updates"
    for team in teams:
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
