"""`random_matrix_game_v0`: a two-player matrix game drawn at random, of a given cooperation level (paper, Fig. 2)."""

from __future__ import annotations

from typing import Any

import numpy as np
from pettingzoo.utils.conversions import aec_wrapper_fn

from rllib_biac.envs.matrix_game import BatchedMatrixGame, MatrixGame

__all__ = ["batched_env", "env", "parallel_env", "raw_env"]


def parallel_env(size: int = 3, covariance: float = 0.0, seed: int = 0, horizon: int = 1) -> MatrixGame:
    """Draws the payoffs once, here; resets leave them alone.

    In every cell the two payoffs are normal, with mean 0, variance 1 and the given covariance; cells are independent.
    These are the games of `rllib_biac.equilibria.random_games.sample_payoffs`.

    Args:
        size: number of actions of each player, at least 1.
        covariance: of the two payoffs of a cell, in [-1, 1]; 1 is fully cooperative, -1 zero-sum.
        seed: of the payoffs, 0 or more; every seed is another game.
        horizon: steps per episode; above 1 the game is repeated and ends by truncation (see `MatrixGame`).

    Raises:
        ValueError: if an argument is out of its range.
    """
    for what, value, least in (("size", size, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{what} must be a whole number, at least {least}; got {value!r}.")
    if isinstance(covariance, bool) or not isinstance(covariance, int | float) or not -1 <= covariance <= 1:
        raise ValueError(
            f"covariance must lie in [-1, 1], from -1 (zero-sum) to 1 (fully cooperative); got {covariance!r}."
        )
    payoffs = np.random.default_rng(seed).standard_normal((2, size, size))
    payoffs[1] *= np.sqrt(1 - covariance**2)
    payoffs[1] += covariance * payoffs[0]
    return MatrixGame(payoffs, horizon, name="random_matrix_game_v0")


raw_env = aec_wrapper_fn(parallel_env)
env = raw_env  # the conversion enforces the order of calls already


def batched_env(num_games: int, rng: np.random.Generator, **kwargs: Any) -> BatchedMatrixGame:
    """Makes N copies of the one game as arrays; `kwargs` as for `parallel_env`. `rng` stays untouched."""
    return BatchedMatrixGame(parallel_env(**kwargs), num_games)
