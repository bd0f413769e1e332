"""Finite Markov games: a table of rewards, a table of transitions, and everybody sees the state."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import EzPickle, seeding
from numpy.typing import ArrayLike
from pettingzoo import ParallelEnv

from rllib_biac.envs.batched import BatchedForm, BatchedStep
from rllib_biac.envs.matrix_game import check_horizon, names_per_player

TIMEOUT = "timeout"
"""Outcome of an episode that is truncated."""

_TOLERANCE = 1e-6  # of the sums of probabilities, so that thirds may be written with eight digits


def _numbers(what: str, values: ArrayLike, shape: str) -> np.ndarray:
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{what} must be numbers of shape {shape}; got nested lists of unequal length or something not a number "
            f"({error})."
        ) from error
    if not np.isfinite(array).all():
        raise ValueError(
            f"{what} must be finite; got NaN or infinity at {np.argwhere(~np.isfinite(array))[0].tolist()}."
        )
    array.setflags(write=False)
    return array


def _tables(rewards: ArrayLike, transitions: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Returns both tables as read-only float64, or raises a ValueError that says what to write."""
    shape = "(n players, |S|, |A_1|, ..., |A_n|)"
    rewards = _numbers("rewards", rewards, shape)
    if rewards.ndim < 3 or rewards.ndim != 2 + len(rewards) or 0 in rewards.shape:
        raise ValueError(
            f"rewards must have the shape {shape}; got {rewards.shape}. Write one table per player, in it one per "
            "state, each with one dimension per player and at least one action of everybody."
        )
    expected = (*rewards.shape[1:], rewards.shape[1])
    transitions = _numbers("transitions", transitions, f"{expected}")
    if transitions.shape != expected:
        raise ValueError(
            f"transitions must have the shape (|S|, |A_1|, ..., |A_n|, |S|), with these rewards {expected}: for every "
            f"state and joint action the probabilities of the next states; got {transitions.shape}."
        )
    wrong = np.argwhere((transitions < 0).any(-1) | (transitions.sum(-1) > 1 + _TOLERANCE))
    if wrong.size:
        state, *joint = wrong[0].tolist()
        raise ValueError(
            f"transitions of state {state} under the joint action {joint} are {transitions[state, *joint].tolist()}; "
            "write probabilities that sum to 1, or to less where the game may end: what is missing is the chance of it."
        )
    return rewards, transitions


def _start_probabilities(start: int | ArrayLike, count: int) -> np.ndarray:
    """Returns the chances of the first states, (|S|,), or raises a ValueError that says what to write."""
    if isinstance(start, int | np.integer) and not isinstance(start, bool) and 0 <= start < count:
        return np.eye(count)[start]
    chances = _numbers("start", start, f"({count},)")
    if chances.shape != (count,) or (chances < 0).any() or abs(chances.sum() - 1) > _TOLERANCE:
        raise ValueError(
            f"start must be a state, 0 to {count - 1}, or {count} probabilities that sum to 1; got {start!r}."
        )
    return chances


def _cumulative(chances: np.ndarray) -> np.ndarray:
    sums = chances.cumsum(-1)
    return sums / sums[..., -1:]  # ends at exactly 1, above every draw from [0, 1)


