"""`signalling_v0`: three games in which what one does tells the other what it knows.

- `shared`: player_0 sees which of three states it is, player_1 does not and has to name it; both are paid if it does.
  player_0's action costs nothing and says nothing by itself: its meaning has to be found.
- `pooling`: player_0 sees whether it is good (probability 0.6) or bad, and wants player_1 to accept, which pays
  player_1 10 or -10. Telling is worth 6 to player_0; if it does the same in both states, player_1 accepts always: 10.
- `hidden`, for actions that are not announced: Maintain, with rows renamed by what player_0 alone sees (probabilities
  0.8, 0.2) and columns by what player_1 alone sees. player_1 knows player_0 by its policy alone. Committing to A, that
  is keeping to it although B pays more against X, is worth 20; taking B in the rarer case, of which player_1 knows
  nothing, 22; in both cases, 10.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pettingzoo.utils.conversions import aec_wrapper_fn

from rllib_biac.envs.matrix_game import MAINTAIN
from rllib_biac.envs.signalling import BatchedSignallingGame, SignallingGame

__all__ = ["KINDS", "batched_env", "env", "parallel_env", "raw_env", "tables"]

KINDS = ("shared", "pooling", "hidden")


def tables(kind: str = "shared") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns a game's payoffs (2, |S|, |A_1|, |A_2|), prior (|S|,), and what is seen (2, |S|).

    Args:
        kind: one of `KINDS`.

    Raises:
        ValueError: if there is no such kind.
    """
    if kind == "shared":
        payoffs = np.broadcast_to(np.eye(3)[:, None, :], (3, 3, 3))  # the state is named, whatever was signalled
        return np.stack([payoffs, payoffs]), np.array([0.5, 0.3, 0.2]), np.array([[0, 1, 2], [0, 0, 0]])
    if kind == "pooling":
        accept = np.array([[10.0, 0.0], [10.0, 0.0]])  # in each state, player_1 accepts or does not
        follows = np.array([[10.0, 0.0], [-10.0, 0.0]])
        payoffs = np.stack([np.repeat(own[:, None], 2, axis=1) for own in (accept, follows)])
        return payoffs, np.array([0.6, 0.4]), np.array([[0, 1], [0, 0]])
    if kind == "hidden":
        renamed = [np.roll(MAINTAIN, (own, other), (1, 2)) for own in (0, 1) for other in (0, 1)]
        return np.stack(renamed, 1), np.array([0.48, 0.32, 0.12, 0.08]), np.array([[0, 0, 1, 1], [0, 1, 0, 1]])
    raise ValueError(f"kind: {kind!r} is none of {', '.join(KINDS)}.")


def parallel_env(kind: str = "shared") -> SignallingGame:
    """Makes one of the games.

    Args:
        kind: one of `KINDS`.

    Raises:
        ValueError: if there is no such kind.
    """
    return SignallingGame(*tables(kind))


raw_env = aec_wrapper_fn(parallel_env)
env = raw_env  # the conversion enforces the order of calls already


def batched_env(num_games: int, rng: np.random.Generator, **kwargs: Any) -> BatchedSignallingGame:
    """Makes N games as arrays; `kwargs` as for `parallel_env`."""
    return BatchedSignallingGame(parallel_env(**kwargs), num_games, rng)
