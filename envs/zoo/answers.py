"""Exact answers of games with tables: all equilibria with their stage games, ties included, and random play."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rllib_biac.envs.matrix_game import MatrixGame


@dataclass(frozen=True, slots=True, eq=False)
class DiscreteAnswer:
    """The equilibria of a two-player game with tables; the leader's actions come first everywhere.

    Attributes:
        rewards: (2, |S|, |A_l|, |A_f|).
        following: (|S|, |A_l|, |A_f|, |S|) chances of the next state, or (|S|, |A_l|, |A_f|) the one next state, -1
            where the game is over.
        gamma: discount.
        start: (|S|,) chances of the first states.
        q: (k, |S|, 2, |A_l|, |A_f|) the stage games of each of k equilibria; k may be 0.
        right: (k, |S|, |A_l|, |A_f|) bool, the plays that are equilibria of these stage games, ties included.
        values: (k, 2) what each equilibrium pays from the start, leader first.
        random: (2,) what uniform play pays from the start, leader first.
        states: (|S|, d) float32, what agents and `state()` see.
    """

    rewards: np.ndarray
    following: np.ndarray
    gamma: float
    start: np.ndarray
    q: np.ndarray
    right: np.ndarray
    values: np.ndarray
    random: np.ndarray
    states: np.ndarray

    def __len__(self) -> int:
        return len(self.q)

    def reached(self, leads: np.ndarray, answers: np.ndarray) -> np.ndarray:
        """Returns the states that a play comes to, (|S|,) bool; the leader's and the follower's are (|S|,) integers."""
        at = (np.arange(len(leads)), leads, answers)
        found = self.start > 0
        if self.following.ndim == 3:
            after = self.following[at]
            new = np.flatnonzero(found)
            while new.size:
                new = np.unique(after[new])
                new = new[(new >= 0) & ~found[new]]
                found[new] = True
            return found
        moves = self.following[at] > 0  # (|S|, |S|)
        while (more := found | moves[found].any(0)).sum() > found.sum():
            found = more
        return found


def uniform_values(rewards: np.ndarray, transitions: np.ndarray, gamma: float) -> np.ndarray:
    """Returns what uniform play pays in every state, (n, |S|); arguments as of `equilibria.MarkovGame`."""
    joint = tuple(range(1, transitions.ndim - 1))
    matrix = np.eye(len(transitions)) - gamma * transitions.mean(joint)  # (|S|, |S|)
    return np.linalg.solve(matrix, rewards.mean(tuple(j + 1 for j in joint)).T).T


def answer(
    tables: tuple[np.ndarray, np.ndarray, np.ndarray],
    start: np.ndarray,
    gamma: float,
    leader: int,
    values: np.ndarray,
) -> DiscreteAnswer:
    """Describes equilibria by their values.

    Args:
        tables: rewards (2, |S|, |A_1|, |A_2|), transitions, and what is seen of the states, as games' `tables()`.
        start: (|S|,) chances of the first states.
        gamma: discount.
        leader: 0 or 1.
        values: (k, 2, |S|) what each equilibrium pays in every state, leader first.
    """
    from rllib_biac.equilibria.feedback import STAGE_AXES, stage_equilibria, stage_games
    from rllib_biac.equilibria.markov import MarkovGame, round_off

    rewards, transitions, states = tables
    game = MarkovGame(rewards, transitions, gamma).led_by(leader)
    q = round_off(stage_games(game.rewards, game.transitions, gamma, values), STAGE_AXES)
    return DiscreteAnswer(
        rewards=game.rewards,
        following=game.transitions,
        gamma=gamma,
        start=start,
        q=q,
        right=stage_equilibria(q),
        values=values @ start,
        random=uniform_values(game.rewards, game.transitions, gamma) @ start,
        states=states,
    )


def matrix_answer(payoffs: np.ndarray, leader: int) -> DiscreteAnswer:
    """Solves a one-step game, payoffs (2, |A_1|, |A_2|), ties included."""
    from rllib_biac.equilibria.feedback import backup
    from rllib_biac.equilibria.markov import MarkovGame

    led = MarkovGame.from_matrix(payoffs).led_by(leader)
    values, _, _ = backup(led.rewards, led.transitions, 0.0, np.zeros((2, 1)))
    return answer(MatrixGame(payoffs).tables(), np.ones(1), 0.0, leader, values[None])


def spread(q: np.ndarray) -> np.ndarray:
    """Returns the standard deviation of each agent's stage payoffs, (2,), of stage games (..., 2, |A_l|, |A_f|)."""
    return np.moveaxis(q, -3, 0).reshape(2, -1).std(-1)


def margin(q: np.ndarray, units: np.ndarray | None = None) -> float:
    """Returns the least margin of stage games (..., 2, |A_l|, |A_f|), ties aside, in units (2,) of each agent.

    The units are each agent's standard deviation of stage payoffs where none are given.
    """
    from rllib_biac.equilibria.sets import set_margin

    units = spread(q) if units is None else units
    return float(set_margin(q / np.where(units > 0, units, 1.0)[:, None, None]).min())
