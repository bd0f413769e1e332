"""Networks of Bi-AC for a hierarchy of any depth (Eqs. 17-22), and how it is walked.

Here actions go into the networks: a critic sees the state and the joint action, an actor the state and the actions of
the levels above. (One leader and one follower with discrete actions have faster ones, in `team`.)
"""

from __future__ import annotations

import math

import torch
from torch import nn

from rllib_biac.algorithms.biac.settings import BiACSettings
from rllib_biac.files.policy import Arrays, Description
from rllib_biac.learning.actions import ActionCoder, acting
from rllib_biac.learning.networks import build_network, follow
from rllib_biac.learning.team import Agent, Asked, Team, Tensors
from rllib_biac.walk import ByActions, best, restrict, walk

NO_MASKS: Tensors = {}


class LevelAgent(Agent):
    """One agent of a hierarchy.

    Attributes:
        level: its index, 0 at the top.
        coder: turns its actions into vectors and back.
        enumerates: whether it tries actions instead of asking an actor (Eq. 12): alone on the top level, with discrete
            actions, or with continuous ones learned by soft Q-learning.
        tried: (tried actions, size of its action), if it enumerates: each of its discrete actions, or continuous ones
            spread evenly (Sobol's sequence).
        critic: (batch, state size + sum of all actions' sizes) -> (batch, 1), normalised.
        critic_target: its target network.
        actor: (batch, state size + sizes of the actions above) -> (batch, size of its action), unless it enumerates.
        q_mean, q_std: buffers, the normaliser of the critic's targets: Q = q_std · critic + q_mean.
    """

    settings: BiACSettings
    tried: torch.Tensor

    def build_networks(self) -> None:
        levels = self.spec.hierarchy.levels
        self.coder = ActionCoder(self.action_space)
        (self.level,) = (i for i, agents in enumerate(levels) if self.name in agents)
        sizes = dict(zip(self.agents, self.num_actions, strict=True))
        self.enumerates = levels[0] == (self.name,) and (
            self.coder.discrete or self.settings.continuous_leader == "soft_q"
        )
        if self.enumerates:
            tried = torch.eye(self.coder.size) if self.coder.discrete else self._spread()
            self.register_buffer("tried", tried, persistent=False)
        self._above = sum(sizes[agent] for agents in levels[: self.level] for agent in agents)
        self.critic = build_network(self.input_shape("critic"), 1, self.model_config)
        self.critic_target = follow(self.critic)
        if not self.enumerates:
            self.actor = build_network(self.input_shape("actor"), self.coder.size, self.model_config)
        self.register_q_normalizer()

    def _spread(self) -> torch.Tensor:
        num, size = self.settings.num_leader_actions, self.coder.size
        drawn = torch.quasirandom.SobolEngine(size).draw(num)  # (num, size), multiples of 1 / num from 0 on
        return 2.0 * drawn + (1.0 / num - 1.0)

    def networks(self) -> dict[str, nn.Module]:
        actor = {} if self.enumerates else {"actor": self.actor}
        return {"critic": self.critic} | actor

    def target_networks(self) -> dict[str, nn.Module]:
        return {"critic": self.critic_target}

    def input_shape(self, network: str) -> tuple[int, ...]:
        beside = sum(self.num_actions) if network.startswith("critic") else self._above
        return (math.prod(self.state_shape) + beside,)

    def training_only(self) -> list[str]:
        return ["critic_target"] if self.enumerates else ["critic", "critic_target"]


