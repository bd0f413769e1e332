"""`zoo_v0`: a game of the zoo, by its family and seed (`rllib_biac.envs.zoo`)."""

from __future__ import annotations

from typing import Any

import numpy as np
from pettingzoo import ParallelEnv
from pettingzoo.utils.conversions import aec_wrapper_fn

from rllib_biac.envs.batched import BatchedGame
from rllib_biac.envs.markov_game import BatchedMarkovGame, FiniteMarkovGame
from rllib_biac.envs.matrix_game import BatchedMatrixGame, MatrixGame
from rllib_biac.envs.zoo.doorways import BatchedDoorway, Doorway
from rllib_biac.envs.zoo.families import zoo_game
from rllib_biac.envs.zoo.merges import RANGES
from rllib_biac.envs.zoo.one_step import BatchedNoisyMatrixGame, NoisyMatrixGame
from rllib_biac.envs.zoo.quadratic import BatchedQuadraticGame, QuadraticGame

__all__ = ["batched_env", "env", "parallel_env", "raw_env"]


def parallel_env(family: str = "normal", seed: int = 0) -> ParallelEnv:
    """Makes the game.

    Args:
        family: a name in `rllib_biac.envs.zoo.FAMILIES`.
        seed: of the game, 0 or more. Who leads, and at which gamma its answer is exact, `zoo_game` says.

    Raises:
        ValueError: if there is no such family or seed.
    """
    return zoo_game(family, seed).game


raw_env = aec_wrapper_fn(parallel_env)
env = raw_env  # the conversion enforces the order of calls already


def batched_env(num_games: int, rng: np.random.Generator, **kwargs: Any) -> BatchedGame:
    """Makes N copies of the one game as arrays; `kwargs` as for `parallel_env`."""
    game = parallel_env(**kwargs)
    if isinstance(game, NoisyMatrixGame):
        return BatchedNoisyMatrixGame(game, num_games, rng)
    if isinstance(game, MatrixGame):
        return BatchedMatrixGame(game, num_games)
    if isinstance(game, FiniteMarkovGame):
        return BatchedMarkovGame(game, num_games, rng)
    if isinstance(game, Doorway):
        return BatchedDoorway(game, num_games)
    if isinstance(game, QuadraticGame):
        return BatchedQuadraticGame(game, num_games, rng)
    from rllib_biac.envs.merge import BatchedMerge

    return BatchedMerge(num_games, rng, **RANGES[kwargs["family"]])  # type: ignore[arg-type]
