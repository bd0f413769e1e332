"""One leader and one follower with discrete actions: their networks, and how the pair plays (Eqs. 12-13).

Every network answers for all joint actions at once: one forward pass on the state gives Q_i(s, a_1, a_2) as a table
(|A_1|, |A_2|), and pi_2(s, a_1) for every a_1. So the leader's enumeration costs one pass, not |A_1|.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import nn

from rllib_biac.algorithms.biac.settings import BiACSettings
from rllib_biac.files.policy import Arrays, Description
from rllib_biac.learning.actions import explore
from rllib_biac.learning.loading import load_object
from rllib_biac.learning.networks import build_network, follow
from rllib_biac.learning.team import Agent, Asked, Team, Tensors
from rllib_biac.walk import ByTables, restrict, walk


class BiACLeader(Agent):
    """The leader: a critic Q_1(s, a_1, a_2) and no actor, for it enumerates its own actions (Eq. 12).

    Attributes:
        critic: network of normalised Q-values, (batch, *state shape) -> (batch, |A_1| · |A_2|).
        critic_target: its target network.
        q_mean, q_std: buffers, the normaliser of the critic's targets: Q = q_std · critic + q_mean.
    """

    normalises_layers: ClassVar[bool] = True  # small differences of values are then fitted sooner

    def build_networks(self) -> None:
        self.critic = self.build_network()
        self.critic_target = follow(self.critic)
        self.register_q_normalizer()

    def build_network(self) -> nn.Module:
        """Returns a new network (batch, *state shape) -> (batch, |A_1| · |A_2|). Override to use your own."""
        return build_network(self.state_shape, math.prod(self.num_actions), self.model_config)

    def networks(self) -> dict[str, nn.Module]:
        return {"critic": self.critic}

    def target_networks(self) -> dict[str, nn.Module]:
        return {"critic": self.critic_target}

    def training_only(self) -> list[str]:
        return ["critic_target"]

    def table(self, output: torch.Tensor) -> torch.Tensor:
        """Shapes a network's output as a table over joint actions: (batch, |A_1| · |A_2|) -> (batch, |A_1|, |A_2|)."""
        return output.view(-1, *self.num_actions)

    def q_table(self, output: torch.Tensor) -> torch.Tensor:
        """Returns the normalised values in a critic's output: (batch, outputs) -> (batch, |A_1|, |A_2|)."""
        return self.table(output)

    def q_of(self, output: torch.Tensor, joint: torch.Tensor) -> torch.Tensor:
        """Returns those of one joint action a row, (batch, 1) indices into |A_1| · |A_2| -> (batch,)."""
        return output.gather(1, joint).squeeze(1)

    def q_values(self, state: torch.Tensor) -> torch.Tensor:
        """Returns Q_i(s, ·, ·) in the game's own units of reward: (batch, *state shape) -> (batch, |A_1|, |A_2|)."""
        return self.raw(self.q_table(self.critic(self.encode(state))))


class BiACFollower(BiACLeader):
    """The follower: an actor pi_2(s, a_1) and a critic Q_2(s, a_1, a_2) to train it.

    Attributes:
        actor: network of logits of pi_2(a_2 | s, a_1) for every a_1, (batch, *state shape) -> (batch, |A_1| · |A_2|).
    """

    settings: BiACSettings

    def build_networks(self) -> None:
        super().build_networks()
        self.actor = self.build_actor()

    def build_actor(self) -> nn.Module:
        """Returns a new actor, (batch, *state shape) -> (batch, |A_1| · |A_2|); like a critic by default."""
        return self.build_network()

    def preferences(self, x: torch.Tensor) -> torch.Tensor:
        """Returns what answers are chosen by, of every commitment: (batch, *state shape) -> (batch, |A_1|, |A_2|)."""
        return self.q_table(self.critic(x)) if self.settings.response == "enumerated" else self.table(self.actor(x))

    def networks(self) -> dict[str, nn.Module]:
        return super().networks() | {"actor": self.actor}

    def training_only(self) -> list[str]:
        # An enumerated response is played by the critic, not by the actor.
        return ["critic_target"] if self.settings.response == "enumerated" else ["critic", "critic_target"]


