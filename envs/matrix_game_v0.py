"""`matrix_game_v0`: a matrix game with the payoffs you give, for any number of players."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from pettingzoo.utils.conversions import aec_wrapper_fn

from rllib_biac.envs.matrix_game import BatchedMatrixGame, MatrixGame

__all__ = ["batched_env", "env", "parallel_env", "raw_env"]


def parallel_env(
    payoffs: ArrayLike, horizon: int = 1, action_names: Sequence[Sequence[Any]] | None = None
) -> MatrixGame:
    """Makes the game; see `MatrixGame` for the arguments and errors."""
    return MatrixGame(payoffs, horizon, action_names, name="matrix_game_v0")


raw_env = aec_wrapper_fn(parallel_env)
env = raw_env  # the conversion enforces the order of calls already


def batched_env(num_games: int, rng: np.random.Generator, **kwargs: Any) -> BatchedMatrixGame:
    """Makes N games as arrays; `kwargs` as for `parallel_env`. The game has no chance in it, `rng` stays untouched."""
    return BatchedMatrixGame(parallel_env(**kwargs), num_games)
