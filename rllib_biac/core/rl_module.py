"""What the RLModules of all agents share: they see the state, know the joint action, walk the hierarchy together."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.utils.annotations import override
from ray.util.debug import log_once
from torch import nn

from rllib_biac.core.hierarchy import Hierarchy
from rllib_biac.core.transitions import ACTION_MASK, OBSERVATION, STATE

Tensors = Mapping[str, torch.Tensor]

# RLlib 2.60 makes one of its own deprecated objects in every RLModule, and warns its user of it: count that as said.
log_once("RLModule(config=[RLModuleConfig object])")

MODEL_DEFAULTS: dict[str, Any] = {
    "fcnet_hiddens": [64, 64],
    "fcnet_activation": "relu",
    "conv_filters": None,
}


class JointRLModule(TorchRLModule):
    """One agent's networks. They see the state and answer for joint actions.

    Subclasses build their networks in `build_networks` and name them in `networks`. What is set up here:

    Attributes:
        agents: all agents of the hierarchy, top level first.
        num_actions: |A_i| of each of them, in that order; where actions are continuous their dimension.
        state_shape: of one state.
        state_mean, state_std: buffers (*state shape), the observation normaliser (while it is off 0 and 1, for pixels
            0 and 255).
        observation_shape: of the agent's own observation, where the algorithm uses them.
        observation_mean, observation_std: buffers (*observation shape), likewise.
    """

    state_mean: torch.Tensor
    state_std: torch.Tensor
    observation_mean: torch.Tensor
    observation_std: torch.Tensor

    @override(TorchRLModule)
    def setup(self) -> None:
        super().setup()
        self.agents: tuple[str, ...] = Hierarchy(self.model_config["hierarchy"]).agents
        self.num_actions: tuple[int, ...] = tuple(self.model_config["num_actions"])
        self.state_shape: tuple[int, ...] = tuple(self.model_config["state_shape"])
        seen = self.observation_space
        parts = seen if isinstance(seen, gym.spaces.Dict) else {OBSERVATION: seen}
        self._register_normalizer("state", self.state_shape, parts.get(STATE))
        if self.model_config["uses_observations"]:
            self.observation_shape: tuple[int, ...] = tuple(parts[OBSERVATION].shape or ())
            self._register_normalizer("observation", self.observation_shape, parts[OBSERVATION])
        self.build_networks()

    def _register_normalizer(self, of: str, shape: tuple[int, ...], space: gym.Space | None) -> None:
        pixels = space is not None and space.dtype == np.uint8
        self.register_buffer(f"{of}_mean", torch.zeros(shape))
        self.register_buffer(f"{of}_std", torch.full(shape, 255.0 if pixels else 1.0))

    def build_networks(self) -> None:
        """Makes the networks, as attributes."""
        raise NotImplementedError

    def networks(self) -> dict[str, nn.Module]:
        """Returns the trained networks by name, e.g. `{"critic": …, "actor": …}`."""
        raise NotImplementedError

    def target_networks(self) -> dict[str, nn.Module]:
        """Returns the target networks, under the names of the networks they follow."""
        raise NotImplementedError

    def input_shape(self, network: str) -> tuple[int, ...]:
        """Returns what one of the networks takes, without the batch."""
        return self.state_shape

    def encode(self, state: torch.Tensor) -> torch.Tensor:
        """Normalises states: (batch, *state shape), any dtype -> the same shape, float32."""
        return (state.to(torch.float32) - self.state_mean) / self.state_std

    def encode_observation(self, observation: torch.Tensor) -> torch.Tensor:
        """Normalises the agent's own observations, as `encode` does states."""
        return (observation.to(torch.float32) - self.observation_mean) / self.observation_std

    # RLlib rounds float64 to float32 on its way out and in, and a restored table would not be the one that was saved.

    @override(TorchRLModule)
    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        held = self.state_dict()
        return {name: held[name].detach().cpu().numpy() for name in super().get_state(*args, **kwargs)}

    @override(TorchRLModule)
    @torch.no_grad()
    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        for name, tensor in self.state_dict().items():
            if tensor.dtype == torch.float64 and name in state:
                tensor.copy_(torch.as_tensor(state[name]))


