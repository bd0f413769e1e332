"""Highway Merge, version 0. PettingZoo's factories and the batched form; the game is in `rllib_biac.envs.merge`."""

from __future__ import annotations

from typing import Any

import numpy as np
from pettingzoo import AECEnv
from pettingzoo.utils import parallel_to_aec, wrappers

from rllib_biac.envs.merge import BatchedMerge, ParallelMerge

parallel_env = ParallelMerge


def raw_env(**kwargs: Any) -> AECEnv:
    """Makes the game with agents acting in turn (AEC)."""
    return parallel_to_aec(parallel_env(**kwargs))


def env(**kwargs: Any) -> AECEnv:
    """Makes the game with agents acting in turn, with PettingZoo's checks of order and of actions."""
    return wrappers.OrderEnforcingWrapper(wrappers.AssertOutOfBoundsWrapper(raw_env(**kwargs)))


def batched_env(num_games: int, rng: np.random.Generator, **kwargs: Any) -> BatchedMerge:
    """Makes N games as arrays; the settings are `ParallelMerge`'s but for `render_mode`."""
    return BatchedMerge(num_games, rng, **kwargs)
