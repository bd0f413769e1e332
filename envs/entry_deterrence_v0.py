"""`entry_deterrence_v0`: a threat that pays only if it is made for good (after Selten 1978, the chain store paradox).

`player_0`, the incumbent, shall lead: it chooses to accommodate or to fight; `player_1`, the entrant, to be out or in.
State 0, entry: out leaves the incumbent a monopoly, worth 4, and ends the game; in opens the market, state 1. There in
shares it, (2, 1) if the incumbent accommodates and (0, -2) if it fights, while out costs the entrant 3, so it stays in.
To fight nobody, or at the entry already, costs the incumbent 1.

Stage by stage, the only fixed point of the bi-level Bellman equation, the incumbent accommodates in the market, so the
entrant comes in: (1.8, 0.9) at `DISCOUNT`. An incumbent that commits to a whole policy (Eq. 5) says that it would fight
there, which keeps the entrant out and never has to be done: (4, 0). That is no fixed point, for once in the market
fighting pays less.
"""

from __future__ import annotations

import numpy as np
from pettingzoo.utils.conversions import aec_wrapper_fn

from rllib_biac.envs.markov_game import BatchedMarkovGame, FiniteMarkovGame

__all__ = ["DISCOUNT", "REWARDS", "TRANSITIONS", "batched_env", "env", "parallel_env", "raw_env"]

DISCOUNT = 0.9
"""At which the values above hold; the equilibria are the same at every positive discount."""

REWARDS = np.array(
    [
        [[[4, 0], [3, -1]], [[4, 2], [3, 0]]],
        [[[0, 0], [0, 0]], [[-3, 1], [-3, -2]]],
    ],
    dtype=np.float64,
)
"""(2 players, 2 states entry market, 2 actions accommodate fight, 2 actions out in)."""

TRANSITIONS = np.zeros((2, 2, 2, 2))
"""(2 states, 2 actions accommodate fight, 2 actions out in, 2 next states): only in at the entry leads anywhere."""
TRANSITIONS[0, :, 1, 1] = 1

REWARDS.setflags(write=False)
TRANSITIONS.setflags(write=False)


def parallel_env() -> FiniteMarkovGame:
    """Makes the game; the outcomes are `"deterred"`, `"shared"`, `"fought"` and `"withdrawn"`.

    It takes one or two steps and is never truncated. Both players and `state()` see the state one-hot.
    """
    return FiniteMarkovGame(
        REWARDS,
        TRANSITIONS,
        horizon=None,
        action_names=(("accommodate", "fight"), ("out", "in")),
        outcomes=[
            [["deterred", ""], ["deterred", ""]],
            [["withdrawn", "shared"], ["withdrawn", "fought"]],
        ],
        name="entry_deterrence_v0",
    )


raw_env = aec_wrapper_fn(parallel_env)
env = raw_env  # the conversion enforces the order of calls already


def batched_env(num_games: int, rng: np.random.Generator) -> BatchedMarkovGame:
    """Makes N games as arrays."""
    return BatchedMarkovGame(parallel_env(), num_games, rng)
