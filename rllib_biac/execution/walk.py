"""How a joint action follows from what is seen: the levels answer one another (Eqs. 12-13, 17-18).

Written once for numpy, which plays, and for PyTorch, which traces it for export: it uses what both call alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rllib_biac.execution.description import STATE, Arrays, Description

Array = Any  # of numpy or of PyTorch
PerAgent = Mapping[str, Array]


class Walk:
    """Greedy play of all agents.

    Args:
        xp: numpy or torch.
        description: of the policy.
        arrays: of the policy; what is not a network's is used here.
        networks: of each agent, computing in that library.
        convert: makes the library's arrays from numpy's, in the precision it plays in.
    """

    def __init__(
        self,
        xp: Any,
        description: Description,
        arrays: Arrays,
        networks: Mapping[str, Callable[[Array], Array]],
        convert: Callable[[np.ndarray], Array],
    ) -> None:
        self._xp = xp
        self._description = description
        self._networks = networks
        self._normalizers = {
            name: (convert(arrays[f"mean/{name}"]), convert(arrays[f"std/{name}"])) for name in description.inputs
        }
        self._bounds = {
            agent: (convert(np.array(own.bounds[0])), convert(np.array(own.bounds[1])))
            for agent, own in description.actions.items()
            if own.bounds is not None
        }
        # Rows are the vectors of a discrete agent's actions, or of those a leader tries.
        self._vectors = {agent: convert(np.eye(own.size)) for agent, own in description.actions.items() if own.discrete}
        if description.num_leader_actions:
            self._vectors[description.agents[0]] = convert(arrays["tried"])

    def __call__(self, seen: PerAgent, masks: PerAgent) -> dict[str, Array]:
        """Plays.

        Args:
            seen: input -> (batch, *its shape), floating point. Where play is local, only those seen act.
            masks: agent -> (batch, |A_i|) bool, for those who have one.

        Returns:
            agent -> (batch,) int64, or (batch, size) of a continuous action.
        """
        x = {name: (seen[name] - mean) / std for name, (mean, std) in self._normalizers.items() if name in seen}
        if self._description.play == "tables":
            return self._tables(x[STATE], masks)
        if self._description.play == "levels":
            return self._levels(x[STATE], masks)
        vectors = {agent: self._vector(agent, own, masks) for agent, own in x.items()}
        return {agent: self._decoded(agent, vector) for agent, vector in vectors.items()}

    def _tables(self, x: Array, masks: PerAgent) -> dict[str, Array]:
        (leader,), (follower,) = self._description.levels
        num1, num2 = (self._description.actions[agent].size for agent in (leader, follower))
        preferences = self._networks[follower](x).reshape(-1, num1, num2)
        responses = self._best(preferences, masks[follower][:, None] if follower in masks else None)  # (batch, |A_1|)
        q1 = self._networks[leader](x).reshape(-1, num2)  # (batch · |A_1|, |A_2|)
        values = self._picked(q1, responses.reshape(-1)).reshape(-1, num1)
        a1 = self._best(values, masks.get(leader))  # Eq. 12
        return {leader: a1, follower: self._picked(responses, a1)}  # Eq. 13

    def _levels(self, x: Array, masks: PerAgent) -> dict[str, Array]:
        if not self._description.enumerates:
            joint = self._answered(x, {}, 0, masks)
        else:
            leader = self._description.agents[0]
            num, size = self._vectors[leader].shape
            many = self._xp.broadcast_to(x[:, None], (x.shape[0], num, x.shape[1]))
            tried = self._xp.broadcast_to(self._vectors[leader], (x.shape[0], num, size))
            below = {agent: mask[:, None] for agent, mask in masks.items()}
            answers = self._answered(many, {leader: tried}, 1, below)  # (batch, |A_1|, size) of every agent
            seen = self._xp.concatenate([many, *(answers[agent] for agent in self._description.agents)], -1)
            a1 = self._best(self._networks[leader](seen)[..., 0], masks.get(leader))  # Eq. 12
            joint = {agent: self._picked(answer, a1) for agent, answer in answers.items()}
        return {agent: self._decoded(agent, joint[agent]) for agent in self._description.agents}

    def _answered(self, x: Array, actions: PerAgent, level: int, masks: PerAgent) -> dict[str, Array]:
        """Completes a joint action, as vectors: the levels from `level` down answer those above in turn (Eq. 18)."""
        actions = dict(actions)
        for agents in self._description.levels[level:]:
            seen = self._xp.concatenate([x, *actions.values()], -1)
            actions |= {agent: self._vector(agent, seen, masks) for agent in agents}
        return actions

    def _vector(self, agent: str, seen: Array, masks: PerAgent) -> Array:
        output = self._networks[agent](seen)
        if agent in self._bounds:
            return self._xp.tanh(output)
        return self._vectors[agent][self._best(output, masks.get(agent))]

    def _decoded(self, agent: str, vector: Array) -> Array:
        if agent not in self._bounds:
            return vector.argmax(-1)
        low, high = self._bounds[agent]
        return low + 0.5 * (vector + 1.0) * (high - low)

    def _best(self, values: Array, mask: Array | None) -> Array:
        """Returns the best allowed action, the lowest of equals: (..., n) -> (...)."""
        return (values if mask is None else self._xp.where(mask, values, -np.inf)).argmax(-1)

    def _picked(self, rows: Array, index: Array) -> Array:
        """Returns one entry of each row: (n, k, ...), (n,) -> (n, ...)."""
        return rows[self._xp.arange(rows.shape[0]), index]
