"""Exact answers of games with tables: all equilibria with their stage games, ties included, and random play."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class DiscreteAnswer:
    """The equilibria of a two-player game with tables; the leader's actions come first everywhere.

    Attributes:
        leader: the player who leads, 0 or 1.
        q: (k, |S|, 2, |A_l|, |A_f|) the stage games of each of k equilibria; k may be 0.
        right: (k, |S|, |A_l|, |A_f|) bool, the plays that are equilibria of these stage games, ties included.
        follows: (|S|, |A_l|, |A_f|, |S|) bool, which states can follow.
        start: (|S|,) chances of the first states.
        values: (k, 2) what each equilibrium pays from the start, leader first.
        random: (2,) what uniform play pays from the start, leader first.
        states: (|S|, d) float32, what agents and `state()` see.
    """

    leader: int
    q: np.ndarray
    right: np.ndarray
    follows: np.ndarray
    start: np.ndarray
    values: np.ndarray
    random: np.ndarray
    states: np.ndarray

    def __len__(self) -> int:
        return len(self.q)


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
        leader=leader,
        q=q,
        right=stage_equilibria(q),
        follows=game.transitions > 0,
        start=start,
        values=values @ start,
        random=uniform_values(game.rewards, game.transitions, gamma) @ start,
        states=states,
    )


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
