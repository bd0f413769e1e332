"""The best stationary policy to commit to, pure or mixed, in small Markov games: a certified bracket of its value.

A mixed commitment's value is a supremum: at the best policies the follower is usually indifferent, and a little beyond
it turns away. So it is bracketed. From below, by what a policy that was found secures. From above, by branch and bound
over all policies: for each of the follower's answers and each box of leader policies, by what the leader would get if
it could make the follower give that answer wherever in the box this may be a best response.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rllib_biac.equilibria.boxes import bounded, everything
from rllib_biac.equilibria.commitment import start_chances
from rllib_biac.equilibria.leader_policies import optimal_values
from rllib_biac.equilibria.markov import MarkovGame, policies

_MOST_POLICIES = 2**15  # of one player: seconds
_AT_ONCE = 256  # nodes that are split together
_TIE = 1e-9  # of the largest number, by which the follower's best answers differ through rounding alone


@dataclass(frozen=True, slots=True)
class BestCommitment:
    """A bracket of what the best stationary commitment is worth to the leader. History-dependent ones can pay more.

    Attributes:
        policy: (|S|, |A_l|) probabilities, the best that was found.
        lower: what it secures: the leader's discounted return from the start, the follower's ties going against it.
        upper: no stationary commitment of its kind pays more, ties going the leader's way.
        nodes: how many boxes were looked at.
    """

    policy: np.ndarray
    lower: float
    upper: float
    nodes: int = 0


def best_commitment(
    game: MarkovGame,
    *,
    mixed: bool,
    announced: bool = False,
    start: int | ArrayLike = 0,
    leader: int = 0,
    tolerance: float = 1e-3,
    max_nodes: int = 100_000,
) -> BestCommitment:
    """Solves Eq. 5 for stationary policies.

    Args:
        game: of two players, of few states: all policies of the leader (pure), or all answers of the follower (mixed),
            are gone through.
        mixed: whether the leader may commit to probabilities.
        announced: of a mixed commitment, whether the follower sees the action drawn before it answers.
        start: the first state, or (|S|,) probabilities of it.
        leader: the player who commits, 0 or 1.
        tolerance: of mixed commitments: how wide the bracket may be, in units of what lies between the best and the
            worst return of the leader.
        max_nodes: of mixed commitments: boxes after which the bracket stays as wide as it is; 100,000 take some 10 s.

    Raises:
        ValueError: if there are too many policies, the game has not two players, there is no such player, or the start
            does not fit.
    """
    game = game.led_by(leader)
    first = start_chances(start, game.num_states)
    heard = _with_vectors_of_answers(game) if announced and mixed else game
    pure = _best_pure(heard, first)
    return _best_mixed(heard, first, pure, tolerance, max_nodes) if mixed else pure


def _with_vectors_of_answers(game: MarkovGame) -> MarkovGame:
    """Returns the game whose follower's actions are answers to every action of the leader: who hears it is told less.

    The follower has |A_f| ** |A_l| actions there, and knows the probabilities alone.
    """
    leads, follows = game.num_actions
    if follows**leads > 256:
        raise ValueError(
            f"{follows} ** {leads} ways to answer announced actions are too many to enumerate: take a smaller game."
        )
    answers = policies(follows, leads)  # (K, |A_l|)
    at = np.arange(leads)
    rewards = game.rewards[:, :, at, answers]  # (2, |S|, K, |A_l|)
    moves = game.transitions[:, at, answers]  # (|S|, K, |A_l|, |S|)
    return MarkovGame(rewards.swapaxes(2, 3), moves.swapaxes(1, 2), game.gamma)


def _best_pure(game: MarkovGame, first: np.ndarray) -> BestCommitment:
    count = game.num_actions[0] ** game.num_states
    if count > _MOST_POLICIES:
        raise ValueError(
            f"{game.num_actions[0]} ** {game.num_states} leader policies are too many to enumerate: take a "
            "smaller game."
        )
    every = np.eye(game.num_actions[0])[policies(game.num_actions[0], game.num_states)]
    worst, best = worths(game, every, first)
    at = int(worst.argmax())
    return BestCommitment(every[at], float(worst[at]), float(best.max()), count)


def worths(game: MarkovGame, policy: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns what commitments are worth to the leader, agent 0, if the follower knows the probabilities alone.

    Args:
        game: of two players.
        policy: (n, |S|, |A_l|).
        first: (|S|,) probabilities of the first state.

    Returns:
        Returns if the follower's ties go against the leader, and if they go its way, (n,) each.
    """
    leads, follows = np.einsum("isab,nsa->insb", game.rewards, policy)  # (n, |S|, |A_f|) each
    moves = np.einsum("sabt,nsa->nsbt", game.transitions, policy)
    values = optimal_values(follows, moves, game.gamma)
    q = follows + game.gamma * np.einsum("nsbt,nt->nsb", moves, values)
    best = q.max(-1, keepdims=True)
    ties = q >= best - _TIE * max(np.abs(q).max(), 1e-300)
    # What is no best answer stands for one that is.
    answer = np.where(ties, np.arange(q.shape[-1]), q.argmax(-1)[..., None])
    leads = np.take_along_axis(leads, answer, -1)
    moves = np.take_along_axis(moves, answer[..., None], 2)
    worst, best = (-sign * optimal_values(-sign * leads, moves, game.gamma) @ first for sign in (1.0, -1.0))
    return worst, best


