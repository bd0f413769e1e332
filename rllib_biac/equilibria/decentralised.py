"""The best decentralised commitment in two-player games of one step in which each player sees its part of the state."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

_MOST = 1_000_000  # policies of the leader


@dataclass(frozen=True, slots=True)
class DecentralisedCommitment:
    """What a leader's best policy of its own observation is worth.

    Attributes:
        policy: (observations of the leader,), the best one where ties of the follower go its way.
        optimistic: what that pays the leader.
        pessimistic: the most it can secure, ties going against it.
        follower_payoff: the follower's under `policy`.
    """

    policy: np.ndarray
    optimistic: float
    pessimistic: float
    follower_payoff: float


@dataclass(frozen=True, slots=True)
class PolicyValue:
    """What a policy of the leader's is worth, the follower answering as well as it can by what it sees.

    Attributes:
        optimistic, pessimistic: to the leader, ties of the follower going its way or against it.
        follower_payoff: to the follower.
        answers: (observations of the follower, |A_1|) or (observations of the follower,): its best answers, ties the
            leader's way; -1 where it cannot come to be asked.
    """

    optimistic: float
    pessimistic: float
    follower_payoff: float
    answers: np.ndarray


def policy_value(
    payoffs: ArrayLike, prior: ArrayLike, seen: ArrayLike, policy: ArrayLike, *, announced: bool = True
) -> PolicyValue:
    """Evaluates a deterministic policy of the leader's, player 0, against best responses on average.

    Args:
        payoffs: (2, |S|, |A_1|, |A_2|).
        prior: (|S|,), probabilities of states.
        seen: (2, |S|), what each player sees in each state, 0, 1, ...
        policy: (observations of the leader,), what it does.
        announced: whether the follower sees the leader's action beside its own observation.

    Returns:
        The values. Answers to what cannot happen count for nothing.
    """
    payoffs, prior, seen = np.asarray(payoffs, float), np.asarray(prior, float), np.asarray(seen, int)
    acts = np.asarray(policy, int)[seen[0]]  # (|S|,)
    states = np.arange(len(prior))
    worth = prior[:, None] * payoffs[:, states, acts]  # (2, |S|, |A_2|)
    sizes = (int(seen[1].max()) + 1, payoffs.shape[2])
    told = seen[1] * sizes[1] + acts if announced else seen[1]  # (|S|,), what the follower knows
    answers = np.full(sizes[0] * sizes[1] if announced else sizes[0], -1)
    optimistic = pessimistic = follower = 0.0
    for known in np.unique(told[prior > 0]):
        leads, follows = worth[:, told == known].sum(1)  # (|A_2|,) each
        top = follows >= follows.max() - 1e-9 * max(1.0, np.abs(follows).max())
        optimistic += float(leads[top].max())
        pessimistic += float(leads[top].min())
        follower += float(follows.max())
        answers[known] = np.flatnonzero(top)[leads[top].argmax()]
    return PolicyValue(optimistic, pessimistic, follower, answers.reshape(sizes) if announced else answers)


def decentralised_commitment(
    payoffs: ArrayLike, prior: ArrayLike, seen: ArrayLike, *, announced: bool = True
) -> DecentralisedCommitment:
    """Finds the best deterministic policy pi_1(o_1), given that pi_2(o_2, a_1) or pi_2(o_2) is a best response.

    All of the leader's policies are tried.

    Args:
        payoffs, prior, seen, announced: as for `policy_value`.

    Returns:
        The commitment.

    Raises:
        ValueError: if shapes do not fit or there are too many policies.
    """
    array, seen = np.asarray(payoffs, float), np.asarray(seen, int)
    if array.ndim != 4 or len(array) != 2 or seen.shape != array.shape[:2] or np.shape(prior) != array.shape[1:2]:
        raise ValueError(
            f"payoffs must have shape (2, |S|, |A_1|, |A_2|), prior (|S|,), seen (2, |S|); got {array.shape}, "
            f"{np.shape(prior)}, {seen.shape}."
        )
    observations, actions = int(seen[0].max()) + 1, array.shape[2]
    if actions**observations > _MOST:
        raise ValueError(
            f"the leader has {actions}^{observations} policies, more than the {_MOST:,} that are tried: take a "
            "smaller game."
        )
    best: PolicyValue | None = None
    policy: tuple[int, ...] = ()
    secured = -float("inf")
    for tried in itertools.product(range(actions), repeat=observations):
        value = policy_value(array, prior, seen, tried, announced=announced)
        secured = max(secured, value.pessimistic)
        if best is None or value.optimistic > best.optimistic + 1e-12:
            best, policy = value, tried
    assert best is not None
    return DecentralisedCommitment(np.array(policy), best.optimistic, secured, best.follower_payoff)
