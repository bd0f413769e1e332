"""The best commitment in games in which the leader alone moves the state: one linear program, for many states.

Then the follower does what is best at once, whatever comes later. Over how often each state and joint action occurs,
discounted, the leader's return is linear, and so is that no other answer is better where one is given. Its maximum is
that of commitments which may also draw a signal; so it is an upper bound, and a policy that is taken out of it is a
lower one (Vorobeychik and Singh 2012 say which games these are; Conitzer and Sandholm 2006 for one step).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from rllib_biac.equilibria.best_commitment import BestCommitment
from rllib_biac.equilibria.commitment import secured, start_chances
from rllib_biac.equilibria.markov import MarkovGame


def single_controller_commitment(
    game: MarkovGame, *, start: int | ArrayLike = 0, leader: int = 0, margin: float = 1e-4
) -> BestCommitment:
    """Brackets what the best mixed commitment, not announced, is worth, in games of some thousand states.

    Args:
        game: of two players, discounted, in which the follower's actions change no chance of any next state.
        start: the first state, or (|S|,) probabilities of it.
        leader: the player who commits, 0 or 1.
        margin: by how much the follower prefers its answer in the policy that is returned, in units of its rewards'
            range.

    Raises:
        ValueError: if the follower moves the state, gamma is 1, or the start does not fit.
    """
    game = game.led_by(leader)
    first = start_chances(start, game.num_states)
    if (np.ptp(game.transitions, axis=2) > 1e-12).any():
        raise ValueError("the follower's actions change where this game goes: take best_commitment.")
    if game.gamma >= 1:
        raise ValueError("gamma must be below 1: how often states occur is to be finite.")
    upper, _ = _solve(game, first, 0.0)
    _, often = _solve(game, first, margin * float(np.ptp(game.rewards[1])))
    policy = _policy(often)
    lower = secured(game, policy, announced=False, start=first).leader_payoff
    return BestCommitment(policy, lower, max(upper, lower))


def feedback_value(game: MarkovGame, *, start: int | ArrayLike = 0, leader: int = 0) -> float:
    """Returns the leader's feedback SE value in such a game, the follower's ties going against it.

    The follower answers each action at once, and what is left is a decision process of the leader.

    Args:
        game, start, leader: as for `single_controller_commitment`.
    """
    game = game.led_by(leader)
    first = start_chances(start, game.num_states)
    own, other = game.rewards
    best = other >= other.max(2, keepdims=True) - 1e-12
    rewards, moves = np.where(best, own, np.inf).min(2), game.transitions[:, :, 0]  # (|S|, |A_l|), and |S| more
    rows = np.arange(game.num_states)
    policy = rewards.argmax(1)
    while True:
        system = np.eye(game.num_states) - game.gamma * moves[rows, policy]
        values = np.linalg.solve(system, rewards[rows, policy])
        q = rewards + game.gamma * moves @ values
        better = q.max(1) > q[rows, policy] + 1e-10 * max(np.abs(q).max(), 1.0)
        if not better.any():
            return float(first @ values)
        policy = np.where(better, q.argmax(1), policy)


def _solve(game: MarkovGame, first: np.ndarray, margin: float) -> tuple[float, np.ndarray]:
    """Returns the leader's best return and how often what occurs then, (|S|, |A_l|, |A_f|), discounted."""
    from scipy import sparse  # only now, as in `mixed`: every process that plays imports this module
    from scipy.optimize import linprog

    shape = states, leads, follows = game.rewards.shape[1:]
    index = np.arange(states * leads * follows).reshape(shape)
    # How often a state occurs: how often it comes first, and discounted how often it is come to.
    into = sparse.csr_matrix(game.transitions[:, :, 0].reshape(states * leads, states))
    come = sparse.kron(into, np.ones((follows, 1)), format="csr")  # a row for each state and joint action
    at = sparse.kron(sparse.identity(states), np.ones((leads * follows, 1)), format="csr")
    # In each state, for each answer and each other one: the first is better by the margin.
    gains = game.rewards[1][:, :, :, None] - game.rewards[1][:, :, None] - margin  # (|S|, |A_l|, answer, other)
    state, action, answer, other = np.nonzero(np.broadcast_to(~np.eye(follows, dtype=bool), gains.shape))
    row = (state * follows + answer) * follows + other
    entries = gains[state, action, answer, other], (row, index[state, action, answer])
    better = sparse.csr_matrix(entries, shape=(states * follows**2, index.size))
    better = better[np.unique(row)]
    found = linprog(
        -game.rewards[0].ravel(),
        A_ub=-better,
        b_ub=np.zeros(better.shape[0]),
        A_eq=(at - game.gamma * come).T,
        b_eq=first,
        method="highs",
    )
    if found.status != 0:
        raise ValueError(f"the linear program was not solved: {found.message}")
    return -float(found.fun), found.x.reshape(shape)


def _policy(often: np.ndarray) -> np.ndarray:
    """Returns a policy that goes, in each state, with the answer that is given most often, (|S|, |A_l|)."""
    answer = often.sum(1).argmax(1)
    taken = np.take_along_axis(often, answer[:, None, None], 2)[:, :, 0].clip(min=0.0)  # (|S|, |A_l|)
    total = taken.sum(1, keepdims=True)
    return np.where(total > 0, taken / np.where(total > 0, total, 1.0), 1.0 / often.shape[1])
