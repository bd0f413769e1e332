"""What algorithms without a leader share: peers on one level, each acting on its own observation alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from rllib_biac.files.policy import Arrays, Description
from rllib_biac.learning.actions import Epsilon, action_size, explore
from rllib_biac.learning.settings import Settings
from rllib_biac.learning.team import Agent, Asked, Team, Tensors


@dataclass(kw_only=True)
class PeersSettings(Settings):
    """Settings of an algorithm whose agents are peers: the hierarchy is one level, `[["player_0", "player_1"]]`."""

    @property
    def uses_observations(self) -> bool:
        return True

    def check_game(self, spec: Any) -> None:
        levels = [list(level) for level in spec.hierarchy.levels]
        if len(levels) > 1:
            raise ValueError(
                f"{self.algorithm()} has no leader, but the hierarchy {levels!r} has {len(levels)} levels: write one "
                f"level of peers, [{list(spec.hierarchy.agents)}]."
            )
        super().check_game(spec)


class Peer(Agent):
    """One of the peers: it plays by its own observation."""

    def greedy(self, observation: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Returns the best action known: (batch, *observation shape), (batch, |A_i|) bool -> (batch, ...)."""
        raise NotImplementedError

    def explore(self, action: torch.Tensor, epsilon: Epsilon, **kwargs: Any) -> torch.Tensor:
        """Replaces greedy actions by random ones; arguments as for `actions.explore`."""
        return explore(action, epsilon, action_size(self.action_space), **kwargs)

    def played(self) -> nn.Module:
        """Returns the network that the agent plays by."""
        raise NotImplementedError


class PeersTeam(Team):
    """All agents at once, none knowing what the others do."""

    information: ClassVar[Literal["full", "own"]] = "own"

    def decide(self, asked: Asked) -> dict[str, torch.Tensor]:
        assert asked.observations is not None, "peers act on their own observations"
        coin = self.joint_coin(asked.state, asked.epsilon, asked.generator)
        actions = dict(asked.given)
        for agent in self.agents:
            if agent in actions:
                continue
            own, mask = self[agent], asked.mask(agent)
            greedy = own.greedy(asked.observations[agent], mask)
            actions[agent] = own.explore(greedy, asked.epsilon, mask=mask, generator=asked.generator, coin=coin)
        return actions

    def responses(self, state: torch.Tensor, observations: Tensors | None = None) -> torch.Tensor:
        if len(self.agents) != 2:
            raise NotImplementedError("answers are those of one agent to one other")
        first, second = self.agents
        action = self.act(state, observations=observations)[second]
        if action.dtype != torch.int64:
            raise NotImplementedError("continuous actions are not answered one by one")
        # A peer does not see what the other commits to: it answers everything alike.
        return action.unsqueeze(1).expand(-1, action_size(self[first].action_space))

    def describe(self) -> tuple[Description, Arrays]:
        return self._describe("local", {agent: self[agent].played() for agent in self.agents})
