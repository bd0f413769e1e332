"""Exact pure equilibria of n-player matrix games under any hierarchy of levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True, slots=True)
class HierarchySE:
    """All pure SE outcomes of a matrix game under a hierarchy.

    There may be none: the agents of one level may have no pure NE among themselves, be it only in answer to actions of
    the levels above that nobody would take. There may be several: by ties, or because peers have several NE.

    Attributes:
        payoffs: (n, |A_1|, ..., |A_n|), as given.
        hierarchy: the agents of each level, top first.
        subgames: one (|A_1|, ..., |A_n|) bool per level, top first: which joint actions are an SE of the game that is
            left to this level and those below once the levels above have taken their actions.
    """

    payoffs: np.ndarray
    hierarchy: tuple[tuple[int, ...], ...]
    subgames: tuple[np.ndarray, ...]

    @property
    def outcomes(self) -> np.ndarray:
        """(|A_1|, ..., |A_n|) bool, the SE of the whole game."""
        return self.subgames[0]

    @property
    def exists(self) -> bool:
        """Whether there is a pure SE."""
        return bool(self.outcomes.any())

    @property
    def optimistic(self) -> tuple[int, ...] | None:
        """One action per agent: of all SE the best for the first agent of the top level, ties going to the best for the
        next agent, and so on down the hierarchy, then to the lowest actions. None if there is no SE."""
        return self._extreme(-1)

    @property
    def pessimistic(self) -> tuple[int, ...] | None:
        """As `optimistic`, with the worst in place of the best."""
        return self._extreme(1)

    @property
    def payoff_range(self) -> np.ndarray:
        """(n, 2), the lowest and the highest payoff of each agent over all SE; NaN if there is no SE."""
        if not self.exists:
            return np.full((len(self.payoffs), 2), np.nan)
        found = self.payoffs[:, self.outcomes]  # (n, number of SE)
        return np.stack([found.min(-1), found.max(-1)], axis=-1)

    def _extreme(self, sign: int) -> tuple[int, ...] | None:
        if not self.exists:
            return None
        from_bottom = [agent for level in self.hierarchy for agent in level][::-1]
        first = np.lexsort(sign * self.payoffs[from_bottom][:, self.outcomes])[0]  # the last key counts most
        return tuple(np.argwhere(self.outcomes)[first].tolist())


def checked_payoffs(payoffs: ArrayLike) -> np.ndarray:
    """Returns finite payoffs as float64, (n, |A_1|, ..., |A_n|), or raises a ValueError."""
    array = np.array(payoffs, dtype=np.float64)
    if array.ndim < 2 or array.ndim != len(array) + 1 or 0 in array.shape:
        raise ValueError(f"payoffs must have shape (n, |A_1|, ..., |A_n|), with no empty dimension; got {array.shape}.")
    if not np.isfinite(array).all():
        raise ValueError("payoffs must be finite; got NaN or infinity.")
    return array


def hierarchy_se(payoffs: ArrayLike, hierarchy: Sequence[Sequence[int]]) -> HierarchySE:
    """Finds every pure SE of a matrix game of n players under a hierarchy.

    The top level commits; each level below sees the actions of all levels above it and answers. The agents of one level
    act at the same time and play a pure NE among themselves, each counting with the answers from below to what it might
    do instead. An SE is the outcome of one answer at every level to all that the levels above may do, whatever the way
    to break ties and to select among NE, as long as it does not depend on anything but the actions above. Where
    there is no answer to some actions above, there is no SE.

    With one agent on each level this is backward induction; with two such levels its outcomes are the best responses
    that give the leader a payoff from `pessimistic` to `optimistic` of `stackelberg`.

    Args:
        payoffs: (n, |A_1|, ..., |A_n|), finite numbers.
        hierarchy: the agents, 0 to n - 1, of each level, top first, such as `[[0], [1, 2], [3]]`.

    Raises:
        ValueError: if payoffs have another shape or are not finite, or the hierarchy does not name every agent once.
    """
    array = checked_payoffs(payoffs)
    levels = tuple(tuple(level) for level in hierarchy)
    if sorted(agent for level in levels for agent in level) != list(range(len(array))) or not all(levels):
        raise ValueError(
            f"hierarchy must name each of the agents 0 to {len(array) - 1} once, in levels that are not empty, such as "
            f"{[[agent] for agent in range(len(array))]}; got {hierarchy!r}."
        )
    possible = np.ones(array.shape[1:], dtype=bool)
    subgames: list[np.ndarray] = []
    below: tuple[int, ...] = ()
    for level in reversed(levels):
        answered = np.all(np.any(possible, below, keepdims=True), level, keepdims=True)
        stays = possible & answered
        for agent in level:
            # The answers from below to one action do not bind those to another: a deviation is deterred if any of its
            # answers deters it.
            worst = np.where(possible, array[agent], np.inf).min(below, keepdims=True)
            stays = stays & (array[agent] >= worst.max(agent, keepdims=True))
        possible, below = stays, below + level
        subgames.append(possible)
    return HierarchySE(array, levels, tuple(reversed(subgames)))


def pure_nash_n(payoffs: ArrayLike) -> np.ndarray:
    """Finds every pure Nash equilibrium of an n-player matrix game, weak ones included.

    Args:
        payoffs: (n, |A_1|, ..., |A_n|), finite numbers.

    Returns:
        (|A_1|, ..., |A_n|) bool, true where no player gains by deviating alone.

    Raises:
        ValueError: if the payoffs have another shape or are not finite.
    """
    return hierarchy_se(payoffs, [range(len(checked_payoffs(payoffs)))]).outcomes
