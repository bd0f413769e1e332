"""Any game as RLlib's `MultiAgentEnv`, for its stock runner, and RLlib's own environments as games."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES
from ray.rllib.env.env_context import EnvContext
from ray.rllib.env.multi_agent_env import MultiAgentEnv
from ray.rllib.utils.annotations import override

from rllib_biac.envs.contract import Look
from rllib_biac.envs.registry import is_own
from rllib_biac.learning.games import Game, StateReader, game_errors, make_copies
from rllib_biac.learning.hierarchy import Hierarchy
from rllib_biac.learning.settings import Settings
from rllib_biac.learning.team import TeamSpec
from rllib_biac.learning.transitions import ACTION_MASK, CUT, ENDED, OBSERVATION, STATE
from rllib_biac.rllib import compat

# What RLlib puts beside the agents' spaces.
RLLIB_ENTRIES = (INPUT_ENV_SPACES, INPUT_ENV_SINGLE_SPACES)


@dataclass(frozen=True)
class OfRLlib:
    """What makes one of RLlib's environments from keywords, as games here are made.

    Attributes:
        creator: takes an `EnvContext`: a class, or what `ray.tune.register_env` was given.
        name: for messages.
    """

    creator: Callable[[EnvContext], Any]
    name: str

    def __post_init__(self) -> None:
        for attribute in ("__name__", "__qualname__"):  # by which games are called in messages
            object.__setattr__(self, attribute, self.name)

    def __call__(self, **kwargs: Any) -> Any:
        return self.creator(EnvContext(kwargs, worker_index=0))


def game_of(env: Any) -> Game:
    """Returns the game that a config's `env` names.

    Args:
        env: a game's name or factory; an RLlib `MultiAgentEnv` class; a name that `ray.tune.register_env` knows.
    """
    if isinstance(env, type) and issubclass(env, MultiAgentEnv):
        return OfRLlib(env, env.__qualname__)
    if isinstance(env, str) and not is_own(env) and (creator := compat.registered_env(env)) is not None:
        return OfRLlib(creator, env)
    return env


def module_spaces(games: Any, state_space: gym.Space) -> dict[str, tuple[gym.Space, gym.Space]]:
    """Returns what every agent's module sees and does: agent -> (Dict observation space, action space)."""
    masked = games.action_masks() is not None
    spaces: dict[str, tuple[gym.Space, gym.Space]] = {}
    for agent in games.possible_agents:
        parts = {OBSERVATION: games.observation_spaces[agent], STATE: state_space}
        if masked:
            parts[ACTION_MASK] = gym.spaces.MultiBinary(games.action_masks()[agent].shape[1])
        if games.ends_apart:
            parts[ENDED] = gym.spaces.MultiBinary(1)
        if games.cuts:
            parts[CUT] = gym.spaces.MultiBinary(games.action_masks()[agent].shape[1])
        spaces[agent] = (gym.spaces.Dict(parts), games.action_spaces[agent])
    return spaces


def team_spec(
    spaces: Mapping[str, tuple[Any, gym.Space]], hierarchy: Hierarchy, settings: Settings, look: Look | None = None
) -> TeamSpec:
    """Returns what a team is built from, by what RLlib says of its modules' spaces.

    Args:
        spaces: agent -> (observation space, action space), in the game's own order; beside them RLlib's own entries.
            Observation spaces are those of `module_spaces`.
        hierarchy: who leads whom.
        settings: the algorithm's.
        look: what is known of the game.

    Raises:
        ValueError: if the hierarchy and the game name different agents.
    """
    agents = tuple(agent for agent in spaces if agent not in RLLIB_ENTRIES)
    hierarchy.check_against(agents)
    seen = {agent: spaces[agent][0] for agent in agents}
    first = seen[agents[0]]
    return TeamSpec(
        hierarchy,
        agents,
        observation_spaces={agent: own[OBSERVATION] for agent, own in seen.items()},
        action_spaces={agent: spaces[agent][1] for agent in agents},
        state_space=first[STATE],
        masked=ACTION_MASK in first.spaces,
        settings=settings,
        look=look,
    )


