"""The network of an independent Q-learner: what each of its own actions is worth, by its own observation."""

from __future__ import annotations

import torch
from torch import nn

from rllib_biac.learning.actions import action_size
from rllib_biac.learning.networks import build_network, follow
from rllib_biac.learning.peers import Peer, PeersTeam
from rllib_biac.learning.team import Agent, Tensors
from rllib_biac.walk import best


class DQNAgent(Peer):
    """An agent's Q_i(o_i, a_i).

    Attributes:
        critic: network of normalised Q-values, (batch, *observation shape) -> (batch, |A_i|).
        critic_target: its target network.
        q_mean, q_std: buffers, the normaliser of the critic's targets: Q = q_std · critic + q_mean.
    """

    def build_networks(self) -> None:
        self.critic = self.build_network()
        self.critic_target = follow(self.critic)
        self.register_q_normalizer()

    def build_network(self) -> nn.Module:
        """Returns a new network (batch, *observation shape) -> (batch, |A_i|). Override to use your own."""
        return build_network(self.observation_shape, action_size(self.action_space), self.model_config)

    def networks(self) -> dict[str, nn.Module]:
        return {"critic": self.critic}

    def target_networks(self) -> dict[str, nn.Module]:
        return {"critic": self.critic_target}

    def input_shape(self, network: str) -> tuple[int, ...]:
        return self.observation_shape

    def q_values(self, observation: torch.Tensor) -> torch.Tensor:
        """Returns Q_i(o, ·) in the game's own units of reward: (batch, *observation shape) -> (batch, |A_i|)."""
        return self.raw(self.critic(self.encode_observation(observation)))

    def greedy(self, observation: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        return best(self.critic(self.encode_observation(observation)), mask)

    def played(self) -> nn.Module:
        return self.critic

    def training_only(self) -> list[str]:
        return ["critic_target"]


class DQNTeam(PeersTeam):
    """All independent Q-learners of a game."""

    def agent_class(self, agent: str) -> type[Agent]:
        return DQNAgent

    def q_tables(self, state: torch.Tensor, observations: Tensors | None = None) -> dict[str, torch.Tensor]:
        assert observations is not None, "independent Q-learners see their own observations"
        return {agent: self[agent].q_values(observations[agent]) for agent in self.agents}
