"""Greedy play of a hierarchy (Eqs. 12-13, 17-18), and the small functions it is made of.

All of it works on arrays of numpy and of PyTorch alike, and imports neither PyTorch nor Ray: training plays by it, the
exported program is traced from it, and `rllib_biac.execution` runs it with numpy alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

Array = Any  # of numpy or of PyTorch
PerAgent = Mapping[str, Array]
Levels = Sequence[Sequence[str]]

__all__ = ["ByActions", "ByObservations", "ByTables", "Play", "best", "concatenated", "picked", "restrict", "walk"]


def namespace(array: Array) -> Any:
    """Returns the library that an array belongs to: the module numpy or torch."""
    return sys.modules[type(array).__module__.partition(".")[0]]


def restrict(values: Array, mask: Array | None) -> Array:
    """Makes forbidden actions the worst: values (..., n), mask (..., n) bool -> (..., n).

    A mask that allows nothing forbids nothing: some games give one once they are over.
    """
    if mask is None:
        return values
    return namespace(values).where(mask | ~mask.any(-1)[..., None], values, -np.inf)


def best(values: Array, mask: Array | None = None) -> Array:
    """Returns the best allowed action: values (..., n) -> (...) int64. Ties go to the lowest."""
    restricted = restrict(values, mask)
    if namespace(restricted) is np:
        return restricted.argmax(-1)
    return restricted.max(-1).indices  # as `argmax` finds them, which walks across rows slowly


def picked(values: Array, index: Array) -> Array:
    """Returns one entry of each row.

    Args:
        values: (..., n), or (batch, n, size) where rows hold vectors.
        index: (...) int64, or (batch,) for vectors.

    Returns:
        (...), or (batch, size).
    """
    if values.ndim > index.ndim + 1:
        return values[namespace(values).arange(values.shape[0]), index]
    if isinstance(values, np.ndarray):
        return np.take_along_axis(values, index[..., None], -1)[..., 0]
    return values.gather(-1, index.unsqueeze(-1)).squeeze(-1)


def concatenated(x: Array, actions: PerAgent, agents: Sequence[str]) -> Array:
    """Returns what a network that takes actions in sees: (..., state size + sum of these agents' action sizes)."""
    return namespace(x).concatenate([x, *(actions[agent] for agent in agents)], -1)


class Play(Protocol):
    """How one batch of states is played, level by level."""

    def greedy(self, level: int, taken: PerAgent) -> Mapping[str, Array]:
        """Returns the greedy actions of a level's agents.

        Args:
            level: its index, 0 at the top.
            taken: what the agents of the levels above have done.
        """


def walk(
    levels: Levels, play: Play, take: Callable[[str, Array], Array] = lambda agent, action: action
) -> dict[str, Array]:
    """Walks down a hierarchy: every level answers what the levels above have really done.

    Args:
        levels: agents, top level first.
        play: says what is greedy.
        take: makes of an agent's greedy action the one it takes, explored or given.

    Returns:
        agent -> its action, one per state.
    """
    taken: dict[str, Array] = {}
    for level, agents in enumerate(levels):
        greedy = play.greedy(level, taken)
        for agent in agents:
            taken[agent] = take(agent, greedy[agent])
    return taken


class ByTables:
    """One leader and one follower whose networks answer for all joint actions at once. Actions are indices.

    Args:
        levels: `((leader,), (follower,))`.
        q1: (batch, |A_1|, |A_2|), what the leader's critic says.
        preferences: (batch, |A_1|, |A_2|), what the follower answers by: logits of pi_2, or Q_2.
        masks: agent -> (batch, |A_i|) bool, of those who have one.
        responses: (batch, |A_1|) int64, where the follower's answers are not its greedy ones.

    Attributes:
        responses: (batch, |A_1|) int64, the follower's answer to EVERY action of the leader.
        values: (batch, |A_1|), Q_1(s, a_1, answer to a_1): the inside of Eq. 12.
    """

    def __init__(
        self, levels: Levels, q1: Array, preferences: Array, masks: PerAgent, responses: Array | None = None
    ) -> None:
        ((self._leader,), (self._follower,)) = levels
        self._mask1, mask2 = masks.get(self._leader), masks.get(self._follower)
        if responses is None:
            responses = best(preferences, None if mask2 is None else mask2[:, None])
        self.responses = responses
        self.values = picked(q1, responses)

    def greedy(self, level: int, taken: PerAgent) -> dict[str, Array]:
        """Returns the action of the one agent of a level, (batch,) int64."""
        if level == 0:
            return {self._leader: best(self.values, self._mask1)}  # Eq. 12
        return {self._follower: picked(self.responses, taken[self._leader])}  # Eq. 13


class ByActions:
    """A hierarchy of any depth whose networks take actions in. Actions are vectors, (..., size).

    Args:
        levels: agents, top level first.
        x: (..., state size), normalised.
        actor: (agent, what it sees (..., state size + sizes of the actions above)) -> (..., size).
        vector: (agent, its actor's output, its mask) -> its greedy action.
        masks: agent -> (..., |A_i|) bool, of those who have one.
        leads: returns the top level's action where one agent enumerates instead of asking an actor.
    """

    def __init__(
        self,
        levels: Levels,
        x: Array,
        actor: Callable[[str, Array], Array],
        vector: Callable[[str, Array, Array | None], Array],
        masks: PerAgent,
        leads: Callable[[], Mapping[str, Array]] | None = None,
    ) -> None:
        self.levels, self.x, self.masks = levels, x, masks
        self._actor, self._vector, self._leads = actor, vector, leads

    def greedy(self, level: int, taken: PerAgent) -> Mapping[str, Array]:
        """Returns the actions of a level's agents, agent -> (..., size)."""
        if level == 0 and self._leads:
            return self._leads()
        above = [agent for agents in self.levels[:level] for agent in agents]
        seen = concatenated(self.x, taken, above)
        return {
            agent: self._vector(agent, self._actor(agent, seen), self.masks.get(agent)) for agent in self.levels[level]
        }

    def answered(self, actions: PerAgent, level: int) -> dict[str, Array]:
        """Completes a joint action: the levels from `level` down answer those above in turn (Eq. 18).

        Args:
            actions: those of the levels above.
            level: the first level that answers.

        Returns:
            agent -> (..., size), of all agents.
        """
        actions = dict(actions)
        for at in range(level, len(self.levels)):
            actions |= self.greedy(at, actions)
        return actions

    def tries(
        self, agent: str, tried: Array, given: PerAgent, critic: Callable[[Array], Array]
    ) -> tuple[dict[str, Array], Array]:
        """Lets an agent try actions, the levels below answering each: one walk for all (the inside of Eq. 12).

        Args:
            agent: who commits.
            tried: (K, size), its actions.
            given: agent -> (batch, size), the actions of the levels above it and of its peers.
            critic: (batch, K, state size + sum of all actions' sizes) -> (batch, K, 1).

        Returns:
            agent -> (batch, K, size), the joint actions; and (batch, K), what the critic says of them.
        """
        count = self.x.shape[0]
        (level,) = (k for k, agents in enumerate(self.levels) if agent in agents)

        def repeated(rows: Array) -> Array:  # (batch, size) -> (batch, K, size)
            return namespace(rows).broadcast_to(rows[:, None], (count, tried.shape[0], rows.shape[-1]))

        many = ByActions(
            self.levels,
            repeated(self.x),
            self._actor,
            self._vector,
            {name: mask[:, None] for name, mask in self.masks.items()},
        )
        actions = {name: repeated(action) for name, action in given.items()}
        actions[agent] = namespace(tried).broadcast_to(tried, (count, *tried.shape))
        joint = many.answered(actions, level + 1)
        everybody = [name for agents in self.levels for name in agents]
        return joint, critic(concatenated(many.x, joint, everybody))[..., 0]


class ByObservations:
    """A hierarchy of any depth in which each agent sees its own observation. Actions are vectors, (..., size).

    Args:
        levels: agents, top level first.
        x: agent -> (..., observation size), normalised; who is left out does not act.
        actor: (agent, what it sees (..., observation size + sizes of the actions announced)) -> (..., size).
        vector: (agent, its actor's output, its mask) -> its greedy action.
        masks: agent -> (..., |A_i|) bool, of those who have one.
        announced: whether each sees the actions of the levels above it as well.
    """

    def __init__(
        self,
        levels: Levels,
        x: PerAgent,
        actor: Callable[[str, Array], Array],
        vector: Callable[[str, Array, Array | None], Array],
        masks: PerAgent,
        announced: bool,
    ) -> None:
        self.levels, self.x, self.masks, self.announced = levels, x, masks, announced
        self._actor, self._vector = actor, vector

    def seen(self, agent: str, level: int, taken: PerAgent) -> Array:
        """Returns what an agent of a level sees: (..., observation size + sizes of the actions announced)."""
        above = [name for agents in self.levels[:level] for name in agents] if self.announced else []
        return concatenated(self.x[agent], taken, above)

    def greedy(self, level: int, taken: PerAgent) -> Mapping[str, Array]:
        """Returns the actions of a level's agents, agent -> (..., size)."""
        return {
            agent: self._vector(agent, self._actor(agent, self.seen(agent, level, taken)), self.masks.get(agent))
            for agent in self.levels[level]
            if agent in self.x
        }