class PettingZooMultiAgentEnv(MultiAgentEnv):
    """One game as RLlib's `MultiAgentEnv`: agents in the game's order, the state beside each observation.

    RLlib sees all agents act at every step to the end: an absent one plays its null action (`ParallelEnvBatch`), and
    whose part is over stands beside its observation, `ENDED`.

    Args:
        env: what names the game, as for `make_games`.
        source: as for `StateReader`.
        kwargs: handed to the game.
        look: what is known of it.
    """

    def __init__(self, env: Game, source: str, kwargs: dict[str, Any], look: Look | None = None) -> None:
        super().__init__()
        self._env, self._kwargs, self._look = env, kwargs, look
        self._source = source
        self._start(np.random.default_rng())
        self.possible_agents = list(self._games.possible_agents)
        self.agents = list(self.possible_agents)
        spaces = module_spaces(self._games, self._state.space)
        self.observation_spaces = {agent: spaces[agent][0] for agent in self.possible_agents}
        self.action_spaces = {agent: spaces[agent][1] for agent in self.possible_agents}
        self.observation_space = gym.spaces.Dict(self.observation_spaces)
        self.action_space = gym.spaces.Dict(self.action_spaces)

    def _start(self, rng: np.random.Generator) -> None:
        self._games = make_copies(self._env, 1, rng, self._kwargs, self._look)
        self._look = self._games.look
        self._ended = dict.fromkeys(self._games.possible_agents, False)
        self._cut: dict[str, np.ndarray] = {}
        self._state = StateReader(self._games, self._source)

    def _observe(self) -> dict[str, dict[str, np.ndarray]]:
        state = self._state()[0]
        masks = self._games.action_masks()
        return {
            agent: {OBSERVATION: observation[0], STATE: state}
            | ({} if masks is None else {ACTION_MASK: masks[agent][0].astype(np.int8)})
            | ({ENDED: np.array([self._ended[agent]], np.int8)} if self._games.ends_apart else {})
            | ({CUT: self._cut[agent][0].astype(np.int8)} if self._games.cuts else {})
            for agent, observation in self._games.observe().items()
        }

    @override(MultiAgentEnv)
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        if seed is not None:
            self._games.close()
            self._start(np.random.default_rng(seed))
        with game_errors("reset()"):
            self._games.reset()
        self.agents = list(self.possible_agents)
        self._ended = dict.fromkeys(self.possible_agents, False)
        if self._games.cuts:
            self._cut = {agent: np.zeros_like(mask) for agent, mask in (self._games.action_masks() or {}).items()}
        return self._observe(), {agent: {} for agent in self.agents}

    @override(MultiAgentEnv)
    def step(self, action_dict: dict[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        actions = {agent: np.asarray(action_dict[agent])[None] for agent in self.possible_agents}
        with game_errors("step()"):
            step = self._games.step(actions)
        self._cut = step.cut or {}
        if step.ended is not None:
            self._ended = {agent: bool(own[0]) for agent, own in step.ended.items()}
        outcome = int(step.outcome[0])
        info = {} if outcome < 0 else {"outcome": self._games.outcome_names[outcome]}
        terminated, truncated = bool(step.terminated[0]), bool(step.truncated[0])
        everyone = (*self.possible_agents, "__all__")
        return (
            self._observe(),
            {agent: float(step.rewards[agent][0]) for agent in self.possible_agents},
            dict.fromkeys(everyone, terminated),
            dict.fromkeys(everyone, truncated),
            {agent: dict(info) for agent in self.possible_agents},
        )

    @override(MultiAgentEnv)
    def close(self) -> None:
        self._games.close()


def rllib_env_creator(env: Any, source: str, look: Look | None = None) -> Callable[[EnvContext], MultiAgentEnv]:
    """Returns what RLlib's stock runner calls to make one game; `env_config` is handed to the game."""
    return lambda context: PettingZooMultiAgentEnv(game_of(env), source, dict(context), look)
