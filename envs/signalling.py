"""Games of one step in which each of two players sees a part of what is the case: Bayesian games, as tables."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import EzPickle
from numpy.typing import ArrayLike
from pettingzoo import ParallelEnv

from rllib_biac.envs.batched import BatchedForm, BatchedStep


class SignallingGame(ParallelEnv[str, np.ndarray, int], EzPickle):
    """Chance draws a state, each player sees its part of it, both act once, the game ends.

    Observations are one-hot vectors of what a player sees, `state()` is one of the whole state.

    Args:
        payoffs: (2 players, |S|, |A_1|, |A_2|), finite numbers.
        prior: (|S|,), the probabilities of states, which sum to 1.
        seen: (2 players, |S|), what each player sees in each state: 0, 1, ...; equal numbers look alike.
        name: what the game calls itself in its metadata.

    Raises:
        ValueError: if payoffs, prior or what is seen do not fit.
    """

    def __init__(self, payoffs: ArrayLike, prior: ArrayLike, seen: ArrayLike, name: str = "signalling_v0") -> None:
        EzPickle.__init__(self, payoffs, prior, seen, name)
        self.payoffs = np.array(payoffs, np.float64)
        self.prior = np.array(prior, np.float64)
        self.seen = np.array(seen, np.int64)
        if self.payoffs.ndim != 4 or len(self.payoffs) != 2 or not self.payoffs.size:
            raise ValueError(f"payoffs must have shape (2, |S|, |A_1|, |A_2|); got {self.payoffs.shape}.")
        if not np.isfinite(self.payoffs).all():
            raise ValueError("payoffs must be finite numbers.")
        states = self.payoffs.shape[1]
        if self.prior.shape != (states,) or (self.prior < 0).any() or not np.isclose(self.prior.sum(), 1.0):
            raise ValueError(f"prior must be {states} probabilities that sum to 1; got {self.prior.tolist()}.")
        if self.seen.shape != (2, states) or (self.seen < 0).any():
            raise ValueError(
                f"seen must say by numbers from 0 on what each of 2 players sees in {states} states, shape "
                f"{(2, states)}; got {self.seen.tolist()}."
            )
        self.metadata = {"name": name, "render_modes": [], "render_fps": 1, "is_parallelizable": True}
        self.render_mode = None
        self.possible_agents = ["player_0", "player_1"]
        self.agents: list[str] = []
        self.observation_spaces: dict[str, gym.Space] = {
            agent: gym.spaces.Box(0.0, 1.0, (int(own.max()) + 1,), np.float32)
            for agent, own in zip(self.possible_agents, self.seen, strict=True)
        }
        self.action_spaces: dict[str, gym.Space] = {
            agent: gym.spaces.Discrete(size)
            for agent, size in zip(self.possible_agents, self.payoffs.shape[2:], strict=True)
        }
        self.state_space = gym.spaces.Box(0.0, 1.0, (states,), np.float32)
        self._rng = np.random.default_rng()
        self._state = 0

    def observation_space(self, agent: str) -> gym.Space:
        """Returns the agent's observation space, always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> gym.Space:
        """Returns the agent's action space, always the same object."""
        return self.action_spaces[agent]

    def state(self) -> np.ndarray:
        """Returns the state, (|S|,) float32, one-hot."""
        return np.eye(len(self.prior), dtype=np.float32)[self._state]

    def observations_of(self, states: np.ndarray) -> dict[str, np.ndarray]:
        """Returns what each player sees in states (n,): player -> (n, observation size) float32."""
        return {
            agent: np.eye(int(own.max()) + 1, dtype=np.float32)[own[states]]
            for agent, own in zip(self.possible_agents, self.seen, strict=True)
        }

    def _observations(self) -> dict[str, np.ndarray]:
        return {agent: own[0] for agent, own in self.observations_of(np.array([self._state])).items()}

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, dict[str, Any]]]:
        """Draws a state."""
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        self._state = int(self._rng.choice(len(self.prior), p=self.prior))
        self.agents = list(self.possible_agents)
        return self._observations(), {agent: {} for agent in self.agents}

    def step(
        self, actions: dict[str, int]
    ) -> tuple[dict[str, np.ndarray], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Plays one joint action.

        Raises:
            ValueError: if an action is out of range.
        """
        players = self.possible_agents
        flat = np.ravel_multi_index([int(actions[agent]) for agent in players], self.payoffs.shape[2:])
        rewards = {a: float(own[self._state].flat[flat]) for a, own in zip(players, self.payoffs, strict=True)}
        self.agents = []
        return (
            self._observations(),
            rewards,
            dict.fromkeys(players, True),
            dict.fromkeys(players, False),
            {agent: {} for agent in players},
        )


class BatchedSignallingGame(BatchedForm):
    """The batched form of `SignallingGame`.

    Args:
        game: the plain form; its tables and spaces are shared.
        num_games: N, at least 1.
        rng: draws the states.

    Raises:
        ValueError: if `num_games` is less than 1.
    """

    def __init__(self, game: SignallingGame, num_games: int, rng: np.random.Generator) -> None:
        super().__init__(game, num_games)
        self._game, self._rng = game, rng
        self._states = np.zeros(num_games, np.int64)

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Draws the states of the games of `mask`, (N,) bool, anew; of all of them by default."""
        which = np.arange(self.num_games) if mask is None else np.flatnonzero(mask)
        self._states[which] = self._rng.choice(len(self._game.prior), size=len(which), p=self._game.prior)

    def observe(self) -> dict[str, np.ndarray]:
        """Returns every player's observations, player -> (N, observation size) float32."""
        return self._game.observations_of(self._states)

    def state(self) -> np.ndarray:
        """Returns the states, (N, |S|) float32."""
        return np.eye(len(self._game.prior), dtype=np.float32)[self._states]

    def get_state(self) -> dict[str, np.ndarray]:
        """Returns every game's state, (N,) int64."""
        return {"states": self._states.copy()}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Puts the games where `get_state` said that they stood."""
        self._states = state["states"].copy()

    def step(self, actions: dict[str, np.ndarray]) -> BatchedStep:
        """Plays one joint action in every game, player -> (N,) integers.

        Raises:
            ValueError: if an action is out of range.
        """
        sizes = self._game.payoffs.shape[2:]
        joint = np.ravel_multi_index(tuple(actions[agent] for agent in self.possible_agents), sizes)  # (N,)
        payoffs = self._game.payoffs.reshape(2, len(self._game.prior), -1)
        rewards = {
            agent: own[self._states, joint].astype(np.float32)
            for agent, own in zip(self.possible_agents, payoffs, strict=True)
        }
        over = np.ones(self.num_games, bool)
        return BatchedStep(rewards, over, ~over, np.full(self.num_games, -1))
