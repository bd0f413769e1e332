"""Each agent by its own observation (`information: own`): pi_1(o_1), and pi_2(o_2, a_1) or pi_2(o_2) below it.

Critics see the state and the joint action, actors what their agent sees in play. An actor below the top takes in one
thing more while learning: a commitment of an agent above it, "whoever sees this does that". Its answers to commitments
are what those above it compare; in play there is no such news, and zeros stand in its place.
"""

from __future__ import annotations

import itertools
import math
from typing import ClassVar, Literal

import torch
from torch import nn

from rllib_biac.algorithms.biac.settings import BiACSettings
from rllib_biac.files.policy import Arrays, Description
from rllib_biac.learning.actions import ActionCoder, Epsilon
from rllib_biac.learning.networks import MLP, build_network, follow
from rllib_biac.learning.team import Agent, Asked, Team, Tensors
from rllib_biac.walk import ByObservations, walk

NO_MASKS: Tensors = {}


class OwnAgent(Agent):
    """One agent of a hierarchy that acts on its own observation.

    Attributes:
        level: its index, 0 at the top.
        coder: turns its actions into vectors and back.
        above: the agents of the levels above, top first.
        announced: those of them whose actions it sees.
        actor: (batch, `seen_size` + sizes of commitments) -> (batch, size of its action): logits, or what tanh bounds.
        critic: (batch, state size + sum of all actions' sizes) -> (batch, 1), normalised.
        critic_target: its target network.
        q_mean, q_std: buffers, the normaliser of the critic's targets: Q = q_std · critic + q_mean.
    """

    settings: BiACSettings

    def build_networks(self) -> None:
        levels = self.spec.hierarchy.levels
        self.coder = ActionCoder(self.action_space)
        (self.level,) = (i for i, agents in enumerate(levels) if self.name in agents)
        self.above = self._above(self.level)
        self.announced = self.above if self.settings.announced else ()
        self.commitment_sizes = [2 + 2 * self._size_seen(agent) + self._size(agent) for agent in self.above]
        self.actor = build_network(self.input_shape("actor"), self.coder.size, self.model_config)
        self.critic = build_network(self.input_shape("critic"), 1, self.model_config)
        self.critic_target = follow(self.critic)
        self.register_q_normalizer()

    def _above(self, level: int) -> tuple[str, ...]:
        return tuple(agent for agents in self.spec.hierarchy.levels[:level] for agent in agents)

    def _size(self, agent: str) -> int:
        return dict(zip(self.agents, self.num_actions, strict=True))[agent]

    def _size_seen(self, agent: str) -> int:
        (level,) = (i for i, agents in enumerate(self.spec.hierarchy.levels) if agent in agents)
        seen = math.prod(self.spec.observation_spaces[agent].shape or ())
        return seen + (sum(map(self._size, self._above(level))) if self.settings.announced else 0)

    @property
    def seen_size(self) -> int:
        """The size of what it sees in play: its observation, and the actions that are announced to it."""
        return self._size_seen(self.name)

    def heard(self, seen: torch.Tensor) -> list[torch.Tensor | None]:
        """Returns the action of each agent above in what is seen, (rows, its size), None where it is not announced."""
        if not self.announced:
            return [None] * len(self.above)
        sizes = [self._size(agent) for agent in self.above]
        return list(seen.split([seen.shape[1] - sum(sizes), *sizes], 1)[1:])

    def networks(self) -> dict[str, nn.Module]:
        return {"critic": self.critic, "actor": self.actor}

    def target_networks(self) -> dict[str, nn.Module]:
        return {"critic": self.critic_target}

    def input_shape(self, network: str) -> tuple[int, ...]:
        if network.startswith("critic"):
            return (math.prod(self.state_shape) + sum(self.num_actions),)
        return (self.seen_size + sum(self.commitment_sizes),)

    def training_only(self) -> list[str]:
        return ["critic", "critic_target"]

    def output(self, seen: torch.Tensor, commitments: torch.Tensor | None = None) -> torch.Tensor:
        """Returns what the actor says.

        Args:
            seen: (rows, `seen_size`), its observation and the actions announced.
            commitments: (rows, sizes of commitments), what it has heard of those above it; None in play.

        Returns:
            (rows, size of its action).
        """
        if commitments is None:
            commitments = seen.new_zeros(*seen.shape[:-1], sum(self.commitment_sizes))
        return self.actor(torch.cat([seen, commitments], -1))

    def played(self) -> nn.Module:
        """Returns the actor as it is played, a function of what the agent sees alone."""
        if type(self.actor) is not MLP or not self.above:
            return self.actor
        kept = MLP([self.seen_size, *self.actor.sizes[1:]], self.actor.activation, self.actor.rms_norm)
        weights = dict(self.actor.state_dict())
        weights["layers.0.weight"] = weights["layers.0.weight"][:, : self.seen_size]
        kept.load_state_dict(weights)
        return kept


