"""How often an agent has tried what: the temperatures from which a lenient learner's leniency comes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from rllib_biac.algorithms.dqn.losses import LENIENCY
from rllib_biac.algorithms.dqn.settings import LenientDQNSettings
from rllib_biac.learning.actions import action_size
from rllib_biac.learning.team import TeamSpec
from rllib_biac.learning.transitions import ACTIONS, ENDED, NEXT_OBS, OBS, TERMINATED, JointTransitions


class Temperatures:
    """Temperatures T(phi(o), a) of one agent, which cool down each time the action is tried (Palmer et al. 2018).

    Observations are clustered by phi, the signs of random projections (SimHash; Palmer et al. hash what an
    autoencoder makes of an image instead).

    Args:
        size: numbers in one observation.
        num_actions: |A_i|.
        decay: factor by which a temperature cools per visit, in (0, 1].
        diffusion: how much of the next cluster's mean temperature flows back into it, in [0, 1].
        moderation: K > 0 of leniency 1 - exp(-K T).
        bits: number of projections.
        rng: draws them.
    """

    def __init__(
        self,
        size: int,
        num_actions: int,
        *,
        decay: float,
        diffusion: float,
        moderation: float,
        bits: int,
        rng: np.random.Generator,
    ) -> None:
        self.decay, self.diffusion, self.moderation = decay, diffusion, moderation
        self._num_actions = num_actions
        # One more number than an observation has, always 1, so that no plane need pass through the origin.
        self._projections = rng.standard_normal((size + 1, bits))
        self._table: dict[bytes, np.ndarray] = {}

    def _clusters(self, observations: np.ndarray) -> list[bytes]:
        flat = observations.reshape(len(observations), -1).astype(np.float64)
        sides = flat @ self._projections[:-1] + self._projections[-1] > 0.0
        return [row.tobytes() for row in np.packbits(sides, axis=1)]

    def leniency(
        self, observations: np.ndarray, actions: np.ndarray, next_observations: np.ndarray, terminated: np.ndarray
    ) -> np.ndarray:
        """Returns the leniency of new steps, l = 1 - exp(-K T) (Palmer et al.), and cools what they tried.

        Args:
            observations, next_observations: (rows, *observation shape).
            actions: (rows,) int.
            terminated: (rows,) bool.

        Returns:
            (rows,) float32 in [0, 1).
        """
        temperature = np.empty(len(actions), np.float32)
        here, after = self._clusters(observations), self._clusters(next_observations)
        for row, (cluster, action) in enumerate(zip(here, actions, strict=True)):
            own = self._table.setdefault(cluster, np.ones(self._num_actions))
            temperature[row] = own[action]
            if terminated[row]:
                own[action] *= self.decay
            else:
                following = self._table.setdefault(after[row], np.ones(self._num_actions)).mean()
                own[action] = self.decay * ((1.0 - self.diffusion) * own[action] + self.diffusion * following)
        return 1.0 - np.exp(-self.moderation * temperature)

    def get_state(self) -> dict[str, Any]:
        """Returns what `set_state` needs."""
        return {"projections": self._projections, "table": {k: own.copy() for k, own in self._table.items()}}

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes back what `get_state` returned."""
        self._projections = state["projections"]
        self._table = {k: own.copy() for k, own in state["table"].items()}


class Leniency:
    """Stores with each new step the leniency of each of its actions at that time.

    Args:
        spec: of the team.
        seed: of the hash functions.
    """

    def __init__(self, spec: TeamSpec, seed: int | None) -> None:
        assert isinstance(spec.settings, LenientDQNSettings)
        self._spec, self._settings, self._seed = spec, spec.settings, seed
        self._temperatures: dict[str, Temperatures] = {}

    def __call__(self, rows: JointTransitions) -> JointTransitions:
        """Returns new rows with a column `LENIENCY` for each agent."""
        own = {}
        for i, agent in enumerate(self._spec.hierarchy.agents):
            observations, actions = rows.columns[OBS, agent], rows.columns[ACTIONS, agent]
            if agent not in self._temperatures:
                self._temperatures[agent] = self._make(i, agent, math.prod(observations.shape[1:]))
            own[LENIENCY, agent] = self._temperatures[agent].leniency(
                observations,
                actions,
                rows.columns[NEXT_OBS, agent],
                rows.columns.get((ENDED, agent), rows.columns[TERMINATED]),
            )
        return JointTransitions(rows.columns | own, rows.num_agents)

    def _make(self, index: int, agent: str, size: int) -> Temperatures:
        return Temperatures(
            size,
            action_size(self._spec.action_spaces[agent]),
            decay=self._settings.temperature_decay,
            diffusion=self._settings.temperature_diffusion,
            moderation=self._settings.leniency_moderation,
            bits=self._settings.temperature_hash_bits,
            rng=np.random.default_rng([self._seed or 0, index]),
        )

    def get_state(self) -> dict[str, Any]:
        """Returns what `set_state` needs."""
        return {agent: own.get_state() for agent, own in self._temperatures.items()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes back what `get_state` returned."""
        for i, (agent, own) in enumerate(state.items()):
            self._temperatures[agent] = self._make(i, agent, len(own["projections"]) - 1)
            self._temperatures[agent].set_state(own)
