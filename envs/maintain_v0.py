"""`maintain_v0`: the Maintain game (paper, Table 1b). The SE A-X is better for both than any NE, and is no NE."""

from __future__ import annotations

from typing import Any

import numpy as np
from pettingzoo.utils.conversions import aec_wrapper_fn

from rllib_biac.envs.matrix_game import MAINTAIN, ROWS_AND_COLUMNS, BatchedMatrixGame, MatrixGame

__all__ = ["batched_env", "env", "parallel_env", "raw_env"]


def parallel_env(horizon: int = 1, scale: float = 1.0, shift: float = 0.0) -> MatrixGame:
    """Makes the game with payoffs `scale * MAINTAIN + shift`.

    Args:
        horizon: steps per episode; above 1 the game is repeated and ends by truncation (see `MatrixGame`).
        scale: factor on every payoff; a negative one would turn the game into another.
        shift: added to every payoff after scaling.

    Raises:
        ValueError: if the horizon or the resulting payoffs do not fit.
    """
    return MatrixGame(scale * MAINTAIN + shift, horizon, ROWS_AND_COLUMNS, name="maintain_v0")


raw_env = aec_wrapper_fn(parallel_env)
env = raw_env  # the conversion enforces the order of calls already


def batched_env(num_games: int, rng: np.random.Generator, **kwargs: Any) -> BatchedMatrixGame:
    """Makes N games as arrays; `kwargs` as for `parallel_env`. The game has no chance in it, `rng` stays untouched."""
    return BatchedMatrixGame(parallel_env(**kwargs), num_games)
