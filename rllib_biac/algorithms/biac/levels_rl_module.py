"""Networks of Bi-AC for a hierarchy of any depth (Eqs. 17-22), and how it is walked.

Here actions go into the networks: a critic sees the state and the joint action, an actor the state and the actions of
the levels above. (One leader and one follower with discrete actions have faster ones, in `biac_rl_module`.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI
from ray.rllib.utils.annotations import override
from torch import nn

from rllib_biac.algorithms.biac.approximators import ApproximatedAgent, ApproximatedModule
from rllib_biac.core.actions import explore_vector, masked
from rllib_biac.core.hierarchy import Hierarchy
from rllib_biac.core.networks import build_network, call_frozen
from rllib_biac.core.rl_module import APPROXIMATOR, HierarchyModule, JointRLModule, Tensors, follow

NO_MASKS: Tensors = {}


class LevelAgent(ApproximatedAgent, InferenceOnlyAPI):
    """One agent of a hierarchy.

    Attributes:
        enumerates: whether it tries actions instead of asking an actor (Eq. 12): alone on the top level, with discrete
            actions, or with continuous ones learned by soft Q-learning.
        tried: (tried actions, size of its action), if it enumerates: each of its discrete actions, or continuous ones
            spread evenly (Sobol's sequence).
        critic: (batch, state size + sum of all actions' sizes) -> (batch, 1), normalised.
        critic_target: its target network.
        actor: (batch, state size + sizes of the actions above) -> (batch, size of its action), unless it enumerates.
        q_mean, q_std: buffers, the normaliser of the critic's targets: Q = q_std · critic + q_mean.
    """

    tried: torch.Tensor
    q_mean: torch.Tensor
    q_std: torch.Tensor

    @override(JointRLModule)
    def build_networks(self) -> None:
        super().build_networks()
        hierarchy = Hierarchy(self.model_config["hierarchy"])
        own = self.model_config["agent"]
        (self.level,) = (i for i, agents in enumerate(hierarchy.levels) if own in agents)
        sizes = dict(zip(self.agents, self.num_actions, strict=True))
        soft_q = self.model_config["continuous_leader"] == "soft_q"
        self.enumerates = hierarchy.levels[0] == (own,) and (self.coder.discrete or soft_q)
        if self.enumerates:
            tried = torch.eye(self.coder.size) if self.coder.discrete else self._spread()
            self.register_buffer("tried", tried, persistent=False)
        self._above = sum(sizes[agent] for agents in hierarchy.levels[: self.level] for agent in agents)
        self.critic = build_network(self.input_shape("critic"), 1, self.model_config)
        self.critic_target = follow(self.critic)
        if not self.enumerates:
            self.actor = build_network(self.input_shape("actor"), self.coder.size, self.model_config)
        self.register_buffer("q_mean", torch.zeros(()))
        self.register_buffer("q_std", torch.ones(()))

    def _spread(self) -> torch.Tensor:
        num, size = self.model_config["num_leader_actions"], self.coder.size
        drawn = torch.quasirandom.SobolEngine(size).draw(num)  # (num, size), multiples of 1 / num from 0 on
        return 2.0 * drawn + (1.0 / num - 1.0)

    @override(JointRLModule)
    def networks(self) -> dict[str, nn.Module]:
        actor = {} if self.enumerates else {"actor": self.actor}
        return {"critic": self.critic} | actor | super().networks()

    @override(JointRLModule)
    def target_networks(self) -> dict[str, nn.Module]:
        return {"critic": self.critic_target}

    @override(JointRLModule)
    def input_shape(self, network: str) -> tuple[int, ...]:
        if network == APPROXIMATOR:
            return self.observation_shape
        beside = sum(self.num_actions) if network.startswith("critic") else self._above
        return (math.prod(self.state_shape) + beside,)

    @override(InferenceOnlyAPI)
    def get_non_inference_attributes(self) -> list[str]:
        return ["critic_target"] if self.enumerates else ["critic", "critic_target"]


class LevelsModule(ApproximatedModule):
    """All agents of a hierarchy. Each can walk it by itself, so that play is simultaneous and decentralised.

    Actions go through it as vectors (`ActionCoder`), `agent -> (batch, size)`.
    """

    def agent(self, name: str) -> LevelAgent:
        """Returns an agent's module."""
        return self[name].unwrapped()

    def joint(self, x: torch.Tensor, actions: Tensors) -> torch.Tensor:
        """Returns what a critic sees, (batch, state size + sum of all actions' sizes)."""
        return torch.cat([x, *(actions[agent] for agent in self.hierarchy.agents)], dim=1)

    def above(self, x: torch.Tensor, actions: Tensors, level: int) -> torch.Tensor:
        """Returns what an actor of a level sees, (batch, state size + sizes of the actions above)."""
        return torch.cat([x, *(actions[agent] for agents in self.hierarchy.levels[:level] for agent in agents)], dim=1)

    def answers(
        self,
        x: torch.Tensor,
        actions: Mapping[str, torch.Tensor],
        level: int,
        *,
        masks: Tensors = NO_MASKS,
        relax: Mapping[str, Any] | None = None,
    ) -> dict[str, torch.Tensor]:
        """Completes a joint action: the levels from `level` down answer the actions above them in turn (Eq. 18).

        Args:
            x: (batch, state size), normalised.
            actions: those of the levels above `level`, and of any agent below whose action is given.
            level: the first level that answers.
            masks: agent -> (batch, |A_i|) bool.
            relax: None for greedy answers. Else how to sample discrete ones (`temperature`, `generator`), so that
                gradients flow through the answers to the actions above, not into the answering actors.

        Returns:
            agent -> (batch, size), of all agents.
        """
        actions = dict(actions)
        for at in range(level, len(self.hierarchy.levels)):
            seen = self.above(x, actions, at)
            for agent in self.hierarchy.levels[at]:
                if agent in actions:
                    continue
                own, mask = self.agent(agent), masks.get(agent)
                if relax is None:
                    actions[agent] = own.coder.act(own.actor(seen), mask)
                else:
                    actions[agent] = own.coder.relax(call_frozen(own.actor, seen), mask=mask, **relax)
        return actions

    def score(
        self,
        x: torch.Tensor,
        actions: Tensors,
        agent: str,
        *,
        masks: Tensors = NO_MASKS,
        target: bool = False,
    ) -> torch.Tensor:
        """Returns Q_i for each action an agent tries, the levels below answering each: one walk for all.

        Args:
            x: (batch, state size), normalised.
            actions: those of the levels above the agent's and of its peers.
            agent: who commits: one with discrete actions, or who enumerates.
            masks: agent -> (batch, |A_i|) bool.
            target: whether the target network says it.

        Returns:
            (batch, tried actions), normalised.
        """
        own = self.agent(agent)
        tried = own.tried if own.enumerates else torch.eye(own.coder.size, device=x.device)
        size = len(tried)
        tried = tried.repeat(len(x), 1)  # (batch · tried actions, size of the action)
        rows = {name: action.repeat_interleave(size, 0) for name, action in actions.items()} | {agent: tried}
        many = {name: mask.repeat_interleave(size, 0) for name, mask in masks.items()}
        x = x.repeat_interleave(size, 0)
        rows = self.answers(x, rows, own.level + 1, masks=many)
        return (own.critic_target if target else own.critic)(self.joint(x, rows)).view(-1, size)

    def lead(
        self,
        x: torch.Tensor,
        masks: Tensors = NO_MASKS,
        *,
        temperature: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> dict[str, torch.Tensor]:
        """Returns the top level's actions as vectors: the best of those tried (Eq. 12), or its actors' (Eq. 17).

        With a temperature greater than 0 those tried are drawn, with probabilities that grow as exp(Q / temperature).
        """
        top = self.hierarchy.levels[0]
        own = self.agent(top[0])
        if not own.enumerates:
            return self._level(x, {}, 0, masks)
        q = masked(self.score(x, {}, top[0], masks=masks), masks.get(top[0]))  # (batch, tried actions)
        if temperature:
            drawn = torch.multinomial((q / temperature).softmax(1), 1, generator=generator).squeeze(1)
            return {top[0]: own.tried[drawn]}
        return {top[0]: own.tried[q.argmax(1)]}

    def _level(self, x: torch.Tensor, actions: Tensors, level: int, masks: Tensors) -> dict[str, torch.Tensor]:
        """Returns the greedy actions of one level's actors, given those above."""
        seen = self.above(x, actions, level)
        return {
            agent: self.agent(agent).coder.act(self.agent(agent).actor(seen), masks.get(agent))
            for agent in self.hierarchy.levels[level]
        }

    @property
    def temperature(self) -> float:
        """How softly a continuous leader that tries actions chooses while learning; 0 of any other."""
        own = self.agent(self.hierarchy.agents[0])
        return self.model_config["soft_q_temperature"] if own.enumerates and not own.coder.discrete else 0.0

    @override(HierarchyModule)
    def responses(self, state: torch.Tensor, observations: Tensors | None = None) -> torch.Tensor:
        modules = [self.agent(name) for name in self.hierarchy.agents]
        if [len(level) for level in self.hierarchy.levels] != [1, 1] or not all(m.coder.discrete for m in modules):
            raise NotImplementedError("answers are those of one follower to one leader, with discrete actions")
        x = modules[0].encode(state).flatten(1)
        size = modules[0].coder.size
        tried = torch.eye(size, device=x.device).repeat(len(x), 1)  # (batch · |A_1|, |A_1|)
        leader, follower = self.hierarchy.agents
        answers = self.answers(x.repeat_interleave(size, 0), {leader: tried}, 1)[follower]
        return answers.argmax(1).view(-1, size)

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
        x = self.agent(self.hierarchy.agents[0]).encode(state).flatten(1)
        given, coin = given or {}, None
        if epsilon > 0.0 and self.model_config["exploration"] == "joint":
            coin = torch.rand(len(x), generator=generator, device=x.device) < epsilon
        masks = masks or NO_MASKS
        taken: dict[str, torch.Tensor] = {}
        for level, agents in enumerate(self.hierarchy.levels):
            # The levels below answer the actions really taken, explored or not.
            if level:
                greedy = self._level(x, taken, level, masks)
            else:
                temperature = self.temperature if epsilon > 0.0 else 0.0
                greedy = self.lead(x, masks, temperature=temperature, generator=generator)
            for agent in agents:
                if agent in given:
                    taken[agent] = self.agent(agent).coder.encode(given[agent])
                    continue
                taken[agent] = explore_vector(
                    self.agent(agent).coder,
                    greedy[agent],
                    epsilon,
                    noise=self.model_config["exploration_noise"],
                    mask=masks.get(agent),
                    generator=generator,
                    coin=coin,
                )
        return {agent: self.agent(agent).coder.decode(action) for agent, action in taken.items()}
