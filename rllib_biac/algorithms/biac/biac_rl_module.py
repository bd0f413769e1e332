"""Networks of Bi-AC: the leader's critic, the follower's actor and critic, and how the pair plays (Eqs. 12-13).

Every network answers for all joint actions at once: one forward pass on the state gives Q_i(s, a_1, a_2) as a table
(|A_1|, |A_2|), and pi_2(s, a_1) for every a_1. So the leader's enumeration costs one pass, not |A_1|.
"""

from __future__ import annotations

import math

import torch
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI
from ray.rllib.utils.annotations import override
from torch import nn

from rllib_biac.algorithms.biac.approximators import ApproximatedAgent, ApproximatedModule
from rllib_biac.core.networks import build_network
from rllib_biac.core.rl_module import HierarchyModule, JointRLModule, Tensors, explore, follow


class BiACLeader(ApproximatedAgent, InferenceOnlyAPI):
    """The leader: a critic Q_1(s, a_1, a_2) and no actor, for it enumerates its own actions (Eq. 12).

    Attributes:
        critic: network of normalised Q-values, (batch, *state shape) -> (batch, |A_1| · |A_2|).
        critic_target: its target network.
        q_mean, q_std: buffers, the normaliser of the critic's targets: Q = q_std · critic + q_mean.
    """

    q_mean: torch.Tensor
    q_std: torch.Tensor

    @override(JointRLModule)
    def build_networks(self) -> None:
        super().build_networks()
        self.critic = self.build_network()
        self.critic_target = follow(self.critic)
        self.register_buffer("q_mean", torch.zeros(()))
        self.register_buffer("q_std", torch.ones(()))

    def build_network(self) -> nn.Module:
        """Returns a new network (batch, *state shape) -> (batch, |A_1| · |A_2|). Override to use your own."""
        return build_network(self.state_shape, math.prod(self.num_actions), self.model_config)

    @override(JointRLModule)
    def networks(self) -> dict[str, nn.Module]:
        return {"critic": self.critic} | super().networks()

    @override(JointRLModule)
    def target_networks(self) -> dict[str, nn.Module]:
        return {"critic": self.critic_target}

    def table(self, output: torch.Tensor) -> torch.Tensor:
        """Shapes a network's output as a table over joint actions: (batch, |A_1| · |A_2|) -> (batch, |A_1|, |A_2|)."""
        return output.view(-1, *self.num_actions)

    def q_values(self, state: torch.Tensor) -> torch.Tensor:
        """Returns Q_i(s, ·, ·) in the game's own units of reward: (batch, *state shape) -> (batch, |A_1|, |A_2|)."""
        return self.q_std * self.table(self.critic(self.encode(state))) + self.q_mean

    @override(InferenceOnlyAPI)
    def get_non_inference_attributes(self) -> list[str]:
        return ["critic_target"]


class BiACFollower(BiACLeader):
    """The follower: an actor pi_2(s, a_1) and a critic Q_2(s, a_1, a_2) to train it.

    Attributes:
        actor: network of logits of pi_2(a_2 | s, a_1) for every a_1, (batch, *state shape) -> (batch, |A_1| · |A_2|).
    """

    @override(BiACLeader)
    def build_networks(self) -> None:
        super().build_networks()
        self.actor = self.build_network()

    @override(BiACLeader)
    def networks(self) -> dict[str, nn.Module]:
        return super().networks() | {"actor": self.actor}

    @override(InferenceOnlyAPI)
    def get_non_inference_attributes(self) -> list[str]:
        # An enumerated response is played by the critic, not by the actor.
        return ["critic_target"] if self.model_config["response"] == "enumerated" else ["critic", "critic_target"]


def restrict(values: torch.Tensor, mask: torch.Tensor | None, dim: int) -> torch.Tensor:
    """Makes forbidden actions the worst: values (batch, |A_1|, |A_2|), mask (batch, |A_dim|) bool, dim 1 or 2.

    A mask that allows nothing, as some games have it once they are over, forbids nothing.
    """
    if mask is None:
        return values
    forbidden = ~mask & mask.any(1, keepdim=True)
    return values.masked_fill(forbidden.unsqueeze(2) if dim == 1 else forbidden.unsqueeze(1), -torch.inf)


