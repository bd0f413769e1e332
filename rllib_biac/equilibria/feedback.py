"""Feedback Stackelberg equilibria of two-player Markov games: the fixed points of the bi-level Bellman equation.

In each state the players meet in the stage game Q_i(s, a_1, a_2) = r_i + gamma E[V_i(s')], and V_i(s) is what agent i
receives in its Stackelberg equilibrium (paper, Eq. 7). The leader commits to one action at a time. There may be one
stationary deterministic fixed point, several, or none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rllib_biac.equilibria.accuracy import check_differences
from rllib_biac.equilibria.leader_policies import optimal_answers
from rllib_biac.equilibria.markov import MarkovGame, evaluate, joint_policies, round_off
from rllib_biac.equilibria.matrix import stackelberg

_ROUNDING = 2.0**-42  # of the largest value: what a linear system leaves of a tie

STAGE_AXES = (-4, -2, -1)  # one agent's numbers in all `stage_games`: agents may have different units


@dataclass(frozen=True, slots=True)
class FeedbackSE:
    """k fixed points of the bi-level Bellman equation (paper, Eqs. 7-11); k may be 0.

    Attributes:
        leader_action, follower_action: (k, |S|), what is played in each state.
        responses: (k, |S|, |A_leader|), answers to every leader action that make the leader choose as it does: best
            responses everywhere; where several tie, the one worst for the leader, except on the path of play.
        leader_value, follower_value: (k, |S|) discounted returns from each state.
        margin: (k,) the least of the stage games' margins (`StackelbergEquilibrium.margin`): tables Q that err by less
            than half of it call for the same play. 0 where a tie decides.
    """

    leader_action: np.ndarray
    follower_action: np.ndarray
    responses: np.ndarray
    leader_value: np.ndarray
    follower_value: np.ndarray
    margin: np.ndarray

    def __len__(self) -> int:
        return len(self.margin)


def stage_games(rewards: np.ndarray, transitions: np.ndarray, gamma: float, values: np.ndarray) -> np.ndarray:
    """Returns Q_i(s, a_1, a_2) = r_i(s, a_1, a_2) + gamma sum_s' p(s' | s, a_1, a_2) V_i(s') (paper, Eq. 1).

    Args:
        rewards: (..., 2, |S|, |A_1|, |A_2|).
        transitions: (..., |S|, |A_1|, |A_2|, |S|).
        gamma: discount.
        values: (..., 2, |S|).

    Returns:
        (..., |S|, 2, |A_1|, |A_2|), one matrix game per state.
    """
    return np.swapaxes(rewards, -4, -3) + gamma * np.einsum("...sabt,...it->...siab", transitions, values)


def stage_equilibria(q: np.ndarray) -> np.ndarray:
    """Finds the cells of a matrix game that are its pure SE under some way to break ties, the row player leading.

    Such a way is one answer to every row, each a best response. So (a, b) is an SE if b is a best response to a and the
    leader's payoff is at least the pessimistic one: then no other row secures it more. (More than the optimistic one it
    cannot be.)

    Args:
        q: (..., 2, |A_1|, |A_2|).

    Returns:
        (..., |A_1|, |A_2|) bool, true at least once per game.
    """
    leads, follows = q[..., 0, :, :], q[..., 1, :, :]
    best = follows == follows.max(-1, keepdims=True)
    return best & (leads >= stackelberg(q).pessimistic[..., None, None])


def fixed_points(rewards: np.ndarray, transitions: np.ndarray, gamma: float) -> tuple[np.ndarray, np.ndarray]:
    """Tries every stationary deterministic joint policy of whole batches of games, agent 0 leading.

    Args:
        rewards: (..., 2, |S|, |A_1|, |A_2|).
        transitions: (..., |S|, |A_1|, |A_2|, |S|).
        gamma: discount.

    Returns:
        (..., K_1, K_2) bool, which joint policies are fixed points, numbered as in `policy_game`; and
        (..., K_1, K_2, 2, |S|) the values of all of them.

    Raises:
        ValueError: if there are too many to be enumerated.
    """
    num_states, *num_actions = rewards.shape[-3:]
    actions = joint_policies(num_actions, num_states)  # (K_1, 1, |S|), (1, K_2, |S|)
    values = np.moveaxis(evaluate(rewards, transitions, gamma, actions), -4, -2)  # (..., K_1, K_2, 2, |S|)
    # the policies' two dimensions, after the batch's
    q = stage_games(rewards[..., None, None, :, :, :, :], transitions[..., None, None, :, :, :, :], gamma, values)
    first, second = (np.arange(n) == one[..., None] for n, one in zip(num_actions, actions, strict=True))
    played = first[..., :, None] & second[..., None, :]  # (K_1, K_2, |S|, |A_1|, |A_2|)
    return (stage_equilibria(round_off(q, STAGE_AXES)) & played).any((-1, -2)).all(-1), values


def feedback_se(game: MarkovGame, leader: int = 0) -> FeedbackSE:
    """Finds all stationary deterministic feedback SE, by trying every policy of the leader.

    A joint policy is one if, its values put into the stage games, in every state its joint action is a pure SE of the
    stage game: the follower's action is a best response, and the leader's value is at least what it can secure by
    any other action when ties among best responses go against it. That is, some answer to every leader action,
    each a best response, supports the play; how the follower answers off the path of play is not part of the fixed
    point, for it does not change the values.

    At each fixed point the follower's policy is a best response to the leader's whole policy, so that none pays the
    leader more than `commitment_se(...).optimistic`, and only such policies are tried.

    Args:
        game: of two players, small: the leader has |A_leader| ** |S| policies. 12 states of two actions each, or 9 of
            three, take seconds.
        leader: the player who commits in every state, 0 or 1.

    Returns:
        All of them, in the order of the leader's policies, then the follower's; of length 0 if there is none.

    Raises:
        ValueError: if the game has not two players, there is no such player, or the policies are too many.
        TooWideError: if something that decides an SE differs by less than `accuracy.CLOSEST` of an agent's largest
            payoff. Else answers were those of rational arithmetic in 1,000 games.
    """
    game = game.led_by(leader)
    _check_rewards(game)
    at = np.arange(game.num_states)
    parts = []
    for action, answer in optimal_answers(game):  # (k, |S|) each
        values = np.moveaxis(evaluate(game.rewards, game.transitions, game.gamma, (action, answer)), 0, -2)
        q = round_off(stage_games(game.rewards, game.transitions, game.gamma, values), STAGE_AXES)
        found = stage_equilibria(q)[np.arange(len(action))[:, None], at, action, answer].all(-1)
        parts.append((action[found], answer[found], values[found]))
    action, answer, values = (np.concatenate(part) for part in zip(*parts, strict=True))
    return _describe(game, action, answer, values)


def _check_rewards(game: MarkovGame) -> None:
    """Refuses rewards that differ by too little, beside the largest: in values that would be lost without a trace."""
    check_differences(game.rewards.swapaxes(0, 1), STAGE_AXES)


def _describe(game: MarkovGame, action: np.ndarray, answer: np.ndarray, values: np.ndarray) -> FeedbackSE:
    """Returns k fixed points given their actions, (k, |S|), and values, (k, 2, |S|); agent 0 leads."""
    q = stage_games(game.rewards, game.transitions, game.gamma, values)  # (k, |S|, 2, |A_l|, |A_f|)
    check_differences(q, STAGE_AXES, ties_below=_ROUNDING)
    q = round_off(q, STAGE_AXES)
    best = q[:, :, 1] == q[:, :, 1].max(-1, keepdims=True)
    responses = np.where(best, q[:, :, 0], np.inf).argmin(-1)  # (k, |S|, |A_l|)
    np.put_along_axis(responses, action[..., None], answer[..., None], axis=-1)
    margin = stackelberg(q).margin.min(-1)
    return FeedbackSE(action, answer, responses, values[:, 0], values[:, 1], margin)


def backward_induction(game: MarkovGame, leader: int = 0) -> FeedbackSE:
    """Solves a game that never returns to a state for its feedback SE: the only one, if its margin is above 0.

    Args:
        game: of two players and acyclic; many states will do.
        leader: the player who commits in every state, 0 or 1.

    Returns:
        One fixed point (k = 1); ties go to the lowest action.

    Raises:
        ValueError: if a state can be met twice, the game has not two players, or there is no such player.
        TooWideError: as `feedback_se`.
    """
    if not game.is_acyclic:
        raise ValueError("the game can return to a state, so there is no last one to begin with; use `feedback_se`.")
    game = game.led_by(leader)
    _check_rewards(game)
    values = np.zeros((2, game.num_states))
    for _ in range(game.num_states):  # sweep t settles all states from which at most t steps can follow
        values, action, answer = backup(game.rewards, game.transitions, game.gamma, values)
    return _describe(game, action[None], answer[None], values[None])


def backup(
    rewards: np.ndarray, transitions: np.ndarray, gamma: float, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Solves the stage games that values make, agent 0 leading; shapes as `stage_games`.

    Returns:
        (..., 2, |S|) the SE payoffs (paper, Eq. 7), and (..., |S|) the leader's and the follower's actions; ties go to
        the lowest.
    """
    q = stage_games(rewards, transitions, gamma, values)  # (..., |S|, 2, |A_1|, |A_2|)
    solution = stackelberg(round_off(q, STAGE_AXES))
    at_row = np.take_along_axis(q, solution.leader_action[..., None, None, None], -2)[..., 0, :]
    payoffs = np.take_along_axis(at_row, solution.follower_action[..., None, None], -1)[..., 0]  # (..., |S|, 2)
    return payoffs.swapaxes(-1, -2), solution.leader_action, solution.follower_action