def _best_mixed(
    game: MarkovGame, first: np.ndarray, pure: BestCommitment, tolerance: float, max_nodes: int
) -> BestCommitment:
    if game.num_actions[1] ** game.num_states > _MOST_POLICIES:
        raise ValueError(
            f"{game.num_actions[1]} ** {game.num_states} answers are too many to enumerate: take a smaller game."
        )
    policy, lower, nodes = pure.policy, pure.lower, 0
    enough, rng = tolerance * span(game, first), np.random.default_rng(0)
    left = new = everything(game, first)
    while True:
        if len(new):
            nodes += len(new)
            tried = np.concatenate([new.points(), _near(policy, rng)])
            worst, _ = worths(game, tried, first)
            if worst.max() > lower:
                policy, lower = tried[worst.argmax()], float(worst.max())
        left = left[left.upper > lower + enough]
        if not len(left) or nodes >= max_nodes:
            break
        order = np.argsort(-left.upper, kind="stable")
        new = bounded(game, first, *left[order[:_AT_ONCE]].halves())
        left = left[order[_AT_ONCE:]].joined(new)
    return BestCommitment(policy, lower, max(float(left.upper.max(initial=-np.inf)), lower + enough), nodes)


def _near(policy: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns policies close to one, (n, |S|, |A_l|): in one state or in all a step towards another, small or large."""
    states, leads = policy.shape
    others = rng.dirichlet(np.full(leads, 0.5), (_AT_ONCE, states))
    alone = rng.integers(states, size=_AT_ONCE)[:, None] == np.arange(states)
    moved = alone | (rng.random(_AT_ONCE) < 0.5)[:, None]
    step = np.where(moved, 10.0 ** rng.uniform(-3, 0, (_AT_ONCE, 1)), 0.0)[..., None]
    return policy + step * (others - policy)


def span(game: MarkovGame, first: np.ndarray) -> float:
    """Returns what lies between the best and the worst return of the leader, agent 0, whatever both play."""
    best, worst = (sign * _alone(sign * game.rewards[0], game) @ first for sign in (1.0, -1.0))
    return float(best - worst)


def _alone(rewards: np.ndarray, game: MarkovGame) -> np.ndarray:
    """Returns the highest values (|S|,) of rewards (|S|, |A_l|, |A_f|) if one decides for both players."""
    states = game.num_states
    joint = rewards.reshape(1, states, -1), game.transitions.reshape(1, states, -1, states)
    return optimal_values(*joint, game.gamma)[0]
