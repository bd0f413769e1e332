"""Partial observability: networks pi'_i(o_i) that play an agent's part of the equilibrium from what it sees itself.

They are trained centrally, against the critics of the full game, and played without any of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from rllib_biac.algorithms.biac.settings import BiACSettings
from rllib_biac.files.policy import ON_OBSERVATIONS, Arrays, Description
from rllib_biac.learning.actions import ActionCoder, Epsilon, explore_vector
from rllib_biac.learning.networks import build_network
from rllib_biac.learning.team import APPROXIMATOR, Agent, Team, Tensors


class ApproximatedAgent(Agent):
    """An agent that can also act on its own observation alone.

    Attributes:
        coder: turns its actions into vectors and back.
        approximator: (batch, *observation shape) -> (batch, size of its action): logits, or what tanh bounds.
    """

    def build_networks(self) -> None:
        self.coder = ActionCoder(self.action_space)
        self.approximator = build_network(self.observation_shape, self.coder.size, self.model_config)
        super().build_networks()

    def networks(self) -> dict[str, nn.Module]:
        return super().networks() | {APPROXIMATOR: self.approximator}

    def input_shape(self, network: str) -> tuple[int, ...]:
        return self.observation_shape if network == APPROXIMATOR else super().input_shape(network)


class ApproximatedTeam(Team):
    """All agents, each of which may act on its own observation alone."""

    settings: BiACSettings

    def agent_class(self, agent: str) -> type[Agent]:
        plain = super().agent_class(agent)
        return type(f"Approximated{plain.__name__}", (ApproximatedAgent, plain), {})

    def act_on_observations(
        self,
        observations: Tensors,
        *,
        masks: Tensors | None = None,
        epsilon: Epsilon = 0.0,
        generator: torch.Generator | None = None,
    ) -> dict[str, torch.Tensor]:
        actions = {}
        for agent in self.agents:
            own, mask = self[agent], masks[agent] if masks else None
            greedy = own.coder.act(own.approximator(own.encode_observation(observations[agent])), mask)
            noise = self.settings.exploration_noise
            vector = explore_vector(own.coder, greedy, epsilon, noise=noise, mask=mask, generator=generator)
            actions[agent] = own.coder.decode(vector)
        return actions

    def describe(self) -> tuple[Description, Arrays]:
        description, arrays = super().describe()
        networks = {agent: self[agent].approximator for agent in self.agents}
        local, local_arrays = self._describe("local", networks)
        named = {ON_OBSERVATIONS + name: array for name, array in local_arrays.items()}
        return replace(description, on_observations=local), arrays | named


def with_approximators(team: type[Any]) -> type[Team]:
    """Returns that kind of team with approximators."""
    return type(f"Approximated{team.__name__}", (ApproximatedTeam, team), {})
