"""`two_state_v0`: two fixed points of the bi-level Bellman equation, one of them false (paper, end of the supplement).

The one state of the tables is the paper's s1; where it goes to its terminal s2 the game ends. `player_0` is X, who
leads in the paper, `player_1` is Y. At `DISCOUNT` both (B, A) and (A, B) in s1 fulfil the bi-level Bellman equation
strictly, but only (B, A), worth (10, 0), is the equilibrium of whole policies (Eq. 5): if X always played B, Y would
have to answer A, or pay 1 for ever. (A, B), worth (0, 10), holds because Y answers one B of X by B in the belief that X
returns to A.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pettingzoo.utils.conversions import aec_wrapper_fn

from rllib_biac.envs.markov_game import BatchedMarkovGame, FiniteMarkovGame

__all__ = ["DISCOUNT", "REWARDS", "TRANSITIONS", "batched_env", "env", "parallel_env", "raw_env"]

DISCOUNT = 0.9
"""(A, B) is a strict fixed point wherever 10 * DISCOUNT > 1; at 1, the paper's, Y's answers to A are a tie."""

REWARDS = np.array(
    [
        [[[0, 0], [10, -1]]],
        [[[0, 10], [0, -1]]],
    ],
    dtype=np.float64,
)
"""(2 players, 1 state, 2 actions A B of X, 2 actions A B of Y)."""

TRANSITIONS = np.array([[[[1], [0]], [[0], [1]]]], dtype=np.float64)
"""(1 state, 2 actions of X, 2 actions of Y, 1 next state): (A, A) and (B, B) stay in s1, the others end the game."""

REWARDS.setflags(write=False)
TRANSITIONS.setflags(write=False)


def parallel_env(horizon: int = 25) -> FiniteMarkovGame:
    """Makes the game; the outcomes are `"A-B"`, `"B-A"` and `"timeout"`.

    Both players and `state()` see `[1.0]` in s1 and `[0.0]` in s2.

    Args:
        horizon: steps after which an episode is truncated, as (A, A) and (B, B) could go on for ever.

    Raises:
        ValueError: if the horizon is no whole number of at least 1.
    """
    return FiniteMarkovGame(
        REWARDS, TRANSITIONS, horizon=horizon, action_names=(("A", "B"), ("A", "B")), name="two_state_v0"
    )


raw_env = aec_wrapper_fn(parallel_env)
env = raw_env  # the conversion enforces the order of calls already


def batched_env(num_games: int, rng: np.random.Generator, **kwargs: Any) -> BatchedMarkovGame:
    """Makes N games as arrays; `kwargs` as for `parallel_env`."""
    return BatchedMarkovGame(parallel_env(**kwargs), num_games, rng)
