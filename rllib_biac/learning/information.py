"""Who knows what in play: whether what agents see tells them the state, and what that means where they are deployed."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from rllib_biac.envs.batched import BatchedGame
from rllib_biac.envs.contract import STATE, Look
from rllib_biac.envs.look import Telling, random_actions
from rllib_biac.learning.partners import WithPartners
from rllib_biac.learning.team import Team

# How often a game is looked at, in how many steps of one episode at most, and for how long about, to see what
# observations tell.
_LOOKS, _STEPS, _SECONDS = 40, 10, 5.0

TAKEN = (
    "agents' observations differ in what they tell, and the config does not say who knows what: information: full is "
    "taken. Every agent then acts on the whole state, in training and evaluation, and cannot be deployed without it. "
    "Write information: own to let each act on its own observation, or information: full to keep it so."
)


def tell_less(games: BatchedGame, source: str) -> list[str]:
    """Returns the agents whose observations do not hold all that the state holds, as far as a little random play shows.

    Args:
        games: where nobody has looked at them yet, they are started anew for it. Of games with partners only those who
            learn are asked about.
        source: what the state is, as for `StateReader`.
    """
    look: Look | None = getattr(games, "look", None)
    holds = look.holds if look is not None else None
    if holds is None:
        holds = _held(games.games if isinstance(games, WithPartners) else games, source)
    whole = {STATE} if source == "env" else set(games.possible_agents)
    return [agent for agent in games.possible_agents if not whole <= holds[agent]]


def _held(games: BatchedGame, source: str) -> Mapping[str, frozenset[str]]:
    """Plays games at random; returns what `Look.holds` is to say."""
    rng, telling = np.random.default_rng(0), Telling()
    looks, begin = 0, time.monotonic()
    while looks < _LOOKS and (looks < 2 or time.monotonic() - begin < _SECONDS):
        games.reset()
        for _ in range(_STEPS):
            seen, looks = games.observe(), looks + 1
            if source == "env" and (state := games.state()) is not None:
                seen[STATE] = state
            for game in range(games.num_games):
                telling.add({name: values[game] for name, values in seen.items()})
            step = games.step(random_actions(games, rng))
            if (step.terminated | step.truncated).any():
                break
    return telling.holds()


def deployable(team: Team, less: list[str]) -> str:
    """Says in words what a team needs where it is deployed.

    Args:
        team: that was trained.
        less: the agents whose observations tell less than the state, of `tell_less`.
    """
    if team.information == "own":
        if team.settings.__dict__.get("announced", False) and len(team.hierarchy.levels) > 1:
            return "deployable: each agent acts on its own observation and the announced actions of the levels above"
        return "deployable: each agent acts on its own observation"
    if less:
        return f"not deployable without the full state, of which {', '.join(less)} observe{'s' * (len(less) == 1)} less"
    return "deployable: each agent observes the full state"
