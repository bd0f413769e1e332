"""Who knows what in play: whether what agents see tells them the state, and what that means where they are deployed."""

from __future__ import annotations

import time

import numpy as np

from rllib_biac.envs.batched import BatchedGame
from rllib_biac.envs.look import random_actions
from rllib_biac.learning.team import Team
from rllib_biac.learning.transitions import joint_state

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

    An observation holds the state if each number of the state that differs from look to look is found in it, always at
    the same place.

    Args:
        games: which are started anew for it.
        source: what the state is, as for `StateReader`.
    """
    agents, rng = games.possible_agents, np.random.default_rng(0)
    states: list[np.ndarray] = []
    observed: dict[str, list[np.ndarray]] = {agent: [] for agent in agents}
    begin = time.monotonic()
    while len(states) < _LOOKS and (len(states) < 2 or time.monotonic() - begin < _SECONDS):
        games.reset()
        for _ in range(_STEPS):
            seen, own = games.observe(), games.state() if source == "env" else None
            states.append((joint_state(seen, agents) if own is None else own).reshape(games.num_games, -1))
            for agent in agents:
                observed[agent].append(joint_state(seen, [agent]))
            step = games.step(random_actions(games, rng))
            if (step.terminated | step.truncated).any():
                break
    columns = np.concatenate(states).astype(np.float32).T  # (state size, looks)
    state = {column.tobytes() for column in columns if np.ptp(column) > 0}
    return [
        agent
        for agent in agents
        if not state <= {column.tobytes() for column in np.concatenate(observed[agent]).astype(np.float32).T}
    ]


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
