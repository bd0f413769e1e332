"""A follower that errs: the quantal (logit) response to a commitment, and the best commitment to make to it.

The follower maximises its return plus the entropy of its answers times a temperature in units of the game's reward. For
a fixed commitment this is one contraction, so the response is unique: no ties, no cliff. At temperature 0 it would be a
best response, at a high one it is random play, unless some answers end the game sooner than others: entropy later on
counts too. Rewards × k with temperature × k give the same play.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rllib_biac.equilibria.best_commitment import BestCommitment
from rllib_biac.equilibria.boxes import point
from rllib_biac.equilibria.commitment import checked_policy, process, start_chances
from rllib_biac.equilibria.hierarchy import checked_payoffs
from rllib_biac.equilibria.markov import MarkovGame


@dataclass(frozen=True, slots=True)
class QuantalResponse:
    """What a commitment is worth to both players if the follower errs.

    Attributes:
        leader_payoff, follower_payoff: discounted returns from the start, entropy not counted.
        response: the follower's probabilities, (|S|, |A_f|), or (|S|, |A_l|, |A_f|) if it sees the action drawn.
    """

    leader_payoff: float
    follower_payoff: float
    response: np.ndarray


def quantal_response(
    game: MarkovGame,
    policy: ArrayLike,
    temperature: float,
    *,
    announced: bool,
    start: int | ArrayLike = 0,
    leader: int = 0,
) -> QuantalResponse:
    """Solves a two-player game for the follower's quantal response to a leader that keeps to a stationary policy.

    Args:
        game: of two players, gamma below 1 or ending with probability 1.
        policy: (|S|, |A_l|), the leader's probabilities in each state.
        temperature: above 0, in units of the follower's rewards.
        announced: whether the follower sees the action drawn before it answers.
        start: the first state, or (|S|,) probabilities of it.
        leader: the player who commits, 0 or 1.

    Raises:
        ValueError: as `secured`, or if the temperature is not above 0.
    """
    if not 0 < temperature < np.inf:
        raise ValueError(f"temperature must be a number above 0; got {temperature!r}. At 0 write `secured`.")
    game = game.led_by(leader)
    chances = checked_policy(game, policy)
    rewards, moves, begin = process(game, chances, start_chances(start, game.num_states), announced)
    unit, values = np.eye(len(begin)), np.zeros(len(begin))
    while True:  # soft policy iteration: Newton's method, and it never gets worse
        response = _soft(rewards[1] + game.gamma * moves @ values, temperature)
        move = np.einsum("xb,xby->xy", response, moves)
        with np.errstate(divide="ignore", invalid="ignore"):
            entropy = -np.nansum(response * np.log(response), -1)
        gained = (response * rewards[1]).sum(-1) + temperature * entropy
        before, values = values, np.linalg.solve(unit - game.gamma * move, gained)
        if np.abs(values - before).max() <= 1e-12 * (np.abs(values).max() + temperature):
            break
    plain = np.linalg.solve(unit - game.gamma * move, np.einsum("xb,ixb->xi", response, rewards))
    leads, follows = begin @ plain
    shape = (*game.num_actions,) if announced else (game.num_actions[1],)
    return QuantalResponse(float(leads), float(follows), response.reshape(game.num_states, *shape))


def quantal_commitment(
    payoffs: ArrayLike, temperature: float, leader: int = 0, tolerance: float = 1e-3, max_nodes: int = 200_000
) -> BestCommitment:
    """Brackets the best mixed commitment of a one-step game to a quantal follower, who does not see the action drawn.

    Args:
        payoffs: (2, |A_1|, |A_2|), finite numbers.
        temperature: above 0, in units of the follower's payoffs.
        leader: the player who commits, 0 (rows) or 1 (columns).
        tolerance: how wide the bracket may be, in units of the range of the leader's payoffs.
        max_nodes: boxes after which the bracket stays as wide as it is.

    Returns:
        The commitment, (1, |A_l|), and the bracket.

    Raises:
        ValueError: if the payoffs have another shape or are not finite, there is no such player, or the temperature is
            not above 0.
    """
    array = checked_payoffs(payoffs)
    if len(array) != 2 or leader not in (0, 1):
        raise ValueError(f"payoffs must be (2, |A_1|, |A_2|) and leader 0 or 1; got {array.shape} and {leader!r}.")
    if not 0 < temperature < np.inf:
        raise ValueError(f"temperature must be a number above 0; got {temperature!r}. At 0 write `mixed_commitment`.")
    leads, follows = array if leader == 0 else array[::-1].swapaxes(1, 2)
    low, high = np.zeros((1, len(leads))), np.ones((1, len(leads)))
    upper, best, lower, nodes = _most(leads, follows, temperature, low, high), low[0], -np.inf, 0
    while True:
        # The middle of each box is tried, its probabilities made to sum to 1.
        tried = (low + high) / (low + high).sum(-1, keepdims=True)
        answers = _soft(tried @ follows, temperature)
        worth = ((tried @ leads) * answers).sum(-1)
        if len(worth) and worth.max() > lower:
            best, lower = tried[worth.argmax()], float(worth.max())
        left = upper > lower + tolerance * np.ptp(leads)
        low, high, upper, nodes = low[left], high[left], upper[left], nodes + len(left)
        if not len(low) or nodes >= max_nodes:
            break
        low, high = _halves(low, high)
        upper = _most(leads, follows, temperature, low, high)
    end = max(float(upper.max(initial=-np.inf)), lower + tolerance * float(np.ptp(leads)))
    return BestCommitment(best[None], lower, end, nodes)


def _soft(values: np.ndarray, temperature: float) -> np.ndarray:
    """Returns the logit response: probabilities of the last axis, (..., |A_f|)."""
    weights = np.exp((values - values.max(-1, keepdims=True)) / temperature)
    return weights / weights.sum(-1, keepdims=True)


def _most(leads: np.ndarray, follows: np.ndarray, temperature: float, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Returns what the leader gets in boxes of commitments at most, (n,).

    Args:
        leads, follows: (|A_l|, |A_f|), payoffs.
        temperature: of the follower.
        low, high: (n, |A_l|), bounds of the leader's probabilities.
    """

    def most(values: np.ndarray) -> np.ndarray:  # (|A_l|, k) -> (n, k), the largest mean in each box
        shape = len(low), values.shape[1], values.shape[0]
        liked = np.broadcast_to(values.T, shape)
        return (point(liked, *(np.broadcast_to(side[:, None], shape) for side in (low, high))) * liked).sum(-1)

    paid, count = most(leads), follows.shape[1]
    ahead = (follows[:, :, None] - follows[:, None]).reshape(len(follows), -1)  # of each answer over each other one
    furthest = most(ahead).reshape(-1, count, count)
    with np.errstate(over="ignore"):
        likeliest = 1 / np.exp(-furthest / temperature).sum(-1)
        rarest = 1 / np.exp(furthest / temperature).sum(-2)
    chances = point(paid[:, None], rarest[:, None], np.minimum(likeliest, 1)[:, None])[:, 0]
    return (chances * paid).sum(-1)


def _halves(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cuts each box in two at its widest side, and leaves out what no probabilities are in: (m, |A_l|) each."""
    at, widest = np.arange(len(low)), (high - low).argmax(-1)
    middle = (low[at, widest] + high[at, widest]) / 2
    low, high = np.concatenate([low] * 2), np.concatenate([high] * 2)
    high[at, widest], low[at + len(at), widest] = middle, middle
    high = np.minimum(high, 1 - (low.sum(-1, keepdims=True) - low))
    low = np.maximum(low, 1 - (high.sum(-1, keepdims=True) - high))
    possible = (low <= high + 1e-12).all(-1)
    return low[possible], np.maximum(high, low)[possible]