class LevelsTeam(Team):
    """All agents of a hierarchy. Each can walk it by itself, so that play is simultaneous and decentralised.

    Actions go through it as vectors (`ActionCoder`), `agent -> (batch, size)`.
    """

    tries = True

    settings: BiACSettings

    def agent_class(self, agent: str) -> type[Agent]:
        return LevelAgent

    def encode(self, state: torch.Tensor) -> torch.Tensor:
        """Normalises states: (batch, *state shape) -> (batch, state size)."""
        return self[self.agents[0]].encode(state).flatten(1)

    def play(
        self,
        x: torch.Tensor,
        masks: Tensors = NO_MASKS,
        *,
        temperature: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> ByActions:
        """Returns what the hierarchy plays by.

        Args:
            x: (batch, state size), normalised.
            masks: agent -> (batch, |A_i|) bool.
            temperature: greater than 0: a leader that tries actions draws one, with probabilities that grow as
                exp(Q / temperature).
            generator: draws it.
        """

        def leads() -> dict[str, torch.Tensor]:
            q = self.score(x, {}, leader.name, masks=masks)  # (batch, tried actions)
            mask = masks.get(leader.name)
            allowed, acts = (mask, None) if leader.coder.discrete else (None, mask)
            if temperature:
                soft = (restrict(q, allowed) / temperature).softmax(1)
                chosen = torch.multinomial(soft, 1, generator=generator).squeeze(1)
            else:
                chosen = best(q, allowed)  # Eq. 12
            return {leader.name: acting(leader.tried[chosen], acts)}

        leader = self[self.agents[0]]
        return ByActions(
            self.hierarchy.levels,
            x,
            actor=lambda agent, seen: self[agent].actor(seen),  # Eq. 17
            vector=lambda agent, output, mask: self[agent].coder.act(output, mask),
            masks=masks,
            leads=leads if leader.enumerates else None,
        )

    def score(
        self,
        x: torch.Tensor,
        given: Tensors,
        agent: str,
        *,
        masks: Tensors = NO_MASKS,
        target: bool = False,
    ) -> torch.Tensor:
        """Returns Q_i for each action an agent tries, the levels below answering each.

        Args:
            x: (batch, state size), normalised.
            given: the actions of the levels above the agent's and of its peers.
            agent: who commits: one with discrete actions, or who enumerates.
            masks: agent -> (batch, |A_i|) bool.
            target: whether the target network says it.

        Returns:
            (batch, tried actions), normalised.
        """
        own = self[agent]
        tried = own.tried if own.enumerates else torch.eye(own.coder.size, device=x.device)
        critic = own.critic_target if target else own.critic
        return self.play(x, masks).tries(agent, tried, given, critic)[1]

    @property
    def temperature(self) -> float:
        """How softly a continuous leader that tries actions chooses while learning; 0 of any other."""
        own = self[self.agents[0]]
        return self.settings.soft_q_temperature if own.enumerates and not own.coder.discrete else 0.0

    def responses(self, state: torch.Tensor, observations: Tensors | None = None) -> torch.Tensor:
        if not (self.spec.one_leads_one and self.spec.discrete):
            raise NotImplementedError("answers are those of one follower to one leader, with discrete actions")
        leader, follower = self.agents
        one = self[leader]
        joint, _ = self.play(self.encode(state)).tries(leader, one.tried, {}, one.critic)
        return joint[follower].argmax(-1)  # (batch, |A_1|)

    def decide(self, asked: Asked) -> dict[str, torch.Tensor]:
        temperature = 0.0 if asked.greedy else self.temperature
        coin = self.joint_coin(asked.state, asked.epsilon, asked.generator)
        play = self.play(
            self.encode(asked.state), asked.masks or NO_MASKS, temperature=temperature, generator=asked.generator
        )

        def take(agent: str, greedy: torch.Tensor) -> torch.Tensor:
            return asked.vector(agent, self[agent].coder, greedy, self.settings.exploration_noise, coin)

        taken = walk(self.hierarchy.levels, play, take)
        return {agent: self[agent].coder.decode(action) for agent, action in taken.items()}

    def describe(self) -> tuple[Description, Arrays]:
        networks = {agent: self[agent].critic if self[agent].enumerates else self[agent].actor for agent in self.agents}
        return self._describe("levels", networks, self[self.agents[0]].tried if self.temperature else None)
