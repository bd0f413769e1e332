"""Exact pure equilibria of two-player matrix games, for whole batches of games at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True, slots=True)
class StackelbergEquilibrium:
    """The pure SE of a batch of two-player games; ties go to the lowest action index, of the leader and the follower.

    Attributes:
        leader_action: (...) the leader's action a* = argmax_a L(a, r(a)).
        follower_action: (...) its answer r(a*).
        leader_payoff, follower_payoff: (...) L and F there.
        responses: (..., |A_leader|) the follower's best response r(a) = argmax_b F(a, b) to every leader action.
        leader_margin: (...) the leader's payoff there minus that of its second-best action, the follower answering
            exactly; infinite if the leader has one action.
        response_margin: (...) the least payoff gap by which a wrong response would change the play: the smaller of
            `F(a*, r(a*)) - F(a*, b)` over `b != r(a*)`, and
            `max(F(a, r(a)) - F(a, b), leader_payoff - L(a, b))` over `a != a*, b != r(a)`: a wrong response b to an
            action that the leader does not take matters only if it also lures the leader. Infinite if there is none.
        pessimistic, optimistic: (...) what the leader can secure by its best commitment when ties among best responses
            go against it (weak SE) and for it (strong SE). `leader_payoff` need not lie at either end.
    """

    leader_action: np.ndarray
    follower_action: np.ndarray
    leader_payoff: np.ndarray
    follower_payoff: np.ndarray
    responses: np.ndarray
    leader_margin: np.ndarray
    response_margin: np.ndarray
    pessimistic: np.ndarray
    optimistic: np.ndarray

    @property
    def margin(self) -> np.ndarray:
        """(...) The margin m that decides the SE, the smaller of the leader's and the response margin.

        Critics whose every entry errs by less than m/2 give the same play (a*, r(a*)), and m is the largest such
        number: to change the play, some (a, b) must both become the follower's answer, which takes an error of half its
        gap in F, and the leader's choice, which takes half its gap in L. It is 0 where a tie decides.
        """
        return np.minimum(self.leader_margin, self.response_margin)


def _leader_follower(payoffs: ArrayLike, leader: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the leader's and the follower's payoffs, both (..., |A_leader|, |A_follower|)."""
    array = np.asarray(payoffs, dtype=np.float64)
    if array.ndim < 3 or array.shape[-3] != 2 or 0 in array.shape[-2:]:
        raise ValueError(f"payoffs must have shape (..., 2, |A_1|, |A_2|), with no empty dimension; got {array.shape}.")
    if not np.isfinite(array).all():
        raise ValueError("payoffs must be finite; got NaN or infinity.")
    if leader not in (0, 1):
        raise ValueError(f"leader must be 0 (the row player) or 1 (the column player); got {leader!r}.")
    first, second = array[..., 0, :, :], array[..., 1, :, :]
    return (first, second) if leader == 0 else (np.swapaxes(second, -1, -2), np.swapaxes(first, -1, -2))


def _at(table: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Returns `table[..., index]` with one index per row of the last dimension."""
    return np.take_along_axis(table, np.asarray(index)[..., None], axis=-1)[..., 0]


def stackelberg(payoffs: ArrayLike, leader: int = 0) -> StackelbergEquilibrium:
    """Solves games for their pure Stackelberg equilibrium (paper, Eq. 7 and 12; tabular form Eq. 8 and 9).

    Args:
        payoffs: (..., 2, |A_1|, |A_2|), any finite numbers; any batch dimensions in front.
        leader: the player who commits, 0 (rows) or 1 (columns).

    Returns:
        The equilibria; arrays of the batch's shape.

    Raises:
        ValueError: if the payoffs have another shape or are not finite, or there is no such player.
    """
    leads, follows = _leader_follower(payoffs, leader)  # L and F, (..., |A_l|, |A_f|)
    responses = follows.argmax(-1)  # (..., |A_l|)
    values = _at(leads, responses)  # (..., |A_l|), L(a, r(a))
    action = values.argmax(-1)  # (...)
    value = _at(values, action)
    follower_action = _at(responses, action)

    taken = np.arange(values.shape[-1]) == action[..., None]  # (..., |A_l|), a == a*
    answered = np.arange(leads.shape[-1]) == responses[..., None]  # (..., |A_l|, |A_f|), b == r(a)
    response_gap = follows.max(-1, keepdims=True) - follows
    leader_gap = np.where(taken[..., None], -np.inf, value[..., None, None] - leads)  # a* needs no luring
    harmless_up_to = np.where(answered, np.inf, np.maximum(response_gap, leader_gap))

    tied = response_gap == 0
    return StackelbergEquilibrium(
        leader_action=action,
        follower_action=follower_action,
        leader_payoff=value,
        follower_payoff=_at(_at(follows, responses), action),
        responses=responses,
        leader_margin=np.where(taken, np.inf, value[..., None] - values).min(-1),
        response_margin=harmless_up_to.min((-1, -2)),
        pessimistic=np.where(tied, leads, np.inf).min(-1).max(-1),
        optimistic=np.where(tied, leads, -np.inf).max((-1, -2)),
    )


def pure_nash(payoffs: ArrayLike) -> np.ndarray:
    """Finds every pure Nash equilibrium, weak ones included.

    Args:
        payoffs: (..., 2, |A_1|, |A_2|).

    Returns:
        (..., |A_1|, |A_2|) bool, true where no player gains by deviating alone.

    Raises:
        ValueError: if the payoffs have another shape or are not finite.
    """
    rows, columns = _leader_follower(payoffs, leader=0)
    return (rows >= rows.max(-2, keepdims=True)) & (columns >= columns.max(-1, keepdims=True))


def leader_regret(payoffs: ArrayLike, leader_action: ArrayLike, responses: ArrayLike, leader: int = 0) -> np.ndarray:
    """Returns what the leader misses of its payoff in the SE by a given play.

    Args:
        payoffs: (..., 2, |A_1|, |A_2|).
        leader_action: (...) integers.
        responses: (..., |A_leader|) integers, the follower's answer to every leader action.
        leader: the player who commits, 0 or 1.

    Returns:
        (...) SE payoff minus payoff obtained; negative where a follower's wrong answer favours the leader.

    Raises:
        ValueError: as `stackelberg`.
    """
    leads, _ = _leader_follower(payoffs, leader)
    obtained = _at(_at(leads, np.asarray(responses)), np.asarray(leader_action))
    return stackelberg(payoffs, leader).leader_payoff - obtained


def response_regret(payoffs: ArrayLike, responses: ArrayLike, leader: int = 0) -> np.ndarray:
    """Returns what the follower misses by its answer to every leader action.

    Args:
        payoffs: (..., 2, |A_1|, |A_2|).
        responses: (..., |A_leader|) integers, the follower's answer to every leader action.
        leader: the player who commits, 0 or 1.

    Returns:
        (..., |A_leader|) best payoff minus payoff obtained, at least 0. Index it with the leader's action for the
        regret on the path of play.

    Raises:
        ValueError: if the payoffs have another shape or are not finite, or there is no such player.
    """
    _, follows = _leader_follower(payoffs, leader)
    return follows.max(-1) - _at(follows, np.asarray(responses))