def best_responses(preferences: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """The follower's greedy answer to EVERY leader action; ties go to the lowest index.

    Args:
        preferences: (batch, |A_1|, |A_2|), logits of pi_2 or values Q_2.
        mask: (batch, |A_2|) bool.

    Returns:
        (batch, |A_1|) int64.
    """
    return restrict(preferences, mask, dim=2).argmax(2)


def leader_values(q1: torch.Tensor, responses: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Q_1(s, a_1, response to a_1), the inside of Eq. 12.

    Args:
        q1: (batch, |A_1|, |A_2|).
        responses: (batch, |A_1|) int64.
        mask: (batch, |A_1|) bool.

    Returns:
        (batch, |A_1|), minus infinity where forbidden.
    """
    values = q1.gather(2, responses.unsqueeze(2))  # (batch, |A_1|, 1)
    return restrict(values, mask, dim=1).squeeze(2)


class BiACModule(ApproximatedModule):
    """The pair. Both can compute the whole equilibrium, so that play is simultaneous and decentralised."""

    def values_and_preferences(self, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns Q_1, normalised, and what the follower answers by, logits or Q_2: (batch, |A_1|, |A_2|) each."""
        one, two = (self[agent].unwrapped() for agent in self.hierarchy.agents)
        x = one.encode(state)
        network = two.critic if self.model_config["response"] == "enumerated" else two.actor
        return one.table(one.critic(x)), two.table(network(x))

    @override(HierarchyModule)
    def act(
        self,
        state: torch.Tensor,
        *,
        observations: Tensors | None = None,
        masks: Tensors | None = None,
        epsilon: float = 0.0,
        generator: torch.Generator | None = None,
        given: Tensors | None = None,
    ) -> dict[str, torch.Tensor]:
        leader, follower = self.hierarchy.agents
        given = given or {}
        one = self[leader].unwrapped()
        mask1, mask2 = (masks[leader], masks[follower]) if masks else (None, None)
        q1, preferences = self.values_and_preferences(state)
        if self.model_config.get("response") == "sampled":
            responses = sample_responses(preferences, mask2, generator)
        else:
            responses = best_responses(preferences, mask2)  # (batch, |A_1|)
        values = leader_values(q1, responses, mask1)
        a1 = values.argmax(1)  # (batch,)  Eq. 12
        coin = None
        if epsilon > 0.0 and self.model_config["exploration"] == "joint":
            coin = torch.rand(a1.shape, generator=generator, device=a1.device) < epsilon
        a1 = explore(a1, epsilon, one.num_actions[0], mask=mask1, generator=generator, coin=coin)
        a1 = given.get(leader, a1)
        # The follower answers the action really taken, explored or not.
        a2 = responses.gather(1, a1.unsqueeze(1)).squeeze(1)  # (batch,)  Eq. 13
        a2 = explore(a2, epsilon, one.num_actions[1], mask=mask2, generator=generator, coin=coin)
        return {leader: a1, follower: given.get(follower, a2)}

    @override(HierarchyModule)
    def responses(self, state: torch.Tensor, observations: Tensors | None = None) -> torch.Tensor:
        return best_responses(self.values_and_preferences(state)[1])

    @override(HierarchyModule)
    def q_tables(self, state: torch.Tensor, observations: Tensors | None = None) -> dict[str, torch.Tensor]:
        return {agent: self[agent].unwrapped().q_values(state) for agent in self.hierarchy.agents}


def sample_responses(
    logits: torch.Tensor, mask: torch.Tensor | None = None, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Draws a_2 ~ pi_2(s, a_1) for every a_1, Eq. 12 to the letter: (batch, |A_1|, |A_2|) -> (batch, |A_1|)."""
    batch, num_actions1, num_actions2 = logits.shape
    probabilities = restrict(logits, mask, dim=2).softmax(2).view(-1, num_actions2)
    return torch.multinomial(probabilities, 1, generator=generator).view(batch, num_actions1)