class TablePair(Team):
    """A leader and a follower that say what every joint action of a state is worth."""

    def play(
        self, state: torch.Tensor, masks: Tensors | None = None, generator: torch.Generator | None = None
    ) -> ByTables:
        """Returns what the pair plays by in each state."""
        raise NotImplementedError

    def decide(self, asked: Asked) -> dict[str, torch.Tensor]:
        epsilon, generator = asked.epsilon, asked.generator
        play = self.play(asked.state, asked.masks, generator)
        if asked.greedy and not asked.given:
            return walk(self.hierarchy.levels, play)
        coin = self.joint_coin(asked.state, epsilon, generator)

        def take(agent: str, greedy: torch.Tensor) -> torch.Tensor:
            mask = asked.mask(agent)
            explored = explore(greedy, epsilon, self.sizes[agent], mask=mask, generator=generator, coin=coin)
            return asked.given.get(agent, explored)

        return walk(self.hierarchy.levels, play, take)

    def responses(self, state: torch.Tensor, observations: Tensors | None = None) -> torch.Tensor:
        return self.play(state).responses

    def q_tables(self, state: torch.Tensor, observations: Tensors | None = None) -> dict[str, torch.Tensor]:
        return {agent: self[agent].q_values(state) for agent in self.agents}


class BiACTeam(TablePair):
    """The pair. Both can compute the whole equilibrium, so that play is simultaneous and decentralised."""

    settings: BiACSettings

    leader_class: ClassVar[type[BiACLeader]] = BiACLeader
    follower_class: ClassVar[type[BiACFollower]] = BiACFollower

    @property
    def answered_by(self) -> str:
        """The name of the network that the follower answers by."""
        return "critic" if self.settings.response == "enumerated" else "actor"

    def agent_class(self, agent: str) -> type[Agent]:
        return self.agent_classes(self.settings)[self.agents.index(agent)]

    @classmethod
    def agent_classes(cls, settings: BiACSettings) -> tuple[type[BiACLeader], type[BiACFollower]]:
        """Returns the leader's and the follower's class, as the settings name them.

        Raises:
            ValueError: if they name something else.
        """
        leader = _own_class("leader_module_class", settings.leader_module_class, cls.leader_class)
        return leader, _own_class("follower_module_class", settings.follower_module_class, cls.follower_class)

    def play(
        self, state: torch.Tensor, masks: Tensors | None = None, generator: torch.Generator | None = None
    ) -> ByTables:
        one, two = (self[agent] for agent in self.agents)
        x = one.encode(state)
        q1, preferences = one.q_table(one.critic(x)), two.preferences(x)
        sampled = None
        if self.settings.response == "sampled":
            sampled = sample_responses(preferences, (masks or {}).get(two.name), generator)
        return ByTables(self.hierarchy.levels, q1, preferences, masks or {}, sampled)

    def responses(self, state: torch.Tensor, observations: Tensors | None = None) -> torch.Tensor:
        two = self[self.agents[1]]
        return two.preferences(self[self.agents[0]].encode(state)).argmax(2)

    def describe(self) -> tuple[Description, Arrays]:
        leader, follower = self.agents
        answering = getattr(self[follower], self.answered_by)
        return self._describe("tables", {leader: self[leader].critic, follower: answering})


def _own_class(key: str, given: Any, base: type[Any]) -> type[Any]:
    named = load_object(given) if isinstance(given, str) else given
    if named is None:
        return base
    if not (isinstance(named, type) and issubclass(named, base)):
        raise ValueError(f"{key}: {given!r} is no subclass of {base.__name__}: make it one.")
    return named


def sample_responses(
    logits: torch.Tensor, mask: torch.Tensor | None = None, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Draws a_2 ~ pi_2(s, a_1) for every a_1, Eq. 12 to the letter.

    Args:
        logits: (batch, |A_1|, |A_2|).
        mask: (batch, |A_2|) bool.
        generator: draws them.

    Returns:
        (batch, |A_1|) int64.
    """
    batch, num_actions1, num_actions2 = logits.shape
    probabilities = restrict(logits, None if mask is None else mask[:, None]).softmax(2).view(-1, num_actions2)
    return torch.multinomial(probabilities, 1, generator=generator).view(batch, num_actions1)