class FiniteMarkovGame(ParallelEnv[str, np.ndarray, int], EzPickle):
    """An n-player Markov game with finitely many states and actions, given as tables.

    Players see the state, all the same, which is also `state()`: one-hot unless `features` say otherwise, and all zeros
    once the game is over. An episode is TERMINATED with the probability that the transitions of its state and joint
    action lack to 1, so `rewards + discount * transitions @ values` is Bellman's backup. It is TRUNCATED after
    `horizon` steps: the observation does not hold the time, so learners bootstrap beyond that end.

    At an episode's end `infos[agent]["outcome"]` names what happened: the last joint action, such as `"A-B"`, or what
    `outcomes` call it; after a truncation it is `"timeout"`.

    Args:
        rewards: (n players, |S|, |A_1|, ..., |A_n|), finite numbers; nested lists will do.
        transitions: (|S|, |A_1|, ..., |A_n|, |S|), probabilities of the next state; where they sum to less than 1 the
            game may end.
        start: the first state, or (|S|,) probabilities to draw it with.
        horizon: steps after which an episode is truncated, at least 1; None for a game that ends however it is played.
        action_names: one list per player; `"0"`, `"1"`, ... by default.
        outcomes: (|S|, |A_1|, ..., |A_n|) names of a game that ends there; those of the joint actions by default.
        features: (|S|, d), what is seen of every state; one-hot by default.
        name: what the game calls itself in its metadata.

    Attributes:
        rewards, transitions: the tables, float64, read-only.
        start_probabilities: (|S|,) float64.
        outcome_names: all that can become of an episode.

    Raises:
        ValueError: if a table, the start, the horizon or the names do not fit.
    """

    def __init__(
        self,
        rewards: ArrayLike,
        transitions: ArrayLike,
        start: int | ArrayLike = 0,
        horizon: int | None = 100,
        action_names: Sequence[Sequence[Any]] | None = None,
        outcomes: ArrayLike | None = None,
        features: ArrayLike | None = None,
        name: str = "markov_game_v0",
    ) -> None:
        EzPickle.__init__(self, rewards, transitions, start, horizon, action_names, outcomes, features, name)
        self.rewards, self.transitions = _tables(rewards, transitions)
        count, *sizes = self.rewards.shape[1:]
        self.sizes = tuple(sizes)
        self.start_probabilities = _start_probabilities(start, count)
        if horizon is not None:
            check_horizon(horizon)
        self.horizon = math.inf if horizon is None else horizon
        self.action_names = names_per_player(action_names, self.sizes)

        seen = np.eye(count) if features is None else _numbers("features", features, f"({count}, d)")
        if seen.ndim != 2 or len(seen) != count or not seen.size:
            raise ValueError(f"features must have shape ({count}, d), a row per state; got {seen.shape}.")
        # From here on a state more, `count`: the game is over. It stays so, should it be stepped on beside others.
        self._over = count
        self._features = np.append(seen, np.zeros((1, seen.shape[1])), axis=0).astype(np.float32)  # (|S| + 1, d)
        per_state = self.rewards.reshape(len(sizes), count, -1)
        self._rewards = np.append(per_state, np.zeros_like(per_state[:, :1]), axis=1)  # (n, |S| + 1, joint actions)
        following = np.zeros((count + 1, per_state.shape[2], count + 1))
        following[:-1, :, :-1] = self.transitions.reshape(count, -1, count)
        ends = 1 - following.sum(-1)  # (|S| + 1, joint actions)
        following[..., -1] = np.where(ends > _TOLERANCE, ends, 0)
        self._following = _cumulative(following)
        self._starting = _cumulative(self.start_probabilities)  # (|S|,)
        self._name_outcomes(outcomes, following[:-1, :, -1] > 0)

        self.metadata = {"name": name, "render_modes": [], "render_fps": 1, "is_parallelizable": True}
        self.render_mode = None
        self.possible_agents = [f"player_{i}" for i in range(len(sizes))]
        self.agents: list[str] = []
        self.observation_spaces: dict[str, gym.Space] = {agent: self._space() for agent in self.possible_agents}
        self.action_spaces: dict[str, gym.Space] = {
            agent: gym.spaces.Discrete(k) for agent, k in zip(self.possible_agents, sizes, strict=True)
        }
        self.state_space = self._space()
        self.np_random, _ = seeding.np_random()
        self._state = np.full(1, self._over)
        self._time = 0

    def _name_outcomes(self, outcomes: ArrayLike | None, may_end: np.ndarray) -> None:
        """Sets `outcome_names`, only those that can be, and which one it is if a game ends there."""
        if outcomes is None:
            joint_names = ["-".join(joint) for joint in itertools.product(*self.action_names)]
            names = np.broadcast_to(joint_names, may_end.shape)  # (|S|, joint actions)
        elif np.shape(outcomes) != self.rewards.shape[1:]:
            raise ValueError(
                f"outcomes must be names of shape (|S|, |A_1|, ..., |A_n|), here {self.rewards.shape[1:]}; got "
                f"{np.shape(outcomes)}."
            )
        else:
            names = np.asarray(outcomes, dtype=str).reshape(may_end.shape)
        self.outcome_names = [*dict.fromkeys(names[may_end].tolist()), *([TIMEOUT] if self.horizon < math.inf else [])]
        index = {name: i for i, name in enumerate(self.outcome_names)}
        table = [[index.get(name, -1) for name in row] for row in names.tolist()]
        self._outcomes = np.array([*table, [-1] * names.shape[1]])  # (|S| + 1, joint actions)

    def _space(self) -> gym.spaces.Box:
        return gym.spaces.Box(self._features.min(), self._features.max(), self._features.shape[1:], np.float32)

    def tables(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the game for exact answers: rewards, transitions, and what `state` returns, (|S|, d)."""
        return self.rewards, self.transitions, self._features[:-1]

    def observation_space(self, agent: str) -> gym.Space:
        """Returns the agent's observation space, always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> gym.Space:
        """Returns the agent's action space, always the same object."""
        return self.action_spaces[agent]

    def state(self) -> np.ndarray:
        """Returns the state's features, (d,) float32."""
        return self.features_of(self._state)[0]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, dict[str, Any]]]:
        """Starts an episode; the seed is of all chance from now on, options are ignored."""
        if seed is not None:
            self.np_random, _ = seeding.np_random(seed)
        self.agents = list(self.possible_agents)
        self._state = self.first_states(self.np_random.random(1))
        self._time = 0
        return {agent: self.state() for agent in self.agents}, {agent: {} for agent in self.agents}

    def step(
        self, actions: dict[str, int]
    ) -> tuple[dict[str, np.ndarray], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Plays one joint action.

        Raises:
            ValueError: if an action is out of range.
        """
        players, state = self.possible_agents, self._state
        joint = self.joint_index([np.array([int(actions[agent])]) for agent in players])
        self._state, rewards, terminated = self.play(state, joint, self.np_random.random(1))
        self._time += 1
        truncated = ~terminated & (self._time >= self.horizon)
        outcome = self.outcomes(state, joint, terminated, truncated)[0]
        named = {"outcome": self.outcome_names[outcome]} if outcome >= 0 else {}
        if terminated[0] or truncated[0]:
            self.agents = []
        return (
            {agent: self.state() for agent in players},
            {agent: float(reward) for agent, reward in zip(players, rewards[:, 0], strict=True)},
            dict.fromkeys(players, bool(terminated[0])),
            dict.fromkeys(players, bool(truncated[0])),
            {agent: dict(named) for agent in players},
        )

    # The rules, for N games at once; the plain form is one of them. States are integers, `chance` lies in [0, 1).

    def features_of(self, states: np.ndarray) -> np.ndarray:
        """Returns what is seen of states (N,): (N, d) float32."""
        return self._features[states]

    def joint_index(self, actions: Sequence[np.ndarray]) -> np.ndarray:
        """Returns joint actions as indices in C order, (N,); `actions` has every player's, (N,) integers.

        Raises:
            ValueError: if an action is out of range.
        """
        return np.ravel_multi_index(tuple(actions), self.sizes)

    def first_states(self, chance: np.ndarray) -> np.ndarray:
        """Returns first states, (N,), for chance (N,)."""
        return (chance[:, None] >= self._starting).sum(1)

    def play(
        self, states: np.ndarray, joint: np.ndarray, chance: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Plays joint actions (N,) in states (N,), for chance (N,).

        Returns:
            The next states, (N,), the players' rewards, (n, N) float64, and which games are over, (N,) bool.
        """
        following = (chance[:, None] >= self._following[states, joint]).sum(1)
        return following, self._rewards[:, states, joint], following == self._over

    def outcomes(
        self, states: np.ndarray, joint: np.ndarray, terminated: np.ndarray, truncated: np.ndarray
    ) -> np.ndarray:
        """Returns indices into `outcome_names`, (N,), for the states before the last joint actions; -1 in between."""
        return np.where(terminated, self._outcomes[states, joint], np.where(truncated, len(self.outcome_names) - 1, -1))


class BatchedMarkovGame(BatchedForm):
    """The batched form of `FiniteMarkovGame`: a step is a few look-ups in its tables.

    Args:
        game: the plain form; its tables, spaces and names are shared.
        num_games: N, at least 1.
        rng: draws first and next states.

    Raises:
        ValueError: if `num_games` is less than 1.
    """

    def __init__(self, game: FiniteMarkovGame, num_games: int, rng: np.random.Generator) -> None:
        super().__init__(game, num_games)
        self._game = game
        self._rng = rng
        self._states = np.zeros(num_games, np.int64)
        self._time = np.zeros(num_games, np.int64)
        self.reset()

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Starts the games of `mask`, (N,) bool, anew; all of them by default."""
        games = np.arange(self.num_games) if mask is None else np.flatnonzero(mask)
        self._states[games] = self._game.first_states(self._rng.random(games.size))
        self._time[games] = 0

    def observe(self) -> dict[str, np.ndarray]:
        """Returns what every agent sees of the states, agent -> (N, d) float32."""
        return {agent: self.state() for agent in self.possible_agents}

    def state(self) -> np.ndarray:
        """Returns the states' features, (N, d) float32."""
        return self._game.features_of(self._states)

    def get_state(self) -> dict[str, np.ndarray]:
        """Returns every game's state, (N,) int64, and how many steps it has taken, (N,) int64."""
        return {"states": self._states.copy(), "time": self._time.copy()}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Puts the games where `get_state` said that they stood."""
        self._states, self._time = state["states"].copy(), state["time"].copy()

    def step(self, actions: dict[str, np.ndarray]) -> BatchedStep:
        """Plays one joint action in every game, agent -> (N,) integers.

        Raises:
            ValueError: if an action is out of range.
        """
        game, states = self._game, self._states
        joint = game.joint_index([actions[agent] for agent in self.possible_agents])  # (N,)
        self._states, rewards, terminated = game.play(states, joint, self._rng.random(self.num_games))
        self._time += 1
        truncated = ~terminated & (self._time >= game.horizon)
        return BatchedStep(
            rewards=dict(zip(self.possible_agents, rewards.astype(np.float32), strict=True)),
            terminated=terminated,
            truncated=truncated,
            outcome=game.outcomes(states, joint, terminated, truncated),
        )
