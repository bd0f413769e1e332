"""From a config's `env` to games: batched for the joint runner, one `MultiAgentEnv` for RLlib's stock runner."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
from ray.rllib.env.env_context import EnvContext
from ray.rllib.env.multi_agent_env import MultiAgentEnv
from ray.rllib.utils.annotations import override

from rllib_biac.core.rl_module import module_observation_space
from rllib_biac.core.transitions import ACTION_MASK, OBSERVATION, STATE, joint_state
from rllib_biac.envs import make, make_batched
from rllib_biac.envs.batched import BatchedGame
from rllib_biac.envs.errors import GameError
from rllib_biac.envs.parallel_batch import ParallelEnvBatch

Game = str | Callable[..., Any]


@contextlib.contextmanager
def game_errors(doing: str) -> Iterator[None]:
    """Turns whatever a game raises into a `GameError` that says what it was asked to do."""
    try:
        yield
    except GameError:
        raise
    except Exception as error:
        raise GameError(f"the game raised {error!r} in {doing}.") from error


@contextlib.contextmanager
def naming(env: Game) -> Iterator[None]:
    """Puts the game's name before its errors: they are read far from where it is played."""
    try:
        yield
    except GameError as error:
        name = env if isinstance(env, str) else getattr(env, "__qualname__", "the game")
        raise GameError(f"{name.removeprefix('rllib_biac/')}: {error}") from error


def is_rllib_env(env: Any) -> bool:
    """Tells whether `env` is one of RLlib's own multi-agent environments, which only the stock runner can play."""
    return isinstance(env, type) and issubclass(env, MultiAgentEnv)


def make_games(env: Game, num_games: int, rng: np.random.Generator, kwargs: dict[str, Any]) -> BatchedGame:
    """Makes N games as arrays, from a game's id, `package.module:factory`, or a factory of `ParallelEnv`s."""
    if isinstance(env, str):
        return make_batched(env, num_games, rng, **kwargs)
    return ParallelEnvBatch(lambda: env(**kwargs), num_games, rng)


class StateReader:
    """Reads the joint state of N games, as the config's `state` says.

    Args:
        games: the games.
        source: `"env"`, the game's own `state()`, or `"observations"`, all observations side by side.

    Raises:
        ValueError: if the source is `"env"` and the game has no state.
    """

    def __init__(self, games: BatchedGame, source: str) -> None:
        self._games = games
        self._source = source
        agents = games.possible_agents
        if source == "env":
            if games.state_space is None:
                raise ValueError(
                    "the game has no state() (or no state_space), and the config says state: env. "
                    "Write state: observations to use all agents' observations side by side."
                )
            self.space: gym.Space = games.state_space
        else:
            size = sum(int(np.prod(games.observation_spaces[agent].shape or ())) for agent in agents)
            self.space = gym.spaces.Box(-np.inf, np.inf, (size,), np.float32)

    def __call__(self) -> np.ndarray:
        """Returns the states now, (N, *state shape)."""
        if self._source == "env":
            state = self._games.state()
            assert state is not None
            return state
        return joint_state(self._games.observe(), self._games.possible_agents)

    def module_spaces(self) -> dict[str, tuple[gym.Space, gym.Space]]:
        """Returns what every agent's module sees and does: agent -> (Dict observation space, action space)."""
        games = self._games
        masked = games.action_masks() is not None
        return {
            agent: (
                module_observation_space(
                    games.observation_spaces[agent], self.space, int(games.action_spaces[agent].n) if masked else None
                ),
                games.action_spaces[agent],
            )
            for agent in games.possible_agents
        }


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
        spaces = self._state.module_spaces()
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
        return lambda context: env(context)  # type: ignore[operator]
    return lambda context: PettingZooMultiAgentEnv(env, source, dict(context))
