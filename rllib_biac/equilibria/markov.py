"""Finite Markov games, the values of their stationary policies, and what follows from comparing whole policies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rllib_biac.equilibria.matrix import stackelberg

_MAX_NUMBERS = 2**24  # floats in the largest table that an enumeration of policies may make: 128 MiB


@dataclass(frozen=True, slots=True, eq=False)
class MarkovGame:
    """A finite Markov game of n agents. Every agent has the same actions in all states.

    Args:
        rewards: (n_agents, |S|, |A_1|, ..., |A_n|), finite.
        transitions: (|S|, |A_1|, ..., |A_n|, |S|), probabilities of the next state; what a row lacks to 1 is the
            probability that the game ends.
        gamma: discount in [0, 1]; 1 only if the game ends with probability 1 however it is played.

    Raises:
        ValueError: if shapes do not fit, rewards are not finite, rows are no probabilities or gamma is out of range.
    """

    rewards: np.ndarray
    transitions: np.ndarray
    gamma: float

    def __post_init__(self) -> None:
        rewards = np.array(self.rewards, dtype=np.float64)
        transitions = np.array(self.transitions, dtype=np.float64)
        if rewards.ndim < 3 or rewards.ndim != len(rewards) + 2 or 0 in rewards.shape:
            raise ValueError(
                f"rewards must have shape (n_agents, |S|, |A_1|, ..., |A_n|), one action dimension per agent and no "
                f"empty one; got {rewards.shape}."
            )
        expected = (*rewards.shape[1:], rewards.shape[1])
        if transitions.shape != expected:
            raise ValueError(f"transitions must have shape {expected}, to match rewards; got {transitions.shape}.")
        if not np.isfinite(rewards).all():
            raise ValueError("rewards must be finite; got NaN or infinity.")
        if not ((transitions >= 0).all() and (transitions.sum(-1) <= 1 + 1e-9).all()):
            raise ValueError("transitions must be at least 0, and every row must sum to at most 1.")
        if not 0 <= self.gamma <= 1:
            raise ValueError(f"gamma must lie in [0, 1]; got {self.gamma!r}.")
        if self.gamma == 1 and _can_go_on_forever(transitions):
            raise ValueError("gamma must be below 1, such as 0.99: some joint policy plays this game for ever.")
        for name, array in (("rewards", rewards), ("transitions", transitions)):
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    @classmethod
    def from_matrix(cls, payoffs: ArrayLike) -> MarkovGame:
        """Returns the Markov game of one state that ends after one step; payoffs are (n_agents, |A_1|, ..., |A_n|)."""
        rewards = np.asarray(payoffs, dtype=np.float64)[:, None]
        return cls(rewards, np.zeros((*rewards.shape[1:], 1)), 0.0)

    @property
    def num_states(self) -> int:
        """|S|."""
        return self.rewards.shape[1]

    @property
    def num_actions(self) -> tuple[int, ...]:
        """(|A_1|, ..., |A_n|)."""
        return self.rewards.shape[2:]

    @property
    def is_acyclic(self) -> bool:
        """Whether no state can be met twice, however the game is played."""
        joint = tuple(range(1, self.transitions.ndim - 1))
        follows = np.any(self.transitions > 0, axis=joint)  # (|S|, |S|)
        left = np.ones(self.num_states, dtype=bool)
        for _ in range(self.num_states):  # each sweep takes away the states from which none that is left can follow
            left = left & follows[:, left].any(-1)
        return not left.any()

    def led_by(self, leader: int) -> MarkovGame:
        """Returns this two-player game with the leader as agent 0.

        Raises:
            ValueError: if the game has not two players, or there is no such player.
        """
        if len(self.rewards) != 2:
            raise ValueError(f"this needs a game of two players; got {len(self.rewards)}.")
        if leader not in (0, 1):
            raise ValueError(f"leader must be 0 or 1; got {leader!r}.")
        if leader == 0:
            return self
        return MarkovGame(self.rewards[::-1].swapaxes(2, 3), self.transitions.swapaxes(1, 2), self.gamma)


def _can_go_on_forever(transitions: np.ndarray) -> bool:
    """Whether some states can be kept to with probability 1 by some joint policy."""
    rows = transitions.reshape(len(transitions), -1, len(transitions))  # (|S|, joint actions, |S|)
    kept = np.ones(len(transitions), dtype=bool)
    for _ in kept:
        kept = kept & (rows[:, :, kept].sum(-1) >= 1 - 1e-12).any(-1)
    return bool(kept.any())


def round_off(values: np.ndarray, axis: tuple[int, ...]) -> np.ndarray:
    """Rounds to 40 bits of the largest number along the axes: ties survive the rounding errors of linear systems."""
    _, exponent = np.frexp(np.abs(values).max(axis, keepdims=True))
    return np.ldexp(np.rint(np.ldexp(values, 40 - exponent)), exponent - 40)


def policies(num_actions: int, num_states: int) -> np.ndarray:
    """Returns every deterministic stationary policy of one agent, (num_actions ** num_states, num_states)."""
    return np.arange(num_actions**num_states)[:, None] // num_actions ** np.arange(num_states)[::-1] % num_actions


def joint_policies(num_actions: Sequence[int], num_states: int) -> tuple[np.ndarray, ...]:
    """Returns one array per agent of its actions in every joint policy; broadcast together, (K_1, ..., K_n, |S|).

    Raises:
        ValueError: if there are too many to be enumerated.
    """
    joint = math.prod(num_actions)
    count = joint**num_states
    if count * num_states * max(num_states, len(num_actions) * joint) > _MAX_NUMBERS:
        raise ValueError(
            f"{joint} ** {num_states} joint policies are too many to enumerate. For a feedback SE use `iterate`, or "
            "`backward_induction` if the game is acyclic."
        )
    each = [policies(actions, num_states) for actions in num_actions]
    axes = [[1] * i + [-1] + [1] * (len(each) - 1 - i) + [num_states] for i in range(len(each))]
    return tuple(array.reshape(axis) for array, axis in zip(each, axes, strict=True))


def evaluate(rewards: np.ndarray, transitions: np.ndarray, gamma: float, actions: Sequence[np.ndarray]) -> np.ndarray:
    """Solves V = r + gamma P V for every game and joint policy.

    Args:
        rewards, transitions, gamma: as in `MarkovGame`, any batch dimensions in front of the arrays'.
        actions: one array per agent of its action in each state; broadcast together, (policies..., |S|).

    Returns:
        (..., n_agents, policies..., |S|) values; the first reward is not discounted.
    """
    actions = np.broadcast_arrays(*actions)
    at: tuple[Any, ...] = (np.arange(transitions.shape[-1]), *actions)  # the state's dimension, then the actions'
    reward = rewards[(..., slice(None), *at)]  # (..., n, policies..., |S|)
    move = transitions[(..., *at, slice(None))]  # (..., policies..., |S|, |S|)
    agent_axis = -1 - actions[0].ndim
    values = np.linalg.solve(np.eye(transitions.shape[-1]) - gamma * move, np.moveaxis(reward, agent_axis, -1))
    return np.moveaxis(values, -1, agent_axis)


def policy_game(game: MarkovGame, start: int = 0) -> np.ndarray:
    """Returns the matrix game whose actions are the deterministic stationary policies.

    Args:
        game: of any number of agents.
        start: the state in which the game starts.

    Returns:
        (n_agents, |A_1| ** |S|, ..., |A_n| ** |S|) discounted returns from the start. An agent's policies are numbered
        with the last state's action changing fastest, as in `numpy.unravel_index(k, (|A_i|,) * |S|)`.

    Raises:
        ValueError: if there is no such state, or the policies are too many to be enumerated.
    """
    payoffs = _values(game, start)[..., start]
    return round_off(payoffs, tuple(range(1, payoffs.ndim)))


def _values(game: MarkovGame, start: int) -> np.ndarray:
    """Returns the values of all joint policies, (n, K_1, ..., K_n, |S|), if there is such a start."""
    if not 0 <= start < game.num_states:
        raise ValueError(f"start must be a state, 0 to {game.num_states - 1}; got {start!r}.")
    actions = joint_policies(game.num_actions, game.num_states)
    return evaluate(game.rewards, game.transitions, game.gamma, actions)


@dataclass(frozen=True, slots=True)
class CommitmentSE:
    """The best whole policy to commit to (paper, Eq. 5); ties go to the lowest policy, of the leader and the follower.

    Attributes:
        leader_policy, follower_policy: (|S|,) actions. The follower's is a best response from every state.
        leader_payoff, follower_payoff: discounted returns from the start.
        pessimistic, optimistic: the leader's return if the follower breaks its ties against it and for it.
    """

    leader_policy: np.ndarray
    follower_policy: np.ndarray
    leader_payoff: float
    follower_payoff: float
    pessimistic: float
    optimistic: float


def commitment_se(game: MarkovGame, start: int = 0, leader: int = 0) -> CommitmentSE:
    """Solves bi-level reinforcement learning (paper, Eq. 5) over deterministic stationary policies.

    The leader announces what it does in every state and keeps to it; the follower solves the Markov decision process
    that is left. A stochastic or history-dependent commitment may pay the leader more.

    Args:
        game: of two players.
        start: the state in which the game starts; another start may call for another policy.
        leader: the player who commits, 0 or 1.

    Raises:
        ValueError: as `policy_game`, or if the game has not two players or there is no such player.
    """
    game = game.led_by(leader)
    values = _values(game, start)  # (2, K_l, K_f, |S|)
    # A best response from every state exists, and the sum over states singles it out. It is worth the same to both as
    # one that is best from the start alone, for they can differ only where the play does not come.
    solution = stackelberg(round_off(np.stack([values[0, ..., start], values[1].sum(-1)]), axis=(1, 2)))
    at = int(solution.leader_action), int(solution.follower_action)
    return CommitmentSE(
        leader_policy=policies(game.num_actions[0], game.num_states)[at[0]],
        follower_policy=policies(game.num_actions[1], game.num_states)[at[1]],
        leader_payoff=float(values[0][(*at, start)]),
        follower_payoff=float(values[1][(*at, start)]),
        pessimistic=float(solution.pessimistic),
        optimistic=float(solution.optimistic),
    )


def cooperation_level(game: MarkovGame, start: int = 0) -> float:
    """Returns the correlation of the two players' returns over all deterministic joint policies (paper, Eq. 6).

    Args:
        game: of two players; `MarkovGame.from_matrix` makes one of a matrix game.
        start: the state s_0 in which the game starts.

    Returns:
        In [-1, 1]; NaN if a player's return is the same whatever is played, for which Eq. 6 is 0/0.

    Raises:
        ValueError: as `policy_game`, or if the game has not two players.
    """
    returns = policy_game(game.led_by(0), start).reshape(2, -1)
    if (returns.min(-1) == returns.max(-1)).any():
        return float("nan")
    returns = returns / np.abs(returns).max(-1, keepdims=True)  # no unit of reward makes squares overflow
    return float(np.corrcoef(returns)[0, 1])
