"""Value iteration with the bi-level Bellman equation, which need not converge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rllib_biac.equilibria.feedback import backup
from rllib_biac.equilibria.markov import MarkovGame


@dataclass(frozen=True, slots=True)
class Iteration:
    """Where value iteration with the bi-level Bellman equation goes.

    Attributes:
        period: 1 if it converges; p > 1 if it ends in a cycle of p steps; 0 if neither has shown.
        iterations: the number of sweeps made.
        leader_value, follower_value: (max(period, 1), |S|), the values along the cycle; of the last sweep, if
            `period` is 0.
        leader_action, follower_action: likewise, the actions with which these values were made.
    """

    period: int
    iterations: int
    leader_value: np.ndarray
    follower_value: np.ndarray
    leader_action: np.ndarray
    follower_action: np.ndarray


def iterate(
    game: MarkovGame,
    leader: int = 0,
    start_values: np.ndarray | None = None,
    max_iterations: int = 10_000,
    max_period: int = 100,
    tolerance: float = 1e-12,
) -> Iteration:
    """Repeats V_i <- Stackelberg_i(Q_1, Q_2) in all states at once (paper, Eq. 7), until it settles or cycles.

    The sweep is no contraction in general: it may converge to a fixed point that depends on where it started, and it
    may cycle, also where there are fixed points. Ties go to the lowest action.

    Args:
        game: of two players.
        leader: the player who commits in every state, 0 or 1.
        start_values: (2, |S|), the leader's values first; zeros by default.
        max_iterations: at least 1, sweeps after which to give up.
        max_period: at least 1, the longest cycle that is recognised.
        tolerance: two sweeps are the same if they differ by at most this part of each agent's largest value or reward.

    Raises:
        ValueError: if the game has not two players, there is no such player, or an argument is out of its range.
    """
    if max_iterations < 1 or max_period < 1:
        raise ValueError(f"max_iterations and max_period must be at least 1; got {max_iterations} and {max_period}.")
    game = game.led_by(leader)
    values = np.zeros((2, game.num_states)) if start_values is None else np.array(start_values, dtype=np.float64)
    if values.shape != (2, game.num_states):
        raise ValueError(f"start_values must have shape {(2, game.num_states)}; got {values.shape}.")

    history = [(values, np.full(game.num_states, -1), np.full(game.num_states, -1))]  # the newest last
    largest_reward = np.abs(game.rewards).max((1, 2, 3))  # (2,)
    period, sweeps = 0, 0
    while sweeps < max_iterations and not period:
        history = [*history[-max_period:], backup(game.rewards, game.transitions, game.gamma, history[-1][0])]
        sweeps += 1
        newest = history[-1][0]
        allowed = tolerance * np.maximum(np.abs(newest).max(-1), largest_reward)  # (2,)
        apart = np.abs(np.stack([one[0] for one in history[-2::-1]]) - newest).max(-1)  # (1, 2, ... sweeps ago, 2)
        close = np.flatnonzero((apart <= allowed).all(-1)) + 1
        # A settled policy may make values swing as they converge, and be nearer to those of two sweeps ago.
        period = next((int(p) for p in close if p == 1 or _changes(history[-p:])), 0)
    orbit = history[-max(period, 1) :]
    values, action, answer = (np.stack(part) for part in zip(*orbit, strict=True))
    return Iteration(period, sweeps, values[:, 0], values[:, 1], action, answer)


def _changes(orbit: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> bool:
    return any((one[1] != orbit[0][1]).any() or (one[2] != orbit[0][2]).any() for one in orbit)
