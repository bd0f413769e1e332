"""Partial observability: networks pi'_i(o_i) that play an agent's part of the equilibrium from what it sees itself.

They are trained centrally, against the critics of the full game, and played without any of it.
"""

from __future__ import annotations

import torch
from ray.rllib.utils.annotations import override
from torch import nn

from rllib_biac.core.actions import ActionCoder, explore_vector
from rllib_biac.core.networks import build_network
from rllib_biac.core.rl_module import APPROXIMATOR, HierarchyModule, JointRLModule, Tensors


class ApproximatedAgent(JointRLModule):
    """An agent that, if the config asks for `approximators`, can also act on its own observation alone.

    Attributes:
        coder: turns its actions into vectors and back.
        approximator: (batch, *observation shape) -> (batch, size of its action): logits, or what tanh bounds.
    """

    approximator: nn.Module

    @override(JointRLModule)
    def build_networks(self) -> None:
        self.coder = ActionCoder(self.action_space)
        if self.model_config["approximators"]:
            self.approximator = build_network(self.observation_shape, self.coder.size, self.model_config)

    @override(JointRLModule)
    def networks(self) -> dict[str, nn.Module]:
        return {APPROXIMATOR: self.approximator} if self.model_config["approximators"] else {}


class ApproximatedModule(HierarchyModule):
    """All agents, each of which may act on its own observation alone."""

    @override(HierarchyModule)
    def act_on_observations(
        self,
        observations: Tensors,
        *,
        masks: Tensors | None = None,
        epsilon: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> dict[str, torch.Tensor]:
        if not self.model_config["approximators"]:
            raise ValueError("these agents have no approximators; train with approximators: true.")
        actions = {}
        for agent in self.hierarchy.agents:
            own, mask = self[agent].unwrapped(), masks[agent] if masks else None
            greedy = own.coder.act(own.approximator(own.encode_observation(observations[agent])), mask)
            noise = self.model_config["exploration_noise"]
            vector = explore_vector(own.coder, greedy, epsilon, noise=noise, mask=mask, generator=generator)
            actions[agent] = own.coder.decode(vector)
        return actions
