"""Whether the game that is played now is the one that networks were trained in, as far as spaces show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

import gymnasium as gym
import numpy as np

from rllib_biac.envs.batched import BatchedGame
from rllib_biac.envs.contract import Look
from rllib_biac.envs.space_words import told_apart
from rllib_biac.learning.team import TeamSpec


def check_same_game(trained: TeamSpec, games: BatchedGame | TeamSpec, state_space: gym.Space, name: str) -> None:
    """Holds a game against what networks were built from, before they are asked for anything in it.

    Networks take whatever has the right number of numbers: with agents in another order they would be shown states of
    which parts have changed places, and play on.

    Args:
        trained: what the networks were built from.
        games: the game that is played now, or what other networks are built from for it.
        state_space: of one of its states.
        name: what the game is called.

    Raises:
        ValueError: if the game has other agents, or in another order, other actions, states, or, where the algorithm
            reads them, other observations.
    """
    differences = list(_differences(trained, games, state_space))
    if differences:
        raise ValueError(
            f"{name} is not the game that these networks were trained in: {'; '.join(differences)}. "
            "Give the game that they were trained in, with the same settings, or train anew."
        )


def _differences(trained: TeamSpec, games: BatchedGame | TeamSpec, state_space: gym.Space) -> Iterator[str]:
    was, now = list(trained.agents), list(games.agents if isinstance(games, TeamSpec) else games.possible_agents)
    if was != now:
        order = ", in another order" if sorted(was) == sorted(now) else ""
        yield f"its agents were {', '.join(was)} and are {', '.join(now)}{order}"
    if _read_as(trained.state_space) != _read_as(state_space):
        yield "its state was {} and is {}".format(*_words(trained.state_space, state_space))
    # A state of all observations side by side is of the same size where one grew by what another lost.
    seen = trained.settings.uses_observations or trained.settings.state == "observations"
    # A team sees combinations of entries as numbers from 0: what they stand for the game itself declares.
    done, doing = _declared(trained), _declared(games)
    if done is None or doing is None:
        done, doing = trained.action_spaces, games.action_spaces
    for agent in (agent for agent in was if agent in now):
        one, other = trained.observation_spaces[agent], games.observation_spaces[agent]
        if seen and _read_as(one) != _read_as(other):
            yield "the observation of {} was {} and is {}".format(agent, *_words(one, other))
        one, other = done[agent], doing[agent]
        if one != other:
            yield "the actions of {} were {} and are {}".format(agent, *told_apart(one, other))


def _declared(games: BatchedGame | TeamSpec) -> Mapping[str, gym.Space] | None:
    look: Look | None = getattr(games, "look", None)
    return None if look is None else look.actions


def _read_as(space: gym.Space) -> Any:
    """Returns what networks take a space's numbers for. Bounds count where numbers are normalised by them."""
    bounds = (space.low.tolist(), space.high.tolist()) if _has_bounds(space) else None
    return tuple(space.shape or ()), space.dtype, bounds


def _has_bounds(space: gym.Space) -> TypeGuard[gym.spaces.Box]:
    return isinstance(space, gym.spaces.Box) and space.dtype == np.uint8


def _words(one: gym.Space, other: gym.Space) -> tuple[str, str]:
    if _has_bounds(one) and _has_bounds(other):
        return told_apart(one, other)
    return _size(one), _size(other)


def _size(space: gym.Space) -> str:
    return f"{tuple(space.shape or ())} of {space.dtype}"
