"""How often random Markov games have no feedback SE, or several, or only ones that pay less than commitment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rllib_biac.equilibria.feedback import backup, fixed_points
from rllib_biac.equilibria.markov import round_off
from rllib_biac.equilibria.matrix import stackelberg
from rllib_biac.equilibria.random_games import Estimate

TRANSITIONS = ("deterministic", "ending", "dirichlet")


@dataclass(frozen=True, slots=True)
class FixedPointShares:
    """Shares of random games, agent 0 leading, in [0, 1].

    Attributes:
        none: with no stationary deterministic feedback SE.
        several: with more than one.
        below: with at least one, all of them paying the leader less, from state 0, than the commitment SE.
        misleading: with one that pays the leader less, from state 0, than the commitment SE, be there better ones or
            not.
        unsettled: in which value iteration from zero does not converge; these include all that have none.
    """

    none: Estimate
    several: Estimate
    below: Estimate
    misleading: Estimate
    unsettled: Estimate


def sample_markov_games(
    trials: int, states: int, actions: int, rng: np.random.Generator, transitions: str = "deterministic"
) -> tuple[np.ndarray, np.ndarray]:
    """Draws games of two players with independent standard normal rewards.

    Args:
        trials, states, actions: numbers of games, of states, and of actions of each player, at least 1.
        rng: the only source of randomness.
        transitions: where a joint action leads: "deterministic", to one state, each equally likely; "ending", likewise,
            the end of the game being as likely as each state; "dirichlet", to all states, with probabilities uniform
            on the simplex.

    Returns:
        (trials, 2, |S|, |A|, |A|) rewards and (trials, |S|, |A|, |A|, |S|) transitions.

    Raises:
        ValueError: if an argument is out of its range.
    """
    if min(trials, states, actions) < 1:
        raise ValueError(f"trials, states and actions must be at least 1; got {trials}, {states} and {actions}.")
    if transitions not in TRANSITIONS:
        raise ValueError(f"transitions must be one of {', '.join(TRANSITIONS)}; got {transitions!r}.")
    rewards = rng.standard_normal((trials, 2, states, actions, actions))
    at = (trials, states, actions, actions)
    if transitions == "dirichlet":
        return rewards, rng.dirichlet(np.ones(states), size=at)
    targets = states + (transitions == "ending")
    return rewards, np.eye(targets)[rng.integers(targets, size=at)][..., :states]


def fixed_point_shares(rewards: np.ndarray, transitions: np.ndarray, gamma: float) -> FixedPointShares:
    """Counts fixed points of the bi-level Bellman equation (paper, Eqs. 7-11) in a batch of games.

    All are solved at once, in memory that grows with their number times that of their joint policies.

    Args:
        rewards: (trials, 2, |S|, |A_1|, |A_2|).
        transitions: (trials, |S|, |A_1|, |A_2|, |S|).
        gamma: discount, in (0, 1).

    Raises:
        ValueError: if gamma is out of range, or the games are too large for their policies to be enumerated.
    """
    if not 0 < gamma < 1:
        raise ValueError(f"gamma must lie between 0 and 1; got {gamma!r}.")
    found, values = fixed_points(rewards, transitions, gamma)
    policy_games = np.stack([values[..., 0, 0], values[..., 1, :].sum(-1)], axis=1)  # as in `commitment_se`
    policy_games = round_off(policy_games, axis=(-1, -2))
    less = policy_games[:, 0] < stackelberg(policy_games).leader_payoff[:, None, None]  # (trials, K_1, K_2)

    swept = np.zeros((len(rewards), 2, rewards.shape[2]))
    for _ in range(int(np.ceil(np.log(1e-12) / np.log(gamma)))):
        before, (swept, _, _) = swept, backup(rewards, transitions, gamma, swept)
    count = found.sum((-1, -2))
    return FixedPointShares(
        none=_share(count == 0),
        several=_share(count > 1),
        below=_share((count > 0) & (less | ~found).all((-1, -2))),
        misleading=_share((less & found).any((-1, -2))),
        unsettled=_share(np.abs(swept - before).max((-1, -2)) > 1e-9 * np.abs(values).max()),
    )


def _share(mask: np.ndarray) -> Estimate:
    share = float(mask.mean())
    return Estimate(share, float(np.sqrt(share * (1 - share) / len(mask))))
