"""Networks of MADDPG: an actor that sees its own observation, a critic that sees the state and everybody's action."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import nn

from rllib_biac.algorithms.maddpg.settings import MADDPGSettings
from rllib_biac.learning.actions import ActionCoder, Epsilon, explore_vector
from rllib_biac.learning.networks import build_network, follow
from rllib_biac.learning.peers import Peer, PeersTeam
from rllib_biac.learning.team import Agent, Tensors


class MADDPGAgent(Peer):
    """One agent's actor mu_i(o_i) and critic Q_i(s, a_1, ..., a_n).

    Attributes:
        coder: turns its actions into vectors and back.
        actor, actor_target: (batch, *observation shape) -> (batch, size of its action), logits of a discrete action.
        critic, critic_target: (batch, state size + sum of all actions' sizes) -> (batch, 1), normalised.
        q_mean, q_std: buffers, the normaliser of the critic's targets: Q = q_std · critic + q_mean.
    """

    settings: MADDPGSettings

    def build_networks(self) -> None:
        self.coder = ActionCoder(self.action_space)
        self.actor = self.build_actor()
        self.actor_target = follow(self.actor)
        self.critic = self.build_critic()
        self.critic_target = follow(self.critic)
        self.register_q_normalizer()

    def build_actor(self) -> nn.Module:
        """Returns a new actor. Override to use your own."""
        return build_network(self.observation_shape, self.coder.size, self.model_config)

    def build_critic(self) -> nn.Module:
        """Returns a new critic. Override to use your own."""
        return build_network(self.input_shape("critic"), 1, self.model_config)

    def networks(self) -> dict[str, nn.Module]:
        return {"critic": self.critic, "actor": self.actor}

    def target_networks(self) -> dict[str, nn.Module]:
        return {"critic": self.critic_target, "actor": self.actor_target}

    def input_shape(self, network: str) -> tuple[int, ...]:
        if network.startswith("actor"):
            return self.observation_shape
        return (math.prod(self.state_shape) + sum(self.num_actions),)

    def greedy(self, observation: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        return self.coder.decode(self.coder.act(self.actor(self.encode_observation(observation)), mask))

    def explore(self, action: torch.Tensor, epsilon: Epsilon, **kwargs: Any) -> torch.Tensor:
        noise = self.settings.exploration_noise
        return self.coder.decode(explore_vector(self.coder, self.coder.encode(action), epsilon, noise=noise, **kwargs))

    def played(self) -> nn.Module:
        return self.actor

    def training_only(self) -> list[str]:
        return ["actor_target", "critic", "critic_target"]


class MATD3Agent(MADDPGAgent):
    """MADDPG's networks and a second critic: the smaller of both is believed.

    Attributes:
        critic_twin, critic_twin_target: like `critic` and `critic_target`.
    """

    def build_networks(self) -> None:
        super().build_networks()
        self.critic_twin = self.build_critic()
        self.critic_twin_target = follow(self.critic_twin)

    def networks(self) -> dict[str, nn.Module]:
        return super().networks() | {"critic_twin": self.critic_twin}

    def target_networks(self) -> dict[str, nn.Module]:
        return super().target_networks() | {"critic_twin": self.critic_twin_target}

    def training_only(self) -> list[str]:
        return [*super().training_only(), "critic_twin", "critic_twin_target"]


class MADDPGTeam(PeersTeam):
    """All actors of a game."""

    def agent_class(self, agent: str) -> type[Agent]:
        return MADDPGAgent

    def q_tables(self, state: torch.Tensor, observations: Tensors | None = None) -> dict[str, torch.Tensor]:
        modules = [self[agent] for agent in self.agents]
        if not all(module.coder.discrete for module in modules):
            raise NotImplementedError("continuous actions have no table of values")
        x = modules[0].encode(state)
        sizes = [module.coder.size for module in modules]
        joint = list(itertools.product(*(torch.eye(size, device=x.device) for size in sizes)))
        actions = torch.stack([torch.cat(vectors) for vectors in joint])  # (|A_1| ... |A_n|, sum of sizes)
        inputs = torch.cat([x.repeat_interleave(len(actions), 0), actions.repeat(len(x), 1)], dim=1)
        return {
            agent: module.raw(module.critic(inputs)).view(len(x), *sizes)
            for agent, module in zip(self.agents, modules, strict=True)
        }


class MATD3Team(MADDPGTeam):
    """All actors of a game, with twin critics."""

    def agent_class(self, agent: str) -> type[Agent]:
        return MATD3Agent