APPROXIMATOR = "approximator"  # the kind of the networks that see an agent's own observation alone


def kind_of(network: str) -> str:
    """Returns what a network is by the first word of its name (`critic_twin`): critic, actor or approximator."""
    return network.partition("_")[0]


class HierarchyModule(MultiRLModule):
    """All agents' modules, walked down the hierarchy once per batch.

    Its model config carries `hierarchy` (levels, top first), `agents` (the game's own order) and `state_source`.
    """

    @override(MultiRLModule)
    def setup(self) -> None:
        self.hierarchy = Hierarchy(self.model_config["hierarchy"])
        if self.inference_only:
            # RLlib 2.60 does not hand this down to submodules whose specs were given by name.
            for spec in self.rl_module_specs.values():
                spec.inference_only = True
        super().setup()

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
        """Plays one joint action per state.

        Args:
            state: (batch, *state shape).
            observations: agent -> (batch, *observation shape); needed by agents that act on nothing else.
            masks: agent -> (batch, |A_i|) bool, allowed actions; None allows all.
            epsilon: probability, per agent or for all at once as configured, of a uniformly random allowed action.
            generator: draws the exploration; needed where epsilon > 0.
            given: agent -> the action it takes, whatever it has learned; the levels below answer that one.

        Returns:
            agent -> (batch,) int64, or (batch, *action shape) float32 of a continuous action.
        """
        raise NotImplementedError

    def act_on_observations(
        self,
        observations: Tensors,
        *,
        masks: Tensors | None = None,
        epsilon: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> dict[str, torch.Tensor]:
        """Plays one joint action, each agent by its own observation alone and without knowing what the others do.

        Args:
            observations: agent -> (batch, *observation shape).
            masks, epsilon, generator: as for `act`; each agent explores by itself.

        Returns:
            As `act`.

        Raises:
            ValueError: if no approximators were trained.
        """
        raise ValueError("this algorithm has no approximators.")

    def q_tables(self, state: torch.Tensor, observations: Tensors | None = None) -> dict[str, torch.Tensor]:
        """Returns what every agent's critic says, in the game's own units of reward.

        Args:
            state, observations: as for `act`.

        Returns:
            agent -> (batch, |A_1|, ..., |A_n|), axes in the hierarchy's order; (batch, |A_i|) of a critic that knows
            its own action only.

        Raises:
            NotImplementedError: if the critics do not say it of every action, as with continuous ones.
        """
        raise NotImplementedError

    def responses(self, state: torch.Tensor, observations: Tensors | None = None) -> torch.Tensor:
        """Returns the second agent's greedy answer to EVERY action of the first, of two agents with discrete actions.

        Args:
            state, observations: as for `act`.

        Returns:
            (batch, |A_1|) int64.

        Raises:
            NotImplementedError: if there are other agents, or other actions.
        """
        raise NotImplementedError

    # RLlib's own path: the stock runner hands each agent's module its batch of Dict observations.

    def _act_on(self, batch: dict[str, Any], epsilon: float) -> dict[str, dict[str, torch.Tensor]]:
        seen = {agent: batch[agent][Columns.OBS] for agent in self.hierarchy.agents}
        first = seen[self.hierarchy.agents[0]]
        masks, observations = None, seen
        if isinstance(first, Mapping):
            state = first[STATE]
            observations = {agent: parts[OBSERVATION] for agent, parts in seen.items()}
            if ACTION_MASK in first:
                masks = {agent: parts[ACTION_MASK].bool() for agent, parts in seen.items()}
        else:  # another `MultiAgentEnv`: its state is all observations side by side
            order = self.model_config["agents"]
            state = torch.cat([_flat(seen[agent]) for agent in order], dim=1)
        with torch.no_grad():
            actions = self.act(state, observations=observations, masks=masks, epsilon=epsilon, generator=self.generator)
        return {agent: {Columns.ACTIONS: taken} for agent, taken in actions.items()}

    # Set by whoever explores with this module; `None` uses torch's default generator.
    generator: torch.Generator | None = None
    # Set by whoever copies weights into this module: where from, their tensors, its own.
    weight_pairs: tuple[HierarchyModule, list[torch.Tensor], list[torch.Tensor]] | None = None

    @override(MultiRLModule)
    def _forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, dict[str, torch.Tensor]]:
        return self._act_on(batch, epsilon=0.0)

    @override(MultiRLModule)
    def _forward_exploration(
        self, batch: dict[str, Any], t: int = 0, **kwargs: Any
    ) -> dict[str, dict[str, torch.Tensor]]:
        epsilon = piecewise(self.model_config["epsilon"], t)
        return self._act_on(batch, epsilon=epsilon)


