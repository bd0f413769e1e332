"""The network of an independent Q-learner: what each of its own actions is worth, by its own observation."""

from __future__ import annotations

import torch
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI
from ray.rllib.utils.annotations import override
from torch import nn

from rllib_biac.core.actions import masked
from rllib_biac.core.equals import EqualsModule, LocalRLModule
from rllib_biac.core.networks import build_network
from rllib_biac.core.rl_module import JointRLModule, Tensors, follow


class DQNRLModule(LocalRLModule, InferenceOnlyAPI):
    """An agent's Q_i(o_i, a_i).

    Attributes:
        critic: network of normalised Q-values, (batch, *observation shape) -> (batch, |A_i|).
        critic_target: its target network.
        q_mean, q_std: buffers, the normaliser of the critic's targets: Q = q_std · critic + q_mean.
    """

    q_mean: torch.Tensor
    q_std: torch.Tensor

    @override(JointRLModule)
    def build_networks(self) -> None:
        self.critic = self.build_network()
        self.critic_target = follow(self.critic)
        self.register_buffer("q_mean", torch.zeros(()))
        self.register_buffer("q_std", torch.ones(()))

    def build_network(self) -> nn.Module:
        """Returns a new network (batch, *observation shape) -> (batch, |A_i|). Override to use your own."""
        return build_network(self.observation_shape, int(self.action_space.n), self.model_config)

    @override(JointRLModule)
    def networks(self) -> dict[str, nn.Module]:
        return {"critic": self.critic}

    @override(JointRLModule)
    def target_networks(self) -> dict[str, nn.Module]:
        return {"critic": self.critic_target}

    @override(JointRLModule)
    def input_shape(self, network: str) -> tuple[int, ...]:
        return self.observation_shape

    def q_values(self, observation: torch.Tensor) -> torch.Tensor:
        """Returns Q_i(o, ·) in the game's own units of reward: (batch, *observation shape) -> (batch, |A_i|)."""
        return self.q_std * self.critic(self.encode_observation(observation)) + self.q_mean

    @override(LocalRLModule)
    def greedy(self, observation: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        return masked(self.critic(self.encode_observation(observation)), mask).argmax(1)

    @override(InferenceOnlyAPI)
    def get_non_inference_attributes(self) -> list[str]:
        return ["critic_target"]


class DQNModule(EqualsModule):
    """All independent Q-learners of a game."""

    @override(EqualsModule)
    def q_tables(self, state: torch.Tensor, observations: Tensors | None = None) -> dict[str, torch.Tensor]:
        assert observations is not None, "independent Q-learners see their own observations"
        return {agent: self[agent].unwrapped().q_values(observations[agent]) for agent in self.hierarchy.agents}
