"""From what names a game to N of them, stepped as arrays, and the states they are in."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from rllib_biac.envs import make, make_batched
from rllib_biac.envs.adapters import adapt
from rllib_biac.envs.batched import BatchedGame
from rllib_biac.envs.contract import Look
from rllib_biac.envs.errors import GameError
from rllib_biac.envs.parallel_batch import ParallelEnvBatch
from rllib_biac.envs.registry import is_own, own_copy
from rllib_biac.learning.hierarchy import Hierarchy
from rllib_biac.learning.history import GameWithHistory, WithHistory
from rllib_biac.learning.partners import GameWithPartners, WithPartners
from rllib_biac.learning.settings import Settings
from rllib_biac.learning.team import TeamSpec
from rllib_biac.learning.transitions import joint_state

Game = str | Callable[..., Any] | GameWithPartners | GameWithHistory


@contextlib.contextmanager
def game_errors(doing: str) -> Iterator[None]:
    """Turns whatever a game raises into a `GameError` that says what it was asked to do."""
    try:
        yield
    except GameError:
        raise
    except SystemExit as error:  # it would end the runner, and another one, and so on
        raise GameError(f"the game called sys.exit({error.code}) in {doing}.") from error
    except Exception as error:
        raise GameError(f"the game raised {error!r} in {doing}.") from error


@contextlib.contextmanager
def naming(env: Game) -> Iterator[None]:
    """Puts the game's name before its errors: they are read far from where it is played.

    Raises:
        GameError: with that name.
    """
    try:
        yield
    except GameError as error:
        raise GameError(f"{name_of(env).removeprefix('rllib_biac/')}: {error}") from error


def name_of(env: Any) -> str:
    """Returns what a game is called in messages."""
    if isinstance(env, GameWithPartners | GameWithHistory):
        return name_of(env.env)
    return env if isinstance(env, str) else getattr(env, "__qualname__", "the game")


def as_seen(env: Game, history: int, source: str) -> Game:
    """Returns the game as agents see it: with `history` of the last looks side by side; `source` as `StateReader`'s.

    A game that is seen so already stays as it is.
    """
    return env if history == 1 or isinstance(env, GameWithHistory) else GameWithHistory(env, history, source)


def make_games(
    env: Game, num_games: int, rng: np.random.Generator, kwargs: Mapping[str, Any], look: Look | None = None
) -> BatchedGame:
    """Makes N games as arrays, from a game's id, `package.module:factory`, or a factory.

    Args:
        env: what names the game, also with partners or a history.
        num_games: N, at least 1.
        rng: the only source of the games' randomness.
        kwargs: handed to the game.
        look: what is known of it, or expected, as for `ParallelEnvBatch`.
    """
    if isinstance(env, GameWithHistory):
        return WithHistory(make_games(env.env, num_games, rng, kwargs, look), env.length, env.source)
    if isinstance(env, GameWithPartners):
        inner, own_rng = make_games(env.env, num_games, rng, kwargs, look), np.random.default_rng(rng.integers(2**63))
        return WithPartners(inner, env.partners, own_rng)
    if isinstance(env, str) and is_own(env):
        return make_batched(env, num_games, rng, **kwargs)
    return make_copies(env, num_games, rng, kwargs, look)


def make_one(env: Game, kwargs: Mapping[str, Any]) -> Any:
    """Makes one game; arguments as for `make_games`.

    Raises:
        GameError: if the game's constructor raises.
        ValueError: if there is no such game, or it is of no make that is known.
    """
    if isinstance(env, GameWithPartners | GameWithHistory):
        return make_one(env.env, kwargs)
    if isinstance(env, str):
        return make(env, **kwargs)
    try:
        made = env(**own_copy(dict(kwargs)))
    except (ValueError, GameError):
        raise
    except Exception as error:
        raise GameError(f"making it raised {error!r}, with the settings {dict(kwargs)}.") from error
    return adapt(made)


def make_copies(
    env: Game, num_games: int, rng: np.random.Generator, kwargs: Mapping[str, Any], look: Look | None = None
) -> ParallelEnvBatch | WithPartners | WithHistory:
    """Makes N copies of a game, stepped one after the other: the plain form of `make_games`; arguments as there.

    Returns:
        The games; the copies are their `copies`.
    """
    if isinstance(env, GameWithHistory):
        return WithHistory(make_copies(env.env, num_games, rng, kwargs, look), env.length, env.source)
    if isinstance(env, GameWithPartners):
        inner, own_rng = make_copies(env.env, num_games, rng, kwargs, look), np.random.default_rng(rng.integers(2**63))
        return WithPartners(inner, env.partners, own_rng)
    trusted = isinstance(env, str) and is_own(env)
    return ParallelEnvBatch(lambda: make_one(env, kwargs), num_games, rng, look=look, trusted=trusted)


class StateReader:
    """Reads the joint state of N games, as the config's `state` says.

    Args:
        games: the games.
        source: `"env"`, the game's own `state()`, or `"observations"`, all observations side by side.

    Raises:
        ValueError: if the source is `"env"` and the game has no state.
        GameError: if it has one with which something is wrong, as a look at the game showed.
    """

    def __init__(self, games: BatchedGame, source: str) -> None:
        self._games = games
        self._source = source
        agents = games.possible_agents
        if source == "env":
            look: Look | None = getattr(games, "look", None)
            if look is not None and look.state_fault:
                raise GameError(
                    f"{look.state_fault} (seen in a look at the game) Mend its state(), or write state: observations "
                    "to use all agents' observations side by side."
                )
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
        games = self._games
        return joint_state(games.observe(), games.possible_agents, games.observation_spaces)

    def team_spec(self, hierarchy: Hierarchy, settings: Settings) -> TeamSpec:
        """Returns what a team for these games is built from.

        Raises:
            ValueError: if the hierarchy and the games name different agents.
        """
        games = self._games
        hierarchy.check_against(games.possible_agents)
        return TeamSpec(
            hierarchy=hierarchy,
            agents=tuple(games.possible_agents),
            observation_spaces=dict(games.observation_spaces),
            action_spaces=dict(games.action_spaces),
            state_space=self.space,
            masked=games.action_masks() is not None,
            settings=settings,
            look=getattr(games, "look", None),
        )
