"""Enumerating the leader's whole policies: the follower's best answers to each are those of a Markov decision process.

A feedback SE's follower best-responds to the leader's whole policy. So its plays are among |A_l| ** |S| leader policies
with the follower's optimal policies, rather than among (|A_l| |A_f|) ** |S| joint policies.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rllib_biac.equilibria.markov import MarkovGame, policies, round_off

_MOST_NUMBERS = 2**27  # that are looked at over all policies: seconds
_CHUNK = 2**21  # floats of the largest table at a time: 16 MiB


def optimal_answers(game: MarkovGame) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Finds the follower's optimal policies against every policy of the leader, agent 0, ties included.

    Args:
        game: of two players.

    Yields:
        Leader policies and the follower's, (k, |S|) each, in the order of the leader's, then the follower's.

    Raises:
        ValueError: if there are too many policies or ties to be enumerated.
    """
    states, (first, second) = game.num_states, game.num_actions
    numbers = states * (second * states + 2 * first * second)  # of one policy
    if first**states * numbers > _MOST_NUMBERS:
        raise ValueError(
            f"{first} ** {states} leader policies are too many to enumerate. For a feedback SE use `iterate`, or "
            "`backward_induction` if the game is acyclic."
        )
    every = policies(first, states)
    size = max(_CHUNK // numbers, 1)
    for begin in range(0, len(every), size):
        yield _answers(game, every[begin : begin + size])


def _answers(game: MarkovGame, policy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns leader policies, (K, |S|), and the follower's optimal answers; as many rows as answers tie."""
    at = np.arange(game.num_states)
    rewards = game.rewards[1, at, policy]  # (K, |S|, |A_f|)
    moves = game.transitions[at, policy]  # (K, |S|, |A_f|, |S|)
    values = optimal_values(rewards, moves, game.gamma)
    # Rounded as stage games are: what ties for the follower there ties here.
    every = game.rewards[1] + game.gamma * np.einsum("sabt,kt->ksab", game.transitions, values)
    rounded = round_off(every, (-3, -2, -1))[np.arange(len(policy))[:, None], at, policy]  # (K, |S|, |A_f|)
    best = rounded == rounded.max(-1, keepdims=True)
    counts = best.sum(-1)  # (K, |S|)
    ties = counts.astype(float).prod(-1)
    if ties.sum() * rewards[0].size > _MOST_NUMBERS:
        raise ValueError(
            f"the follower's answers tie in too many ways, {ties.max():.3g} for one policy of the leader. Use "
            "`iterate`, or `backward_induction` if the game is acyclic."
        )
    leads, answers = [policy[ties == 1]], [best[ties == 1].argmax(-1)]
    index = [np.flatnonzero(ties == 1)]
    for k in np.flatnonzero(ties > 1).tolist():
        choices = np.meshgrid(*(np.flatnonzero(own) for own in best[k]), indexing="ij")
        own = np.stack(choices, -1).reshape(-1, game.num_states)
        answers.append(own)
        leads.append(np.broadcast_to(policy[k], own.shape))
        index.append(np.full(len(own), k))
    order = np.argsort(np.concatenate(index), kind="stable")
    return np.concatenate(leads)[order], np.concatenate(answers)[order]


def optimal_values(rewards: np.ndarray, moves: np.ndarray, gamma: float) -> np.ndarray:
    """Solves K decision processes by policy iteration: rewards (K, |S|, |A|), moves (K, |S|, |A|, |S|) -> (K, |S|)."""
    count, states, _ = rewards.shape
    taken = rewards.argmax(-1)  # (K, |S|)
    values = np.zeros((count, states))
    left = np.arange(count)
    tolerance = 1e-12 * np.abs(rewards).max()
    while left.size:
        reward, move = rewards[left], moves[left]
        at = (np.arange(left.size)[:, None], np.arange(states), taken[left])
        values[left] = np.linalg.solve(np.eye(states) - gamma * move[at], reward[at][..., None])[..., 0]
        q = reward + gamma * np.einsum("ksat,kt->ksa", move, values[left])
        # Only what is truly better is taken, so that rounding errors send nobody round in circles.
        scale = tolerance + 1e-12 * np.abs(values[left]).max(-1, keepdims=True)
        better = q.max(-1) > q[at] + scale
        taken[left] = np.where(better, q.argmax(-1), taken[left])
        left = left[better.any(-1)]
    return values
