"""The batched form of anybody's PettingZoo `ParallelEnv`: a loop over N copies behind the interface of arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from pettingzoo import AECEnv, ParallelEnv

from rllib_biac.envs.batched import BatchedGame, BatchedStep
from rllib_biac.envs.errors import GameError, check_finite


def _unfit_part(space: gym.Space) -> gym.Space | None:
    """Returns the first part of a space without a fixed number of entries, such as a Sequence; None if all is well."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts = space.values() if isinstance(space, spaces.Dict) else space.spaces
        return next((unfit for part in parts if (unfit := _unfit_part(part)) is not None), None)
    fixed = spaces.Box | spaces.Discrete | spaces.MultiBinary | spaces.MultiDiscrete
    return None if isinstance(space, fixed) else space


def _is_kept(space: gym.Space) -> bool:
    """Vectors and images go to the networks as they are, everything else flattened to a vector."""
    return isinstance(space, spaces.Box) and (
        len(space.shape) == 1 or (len(space.shape) == 3 and space.dtype == np.uint8)
    )


class _Reader:
    """Turns what a game returns for one space into arrays of one shape and dtype."""

    def __init__(self, space: gym.Space, what: str) -> None:
        if (unfit := _unfit_part(space)) is not None:
            raise ValueError(
                f"{what} space {space} cannot be turned into arrays of one size because of {unfit}; "
                "write a Box, or a Dict or Tuple of Box, Discrete, MultiBinary and MultiDiscrete."
            )
        self.raw = space
        self.kept = _is_kept(space)
        self.space: gym.Space = space if self.kept else spaces.flatten_space(space)

    def __call__(self, value: Any) -> np.ndarray:
        return np.asarray(value) if self.kept else np.asarray(spaces.flatten(self.raw, value))

    def new_buffer(self, num_games: int) -> np.ndarray:
        return np.zeros((num_games, *(self.space.shape or ())), self.space.dtype)


def _split_mask(space: gym.Space) -> tuple[gym.Space, bool]:
    """Returns the observation proper and whether an action mask comes beside it, PettingZoo's first convention."""
    if isinstance(space, spaces.Dict) and set(space) == {"observation", "action_mask"}:
        return space["observation"], True
    return space, False


def _checked(env: Any) -> ParallelEnv:
    if isinstance(env, AECEnv):
        raise ValueError(
            f"{env} is an AECEnv, whose agents move in turn; hand over a ParallelEnv: its module's `parallel_env()`, "
            "or `pettingzoo.utils.conversions.aec_to_parallel(env)`."
        )
    if not getattr(env, "possible_agents", None):
        raise ValueError(f"{env} names no agents; set `possible_agents` in its __init__, in the game's own order.")
    return env


