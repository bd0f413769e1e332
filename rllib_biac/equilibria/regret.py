"""How far a given play of a two-player Markov game is from equilibrium: stage by stage, as a commitment, beside NE."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rllib_biac.equilibria.best_commitment import BestCommitment
from rllib_biac.equilibria.commitment import checked_policy, secured, start_chances
from rllib_biac.equilibria.feedback import STAGE_AXES, stage_games
from rllib_biac.equilibria.markov import MarkovGame, evaluate, policy_game, round_off
from rllib_biac.equilibria.matrix import pure_nash, stackelberg


@dataclass(frozen=True, slots=True)
class PlayRegret:
    """What the players miss in the stage games Q_i that their own play's values make (paper, Eqs. 7-11).

    Ties are nobody's fault: regrets are 0 exactly if all responses are best responses and the leader's value lies from
    the pessimistic to the optimistic one.

    Attributes:
        leader_value, follower_value: (|S|,) discounted returns of the play from each state.
        response_regret: (|S|, |A_leader|) at least 0, what the follower would gain by a best response to each leader
            action, played or not.
        leader_regret: (|S|,) at least 0, what the leader would gain by the best commitment if the follower
            best-responded. Mistakes of the follower that favour the leader are not counted for it.
        played_response_regret: (|S|,), the response regret at the leader's own action.
    """

    leader_value: np.ndarray
    follower_value: np.ndarray
    response_regret: np.ndarray
    leader_regret: np.ndarray
    played_response_regret: np.ndarray

    @property
    def worst_response_regret(self) -> float:
        """The largest response regret over all states and all leader actions, not only those played."""
        return float(self.response_regret.max())

    @property
    def worst_leader_regret(self) -> float:
        """The largest leader regret over all states."""
        return float(self.leader_regret.max())

    @property
    def is_feedback_se(self) -> bool:
        """Whether the joint actions played are one of `feedback_se`; answers to other leader actions do not matter."""
        return not (self.leader_regret.any() or self.played_response_regret.any())


def play_regret(game: MarkovGame, leader_action: ArrayLike, responses: ArrayLike, leader: int = 0) -> PlayRegret:
    """Measures a stationary joint play against the stage games that it makes.

    Both regrets are about one action in one state, the play going on as before: feedback, not commitment. For a matrix
    game use `MarkovGame.from_matrix(payoffs)`.

    Args:
        game: of two players.
        leader_action: (|S|,) integers, what the leader plays in each state.
        responses: (|S|, |A_leader|) integers, the follower's answer to every leader action.
        leader: the player who commits in every state, 0 or 1.

    Raises:
        ValueError: if the game has not two players, there is no such player, or actions do not fit the game.
    """
    game = game.led_by(leader)
    action, answers = _checked(game, leader_action, responses)
    states = np.arange(game.num_states)
    values = evaluate(game.rewards, game.transitions, game.gamma, (action, answers[states, action]))  # (2, |S|)
    q = round_off(stage_games(game.rewards, game.transitions, game.gamma, values), STAGE_AXES)  # (|S|, 2, |A_l|, |A_f|)
    leads, follows = q[:, 0], q[:, 1]

    response_regret = follows.max(-1) - np.take_along_axis(follows, answers[..., None], -1)[..., 0]
    missed = response_regret[states, action]
    secured = np.where(follows == follows.max(-1, keepdims=True), leads, np.inf).min(-1)[states, action]
    deserved = np.where(missed == 0, leads[states, action, answers[states, action]], secured)
    leader_regret = np.maximum(stackelberg(q).pessimistic - deserved, 0)
    return PlayRegret(values[0], values[1], response_regret, leader_regret, missed)


@dataclass(frozen=True, slots=True)
class CommitmentRegret:
    """What the players miss if the leader has committed to its whole policy (paper, Eq. 5); returns from the start.

    Attributes:
        secured: the leader's return if the follower best-responded, ties going against the leader.
        played: the leader's return against the follower as it is.
        response_regret: at least 0, what the follower would gain by a best response to the whole policy.
        best: the best commitment of its kind; None where the game is too large.
    """

    secured: float
    played: float
    response_regret: float
    best: BestCommitment | None

    @property
    def leader_regret(self) -> float | None:
        """At least 0, what the best commitment that is known would secure beyond this one."""
        return None if self.best is None else max(self.best.lower - self.secured, 0.0)


def commitment_regret(
    game: MarkovGame,
    policy: ArrayLike,
    responses: ArrayLike,
    *,
    announced: bool,
    best: BestCommitment | None,
    start: int | ArrayLike = 0,
    leader: int = 0,
) -> CommitmentRegret:
    """Measures a leader's whole policy, and a follower's answers to it.

    Args:
        game: of two players.
        policy: (|S|, |A_leader|), the leader's probabilities in each state.
        responses: (|S|, |A_leader|) integers, the follower's answer to every leader action; one and the same in a state
            where actions are not announced.
        announced: whether the follower sees the action drawn before it answers.
        best: the best commitment of this kind, which `best_commitment` finds.
        start: the first state, or (|S|,) probabilities of it.
        leader: the player who commits, 0 or 1.

    Raises:
        ValueError: as `secured` and `play_regret`.
    """
    found = secured(game, policy, announced=announced, start=start, leader=leader)
    played, follows = returns_of(game, policy, responses, start=start, leader=leader)
    missed = found.follower_payoff - follows
    # Rounding errors of two linear systems are nobody's regret.
    missed = missed if missed > 1e-9 * np.abs(game.rewards[1 - leader]).max() else 0.0
    return CommitmentRegret(found.leader_payoff, played, missed, best)


def returns_of(
    game: MarkovGame, policy: ArrayLike, responses: ArrayLike, *, start: int | ArrayLike = 0, leader: int = 0
) -> tuple[float, float]:
    """Returns what the leader and the follower get, discounted, from the start; arguments as `commitment_regret`'s.

    Raises:
        ValueError: as `secured` and `play_regret`.
    """
    game = game.led_by(leader)
    chances = checked_policy(game, policy)
    _, answers = _checked(game, np.zeros(game.num_states, int), responses)
    states, leads = np.arange(game.num_states)[:, None], np.arange(game.num_actions[0])
    rewards = (game.rewards[:, states, leads, answers] * chances).sum(-1)  # (2, |S|)
    moves = (game.transitions[states, leads, answers] * chances[..., None]).sum(1)  # (|S|, |S|)
    values = np.linalg.solve(np.eye(game.num_states) - game.gamma * moves, rewards.T)  # (|S|, 2)
    one, other = start_chances(start, game.num_states) @ values
    return float(one), float(other)


def _checked(game: MarkovGame, leader_action: ArrayLike, responses: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    num_leader, num_follower = game.num_actions
    checked = []
    for name, given, shape, limit in (
        ("leader_action", leader_action, (game.num_states,), num_leader),
        ("responses", responses, (game.num_states, num_leader), num_follower),
    ):
        array = np.asarray(given)
        if array.shape != shape or array.dtype.kind not in "iu" or not ((array >= 0) & (array < limit)).all():
            raise ValueError(f"{name} must be integers 0 to {limit - 1} of shape {shape}; got {given!r}.")
        checked.append(array)
    return checked[0], checked[1]


@dataclass(frozen=True, slots=True)
class NashComparison:
    """The payoffs of a play beside those of every pure NE; players in the game's own order.

    Attributes:
        play: (2,) what the play pays.
        nash: (k, 2) what the pure NE pay, each different pair once; k is 0 if there is no pure NE.
    """

    play: np.ndarray
    nash: np.ndarray

    @property
    def at_least(self) -> np.ndarray:
        """(k,) bool, whether the play pays both players at least as much."""
        return np.all(self.play >= self.nash, axis=-1)

    @property
    def better(self) -> np.ndarray:
        """(k,) bool, whether the play pays both players more."""
        return np.all(self.play > self.nash, axis=-1)

    @property
    def equal(self) -> np.ndarray:
        """(k,) bool, whether the play pays both players the same."""
        return np.all(self.play == self.nash, axis=-1)

    @property
    def dominates(self) -> np.ndarray:
        """(k,) bool, whether the play pays both players at least as much, and one of them more (weak dominance)."""
        return self.at_least & ~self.equal

    @property
    def dominated(self) -> np.ndarray:
        """(k,) bool, whether the NE pays both players at least as much, and one of them more."""
        return np.all(self.play <= self.nash, axis=-1) & ~self.equal


def compare_with_nash(
    game: MarkovGame, leader_action: ArrayLike, responses: ArrayLike, leader: int = 0, start: int | ArrayLike = 0
) -> NashComparison:
    """Compares a stationary joint play with every pure NE in stationary policies, from one start.

    In an NE of a Markov game no player gains from the start by any other policy, the other keeping to its own. What is
    played where the play does not come is free, so that threats that nobody would carry out are among them.

    Args:
        game, leader_action, responses, leader: as `play_regret`.
        start: the state in which the game starts, or (|S|,) probabilities of each.

    Raises:
        ValueError: as `play_regret` and `policy_game`.
    """
    action, answers = _checked(game.led_by(leader), leader_action, responses)
    played = (action, answers[np.arange(game.num_states), action])
    starts = np.asarray(start)
    chances = {int(starts): 1.0} if starts.ndim == 0 else dict(enumerate(starts.astype(np.float64).tolist()))
    payoffs = np.sum([p * policy_game(game, s) for s, p in chances.items() if p], axis=0)  # (2, K_1, K_2)
    at = tuple(
        int(policy @ actions ** np.arange(game.num_states)[::-1])  # its number in `policies`
        for policy, actions in zip(played if leader == 0 else played[::-1], game.num_actions, strict=True)
    )
    # Both from one table, so that equal payoffs are equal to the last digit.
    return NashComparison(payoffs[:, at[0], at[1]], np.unique(payoffs[:, pure_nash(payoffs)].T, axis=0))
