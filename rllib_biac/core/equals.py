"""What algorithms without a leader share: equals on one level, each acting on its own observation alone."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.utils.annotations import override

from rllib_biac.core.config import JointConfig
from rllib_biac.core.hierarchy import Hierarchy
from rllib_biac.core.rl_module import HierarchyModule, JointRLModule, Tensors, explore
from rllib_biac.envs.batched import BatchedGame


class EqualsConfig(JointConfig):
    """Config of an algorithm whose agents are equals: the hierarchy is one level, `[["player_0", "player_1"]]`."""

    @property
    @override(JointConfig)
    def uses_observations(self) -> bool:
        return True

    @override(JointConfig)
    def validate(self) -> None:
        super().validate()
        if self.levels is not None:
            self._validate_one_level(Hierarchy(self.levels))

    @override(JointConfig)
    def _validate_game(self, games: BatchedGame, hierarchy: Hierarchy) -> None:
        self._validate_one_level(hierarchy)
        super()._validate_game(games, hierarchy)

    def _validate_one_level(self, hierarchy: Hierarchy) -> None:
        if len(hierarchy.levels) > 1:
            self._value_error(
                f"{type(self).__name__.removesuffix('Config')} has no leader, but the hierarchy {self.levels!r} has "
                f"{len(hierarchy.levels)} levels: write one level of equals, [{list(hierarchy.agents)}]."
            )


class LocalRLModule(JointRLModule):
    """One of the equals: it plays by its own observation."""

    def greedy(self, observation: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Returns the best action known: (batch, *observation shape), (batch, |A_i|) bool -> (batch, ...)."""
        raise NotImplementedError

    def explore(self, action: torch.Tensor, epsilon: float, **kwargs: Any) -> torch.Tensor:
        """Replaces greedy actions by random ones; arguments as for `rl_module.explore`."""
        return explore(action, epsilon, int(self.action_space.n), **kwargs)


class EqualsModule(HierarchyModule):
    """All agents at once, none knowing what the others do."""

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
        assert observations is not None, "equals act on their own observations"
        coin = None
        if epsilon > 0.0 and self.model_config["exploration"] == "joint":
            coin = torch.rand(len(state), generator=generator, device=state.device) < epsilon
        actions = dict(given or {})
        for agent in self.hierarchy.agents:
            if agent in actions:
                continue
            module, mask = self[agent].unwrapped(), masks[agent] if masks else None
            greedy = module.greedy(observations[agent], mask)
            actions[agent] = module.explore(greedy, epsilon, mask=mask, generator=generator, coin=coin)
        return actions

    @override(HierarchyModule)
    def responses(self, state: torch.Tensor, observations: Tensors | None = None) -> torch.Tensor:
        if len(self.hierarchy.agents) != 2:
            raise NotImplementedError("answers are those of one agent to one other")
        first, second = self.hierarchy.agents
        action = self.act(state, observations=observations)[second]
        if action.dtype != torch.int64:
            raise NotImplementedError("continuous actions are not answered one by one")
        # An equal does not see what the other commits to: it answers everything alike.
        return action.unsqueeze(1).expand(-1, int(self[first].unwrapped().action_space.n))
