"""The batched form of a game: N independent copies stepped as arrays, with no per-game Python objects in between."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np


@dataclass(frozen=True, slots=True)
class BatchedStep:
    """What one joint step of N games returns.

    `outcome` indexes `BatchedGame.outcome_names`; it is -1 where a game goes on or names none. `ended` says whose own
    part in the game is terminated, where games tell (`BatchedGame.ends_apart`). `cut` says of whom was truncated at
    this very step, while others go on, what it might have done next, where games do that (`BatchedGame.cuts`).
    """

    rewards: dict[str, np.ndarray]  # agent -> (N,) float32
    terminated: np.ndarray  # (N,) bool
    truncated: np.ndarray  # (N,) bool
    outcome: np.ndarray  # (N,) int64
    ended: dict[str, np.ndarray] | None = None  # agent -> (N,) bool
    cut: dict[str, np.ndarray] | None = None  # agent -> (N, |A_i|) bool, all False of everybody else


class BatchedGame(abc.ABC):
    """N games of one kind, stepped together.

    A finished game is not restarted behind the caller's back: `step` leaves the final observation in place, the caller
    reads it (it is the `next_obs` of the last transition) and then calls `reset` with the mask of finished games.

    Attributes:
        num_games: N.
        possible_agents: agent names in the game's own order (never a set's).
        observation_spaces, action_spaces: per agent, of ONE game; always the same objects.
        state_space: of ONE game, or None where the game has no `state()`.
        outcome_names: what can become of an episode (`"main_first"`, `"C-Z"`); may be empty, may grow in a wrapped
            game.
        ends_apart: whether one agent may be terminated before, or otherwise than, another.
        cuts: whether one agent may be truncated while others go on.
    """

    ends_apart: bool = False
    cuts: bool = False

    num_games: int
    possible_agents: list[str]
    observation_spaces: dict[str, gym.Space]
    action_spaces: dict[str, gym.Space]
    state_space: gym.Space | None = None
    outcome_names: list[str]

    @abc.abstractmethod
    def reset(self, mask: np.ndarray | None = None) -> None:
        """Starts the games of `mask`, (N,) bool, anew; all of them by default.

        Draws from the generator handed in at construction.
        """

    @abc.abstractmethod
    def observe(self) -> dict[str, np.ndarray]:
        """Returns every agent's observations now, agent -> (N, *observation shape).

        The arrays are the caller's to keep.
        """

    @property
    def acts(self) -> np.ndarray:
        """Who acts at the coming step, (N, agents) bool: everybody, where nobody ever is absent."""
        return np.ones((self.num_games, len(self.possible_agents)), bool)

    def state(self) -> np.ndarray | None:
        """Returns the games' states now, (N, *state shape), or None where the game has none."""
        return None

    def action_masks(self) -> dict[str, np.ndarray] | None:
        """Returns which actions are allowed now, agent -> (N, |A_i|) bool, or None where all always are."""
        return None

    @abc.abstractmethod
    def step(self, actions: dict[str, np.ndarray]) -> BatchedStep:
        """Plays one joint action in every game, agent -> (N, *action shape)."""

    def get_state(self) -> dict[str, np.ndarray] | None:
        """Returns where all games stand, for `set_state`; None where games cannot tell, and so must start anew.

        The arrays are the caller's to keep. The generator handed in at construction is no part of it: it is its
        owner's to save.
        """
        return None

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Puts the games where `get_state` of as many games of the same kind said that they stood.

        Raises:
            NotImplementedError: if these games have no `get_state`.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot be put back where its games stood.")

    def close(self) -> None:  # noqa: B027  (most games hold nothing to close)
        """Frees what the games hold."""


class BatchedWrapper(BatchedGame):
    """N games that are seen or played otherwise: what a subclass does not say itself is as the games have it.

    Args:
        games: as they are.
    """

    def __init__(self, games: BatchedGame) -> None:
        self.games = games
        self.num_games, self.possible_agents = games.num_games, games.possible_agents
        self.observation_spaces, self.action_spaces = games.observation_spaces, games.action_spaces
        self.outcome_names = games.outcome_names
        self.ends_apart, self.cuts = games.ends_apart, games.cuts
        self.look: Any = getattr(games, "look", None)
        self.copies: Any = getattr(games, "copies", None)

    @property
    def state_space(self) -> gym.Space | None:  # type: ignore[override]
        """The space of one state, None where the games have none: asked for only where it is used."""
        return self.games.state_space

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Starts the games of `mask`, (N,) bool, anew; all of them by default."""
        self.games.reset(mask)

    def observe(self) -> dict[str, np.ndarray]:
        """Returns every agent's observations now, agent -> (N, *observation shape)."""
        return self.games.observe()

    @property
    def acts(self) -> np.ndarray:
        """Who acts at the coming step, (N, agents) bool."""
        return self.games.acts

    def state(self) -> np.ndarray | None:
        """Returns the games' states now, (N, *state shape), or None where the games have none."""
        return self.games.state()

    def action_masks(self) -> dict[str, np.ndarray] | None:
        """Returns which actions are allowed now, agent -> (N, |A_i|) bool, or None where all always are."""
        return self.games.action_masks()

    def step(self, actions: dict[str, np.ndarray]) -> BatchedStep:
        """Plays one joint action in every game, agent -> (N, *action shape)."""
        return self.games.step(actions)

    def get_state(self) -> dict[str, np.ndarray] | None:
        """Returns where all games stand; None where they cannot tell."""
        return self.games.get_state()

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Puts the games where `get_state` said that they stood."""
        self.games.set_state(state)

    def close(self) -> None:
        """Frees what the games hold."""
        self.games.close()


class BatchedForm(BatchedGame):
    """The batched form of a game that is there in plain form: agents, spaces and names are those of the plain one.

    Args:
        game: the plain form.
        num_games: N, at least 1.

    Raises:
        ValueError: if `num_games` is less than 1.
    """

    def __init__(self, game: Any, num_games: int) -> None:
        if num_games < 1:
            raise ValueError(f"num_games must be at least 1; got {num_games}.")
        self.num_games = num_games
        self.possible_agents = game.possible_agents
        self.observation_spaces = game.observation_spaces
        self.action_spaces = game.action_spaces
        self.state_space = game.state_space
        self.outcome_names = list(getattr(game, "outcome_names", ()))
