"""`grid_coordination_v0`: two agents move to one square; the near one is worth 10, the far one 20 (after Fig. 1).

The paper draws the idea, this layout is the package's own: `player_0` starts at 0, `player_1` at 1, and both have one
step to a, three to b.

    0 a 1
    . . .
    . b .

Both move at once, one square up, down, left or right, or stay; the edge stops them, and they may share a square. When
both stand on a, both receive 10 and the episode ends; on b 20. All else is worth 0. For any discount in (0, 1), to walk
to either square and wait there is a Nash equilibrium, as the other alone gets nothing elsewhere. The Stackelberg
equilibrium, whoever leads, is the best joint play: to b, worth 20 * discount**2 against 10, if the discount is above
0.71, and so at `DISCOUNT`. Many ways there are equally good, so compare outcomes and values, not single actions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pettingzoo.utils.conversions import aec_wrapper_fn

from rllib_biac.envs.markov_game import BatchedMarkovGame, FiniteMarkovGame

__all__ = ["DISCOUNT", "REWARDS", "TRANSITIONS", "batched_env", "env", "parallel_env", "raw_env"]

DISCOUNT = 0.95
"""At which the SE is worth 18.05 and going to a 10."""

SIZE = 3  # squares a side, numbered row by row
SQUARES = SIZE**2
MOVES = {"stay": (0, 0), "up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}  # rows, columns
STARTS = (0, 2)  # squares of player_0, player_1
WORTH = {1: 10, 7: 20}  # of squares a and b


def _tables() -> tuple[np.ndarray, np.ndarray]:
    """Returns the rewards and transitions; a state is player_0's square times `SQUARES`, plus player_1's."""
    row, column = np.divmod(np.arange(SQUARES), SIZE)
    to = np.stack(  # (squares, moves)
        [
            np.clip(row + down, 0, SIZE - 1) * SIZE + np.clip(column + right, 0, SIZE - 1)
            for down, right in MOVES.values()
        ],
        axis=1,
    )
    following = to[:, None, :, None] * SQUARES + to[None, :, None, :]  # (squares, squares, moves, moves)
    following = following.reshape(SQUARES**2, len(MOVES), len(MOVES))
    worth = np.zeros(SQUARES**2)
    for square, value in WORTH.items():
        worth[square * SQUARES + square] = value
    rewards = worth[following]
    transitions = np.eye(SQUARES**2)[following] * (rewards == 0)[..., None]
    return np.stack([rewards, rewards]), transitions


REWARDS, TRANSITIONS = _tables()
"""(2 players, 81 states, 5 moves, 5 moves) and (81 states, 5 moves, 5 moves, 81 next states)."""

REWARDS.setflags(write=False)
TRANSITIONS.setflags(write=False)


def parallel_env(horizon: int = 16) -> FiniteMarkovGame:
    """Makes the game; the outcomes are `"10"`, `"20"` and `"timeout"`.

    Both players and `state()` see 18 numbers: `player_0`'s square one-hot, then `player_1`'s; zeros once it is over.

    Args:
        horizon: steps after which an episode is truncated.

    Raises:
        ValueError: if the horizon is no whole number of at least 1.
    """
    first, second = np.divmod(np.arange(SQUARES**2), SQUARES)
    return FiniteMarkovGame(
        REWARDS,
        TRANSITIONS,
        start=STARTS[0] * SQUARES + STARTS[1],
        horizon=horizon,
        action_names=(tuple(MOVES), tuple(MOVES)),
        outcomes=REWARDS[0].astype(int).astype(str),
        features=np.eye(SQUARES)[np.stack([first, second], axis=1)].reshape(SQUARES**2, 2 * SQUARES),
        name="grid_coordination_v0",
    )


raw_env = aec_wrapper_fn(parallel_env)
env = raw_env  # the conversion enforces the order of calls already


def batched_env(num_games: int, rng: np.random.Generator, **kwargs: Any) -> BatchedMarkovGame:
    """Makes N games as arrays; `kwargs` as for `parallel_env`."""
    return BatchedMarkovGame(parallel_env(**kwargs), num_games, rng)