def _flat(observation: torch.Tensor) -> torch.Tensor:
    # As `transitions.joint_state` has it.
    rows = observation.flatten(1).to(torch.float32)
    return rows / 255.0 if observation.dtype == torch.uint8 else rows


def piecewise(schedule: float | list[list[float]], t: float) -> float:
    """Evaluates a schedule: a number, or [[step, value], …] interpolated linearly and held at both ends."""
    if isinstance(schedule, int | float):
        return float(schedule)
    steps, values = zip(*schedule, strict=True)
    return float(np.interp(t, steps, values))


def explore(
    greedy: torch.Tensor,
    epsilon: float,
    num_actions: int,
    *,
    mask: torch.Tensor | None = None,
    generator: torch.Generator | None = None,
    coin: torch.Tensor | None = None,
) -> torch.Tensor:
    """Replaces actions by uniformly random allowed ones with probability epsilon.

    Args:
        greedy: (batch,) int64.
        epsilon: in [0, 1].
        num_actions: |A_i|.
        mask: (batch, |A_i|) bool, allowed actions.
        generator: draws coins and actions.
        coin: (batch,) bool, who explores, where that is decided for all agents at once.

    Returns:
        (batch,) int64.
    """
    if epsilon <= 0.0:
        return greedy
    size, device = greedy.shape, greedy.device
    if coin is None:
        coin = torch.rand(size, generator=generator, device=device) < epsilon
    if mask is None:
        random = torch.randint(num_actions, size, generator=generator, device=device)
    else:
        random = torch.multinomial(mask.to(torch.float32), 1, generator=generator).squeeze(1)
    return torch.where(coin, random, greedy)


def as_tensors(
    arrays: Mapping[str, np.ndarray] | None, device: torch.device | str = "cpu"
) -> dict[str, torch.Tensor] | None:
    """Returns every agent's array as a tensor, None for None."""
    return None if arrays is None else {agent: torch.from_numpy(own).to(device) for agent, own in arrays.items()}


def action_size(space: gym.Space) -> int:
    """Returns the number of discrete actions, or the dimension of a continuous one."""
    return int(space.n) if isinstance(space, gym.spaces.Discrete) else math.prod(space.shape or ())


def state_space_of(observation_spaces: Mapping[str, gym.Space], agents: list[str]) -> gym.Space:
    """Returns the space of the state inside modules' observation spaces: their STATE, or all of them side by side."""
    first = observation_spaces[agents[0]]
    if isinstance(first, gym.spaces.Dict):
        return first[STATE]
    size = sum(math.prod(observation_spaces[agent].shape or ()) for agent in agents)
    return gym.spaces.Box(-np.inf, np.inf, (size,), np.float32)


def module_observation_space(
    observation: gym.Space, state: gym.Space, num_actions: int | None = None
) -> gym.spaces.Dict:
    """Returns the Dict space of what an agent's module receives: observation, state and, if masked, the action mask."""
    parts = {OBSERVATION: observation, STATE: state}
    if num_actions is not None:
        parts[ACTION_MASK] = gym.spaces.MultiBinary(num_actions)
    return gym.spaces.Dict(parts)


def follow(network: nn.Module) -> nn.Module:
    """Returns a target network: a copy that takes no gradients."""
    return copy.deepcopy(network).requires_grad_(False)
