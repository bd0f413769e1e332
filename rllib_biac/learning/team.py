"""A team: all agents' networks, and how they play together.

The team owns one submodule per agent, and one more for what belongs to none of them (a mixer, a shared encoder).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import gymnasium as gym
import numpy as np
import torch
from torch import nn

from rllib_biac.envs.contract import Look
from rllib_biac.files.policy import STATE, Actions, Arrays, Description, Play
from rllib_biac.learning.actions import ActionCoder, Epsilon, action_size, explore_vector, explores
from rllib_biac.learning.describe import described_network, described_play, taken_as
from rllib_biac.learning.hierarchy import Hierarchy
from rllib_biac.learning.model_config import completed
from rllib_biac.learning.networks import QUnits
from rllib_biac.learning.settings import Settings
from rllib_biac.learning.transitions import scale_of

Tensors = Mapping[str, torch.Tensor]

# The name of what belongs to no agent. RLlib keeps it as one more RLModule, never among its policies.
SHARED = "__shared__"
APPROXIMATOR = "approximator"  # the kind of the networks that see an agent's own observation alone


@dataclass(frozen=True)
class TeamSpec:
    """All that a team is built from.

    Attributes:
        hierarchy: who leads whom.
        agents: all of them, in the game's own order.
        observation_spaces: of each agent's own observation.
        action_spaces: of each agent.
        state_space: of one state.
        masked: whether the game forbids actions at times.
        settings: the algorithm's.
        look: what is known of the game where it is not one of this package.
    """

    hierarchy: Hierarchy
    agents: tuple[str, ...]
    observation_spaces: Mapping[str, gym.Space]
    action_spaces: Mapping[str, gym.Space]
    state_space: gym.Space
    masked: bool
    settings: Settings
    look: Look | None = None

    @property
    def one_leads_one(self) -> bool:
        """Whether there are one leader and one follower, no others."""
        return [len(level) for level in self.hierarchy.levels] == [1, 1]

    @property
    def discrete(self) -> bool:
        """Whether all actions are."""
        return all(isinstance(space, gym.spaces.Discrete) for space in self.action_spaces.values())


class Member(QUnits):
    """The networks of one agent, or of none: a part of a team.

    Subclasses build their networks in `build_networks` and name them in `networks`.

    Args:
        spec: of the team.
        name: the agent's, or `SHARED`.

    Attributes:
        agents: all agents of the hierarchy, top level first.
        num_actions: |A_i| of each of them, in that order; where actions are continuous their dimension.
        state_shape: of one state.
        model_config: how networks are to be built.
        normalises_layers: whether layers of its perceptrons are normalised where `model_config` does not say.
    """

    normalises_layers: ClassVar[bool] = False

    def __init__(self, spec: TeamSpec, name: str) -> None:
        super().__init__()
        self.spec, self.name, self.settings = spec, name, spec.settings
        self.model_config = completed(
            spec.settings.model_config, smooth=not spec.discrete, rms_norm=self.normalises_layers
        )
        self.agents = spec.hierarchy.agents
        self.num_actions = tuple(action_size(spec.action_spaces[agent]) for agent in self.agents)
        self.state_shape: tuple[int, ...] = tuple(spec.state_space.shape or ())
        self.register_normalizers()
        self.build_networks()

    def register_normalizers(self) -> None:
        """Makes what inputs are normalised by, as buffers."""

    def build_networks(self) -> None:
        """Makes the networks, as attributes."""
        raise NotImplementedError

    def networks(self) -> dict[str, nn.Module]:
        """Returns the trained networks by name, e.g. `{"critic": …, "actor": …}`."""
        raise NotImplementedError

    def target_networks(self) -> dict[str, nn.Module]:
        """Returns the target networks, under the names of the networks they follow."""
        raise NotImplementedError

    def training_only(self) -> list[str]:
        """Returns the attributes that play does without."""
        return []

    def input_shape(self, network: str) -> tuple[int, ...]:
        """Returns what one of the networks takes, without the batch."""
        return self.state_shape


class Agent(Member):
    """One agent's networks.

    Attributes:
        state_mean, state_std: buffers (*state shape), the observation normaliser (while it is off 0 and 1, for uint8
            the lower bound and the width of its space: 0 and 255 for pixels).
        observation_shape: of the agent's own observation, where the algorithm uses them.
        observation_mean, observation_std: buffers (*observation shape), likewise.
        action_space: the agent's.
    """

    state_mean: torch.Tensor
    state_std: torch.Tensor
    observation_mean: torch.Tensor
    observation_std: torch.Tensor

    def register_normalizers(self) -> None:
        self.action_space = self.spec.action_spaces[self.name]
        self._register_normalizer("state", self.spec.state_space)
        if self.settings.uses_observations:
            seen = self.spec.observation_spaces[self.name]
            self.observation_shape: tuple[int, ...] = tuple(seen.shape or ())
            self._register_normalizer("observation", seen)

    def _register_normalizer(self, of: str, space: gym.Space) -> None:
        shape = tuple(space.shape or ())
        mean, std = torch.zeros(shape), torch.ones(shape)
        if space.dtype == np.uint8:
            mean, std = (torch.from_numpy(part.copy()) for part in scale_of(space))
        self.register_buffer(f"{of}_mean", mean)
        self.register_buffer(f"{of}_std", std)

    def encode(self, state: torch.Tensor) -> torch.Tensor:
        """Normalises states: (batch, *state shape), any dtype -> the same shape, float32."""
        return (state.to(torch.float32) - self.state_mean) / self.state_std

    def encode_observation(self, observation: torch.Tensor) -> torch.Tensor:
        """Normalises the agent's own observations, as `encode` does states."""
        return (observation.to(torch.float32) - self.observation_mean) / self.observation_std

    def actions(self) -> Actions:
        """Returns what the agent can do, as policy files say it."""
        space = self.action_space
        declared = (self.spec.look and self.spec.look.actions) or {}
        taken = taken_as(declared.get(self.name, space))
        if isinstance(space, gym.spaces.Box):
            return Actions(space.low.size, (space.low.tolist(), space.high.tolist()), taken)
        return Actions(action_size(space), taken=taken)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a team is asked for; `Team.act` says what each of these is."""

    state: torch.Tensor
    observations: Tensors | None
    masks: Tensors | None
    epsilon: Epsilon
    generator: torch.Generator | None
    given: Tensors

    @property
    def greedy(self) -> bool:
        """Whether nothing is played at random."""
        return not isinstance(self.epsilon, torch.Tensor) and self.epsilon <= 0.0

    def mask(self, agent: str) -> torch.Tensor | None:
        """Returns an agent's allowed actions, (batch, |A_i|) bool; None allows all."""
        return self.masks.get(agent) if self.masks else None

    def vector(
        self, agent: str, coder: ActionCoder, greedy: torch.Tensor, noise: float, coin: torch.Tensor | None
    ) -> torch.Tensor:
        """Returns what an agent takes, as a vector (batch, size): what it is given, else `greedy`, explored."""
        if agent in self.given:
            return coder.encode(self.given[agent])
        mask = self.mask(agent)
        return explore_vector(coder, greedy, self.epsilon, noise=noise, mask=mask, generator=self.generator, coin=coin)


