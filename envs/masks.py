"""Where a game says which actions are allowed: one way is read, and what looks like another is refused."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rllib_biac.envs.errors import GameError
from rllib_biac.envs.space_words import in_words

ACTION_MASK = "action_mask"
# What other libraries call a mask: legal_moves, avail_actions, valid_action_mask, mask, ...
_LIKE_A_MASK = re.compile(
    r"(avail|legal|valid|allow|feasib|admissib)\w*(act|move|mask)|(act|move)\w*(mask|avail|legal|valid)|^masks?$", re.I
)


def split(space: gym.Space, agent: str) -> tuple[gym.Space, bool]:
    """Returns the observation proper and whether an action mask comes beside it, PettingZoo's first convention.

    Args:
        space: of an agent's observation, as the game declares it.
        agent: whose, for messages.

    Raises:
        ValueError: if there is nothing beside the mask, or a mask lies deeper in the observation.
    """
    beside = space
    masked = isinstance(space, spaces.Dict) and ACTION_MASK in space.spaces
    if masked:
        assert isinstance(space, spaces.Dict)
        rest = {key: part for key, part in space.spaces.items() if key != ACTION_MASK}
        if not rest:
            raise ValueError(
                f"agent {agent!r}: observation space {in_words(space)} has a mask and nothing to see; write the mask "
                "into infos[agent]['action_mask'], or add an entry 'observation', such as one number that is always 0."
            )
        beside = rest["observation"] if set(rest) == {"observation"} else spaces.Dict(rest)
    for path, _ in _leaves(beside):
        if path and path[-1] == ACTION_MASK:
            raise ValueError(
                f"agent {agent!r}: the observation space has {ACTION_MASK!r} inside of another entry, "
                f"{list(path[:-1])}, where it is not read: let it stand beside the observation."
            )
    return beside, masked


def check_names(space: gym.Space, num_actions: int, agent: str) -> None:
    """Refuses an observation with an entry that seems to be a mask under another name.

    Args:
        space: of the observation, without its mask.
        num_actions: what a mask would have entries for.
        agent: whose, for messages.

    Raises:
        ValueError: naming the entry.
    """
    for path, leaf in _leaves(space):
        if path and _LIKE_A_MASK.search(str(path[-1])) and _is_binary(leaf) and leaf.shape == (num_actions,):
            raise ValueError(f"agent {agent!r}: the observation's entry {path[-1]!r} {_OTHERWISE}.")


def check_infos(infos: Mapping[Any, Any], num_actions: Mapping[str, int], where: str) -> None:
    """Refuses infos that seem to forbid actions in another way than by `infos[agent]["action_mask"]`.

    That is a vector of 0 and 1, or a list of some actions, under a mask's name, or one of these for each of several
    agents; in an agent's own info, or beside them all.

    Args:
        infos: as a game returned them.
        num_actions: agent -> how many it has of which nothing else tells whether they are allowed.
        where: the step, for messages.

    Raises:
        GameError: naming the entry.
    """
    for agent, number in num_actions.items():
        info = infos.get(agent)
        if isinstance(info, Mapping) and ACTION_MASK not in info and (name := _mask_in(info, {number})):
            raise GameError(f"agent {agent!r} {where}: the info {name!r} {_OTHERWISE}")
    beside = {name: value for name, value in infos.items() if name not in num_actions}
    if beside and (name := _mask_in(beside, set(num_actions.values()))):
        raise GameError(
            f"{where}: the infos' entry {name!r} seems to be an action mask, which is read from "
            "infos[agent]['action_mask'] alone: write it there; if it is none, give it another name"
        )


def unread(env: Any) -> tuple[str, ...]:
    """Returns the names of a game's own methods, or attributes of its class, that seem to tell what is allowed."""
    names = dir(type(getattr(env, "unwrapped", env)))
    return tuple(name for name in names if not name.startswith("_") and _LIKE_A_MASK.search(name))


_OTHERWISE = (
    "seems to be an action mask, which is read under the name 'action_mask' alone: call it so, with 1 for allowed "
    "actions and 0 for forbidden ones; if it is none, give it another name"
)


def _mask_in(info: Mapping[Any, Any], numbers: Collection[int]) -> str | None:
    """Returns the name of the first entry that seems to forbid some of so many actions."""
    for name, value in _named(info):
        if _LIKE_A_MASK.search(name) and any(_forbids(value, number) for number in numbers):
            return name
    return None


def _named(info: Mapping[Any, Any], depth: int = 3) -> Iterator[tuple[str, Any]]:
    """Yields all entries that are named by text, also those inside of others."""
    for name, value in info.items():
        if isinstance(name, str):
            yield name, value
        if depth and isinstance(value, Mapping):
            yield from _named(value, depth - 1)


def _leaves(space: gym.Space, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], gym.Space]]:
    if isinstance(space, spaces.Dict | spaces.Tuple):
        for key, part in space.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces):
            yield from _leaves(part, (*path, key))
    else:
        yield path, space


def _is_binary(space: gym.Space) -> bool:
    if isinstance(space, spaces.Box):
        return bool((space.low == 0).all() and (space.high == 1).all())
    return isinstance(space, spaces.MultiBinary) or (
        isinstance(space, spaces.MultiDiscrete) and bool((space.nvec == 2).all())
    )


def _forbids(value: Any, num_actions: int) -> bool:
    if isinstance(value, Mapping | set | frozenset):
        value = list(value.values() if isinstance(value, Mapping) else value)
    try:
        array = np.asarray(value)
    except Exception:  # of infos anything may be; lists of several lengths may be one per agent
        return isinstance(value, list | tuple) and any(_forbids(part, num_actions) for part in value)
    if array.dtype.kind not in "biuf" or not array.size or array.ndim not in (1, 2):
        return False
    if array.shape[-1] == num_actions and np.isin(array, (0, 1)).all():
        return not array.all()
    if array.ndim == 2:  # may be a list of joint actions
        return False
    actions = set(array.tolist())
    return len(actions) == len(array) < num_actions and actions <= set(range(num_actions))
