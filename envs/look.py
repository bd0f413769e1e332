"""One look at a game before it is played: what a few steps of random play show."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from gymnasium import spaces

from rllib_biac.envs.batched import BatchedGame
from rllib_biac.envs.errors import GameError
from rllib_biac.envs.one_game import Contract, Look

# At least so many steps; as many more as so many episodes take, but no more than so many; and about so many seconds.
LOOK_STEPS, LOOK_EPISODES, MOST_STEPS, LOOK_SECONDS = 200, 10, 2000, 10.0
LOOK_SEED = 20201


def look_at(game: BatchedGame, contract: Contract) -> Look:
    """Plays a game at random, from a seed of its own: `LOOK_EPISODES` episodes where that can be had.

    Args:
        game: one copy of it, which puts up with all that may be; it is closed afterwards.
        contract: where that copy notes what has been.

    Raises:
        GameError: if the game breaks the contract of games, or raises.
    """
    rng = np.random.default_rng(LOOK_SEED)
    steps = episodes = 0
    begin = time.monotonic()
    try:
        game.reset()
        while steps < (LOOK_STEPS if episodes >= LOOK_EPISODES else MOST_STEPS):
            if steps and time.monotonic() - begin > LOOK_SECONDS:
                break
            step = game.step(random_actions(game, rng))
            steps += 1
            over = step.terminated | step.truncated
            if over.any():
                episodes += 1
                game.reset(over)
        seconds = (time.monotonic() - begin) / steps
        return Look(contract.was_absent, contract.was_masked, steps, episodes, seconds)
    except GameError as error:
        raise GameError(f"{error} (seen in a look at the game, before the first step of training)") from error
    finally:
        game.close()


def random_actions(game: BatchedGame, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Returns uniformly random allowed actions, agent -> (N, *action shape)."""
    masks: dict[str, Any] = game.action_masks() or {}
    return {agent: _drawn(space, masks.get(agent), game.num_games, rng) for agent, space in game.action_spaces.items()}


def _drawn(space: Any, mask: np.ndarray | None, count: int, rng: np.random.Generator) -> np.ndarray:
    if isinstance(space, spaces.Box):
        return rng.uniform(space.low, space.high, (count, *space.shape)).astype(space.dtype)
    if mask is None:
        return rng.integers(space.n, size=count)
    return np.array([rng.choice(np.flatnonzero(row)) for row in mask])
