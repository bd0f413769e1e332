"""Matrix games: one payoff table per player, one joint action per step, nothing to observe."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import EzPickle
from numpy.typing import ArrayLike
from pettingzoo import ParallelEnv

from rllib_biac.envs.batched import BatchedForm, BatchedStep

ESCAPE = np.array(
    [
        [[15, 10, 0], [10, 10, 0], [0, 0, 30]],
        [[15, 10, 0], [10, 10, 0], [0, 0, 30]],
    ],
    dtype=np.float64,
)
"""Escape (paper, Table 1a), (2 players, 3 rows A B C, 3 columns X Y Z): the SE is C-Z whoever leads."""

MAINTAIN = np.array(
    [
        [[20, 0, 0], [30, 10, 0], [0, 0, 5]],
        [[15, 0, 0], [0, 5, 0], [0, 0, 10]],
    ],
    dtype=np.float64,
)
"""Maintain (paper, Table 1b), (2 players, 3 rows A B C, 3 columns X Y Z): if the row player leads, the SE is A-X."""

ROWS_AND_COLUMNS = (("A", "B", "C"), ("X", "Y", "Z"))
"""Names of the actions in Table 1."""

MAX_OUTCOMES = 10_000
"""Above this many joint actions a batched game names no outcomes: counting them would tell nobody anything."""

ESCAPE.setflags(write=False)
MAINTAIN.setflags(write=False)


def _payoff_array(payoffs: ArrayLike) -> np.ndarray:
    """Returns the payoffs as float64, (n, |A_1|, ..., |A_n|), or raises a ValueError that says what to write."""
    expected = (
        "payoffs must be numbers of shape (n players, |A_1|, ..., |A_n|), such as [[[1, 0], [0, 2]], [[1, 0], [0, 2]]]"
    )
    try:
        array = np.array(payoffs, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{expected}; got nested lists of unequal length or something not a number ({error})."
        ) from error
    if array.ndim < 2 or array.ndim != 1 + len(array):
        players = len(array) if array.ndim else 0
        raise ValueError(
            f"{expected}; got shape {array.shape}: {players} tables of {max(array.ndim - 1, 0)} dimensions. "
            "Write one table per player, each with one dimension per player."
        )
    if 0 in array.shape:
        raise ValueError(f"{expected}; got shape {array.shape}: every player needs at least one action.")
    if not np.isfinite(array).all():
        raise ValueError(f"{expected}; got NaN or infinity at {np.argwhere(~np.isfinite(array))[0].tolist()}.")
    array.setflags(write=False)
    return array


def names_per_player(action_names: Sequence[Sequence[Any]] | None, sizes: tuple[int, ...]) -> list[list[str]]:
    """Returns every player's action names, `"0"`, `"1"`, ... where none are given.

    Raises:
        ValueError: if there are not `sizes[i]` different names for each player i.
    """
    if action_names is None:
        return [[str(a) for a in range(size)] for size in sizes]
    names = [[str(name) for name in names] for names in action_names]
    if [len(set(n)) for n in names] != list(sizes) or [len(n) for n in names] != list(sizes):
        raise ValueError(
            f"action_names must be one list of different names per player, of lengths {list(sizes)}; got {names}."
        )
    return names


def check_horizon(horizon: int) -> None:
    """Raises a ValueError if an episode cannot have that many steps."""
    if isinstance(horizon, bool) or not isinstance(horizon, int) or horizon < 1:
        raise ValueError(f"horizon must be a whole number of steps, at least 1; got {horizon!r}.")


class MatrixGame(ParallelEnv[str, np.ndarray, int], EzPickle):
    """An n-player matrix game, played once or repeated.

    There is nothing to observe: every observation and the state are the constant `[1.0]`, a one rather than a zero so
    that a network's first weights get gradients too.

    With `horizon=1` an episode is TERMINATED after its one step. With a longer horizon the same game is played again
    and ends by TRUNCATION: the observation does not hold the time, so learners must bootstrap beyond the end, as if
    the game went on for ever. At an episode's end `infos[agent]["outcome"]` names the last joint action, such as
    `"C-Z"`.

    Args:
        payoffs: (n players, |A_1|, ..., |A_n|), finite numbers; nested lists will do.
        horizon: steps per episode, at least 1.
        action_names: one list per player; `"0"`, `"1"`, ... by default.
        name: what the game calls itself in its metadata.

    Raises:
        ValueError: if the payoffs, the horizon or the names do not fit.
    """

    def __init__(
        self,
        payoffs: ArrayLike,
        horizon: int = 1,
        action_names: Sequence[Sequence[Any]] | None = None,
        name: str = "matrix_game_v0",
    ) -> None:
        EzPickle.__init__(self, payoffs, horizon, action_names, name)
        self.payoffs = _payoff_array(payoffs)
        self.sizes = self.payoffs.shape[1:]
        check_horizon(horizon)
        self.horizon = horizon
        self.action_names = names_per_player(action_names, self.sizes)
        self.metadata = {"name": name, "render_modes": [], "render_fps": 1, "is_parallelizable": True}
        self.render_mode = None
        self.possible_agents = [f"player_{i}" for i in range(len(self.sizes))]
        self.agents: list[str] = []
        self.observation_spaces: dict[str, gym.Space] = {
            agent: gym.spaces.Box(0.0, 1.0, (1,), np.float32) for agent in self.possible_agents
        }
        self.action_spaces: dict[str, gym.Space] = {
            a: gym.spaces.Discrete(k) for a, k in zip(self.possible_agents, self.sizes, strict=True)
        }
        self.state_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
        self._time = 0

    def tables(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the one-step game as a Markov game of one state, for exact answers.

        Returns:
            Rewards (2, 1, |A_1|, |A_2|), transitions (1, |A_1|, |A_2|, 1), all 0, for the game ends, and the states
            that `state` returns, (1, 1).

        Raises:
            ValueError: if the game is played more than once.
        """
        if self.horizon != 1:
            raise ValueError(f"a game of {self.horizon} steps whose state does not count them has no tables.")
        return self.payoffs[:, None], np.zeros((1, *self.sizes, 1)), np.ones((1, 1), np.float32)

    def observation_space(self, agent: str) -> gym.Space:
        """Returns the agent's observation space, always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> gym.Space:
        """Returns the agent's action space, always the same object."""
        return self.action_spaces[agent]

    def state(self) -> np.ndarray:
        """Returns the constant state, (1,) float32."""
        return np.ones(1, np.float32)

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, dict[str, Any]]]:
        """Starts an episode. Nothing here is random, so the seed changes nothing."""
        self.agents = list(self.possible_agents)
        self._time = 0
        return {agent: self.state() for agent in self.agents}, {agent: {} for agent in self.agents}

    def step(
        self, actions: dict[str, int]
    ) -> tuple[dict[str, np.ndarray], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Plays one joint action.

        Raises:
            ValueError: if an action is out of range.
        """
        players, joint = self.possible_agents, [int(actions[agent]) for agent in self.possible_agents]
        flat = np.ravel_multi_index(joint, self.sizes)  # unlike plain indexing, this refuses negative actions
        rewards = {agent: float(table.flat[flat]) for agent, table in zip(players, self.payoffs, strict=True)}
        self._time += 1
        over = self._time >= self.horizon
        terminated, truncated = over and self.horizon == 1, over and self.horizon > 1
        outcome = {"outcome": self.outcome_name(joint)} if over else {}
        if over:
            self.agents = []
        return (
            {agent: self.state() for agent in players},
            rewards,
            dict.fromkeys(players, terminated),
            dict.fromkeys(players, truncated),
            {agent: dict(outcome) for agent in players},
        )

    def outcome_name(self, joint: Sequence[int]) -> str:
        """Returns a joint action's name, such as `"C-Z"`."""
        return "-".join(names[a] for names, a in zip(self.action_names, joint, strict=True))


class BatchedMatrixGame(BatchedForm):
    """The batched form of `MatrixGame`: a step is one look-up in the payoff table. Nothing in it is random.

    `outcome_names` are all joint actions in C order, or none where there are more than `MAX_OUTCOMES`.

    Args:
        game: the plain form; its payoffs, spaces and names are shared.
        num_games: N, at least 1.

    Raises:
        ValueError: if `num_games` is less than 1.
    """

    def __init__(self, game: MatrixGame, num_games: int) -> None:
        super().__init__(game, num_games)
        self._sizes = game.sizes
        joint_actions = math.prod(game.sizes)
        self._named = joint_actions <= MAX_OUTCOMES
        self.outcome_names = (
            [game.outcome_name(joint) for joint in itertools.product(*map(range, game.sizes))] if self._named else []
        )
        self._payoffs = game.payoffs.reshape(-1, joint_actions).astype(np.float32)  # (n, joint actions)
        self._horizon = game.horizon
        self._time = np.zeros(num_games, np.int64)

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Starts the games of `mask`, (N,) bool, anew; all of them by default."""
        self._time[slice(None) if mask is None else mask] = 0

    def observe(self) -> dict[str, np.ndarray]:
        """Returns every agent's constant observations, agent -> (N, 1) float32."""
        return {agent: np.ones((self.num_games, 1), np.float32) for agent in self.possible_agents}

    def state(self) -> np.ndarray:
        """Returns the constant states, (N, 1) float32."""
        return np.ones((self.num_games, 1), np.float32)

    def get_state(self) -> dict[str, np.ndarray]:
        """Returns how many steps every game has taken, (N,) int64."""
        return {"time": self._time.copy()}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Puts the games where `get_state` said that they stood."""
        self._time = state["time"].copy()

    def step(self, actions: dict[str, np.ndarray]) -> BatchedStep:
        """Plays one joint action in every game, agent -> (N,) integers.

        Raises:
            ValueError: if an action is out of range.
        """
        joint = np.ravel_multi_index(tuple(actions[agent] for agent in self.possible_agents), self._sizes)  # (N,)
        rewards = self._payoffs.take(joint, axis=1)  # (n, N)
        self._time += 1
        over = self._time >= self._horizon
        never = np.zeros(self.num_games, bool)
        return BatchedStep(
            rewards=dict(zip(self.possible_agents, rewards, strict=True)),
            terminated=over if self._horizon == 1 else never,
            truncated=never if self._horizon == 1 else over,
            outcome=np.where(over, joint, -1) if self._named else np.full(self.num_games, -1),
        )