class ParallelEnvBatch(BatchedGame):
    """N copies of a third-party `ParallelEnv`, stepped one after the other.

    Observations: vectors (Box of rank 1) and images (uint8 Box of rank 3) stay as they are; every other Box, Dict,
    Tuple, Discrete, MultiBinary and MultiDiscrete is flattened to a vector by `gymnasium.spaces.flatten`. The same
    holds for the state, which the game has if both its `state()` and its `state_space` work.

    Action masks: either of PettingZoo's conventions, a Dict observation of `"observation"` and `"action_mask"`, or
    `infos[agent]["action_mask"]`, which must then be there from the first reset on.

    The game is over when all its agents are done; it is terminated if every one of them is, else truncated. All agents
    take part until then. An `infos[agent]["outcome"]` at the end names the outcome and joins `outcome_names` when new.

    The first reset of a copy is seeded from `rng`, later ones go on with the copy's own generator. Copy 0 is
    reset once more at construction, with that same seed, to see what the game offers. Where a copy stands nobody can
    tell but itself, so that there is no `get_state`.

    Args:
        factory: makes one copy; every copy must be its own.
        num_games: N, at least 1.
        rng: the only source of the copies' seeds.

    Raises:
        ValueError: if the factory makes no `ParallelEnv` with `possible_agents`, or a space does not fit.
        GameError: when a copy breaks the contract: agents missing or done early, wrong shapes, NaN or infinity.
    """

    def __init__(self, factory: Callable[[], ParallelEnv], num_games: int, rng: np.random.Generator) -> None:
        if num_games < 1:
            raise ValueError(f"num_games must be at least 1; got {num_games}.")
        self.num_games = num_games
        self._seeds: list[int | None] = rng.integers(2**31, size=num_games).tolist()
        self._envs = [_checked(factory()) for _ in range(num_games)]
        first = self._envs[0]
        self.possible_agents = list(first.possible_agents)
        self.outcome_names: list[str] = []

        split = {agent: _split_mask(first.observation_space(agent)) for agent in self.possible_agents}
        self._masked_observations = {agent for agent, (_, masked) in split.items() if masked}
        self._readers = {agent: _Reader(space, f"agent {agent!r}: observation") for agent, (space, _) in split.items()}
        self.observation_spaces = {agent: reader.space for agent, reader in self._readers.items()}
        self.action_spaces = {agent: first.action_space(agent) for agent in self.possible_agents}
        for agent, space in self.action_spaces.items():
            if space.shape is None:
                raise ValueError(
                    f"agent {agent!r}: action space {space} is not an array; "
                    "write a Box, Discrete, MultiBinary or MultiDiscrete."
                )

        _, infos = first.reset(seed=self._seeds[0])
        self._state_reader = self._find_state(first)
        self.state_space = self._state_reader.space if self._state_reader else None

        self._observations = {agent: reader.new_buffer(num_games) for agent, reader in self._readers.items()}
        self._states = self._state_reader.new_buffer(num_games) if self._state_reader else None
        self._masks: dict[str, np.ndarray] | None = None
        if self._masked_observations or any("action_mask" in infos.get(agent, {}) for agent in self.possible_agents):
            self._masks = {a: np.ones((num_games, self._num_actions(a)), bool) for a in self.possible_agents}
        self._steps = np.zeros(num_games, np.int64)

    def _num_actions(self, agent: str) -> int:
        space = self.action_spaces[agent]
        if not isinstance(space, spaces.Discrete):
            raise ValueError(f"agent {agent!r}: action masks need a Discrete action space; got {space}.")
        return int(space.n)

    @staticmethod
    def _find_state(env: ParallelEnv) -> _Reader | None:
        try:
            space = env.state_space
            env.state()
        except (AttributeError, NotImplementedError):
            return None
        return _Reader(space, "state") if isinstance(space, gym.Space) else None

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Starts the games of `mask`, (N,) bool, anew; all of them by default."""
        for game in range(self.num_games) if mask is None else np.flatnonzero(mask).tolist():
            try:
                observations, infos = self._envs[game].reset(seed=self._seeds[game])
            except Exception as error:
                raise GameError(f"the game raised {error!r} in reset() in game {game}.") from error
            self._seeds[game] = None  # from now on the copy's own generator goes on
            self._steps[game] = 0
            self._keep(game, observations, infos)
        self._check_numbers()

    def observe(self) -> dict[str, np.ndarray]:
        """Returns every agent's observations now, agent -> (N, *observation shape)."""
        return {agent: array.copy() for agent, array in self._observations.items()}

    def state(self) -> np.ndarray | None:
        """Returns the games' states now, (N, *state shape), or None where the game has none."""
        return None if self._states is None else self._states.copy()

    def action_masks(self) -> dict[str, np.ndarray] | None:
        """Returns which actions are allowed now, agent -> (N, |A_i|) bool, or None where the game masks none."""
        return None if self._masks is None else {agent: mask.copy() for agent, mask in self._masks.items()}

    def step(self, actions: dict[str, np.ndarray]) -> BatchedStep:
        """Plays one joint action in every game, agent -> (N, *action shape).

        Raises:
            GameError: if the actions have the wrong shape, or a game breaks the contract.
        """
        joint_actions = self._per_game(actions)
        rewards = {agent: np.zeros(self.num_games, np.float32) for agent in self.possible_agents}
        terminated, truncated = np.zeros(self.num_games, bool), np.zeros(self.num_games, bool)
        outcome = np.full(self.num_games, -1)
        self._steps += 1
        for game, (env, joint_action) in enumerate(zip(self._envs, joint_actions, strict=True)):
            try:
                observations, reward, terminations, truncations, infos = env.step(joint_action)
            except Exception as error:
                raise GameError(
                    f"the game raised {error!r} in step() {self._where(game)}, on actions {joint_action}."
                ) from error
            self._keep(game, observations, infos)
            for agent in self.possible_agents:
                rewards[agent][game] = self._reward(game, agent, reward)
            terminated[game], truncated[game] = self._over(game, terminations, truncations)
            if terminated[game] or truncated[game]:
                outcome[game] = self._outcome(infos)
        self._check_numbers()
        check_finite("reward", rewards, self._steps)
        return BatchedStep(rewards, terminated, truncated, outcome)

    def close(self) -> None:
        """Closes every copy."""
        for env in self._envs:
            env.close()

    def _where(self, game: int) -> str:
        return f"in game {game} at step {self._steps[game]}"

    def _per_game(self, actions: dict[str, np.ndarray]) -> list[dict[str, Any]]:
        columns = []
        for agent in self.possible_agents:
            space, action = self.action_spaces[agent], np.asarray(actions[agent])
            if action.shape != (self.num_games, *(space.shape or ())):
                raise GameError(
                    f"actions of agent {agent!r} have shape {action.shape} at step {self._steps.max() + 1}; "
                    f"write {(self.num_games, *(space.shape or ()))}, one action of {space} per game."
                )
            # Discrete actions as plain ints: third-party games look them up in dicts and lists
            columns.append(action.tolist() if isinstance(space, spaces.Discrete) else list(action))
        return [dict(zip(self.possible_agents, row, strict=True)) for row in zip(*columns, strict=True)]

    def _keep(self, game: int, observations: Mapping[str, Any], infos: Mapping[str, Any]) -> None:
        for agent, reader in self._readers.items():
            if agent not in observations:
                raise GameError(
                    f"agent {agent!r} has no observation {self._where(game)}; every agent must take part from the "
                    "reset to the end of the game (keep it in, with reward 0, when it has nothing more to do)."
                )
            observation = observations[agent]
            info = infos.get(agent, {})
            if agent in self._masked_observations:
                self._keep_mask(game, agent, observation["action_mask"])
                observation = observation["observation"]
            elif "action_mask" in info:
                self._keep_mask(game, agent, info["action_mask"])
            self._write(self._observations[agent], game, reader, observation, f"observation of agent {agent!r}")
        if self._states is not None and self._state_reader is not None:
            self._write(self._states, game, self._state_reader, self._envs[game].state(), "state")

    def _write(self, buffer: np.ndarray, game: int, reader: _Reader, value: Any, what: str) -> None:
        try:
            array = reader(value)
        except (TypeError, ValueError, KeyError, IndexError) as error:
            raise GameError(f"{what} {self._where(game)} is not of its space {reader.raw}: {error!r}.") from error
        if array.shape != buffer.shape[1:]:
            raise GameError(f"{what} has shape {array.shape} {self._where(game)}; its space says {buffer.shape[1:]}.")
        if array.dtype.kind not in "biu" and buffer.dtype.kind != "f":
            raise GameError(f"{what} holds {array.dtype} {self._where(game)}; its space says {buffer.dtype}.")
        buffer[game] = array

    def _keep_mask(self, game: int, agent: str, mask: Any) -> None:
        if self._masks is None:
            raise GameError(
                f"agent {agent!r} got its first action mask {self._where(game)}; give masks from the reset on."
            )
        array = np.asarray(mask, bool)
        if array.shape != self._masks[agent].shape[1:]:
            raise GameError(
                f"action mask of agent {agent!r} has shape {array.shape} {self._where(game)}; "
                f"write {self._masks[agent].shape[1:]}, one entry per action."
            )
        self._masks[agent][game] = array

    def _reward(self, game: int, agent: str, rewards: Mapping[str, Any]) -> float:
        if agent not in rewards or np.shape(rewards[agent]) != ():
            given = f"shape {np.shape(rewards[agent])}" if agent in rewards else "none"
            raise GameError(f"agent {agent!r} needs one number as its reward {self._where(game)}; got {given}.")
        return float(rewards[agent])

    def _over(self, game: int, terminations: Mapping[str, Any], truncations: Mapping[str, Any]) -> tuple[bool, bool]:
        terminated = [bool(terminations.get(agent, False)) for agent in self.possible_agents]
        done = [t or bool(truncations.get(a, False)) for a, t in zip(self.possible_agents, terminated, strict=True)]
        if any(done) and not all(done):
            raise GameError(
                f"agent {self.possible_agents[done.index(True)]!r} is done {self._where(game)} while "
                f"{self.possible_agents[done.index(False)]!r} goes on; every agent must take part to the end of the "
                "game (keep it in, with reward 0, when it has nothing more to do)."
            )
        return all(terminated), all(done) and not all(terminated)

    def _outcome(self, infos: Mapping[str, Any]) -> int:
        name = next((str(infos[a]["outcome"]) for a in self.possible_agents if "outcome" in infos.get(a, {})), None)
        if name is None:
            return -1
        if name not in self.outcome_names:
            self.outcome_names.append(name)
        return self.outcome_names.index(name)

    def _check_numbers(self) -> None:
        check_finite("observation", self._observations, self._steps)
        if self._states is not None:
            check_finite("state", {"(all)": self._states}, self._steps)
