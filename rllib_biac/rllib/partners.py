"""From what a config says of partners to who plays: names, functions and checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rllib_biac.envs.errors import GameError
from rllib_biac.files import checkpoint as checkpoints
from rllib_biac.learning.loading import load_object
from rllib_biac.learning.partners import Noisy, Partner, Scripted, Seen, at_random
from rllib_biac.learning.team import Team, as_tensors
from rllib_biac.rllib.module import TeamModule

FORMS = "'random', 'package.module:function', or the path of a checkpoint"
NETWORKS = Path("learner_group") / "learner" / "rl_module"  # in a checkpoint


@dataclass(frozen=True)
class Frozen:
    """An agent as it was trained.

    Attributes:
        team: whose part it plays.
        path: where that comes from, for messages.
    """

    team: Team
    path: str

    @torch.no_grad()
    def __call__(self, seen: Seen) -> np.ndarray:
        state, masks = torch.from_numpy(seen.state(self.team.settings.state)), seen.games.action_masks()
        try:
            played = self.team.act(state, observations=as_tensors(seen.games.observe()), masks=as_tensors(masks))
        except (RuntimeError, KeyError) as error:
            raise GameError(
                f"partner {self.path} of agent {seen.agent!r} does not fit this game: {error!r}. Take a checkpoint "
                "that was trained in a game with these spaces."
            ) from error
        return played[seen.agent].numpy()


def partners_of(given: Any) -> dict[str, Partner]:
    """Returns who plays each agent that does not learn.

    Args:
        given: agent -> `random`, `package.module:function`, a checkpoint's path or, in Python, a function; or a mapping
            `{policy: one of these, epsilon: probability of a random action}`.

    Raises:
        ValueError: if it is none of these.
    """
    if not isinstance(given, Mapping):
        raise ValueError(f"partners: {given!r}: write a mapping, agent -> {FORMS}.")
    return {str(agent): _partner(str(agent), one) for agent, one in given.items()}


def _partner(agent: str, given: Any) -> Partner:
    if isinstance(given, Mapping):
        if set(given) - {"policy", "epsilon"} or "policy" not in given:
            raise ValueError(f"partners: {agent}: {dict(given)!r}: write {{policy: {FORMS}, epsilon: 0 to 1}}.")
        epsilon = given.get("epsilon", 0.0)
        if isinstance(epsilon, bool) or not isinstance(epsilon, int | float) or not 0.0 <= epsilon <= 1.0:
            raise ValueError(f"partners: {agent}: epsilon is {epsilon!r}: write a number from 0 to 1.")
        return Noisy(_partner(agent, given["policy"]), float(epsilon))
    if given == "random":
        return at_random
    if isinstance(given, str) and Path(given).expanduser().exists():
        return _frozen(agent, Path(given).expanduser())
    if isinstance(given, str) and ":" in given:
        given = load_object(given)
    if isinstance(given, type):
        given = given()
    function = getattr(given, "act", given)
    if not callable(function):
        raise ValueError(f"partners: {agent}: there is no {given!r}: write {FORMS}.")
    return Scripted(function, getattr(function, "__qualname__", type(given).__qualname__))


def _frozen(agent: str, path: Path) -> Frozen:
    checkpoints.check_current(path)
    try:
        team = TeamModule.from_checkpoint(path.absolute() / NETWORKS).team
    except Exception as error:  # whatever a damaged file makes pickle, numpy or torch raise
        raise ValueError(
            f"partners: {agent}: the networks of {path} cannot be read ({error!r}): take another checkpoint."
        ) from error
    if agent not in team.agents:
        raise ValueError(
            f"partners: {path} knows no agent {agent!r}; its agents are {', '.join(team.agents)}: take a checkpoint in "
            f"which {agent!r} was trained."
        )
    if team.settings.history > 1:
        raise ValueError(
            f"partners: {agent}: {path} was trained with history: {team.settings.history}, and a partner sees the game "
            "as it is now: train it with history: 1."
        )
    return Frozen(team, str(path))
