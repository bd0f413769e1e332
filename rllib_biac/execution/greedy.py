"""A policy file's greedy play, by the walk that training plays by.

Written once for numpy, which plays, and for PyTorch, which traces it for export: it uses what both call alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rllib_biac.files.policy import STATE, Arrays, Description
from rllib_biac.walk import Array, ByActions, ByObservations, ByTables, PerAgent, best, walk
from rllib_biac.walk.commitment import ByCommitment, looked_up


class GreedyPlay:
    """Greedy play of all agents.

    Args:
        description: of the policy.
        arrays: of the policy; what is not a network's is used here.
        networks: of each agent, computing in numpy or in PyTorch.
        convert: makes that library's arrays from numpy's, in the precision it plays in.
    """

    def __init__(
        self,
        description: Description,
        arrays: Arrays,
        networks: Mapping[str, Callable[[Array], Array]],
        convert: Callable[[np.ndarray], Array],
    ) -> None:
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
        if description.commitment is not None:
            self._committed = [convert(arrays[name]) for name in ("states", "commitment", "liked")]

    def __call__(
        self, seen: PerAgent, masks: PerAgent, announced: PerAgent | None = None, uniform: Array | None = None
    ) -> dict[str, Array]:
        """Plays.

        Args:
            seen: input -> (batch, *its shape), floating point. Where play is by observations, only those seen act.
            masks: agent -> (batch, |A_i|) bool, for those who have one; of a continuous action (batch, 1), whether the
                agent acts.
            announced: agent -> (batch,) or (batch, size), what those do who are not seen, where others hear of it.
            uniform: (batch,) numbers in [0, 1) that a mixed commitment's actions are drawn by.

        Returns:
            agent -> (batch,) int64, or (batch, size) of a continuous action.
        """
        x = {name: (seen[name] - mean) / std for name, (mean, std) in self._normalizers.items() if name in seen}
        levels = self._description.levels
        if self._description.play == "tables":
            return walk(levels, self._by_tables(x[STATE], masks))
        if self._description.play == "commitment":
            heard = announced or {}
            play = self._by_commitment(x[STATE], uniform)
            return walk(levels, play, lambda agent, action: heard.get(agent, action))
        if self._description.play == "levels":
            vectors = walk(levels, self._by_actions(x[STATE], masks))
        else:
            vectors = self._by_observations(x, masks, announced or {})
        return {agent: self._decoded(agent, vector) for agent, vector in vectors.items()}

    def _by_tables(self, x: Array, masks: PerAgent) -> ByTables:
        ((leader,), (follower,)) = levels = self._description.levels
        sizes = [self._description.actions[agent].size for agent in (leader, follower)]
        q1, preferences = (self._networks[agent](x).reshape(-1, *sizes) for agent in (leader, follower))
        return ByTables(levels, q1, preferences, masks)

    def _by_commitment(self, x: Array, uniform: Array | None) -> ByCommitment:
        about, levels = self._description.commitment, self._description.levels
        assert about is not None
        chances, q2 = looked_up(x, *self._committed)
        return ByCommitment(levels, chances, q2, about.announced, uniform if about.mixed else None)

    def _by_actions(self, x: Array, masks: PerAgent) -> ByActions:
        leader = self._description.agents[0]

        def leads() -> dict[str, Array]:
            _, q = play.tries(leader, self._vectors[leader], {}, self._networks[leader])
            mask = masks.get(leader)
            if leader not in self._bounds:
                return {leader: self._vectors[leader][best(q, mask)]}  # Eq. 12
            chosen = self._vectors[leader][best(q)]
            return {leader: chosen if mask is None else chosen * mask}

        play = ByActions(
            self._description.levels,
            x,
            actor=lambda agent, seen: self._networks[agent](seen),
            vector=self._vector,
            masks=masks,
            leads=leads if self._description.enumerates else None,
        )
        return play

    def _by_observations(self, x: PerAgent, masks: PerAgent, announced: PerAgent) -> dict[str, Array]:
        hears, levels = self._description.play == "announced", self._description.levels
        play = ByObservations(levels, x, lambda agent, seen: self._networks[agent](seen), self._vector, masks, hears)
        taken = {agent: self._encoded(agent, action) for agent, action in announced.items()}
        for level in range(len(levels)):
            taken |= play.greedy(level, taken)
        return {agent: taken[agent] for agent in self._description.agents if agent in x}

    def _encoded(self, agent: str, action: Array) -> Array:
        if agent not in self._bounds:
            return self._vectors[agent][action]
        low, high = self._bounds[agent]
        return 2.0 * (action - low) / (high - low) - 1.0

    def _vector(self, agent: str, output: Any, mask: Array | None) -> Array:
        """Returns the greedy action's vector for what an agent's network says: (..., size)."""
        if agent in self._bounds:
            action = np.tanh(output) if isinstance(output, np.ndarray) else output.tanh()
            return action if mask is None else action * mask
        return self._vectors[agent][best(output, mask)]

    def _decoded(self, agent: str, vector: Array) -> Array:
        if agent not in self._bounds:
            return vector.argmax(-1)
        low, high = self._bounds[agent]
        return low + 0.5 * (vector + 1.0) * (high - low)
