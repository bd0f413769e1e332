"""What a commitment to a whole policy secures: the exact best responses to one stationary policy, pure or mixed.

The follower knows the leader's policy z, (|S|, |A_l|) probabilities. Whether it also sees, in each state, the action
drawn from z before it answers makes two different games: `announced` says which. Given z, what is left is a Markov
decision process of the follower, and the best response to z is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rllib_biac.equilibria.markov import MarkovGame, round_off


@dataclass(frozen=True, slots=True)
class Secured:
    """What a commitment is worth to both players if the follower best-responds.

    Attributes:
        leader_payoff: discounted return from the start if the follower breaks its ties against the leader: what the
            commitment secures.
        optimistic: the same if it breaks them for the leader.
        follower_payoff: the follower's discounted return, the same either way.
        response: the follower's best response that is worst for the leader: (|S|,) actions, or (|S|, |A_l|), one for
            each leader action, if it is announced.
    """

    leader_payoff: float
    optimistic: float
    follower_payoff: float
    response: np.ndarray


def secured(
    game: MarkovGame, policy: ArrayLike, *, announced: bool, start: int | ArrayLike = 0, leader: int = 0
) -> Secured:
    """Solves a two-player game for the follower's best responses to a leader that keeps to a stationary policy.

    Maximised over all policies, `leader_payoff` is the mixed form of Eq. 5 for stationary commitments. It is a
    supremum: usually the best policies leave the follower nearly indifferent, and at the limit a tie turns it away.

    Args:
        game: of two players.
        policy: (|S|, |A_l|), the leader's probabilities in each state.
        announced: whether the follower sees the action drawn before it answers.
        start: the first state, or (|S|,) probabilities of it.
        leader: the player who commits, 0 or 1.

    Raises:
        ValueError: if the policy or the start does not fit, the game has not two players, or there is no such player.
    """
    game = game.led_by(leader)
    chances = checked_policy(game, policy)
    first = start_chances(start, game.num_states)
    rewards, moves, begin = process(game, chances, first, announced)
    everything = np.ones(rewards.shape[1:], bool)
    follows, _ = _solve(rewards[1], moves, game.gamma, everything)
    q = round_off(rewards[1] + game.gamma * moves @ follows, (-2, -1))  # (X, |A_f|)
    ties = q == q.max(-1, keepdims=True)
    worst, response = _solve(-rewards[0], moves, game.gamma, ties)
    best, _ = _solve(rewards[0], moves, game.gamma, ties)
    shape = game.num_states, game.num_actions[0]
    return Secured(
        leader_payoff=0.0 - float(begin @ worst),
        optimistic=float(begin @ best),
        follower_payoff=float(begin @ follows),
        response=response.reshape(shape) if announced else response,
    )


def checked_policy(game: MarkovGame, policy: ArrayLike) -> np.ndarray:
    """Returns a leader's policy as float64, (|S|, |A_l|); agent 0 leads.

    Raises:
        ValueError: if it holds no probabilities of that shape.
    """
    chances = np.array(policy, dtype=np.float64)
    expected = game.num_states, game.num_actions[0]
    if chances.shape != expected:
        raise ValueError(f"policy must have shape (|S|, |A_l|) = {expected}; got {chances.shape}.")
    if not ((chances >= 0).all() and (np.abs(chances.sum(-1) - 1) <= 1e-6).all()):
        raise ValueError("policy must hold probabilities: at least 0, and every row must sum to 1.")
    return chances / chances.sum(-1, keepdims=True)


def start_chances(start: int | ArrayLike, count: int) -> np.ndarray:
    """Returns the probabilities of the first state, (count,), which may be given as a state.

    Raises:
        ValueError: if there is no such state, or they are no probabilities.
    """
    if np.ndim(start) == 0:
        if not 0 <= int(start) < count:  # type: ignore[arg-type]
            raise ValueError(f"start must be a state, 0 to {count - 1}, or {count} probabilities; got {start!r}.")
        return np.eye(count)[int(start)]  # type: ignore[arg-type]
    chances = np.asarray(start, dtype=np.float64)
    if chances.shape != (count,) or (chances < 0).any() or abs(chances.sum() - 1) > 1e-6:
        raise ValueError(f"start must be a state, 0 to {count - 1}, or {count} probabilities that sum to 1.")
    return chances


def process(
    game: MarkovGame, policy: np.ndarray, start: np.ndarray, announced: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the process that a policy leaves to the follower.

    Its states X are the game's, or pairs of a state and the leader's action there if that is announced.

    Returns:
        Both players' rewards (2, X, |A_f|), moves (X, |A_f|, X), and the chances of the first state (X,).
    """
    if not announced:
        rewards = np.einsum("isab,sa->isb", game.rewards, policy)
        return rewards, np.einsum("sabt,sa->sbt", game.transitions, policy), start
    states, (leads, follows) = game.num_states, game.num_actions
    rewards = game.rewards.reshape(2, states * leads, follows)
    moves = game.transitions[..., None] * policy  # (|S|, |A_l|, |A_f|, |S|, |A_l|)
    pairs = states * leads
    return rewards, moves.reshape(pairs, follows, pairs), (start[:, None] * policy).ravel()


def _solve(rewards: np.ndarray, moves: np.ndarray, gamma: float, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Solves a decision process by policy iteration.

    Args:
        rewards: (X, |A|).
        moves: (X, |A|, X).
        gamma: discount.
        allowed: (X, |A|) bool, at least one action of each state.

    Returns:
        The optimal values and an optimal policy, (X,) each.
    """
    at = np.arange(len(rewards))
    taken = np.where(allowed, rewards, -np.inf).argmax(-1)
    while True:
        values = np.linalg.solve(np.eye(len(at)) - gamma * moves[at, taken], rewards[at, taken])
        q = np.where(allowed, rewards + gamma * moves @ values, -np.inf)
        # Only what is truly better is taken, so that rounding errors send nobody round in circles.
        better = q.max(-1) > q[at, taken] + 1e-11 * max(np.abs(values).max(), np.abs(rewards).max())
        if not better.any():
            return values, taken
        taken = np.where(better, q.argmax(-1), taken)