class OwnTeam(Team):
    """All agents of a hierarchy, each by its own observation and, where they are announced, the actions above it.

    Actions go through it as vectors (`ActionCoder`), `agent -> (batch, size)`.
    """

    tries = True
    information: ClassVar[Literal["full", "own"]] = "own"
    settings: BiACSettings

    def agent_class(self, agent: str) -> type[Agent]:
        return OwnAgent

    def encode_observations(self, observations: Tensors) -> dict[str, torch.Tensor]:
        """Normalises what all see: agent -> (batch, *observation shape) -> agent -> (batch, observation size)."""
        return {agent: self[agent].encode_observation(observations[agent]).flatten(1) for agent in self.agents}

    def play(self, x: Tensors, masks: Tensors = NO_MASKS) -> ByObservations:
        """Returns what the hierarchy plays by.

        Args:
            x: agent -> (batch, observation size), normalised.
            masks: agent -> (batch, |A_i|) bool.
        """
        return ByObservations(
            self.hierarchy.levels,
            x,
            actor=lambda agent, seen: self[agent].output(seen),
            vector=lambda agent, output, mask: self[agent].coder.act(output, mask),
            masks=masks,
            announced=self.settings.announced,
        )

    def decide(self, asked: Asked) -> dict[str, torch.Tensor]:
        assert asked.observations is not None, "agents act on their own observations"
        coin = self.joint_coin(asked.state, asked.epsilon, asked.generator)
        play = self.play(self.encode_observations(asked.observations), asked.masks or NO_MASKS)

        def take(agent: str, greedy: torch.Tensor) -> torch.Tensor:
            return asked.vector(agent, self[agent].coder, greedy, self.settings.exploration_noise, coin)

        taken = walk(self.hierarchy.levels, play, take)
        return {agent: self[agent].coder.decode(action) for agent, action in taken.items()}

    def act_on_observations(
        self,
        observations: Tensors,
        *,
        masks: Tensors | None = None,
        epsilon: Epsilon = 0.0,
        generator: torch.Generator | None = None,
    ) -> dict[str, torch.Tensor]:
        first = observations[self.agents[0]]
        return self.act(first, observations=observations, masks=masks, epsilon=epsilon, generator=generator)

    def responses(self, state: torch.Tensor, observations: Tensors | None = None) -> torch.Tensor:
        if not (self.spec.one_leads_one and self.spec.discrete):
            raise NotImplementedError("answers are those of one follower to one leader, with discrete actions")
        assert observations is not None, "agents act on their own observations"
        leader, follower = self.agents
        x, rows = self.encode_observations(observations)[follower], len(state)
        if not self.settings.announced:
            answer = self[follower].output(x).argmax(-1)
            return answer.unsqueeze(1).expand(rows, self.sizes[leader])
        tried = torch.eye(self.sizes[leader], device=x.device)
        seen = torch.cat([each.expand(rows, len(tried), -1) for each in (x.unsqueeze(1), tried)], -1)
        return self[follower].output(seen).argmax(-1)  # (batch, |A_1|)

    def q_tables(self, state: torch.Tensor, observations: Tensors | None = None) -> dict[str, torch.Tensor]:
        if not self.spec.discrete:
            raise NotImplementedError("continuous actions have no table of values")
        x = self[self.agents[0]].encode(state).flatten(1)
        sizes = [self.sizes[agent] for agent in self.agents]
        joint = list(itertools.product(*(torch.eye(size, device=x.device) for size in sizes)))
        actions = torch.stack([torch.cat(vectors) for vectors in joint])  # (|A_1| ... |A_n|, sum of sizes)
        inputs = torch.cat([x.repeat_interleave(len(actions), 0), actions.repeat(len(x), 1)], dim=1)
        return {agent: self[agent].raw(self[agent].critic(inputs)).view(len(x), *sizes) for agent in self.agents}

    def describe(self) -> tuple[Description, Arrays]:
        announced = self.settings.announced and len(self.hierarchy.levels) > 1
        return self._describe("announced" if announced else "local", {a: self[a].played() for a in self.agents})
