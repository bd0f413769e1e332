"""A team as RLlib sees it: one RLModule per agent, and a `MultiRLModule` that plays them together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule, MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.utils.annotations import override
from ray.util.debug import log_once
from torch import nn

from rllib_biac.files.checkpoint import check_part
from rllib_biac.learning.algorithm import Algorithm
from rllib_biac.learning.sampler import Exploration
from rllib_biac.learning.team import SHARED, Member, Team, TeamSpec
from rllib_biac.learning.transitions import ACTION_MASK, OBSERVATION, STATE

# RLlib 2.60 makes one of its own deprecated objects in every RLModule, and warns its user of it: count that as said.
log_once("RLModule(config=[RLModuleConfig object])")


class MemberModule(TorchRLModule):
    """A thin wrapper of one agent's networks, or of what belongs to no agent.

    Its state is the networks' own, under their names (`critic…`, `actor…`): RLlib checkpoints it and sends it around.

    Attributes:
        member: the networks, a part of the team.
    """

    member: Member

    def wrap(self, member: Member) -> None:
        """Takes the networks that it stands for."""
        self.member = member

    @override(nn.Module)
    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self.member.state_dict(*args, **kwargs)

    @override(TorchRLModule)
    def get_state(self, *args: Any, inference_only: bool = False, **kwargs: Any) -> dict[str, Any]:
        state = {name: values.detach().cpu().numpy() for name, values in self.member.state_dict().items()}
        if inference_only:
            left_out = self.member.training_only()
            state = {name: values for name, values in state.items() if name.partition(".")[0] not in left_out}
        return state

    @override(TorchRLModule)
    @torch.no_grad()
    def set_state(self, state: Mapping[str, Any]) -> None:
        # In place, for other tensors are views of these. RLlib would round float64 to float32 on its way.
        own = self.member.state_dict()
        if missing := [name for name in own if name not in state]:
            raise ValueError(f"the state of {self.member.name} lacks {', '.join(missing)}; it has {', '.join(state)}.")
        for name, values in own.items():
            # What came through Ray's object store is read-only, which torch warns of.
            values.copy_(torch.as_tensor(np.array(state[name])))


class TeamModule(MultiRLModule):
    """All agents' modules. The team behind them walks the hierarchy once per batch.

    Attributes:
        team: the networks.
        exploration: says how much RLlib's stock runner plays at random.
        generator: draws exploration where RLlib's stock runner plays; None: torch's default generator. Its owner sets
            it.
    """

    generator: torch.Generator | None = None

    @override(MultiRLModule)
    def setup(self) -> None:
        algorithm: Algorithm = self.model_config["algorithm"]
        self.team: Team = algorithm.build_team(self.model_config["team_spec"])
        self.exploration = Exploration()
        if self.inference_only:
            self.team.drop_training_only()
            # RLlib 2.60 does not hand this down to submodules whose specs were given by name.
            for spec in self.rl_module_specs.values():
                spec.inference_only = True
        super().setup()
        for name, member in self.team.members().items():
            self[name].wrap(member)

    @classmethod
    @override(MultiRLModule)
    def from_checkpoint(cls, path: Any, filesystem: Any = None, **kwargs: Any) -> Any:
        """Builds the modules from their part of a checkpoint. It is read by pickle: load only what you trust.

        Raises:
            DamagedFile: if one of its files is not as it was written.
        """
        if filesystem is None and "://" not in str(path):
            check_part(Path(path))
        return super().from_checkpoint(path, filesystem=filesystem, **kwargs)

    def _act_on(self, batch: dict[str, Any], epsilon: float) -> dict[str, dict[str, torch.Tensor]]:
        """Plays what RLlib's stock runner hands over: each agent's batch of (Dict) observations."""
        seen = {agent: batch[agent][Columns.OBS] for agent in self.team.agents}
        first, masks = seen[self.team.agents[0]], None
        if ACTION_MASK in first:
            masks = {agent: parts[ACTION_MASK].bool() for agent, parts in seen.items()}
        observations = {agent: parts[OBSERVATION] for agent, parts in seen.items()}
        with torch.no_grad():
            actions = self.team.act(
                first[STATE], observations=observations, masks=masks, epsilon=epsilon, generator=self.generator
            )
        return {agent: {Columns.ACTIONS: taken} for agent, taken in actions.items()}

    @override(MultiRLModule)
    def _forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, dict[str, torch.Tensor]]:
        return self._act_on(batch, epsilon=0.0)

    @override(MultiRLModule)
    def _forward_exploration(
        self, batch: dict[str, Any], t: int = 0, **kwargs: Any
    ) -> dict[str, dict[str, torch.Tensor]]:
        return self._act_on(batch, epsilon=self.exploration.epsilon(self.team.settings.epsilon, t))


def module_spec(
    algorithm: Algorithm, spec: TeamSpec, spaces: Mapping[str, Any], *, inference_only: bool
) -> MultiRLModuleSpec:
    """Returns what RLlib builds a team from.

    Args:
        algorithm: whose team it is.
        spec: of the team.
        spaces: agent -> (observation space, action space), as RLlib's connectors see them.
        inference_only: whether it only plays.
    """
    modules = {
        agent: RLModuleSpec(
            module_class=MemberModule,
            observation_space=spaces[agent][0],
            action_space=spaces[agent][1],
            inference_only=inference_only,
            model_config={},
        )
        for agent in spec.hierarchy.agents
    }
    if algorithm.team_for(spec).shares:
        # It sees and does nothing itself. RLlib wants spaces of every module.
        observation, action = spaces[spec.agents[0]]
        modules[SHARED] = RLModuleSpec(
            module_class=MemberModule,
            observation_space=observation,
            action_space=action,
            inference_only=inference_only,
            model_config={},
        )
    return MultiRLModuleSpec(
        multi_rl_module_class=TeamModule,
        rl_module_specs=modules,
        model_config={"algorithm": algorithm, "team_spec": spec},
        inference_only=inference_only,
    )
