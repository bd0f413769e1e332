"""What all adapters share: agents with names and spaces, everything else asked of the game itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from pettingzoo import ParallelEnv

from rllib_biac.envs.errors import GameError
from rllib_biac.envs.reading import Misfit, read_flag

Spaces = Mapping[Any, tuple[gym.Space, gym.Space]]

# What a game of a make is asked for, said after what is wrong with it.
PETTINGZOO_HINT = (
    "set `possible_agents` in its __init__, in the game's own order, and return one of gymnasium's spaces from "
    "`observation_space(agent)` and `action_space(agent)` for each of them"
)
GYMNASIUM_HINT = (
    "a gymnasium environment of several agents has a Tuple or a Dict of observation spaces and one of action spaces, "
    "one entry per agent in both; if this one has a single agent, nobody leads and nobody follows"
)
RLLIB_HINT = (
    "set `possible_agents`, `observation_spaces` and `action_spaces` (agent -> space) in its __init__, with the agents "
    "in the game's own order"
)


class Adapter(ParallelEnv):
    """A game of other make behind PettingZoo's parallel interface.

    What an adapter does not define (`state_space`, `render_mode`, the game's own methods) is asked of the game.

    Args:
        env: the game.
        spaces: agent -> (observation space, action space), in the game's own order.

    Attributes:
        env: the game.
        possible_agents: all agents, in the game's own order.
        agents: those still in the game.
    """

    def __init__(self, env: Any, spaces: Spaces) -> None:
        self.env = env
        self.metadata = getattr(env, "metadata", None) or {}
        self.possible_agents = list(spaces)
        named = getattr(env, "possible_agents", None)
        self._named = [] if named is None else list(named)  # by the game itself
        self.agents: list[Any] = []
        self._spaces = dict(spaces)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "env":
            raise AttributeError(name)
        return getattr(self.env, name)

    @property
    def unwrapped(self) -> Any:
        """The game inside of all wrappers, as its author wrote it."""
        return getattr(self.env, "unwrapped", self.env)

    def observation_space(self, agent: Any) -> gym.Space:
        return self._spaces[agent][0]

    def action_space(self, agent: Any) -> gym.Space:
        return self._spaces[agent][1]

    def _reset(self, seed: int | None, options: dict[str, Any] | None) -> Any:
        """Starts the game itself anew, with options where it takes them, or where there are some."""
        check_named(self.env, self._named)
        if options is None and not _takes_options(self.env):
            return self.env.reset(seed=seed)
        return self.env.reset(seed=seed, options=options)

    def state(self) -> np.ndarray:
        if not callable(state := getattr(self.env, "state", None)):
            raise NotImplementedError(f"{name_of(self.env)} has no state().")
        return state()

    def render(self) -> Any:
        return self.env.render()

    def close(self) -> None:
        if callable(close := getattr(self.env, "close", None)):  # not every make has it
            close()


def name_of(env: Any) -> str:
    """Returns what errors call a game: the class that its author wrote, with its module."""
    kind = type(getattr(env, "unwrapped", env))
    return f"{kind.__module__}.{kind.__qualname__}"


def _takes_options(env: Any) -> bool:
    try:
        parameters = inspect.signature(env.reset).parameters
    except (TypeError, ValueError):  # written in C, say
        return True
    return "options" in parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values())


def check_named(env: Any, named: Collection[Any]) -> None:
    """Refuses a game whose `possible_agents` have lost somebody, such as by `self.agents = self.possible_agents`.

    Raises:
        GameError: if it has.
    """
    now = list(env.possible_agents) if named else []
    if lost := [agent for agent in named if agent not in now]:
        raise GameError(
            f"agent {lost[0]!r} is no longer among the game's possible_agents, {now}, which are to stay as they are; "
            "where agents leave, let `agents` be a list of its own: self.agents = list(self.possible_agents)."
        )


def check_none_back(back: list[Any]) -> None:
    """Refuses agents that go on after their end.

    Raises:
        GameError: if there are some.
    """
    if back:
        raise GameError(
            f"agent {back[0]!r} goes on after it was terminated or truncated; flag it as terminated when its part is "
            "over, and not before."
        )


def pair(env: Any, result: Any) -> tuple[Any, Any]:
    """Returns what `reset()` of a game returned, if it is observations and infos.

    Raises:
        GameError: if it is not.
    """
    if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[1], Mapping | list | tuple):
        raise GameError(f"reset() of {name_of(env)} must return observations and infos, as gymnasium's does.")
    return result


def five(env: Any, result: Any) -> tuple[Any, Any, Any, Any, Any]:
    """Returns what `step()` of a game returned, if it is five values.

    Raises:
        GameError: if it is not.
    """
    if not isinstance(result, tuple) or len(result) != 5:
        count = len(result) if isinstance(result, tuple) else 1
        raise GameError(
            f"step() of {name_of(env)} returned {count} values; return five, as gymnasium's does: observations, "
            "rewards, terminated, truncated and infos."
        )
    return result


def is_one(value: Any) -> bool:
    """Tells whether a reward or a flag is one for all agents, and not one for each."""
    try:
        len(value)
    except TypeError:
        return True
    return False


NO_AGENTS = ("__all__", "__common__")  # what RLlib's games say of everybody


def check_names(env: Any, values: Mapping[Any, Any], agents: Collection[Any], what: str) -> None:
    """Refuses what is said of somebody whom the game does not have.

    Args:
        env: the game.
        values: by agent.
        agents: that the game has.
        what: they are, such as `"rewards"`.

    Raises:
        GameError: naming who is meant, and who there is.
    """
    if unknown := [name for name in values if name not in agents and name not in NO_AGENTS]:
        raise GameError(
            f"{name_of(env)} gave {what} of {', '.join(map(repr, unknown))}; its agents are "
            f"{', '.join(map(repr, agents))}, and {NO_AGENTS[0]!r} stands for all of them in flags."
        )


def flag(value: Any, agent: Any) -> bool:
    """Returns whether an agent's flag is set.

    Raises:
        GameError: if it is neither true nor false.
    """
    try:
        return read_flag(value)
    except Misfit as error:
        raise GameError(f"the flag of {agent!r} {error}.") from error


def spaces_by(agents: Any, seen: Callable[[Any], Any], done: Callable[[Any], Any]) -> Spaces:
    """Returns agent -> (observation space, action space), by two functions of the game.

    Raises:
        LookupError: if there are no agents, or an agent has no spaces.
    """
    if agents is None or not len(agents):
        raise LookupError("it names no agents")
    found = {agent: (seen(agent), done(agent)) for agent in agents}
    for agent, (observation, action) in found.items():
        if not isinstance(observation, gym.Space) or not isinstance(action, gym.Space):
            raise LookupError(f"agent {agent!r} has spaces {observation!r} and {action!r}, and needs gymnasium's")
    return found


def read_spaces(env: Any, read: Callable[[Any], Spaces], hint: str) -> tuple[Spaces, bool]:
    """Reads the agents and spaces of a game; of a game that knows them only then, after one seeded reset.

    Args:
        env: the game.
        read: game -> its agents' spaces. May raise whatever the game raises.
        hint: what a game of this make is asked for, said in the error.

    Returns:
        The spaces, and whether they came only with the reset.

    Raises:
        ValueError: if the game does not tell them even then.
    """
    try:
        return read(env), False
    except Exception:  # before its first reset a game may raise anything
        pass
    try:
        env.reset(seed=0)
        return read(env), True
    except LookupError as error:
        why = str(error.args[0]) if error.args else repr(error)
        raise ValueError(f"{name_of(env)}: {why}; {hint}.") from error
    except Exception as error:
        raise ValueError(f"{name_of(env)} raised {error!r} when asked for its agents and spaces; {hint}.") from error


def pettingzoo_spaces(env: Any) -> Spaces:
    """Returns the spaces of a `ParallelEnv` or an `AECEnv`."""
    agents = getattr(env, "possible_agents", None)
    if agents is None or not len(agents):
        agents = getattr(env, "agents", None)
    return spaces_by(agents, env.observation_space, env.action_space)