class Team(nn.Module):
    """All agents' networks, walked down the hierarchy once per batch.

    Subclasses name the class of each agent's networks in `agent_class`, and say how they play in `act`.

    Attributes:
        spec: what it was built from.
        hierarchy: who leads whom.
        agents: all of them, top level first.
        sizes: agent -> |A_i|, or the dimension of its continuous action.
        information: what `act` needs of those who play: `full`, the state, or `own`, each agent's own observation.
        games_to_finish: how many games `finish` plays at once.
        tries: whether learning tries all actions of an agent one by one, which takes memory.
        shares: whether something belongs to no agent; `build_shared` makes it.
        shared: that, under the name `SHARED`.
    """

    information: ClassVar[Literal["full", "own"]] = "full"
    shares: ClassVar[bool] = False
    tries: ClassVar[bool] = False
    games_to_finish: ClassVar[int] = 1
    shared: Member

    def __init__(self, spec: TeamSpec) -> None:
        super().__init__()
        self.spec, self.settings, self.hierarchy = spec, spec.settings, spec.hierarchy
        self.agents = spec.hierarchy.agents
        self.sizes = {agent: action_size(spec.action_spaces[agent]) for agent in self.agents}
        agents = [self.agent_class(agent)(spec, agent) for agent in self.agents]
        if self.shares:
            self.shared = self.build_shared()
        self._members = nn.ModuleList(agents)
        # Names are looked up at every step; a ModuleList takes its time.
        self._named: dict[str, Any] = dict(zip(self.agents, agents, strict=True))

    def agent_class(self, agent: str) -> type[Agent]:
        """Returns the class of an agent's networks."""
        raise NotImplementedError

    def build_shared(self) -> Member:
        """Builds what belongs to no agent."""
        raise NotImplementedError

    def __getitem__(self, name: str) -> Any:
        """Returns the networks of an agent, or what is `SHARED`."""
        return self.shared if name == SHARED else self._named[name]

    def members(self) -> dict[str, Member]:
        """Returns all parts of the team by name: the agents, top level first, and what is `SHARED`."""
        shared = {SHARED: self.shared} if self.shares else {}
        return {agent: self[agent] for agent in self.agents} | shared

    def weights(self) -> dict[str, dict[str, np.ndarray]]:
        """Returns copies of all networks and normalisers, by the parts' names and their own."""
        return {
            name: {key: values.detach().cpu().numpy().copy() for key, values in member.state_dict().items()}
            for name, member in self.members().items()
        }

    def check(self) -> None:
        """Looks whether all agents' networks belong together, as those of one run do.

        Raises:
            ValueError: if they do not.
        """

    def is_due(self, env_steps: int) -> bool:
        """Tells whether it is time for the algorithm's `finish`, so many env steps after the start: once, if at all."""
        return False

    def drop_training_only(self) -> None:
        """Frees what play does without."""
        for member in self.members().values():
            for name in member.training_only():
                if hasattr(member, name):
                    delattr(member, name)

    def act(
        self,
        state: torch.Tensor,
        *,
        observations: Tensors | None = None,
        masks: Tensors | None = None,
        epsilon: Epsilon = 0.0,
        generator: torch.Generator | None = None,
        given: Tensors | None = None,
    ) -> dict[str, torch.Tensor]:
        """Plays one joint action per state.

        Args:
            state: (batch, *state shape).
            observations: agent -> (batch, *observation shape); needed by agents that act on nothing else.
            masks: agent -> (batch, |A_i|) bool, allowed actions; None allows all.
            epsilon: probability, per agent or for all at once as configured, of a uniformly random allowed action: a
                number, or (batch,) of each state's own.
            generator: draws the exploration; needed where epsilon > 0.
            given: agent -> the action it takes, whatever it has learned; the levels below answer that one.

        Returns:
            agent -> (batch,) int64, or (batch, *action shape) float32 of a continuous action.
        """
        return self.decide(Asked(state, observations, masks, epsilon, generator, given or {}))

    def decide(self, asked: Asked) -> dict[str, torch.Tensor]:
        """Plays one joint action per state: what subclasses do where they are asked to `act`."""
        raise NotImplementedError

    def act_on_observations(
        self,
        observations: Tensors,
        *,
        masks: Tensors | None = None,
        epsilon: Epsilon = 0.0,
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
        raise ValueError("no approximators were trained: train BiAC with approximators: true.")

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

    def commitment(self, state: torch.Tensor) -> torch.Tensor | None:
        """Returns the first agent's probabilities, (batch, |A_1|), where it has committed to a whole policy; else None.

        Args:
            state: (batch, *state shape).
        """
        return None

    def joint_coin(self, state: torch.Tensor, epsilon: Epsilon, generator: torch.Generator | None) -> Any:
        """Decides who explores, where that is decided for all agents at once.

        Args:
            state: (batch, *state shape).
            epsilon: the probability, in [0, 1].
            generator: draws it.

        Returns:
            (batch,) bool; None where each agent explores by itself, or nobody does.
        """
        if not explores(epsilon) or self.settings.exploration != "joint":
            return None
        return torch.rand(len(state), generator=generator, device=state.device) < epsilon

    # What policy files hold.

    def describe(self) -> tuple[Description, Arrays]:
        """Takes the policy out of the networks, for `rllib_biac.execution`.

        Raises:
            ValueError: if a network is none that `build_network` builds, or there are none.
        """
        raise NotImplementedError

    def _describe(self, play: Play, networks: Mapping[str, nn.Module], tried: Any = None) -> tuple[Description, Arrays]:
        """Describes one way to play: by the networks given, one per agent."""
        parts = {agent: described_network(network, agent) for agent, network in networks.items()}
        first = self[self.agents[0]]
        inputs = {STATE: (first.state_mean, first.state_std)}
        if play in ("local", "announced"):
            inputs = {agent: (self[agent].observation_mean, self[agent].observation_std) for agent in self.agents}
        actions = {agent: self[agent].actions() for agent in self.agents}
        levels, masked, history = self.hierarchy.levels, self.spec.masked, self.settings.history
        return described_play(play, levels, inputs, actions, parts, masked, history, tried)


def copy_weights(source: Team, target: Team) -> None:
    """Copies what `target` holds from `source`, in place. Both are on their final device."""
    copy_all(*weight_pairs(source, target))


@torch.no_grad()
def copy_all(own: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
    """Copies into every tensor its fellow, in place."""
    torch._foreach_copy_(own, theirs)


def take_weights(team: Team, weights: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Copies into a team, in place, what another one's `weights()` returned."""
    for name, member in team.members().items():
        member.load_state_dict({key: torch.as_tensor(values) for key, values in weights[name].items()})


def weight_pairs(source: Team, target: Team) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Returns the tensors that `target` holds, and those of the same names in `source`."""
    members = [(member.state_dict(), source[name].state_dict()) for name, member in target.members().items()]
    pairs = [(tensor, values[key]) for own, values in members for key, tensor in own.items()]
    return [own for own, _ in pairs], [theirs for _, theirs in pairs]


def as_tensors(
    arrays: Mapping[str, np.ndarray] | None, device: torch.device | str = "cpu"
) -> dict[str, torch.Tensor] | None:
    """Returns every agent's array as a tensor, None for None."""
    return None if arrays is None else {agent: torch.from_numpy(own).to(device) for agent, own in arrays.items()}
