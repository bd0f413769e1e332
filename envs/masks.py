"""Where a game says which actions are allowed: one way is read, and what looks like another is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rllib_biac.envs.errors import GameError

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
                f"agent {agent!r}: observation space {space} has a mask and nothing to see; write the mask into "
                "infos[agent]['action_mask'], or add an entry 'observation', such as one number that is always 0."
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


def check_info(info: Mapping[Any, Any], num_actions: int, where: str) -> None:
    """Refuses infos that seem to forbid actions in another way than by `ACTION_MASK`.

    Args:
        info: of one agent.
        num_actions: how many it has.
        where: agent and step, for messages.

    Raises:
        GameError: naming the entry: a vector of 0 and 1, or a list of some actions, under a mask's name.
    """
    if ACTION_MASK in info:
        return
    for name, value in info.items():
        if isinstance(name, str) and _LIKE_A_MASK.search(name) and _forbids(value, num_actions):
            raise GameError(f"{where}: the info {name!r} {_OTHERWISE}")


_OTHERWISE = (
    "seems to be an action mask, which is read under the name 'action_mask' alone: call it so, with 1 for allowed "
    "actions and 0 for forbidden ones; if it is none, give it another name"
)


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
    try:
        array = np.asarray(value)
    except Exception:  # of infos anything may be
        return False
    if array.ndim != 1 or array.dtype.kind not in "biuf" or not array.size:
        return False
    if array.shape == (num_actions,) and np.isin(array, (0, 1)).all():
        return not array.all()
    actions = set(array.tolist())
    return len(actions) == len(array) < num_actions and actions <= set(range(num_actions))
