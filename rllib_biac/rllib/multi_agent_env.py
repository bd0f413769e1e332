"""One game of ours as RLlib's `MultiAgentEnv`, for its stock runner."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES
from ray.rllib.env.env_context import EnvContext
from ray.rllib.env.multi_agent_env import MultiAgentEnv
from ray.rllib.utils.annotations import override

from rllib_biac.envs import make
from rllib_biac.envs.parallel_batch import ParallelEnvBatch
from rllib_biac.learning.games import Game, StateReader, game_errors
from rllib_biac.learning.hierarchy import Hierarchy
from rllib_biac.learning.settings import Settings
from rllib_biac.learning.team import TeamSpec
from rllib_biac.learning.transitions import ACTION_MASK, OBSERVATION, STATE

# What RLlib puts beside the agents' spaces.
RLLIB_ENTRIES = (INPUT_ENV_SPACES, INPUT_ENV_SINGLE_SPACES)


def is_rllib_env(env: Any) -> bool:
    """Tells whether `env` is one of RLlib's own multi-agent environments, which only the stock runner can play."""
    return isinstance(env, type) and issubclass(env, MultiAgentEnv)


def make_rllib_env(env: type[MultiAgentEnv], kwargs: Mapping[str, Any]) -> MultiAgentEnv:
    """Makes one of RLlib's multi-agent environments, as a runner does."""
    return env(EnvContext(dict(kwargs), worker_index=0))  # type: ignore[call-arg]


def spaces_of(env: MultiAgentEnv) -> dict[str, tuple[gym.Space, gym.Space]]:
    """Returns what every agent of an RLlib `MultiAgentEnv` sees and does, in the game's own order.

    Returns:
        agent -> (observation space, action space).

    Raises:
        ValueError: if the environment names no agents, an agent has no spaces, or what it sees is no Box.
    """
    name = type(env).__name__
    if not env.possible_agents:
        raise ValueError(f"{name} names no agents; set `possible_agents` in its __init__, in the game's own order.")
    spaces: dict[str, tuple[gym.Space, gym.Space]] = {}
    for agent in env.possible_agents:
        if not isinstance(agent, str):
            raise ValueError(f"{name} names an agent {agent!r}: write strings, such as {f'agent_{agent}'!r}.")
        try:
            seen, done = env.get_observation_space(agent), env.get_action_space(agent)
        except (AttributeError, KeyError, TypeError):
            seen, done = None, None
        if seen is None or done is None:
            raise ValueError(
                f"{name} has no spaces of agent {agent!r}; set `observation_spaces` and `action_spaces` in its "
                "__init__, agent -> space."
            )
        if not isinstance(seen, gym.spaces.Box) or not seen.shape:
            raise ValueError(
                f"agent {agent!r}: observation space {seen}: RLlib's runner hands on what it sees as it is; write a "
                "Box of one or more dimensions (`gymnasium.spaces.flatten_space` and `flatten` make one)."
            )
        spaces[agent] = (seen, done)
    return spaces


def module_spaces(games: Any, state_space: gym.Space) -> dict[str, tuple[gym.Space, gym.Space]]:
    """Returns what every agent's module sees and does: agent -> (Dict observation space, action space)."""
    masked = games.action_masks() is not None
    spaces: dict[str, tuple[gym.Space, gym.Space]] = {}
    for agent in games.possible_agents:
        parts = {OBSERVATION: games.observation_spaces[agent], STATE: state_space}
        if masked:
            parts[ACTION_MASK] = gym.spaces.MultiBinary(int(games.action_spaces[agent].n))
        spaces[agent] = (gym.spaces.Dict(parts), games.action_spaces[agent])
    return spaces


def team_spec(spaces: Mapping[str, tuple[gym.Space, gym.Space]], hierarchy: Hierarchy, settings: Settings) -> TeamSpec:
    """Returns what a team is built from, by what RLlib says of its modules' spaces.

    Args:
        spaces: agent -> (observation space, action space), in the game's own order; beside them RLlib's own entries.
            Observation spaces are those of `module_spaces`, or of another `MultiAgentEnv`.
        hierarchy: who leads whom.
        settings: the algorithm's.

    Raises:
        ValueError: if the hierarchy and the game name different agents.
    """
    agents = tuple(agent for agent in spaces if agent not in RLLIB_ENTRIES)
    hierarchy.check_against(agents)
    seen = {agent: spaces[agent][0] for agent in agents}
    first = seen[agents[0]]
    if isinstance(first, gym.spaces.Dict):
        state, masked = first[STATE], ACTION_MASK in first.spaces
        observations = {agent: own[OBSERVATION] for agent, own in seen.items()}  # type: ignore[index]
    else:  # another `MultiAgentEnv`: its state is all observations side by side
        size = sum(math.prod(own.shape or ()) for own in seen.values())
        state, masked, observations = gym.spaces.Box(-np.inf, np.inf, (size,), np.float32), False, seen
    actions = {agent: spaces[agent][1] for agent in agents}
    return TeamSpec(hierarchy, agents, observations, actions, state, masked, settings)


class PettingZooMultiAgentEnv(MultiAgentEnv):
    """One PettingZoo game as RLlib's `MultiAgentEnv`: agents in the game's order, the state beside each observation.

    Args:
        env: a game's id, `package.module:factory`, or a factory of `ParallelEnv`s.
        source: as for `StateReader`.
        kwargs: handed to the game.
    """

    def __init__(self, env: Game, source: str, kwargs: dict[str, Any]) -> None:
        super().__init__()
        self._factory = (lambda: make(env, **kwargs)) if isinstance(env, str) else (lambda: env(**kwargs))
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
        self._games = ParallelEnvBatch(self._factory, 1, rng)
        self._state = StateReader(self._games, self._source)

    def _observe(self) -> dict[str, dict[str, np.ndarray]]:
        state = self._state()[0]
        masks = self._games.action_masks()
        return {
            agent: {OBSERVATION: observation[0], STATE: state}
            | ({} if masks is None else {ACTION_MASK: masks[agent][0].astype(np.int8)})
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
        return self._observe(), {agent: {} for agent in self.agents}

    @override(MultiAgentEnv)
    def step(self, action_dict: dict[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        actions = {agent: np.asarray(action_dict[agent])[None] for agent in self.possible_agents}
        with game_errors("step()"):
            step = self._games.step(actions)
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


def rllib_env_creator(env: Game, source: str) -> Callable[[EnvContext], MultiAgentEnv]:
    """Returns what RLlib's stock runner calls to make one game; `env_config` is handed to the game."""
    if is_rllib_env(env):
        return env  # type: ignore[return-value]
    return lambda context: PettingZooMultiAgentEnv(env, source, dict(context))
