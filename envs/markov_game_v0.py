"""`markov_game_v0`: a finite Markov game with the tables you give, for any number of players."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from pettingzoo.utils.conversions import aec_wrapper_fn

from rllib_biac.envs.markov_game import BatchedMarkovGame, FiniteMarkovGame

__all__ = ["batched_env", "env", "parallel_env", "raw_env"]


def parallel_env(
    rewards: ArrayLike,
    transitions: ArrayLike,
    start: int | ArrayLike = 0,
    horizon: int | None = 100,
    action_names: Sequence[Sequence[Any]] | None = None,
    outcomes: ArrayLike | None = None,
    features: ArrayLike | None = None,
) -> FiniteMarkovGame:
    """Makes the game; see `FiniteMarkovGame` for the arguments and errors."""
    return FiniteMarkovGame(rewards, transitions, start, horizon, action_names, outcomes, features)


raw_env = aec_wrapper_fn(parallel_env)
env = raw_env  # the conversion enforces the order of calls already


def batched_env(num_games: int, rng: np.random.Generator, **kwargs: Any) -> BatchedMarkovGame:
    """Makes N games as arrays; `kwargs` as for `parallel_env`."""
    return BatchedMarkovGame(parallel_env(**kwargs), num_games, rng)
