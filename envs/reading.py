"""What a game returns, held to what it declares: values that do not fit are refused in words, never bent to fit."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rllib_biac.envs.space_words import in_words

FIXED = spaces.Box | spaces.Discrete | spaces.MultiBinary | spaces.MultiDiscrete
# How far outside of its bounds a real number may lie: what rounding does, and, said once, a share of the width between
# them. Many games overshoot so far, and networks are not hurt.
ABSOLUTE, OVERSHOOT = 1e-6, 0.02
# The square of a gradient holds the square of an input: from about here on it is infinite in float32.
LARGEST = 1e18
# Networks have so many inputs at most. A choice of n is n of them, and nothing of that size is to be made to find out.
MOST_ENTRIES = 2**20

logger = logging.getLogger(__name__)


class Misfit(ValueError):
    """A value is not what its space, or the contract of games, says. The message completes "observation of agent …"."""


def _unfit_part(space: gym.Space) -> gym.Space | None:
    """Returns the first part of a space without a fixed number of entries, such as a Sequence; None if all is well."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts = list(space.values()) if isinstance(space, spaces.Dict) else list(space.spaces)
        return next((unfit for part in parts if (unfit := _unfit_part(part)) is not None), None)
    return None if isinstance(space, FIXED) else space


def _entries_of(space: gym.Space) -> int:
    """Returns how many numbers a space is, flattened."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        return sum(map(_entries_of, space.values() if isinstance(space, spaces.Dict) else space.spaces))
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return sum(int(n) for n in space.nvec.ravel())
    return math.prod(space.shape or ())


def _is_kept(space: gym.Space) -> bool:
    """Vectors and images go to the networks as they are, everything else flattened to a vector."""
    return isinstance(space, spaces.Box) and (
        len(space.shape) == 1 or (len(space.shape) == 3 and space.dtype == np.uint8)
    )


class SpaceReader:
    """Turns what a game returns for one space into arrays of one shape and dtype.

    Args:
        space: as the game declares it.
        what: whose it is, for messages: `"agent 'a': observation"`.

    Attributes:
        space: of the arrays: the declared one for vectors and images, else flattened to a vector.

    Raises:
        ValueError: if the space, or a part of it, has no fixed number of entries, none at all, or too many.
    """

    def __init__(self, space: Any, what: str) -> None:
        if not isinstance(space, gym.Space):
            raise ValueError(f"{what} space is {space!r}; write a gymnasium space, such as a Box.")
        if (unfit := _unfit_part(space)) is not None:
            raise ValueError(
                f"{what} space {in_words(space)} cannot be turned into arrays of one size because of "
                f"{in_words(unfit)}; write a Box, or a Dict or Tuple of Box, Discrete, MultiBinary and MultiDiscrete."
            )
        if (entries := _entries_of(space)) > MOST_ENTRIES:
            raise ValueError(
                f"{what} space {in_words(space)} has {entries:,} numbers, one for each choice, and networks see at "
                f"most {MOST_ENTRIES:,}: write a number that counts, or lies on a scale, as a Box."
            )
        self.raw = space
        self._kept = _is_kept(space)
        self.space: gym.Space = space if self._kept else spaces.flatten_space(space)
        if not np.prod(self.space.shape or (0,)):
            raise ValueError(f"{what} space {in_words(space)} has no entries; write one that tells something.")
        self._dtype = np.dtype(self.space.dtype or np.float32)

    def __call__(self, value: Any, *, bounds: bool) -> np.ndarray:
        """Returns a value as an array of `space`'s shape, and of a dtype that goes into its own without loss.

        Args:
            value: what the game returned.
            bounds: whether to hold real numbers to their bounds, too. Integers always are held to their dtype, choices
                to their number.

        Raises:
            Misfit: if it is not of the space.
        """
        plain = self._kept and not bounds and type(value) is np.ndarray
        if plain and value.dtype == self._dtype and value.shape == self.space.shape:
            return value
        if isinstance(self.raw, spaces.Box) and self._kept:
            array = _box(self.raw, value, "", bounds)
        else:
            array = np.asarray(spaces.flatten(self.raw, _fit(self.raw, value, "", bounds)))
        return array if array.dtype == self._dtype else array.astype(self._dtype)

    def new_buffer(self, num_games: int) -> np.ndarray:
        """Returns zeros to read N observations into, (N, *shape) in the dtype they are read as."""
        return np.zeros((num_games, *(self.space.shape or ())), self._dtype)


def _fit(space: gym.Space, value: Any, at: str, bounds: bool) -> Any:
    """Returns a value as `gymnasium.spaces.flatten` takes it, or raises `Misfit` naming the part at fault."""
    if isinstance(space, spaces.Dict):
        if not isinstance(value, Mapping) or set(value) != set(space.spaces):
            given = sorted(map(str, value)) if isinstance(value, Mapping) else repr(value)
            raise Misfit(f"{_part(at)}has {given}; its space says the entries {sorted(map(str, space.spaces))}")
        return {key: _fit(part, value[key], f"{at}[{key!r}]", bounds) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        if not isinstance(value, tuple | list) or len(value) != len(space.spaces):
            raise Misfit(f"{_part(at)}is {value!r}; its space says a tuple of {len(space.spaces)}")
        return tuple(_fit(part, value[i], f"{at}[{i}]", bounds) for i, part in enumerate(space.spaces))
    if isinstance(space, spaces.Box):
        return _box(space, value, at, bounds)
    array = _whole(value, at)
    if array.shape == () and space.shape == (1,):
        array = array[None]
    if array.shape != (space.shape or ()):
        raise Misfit(f"{_part(at)}has shape {array.shape}; its space says {space.shape or ()}")
    low: Any
    high: Any
    if isinstance(space, spaces.Discrete):
        low, high = int(space.start), int(space.start) + int(space.n) - 1
    elif isinstance(space, spaces.MultiDiscrete):
        low, high = space.start, space.start + space.nvec - 1
    else:
        low, high = 0, 1
    if ((array < low) | (array > high)).any():
        raise Misfit(f"{_part(at)}is {array.tolist()}; its space says {in_words(space)}")
    return int(array) if isinstance(space, spaces.Discrete) else array


def _box(space: spaces.Box, value: Any, at: str, bounds: bool) -> np.ndarray:
    array, dtype = _array(value), np.dtype(space.dtype or np.float32)
    if array.shape == () and space.shape == (1,):
        array = array[None]  # one number, where the space says a vector of one
    if array.shape != space.shape:
        raise Misfit(f"{_part(at)}has shape {array.shape}; its space says {space.shape}")
    if array.dtype != dtype:
        if array.dtype.kind not in "fiub":
            raise Misfit(f"{_part(at)}holds {array.dtype}, {array.ravel()[:1].tolist()}; its space says {dtype}")
        if dtype.kind != "f":
            if array.dtype.kind == "f":
                raise Misfit(f"{_part(at)}holds {array.dtype}; its space says {dtype}")
            cast = array.astype(dtype)
            if (cast != array).any():
                raise Misfit(f"{_part(at)}holds {array[cast != array][0]}, which does not fit {dtype}")
            array = cast
    if bounds:
        _check_told_apart(array, at)
        _check_bounds(space, array, at)
    return array


def _check_told_apart(array: np.ndarray, at: str) -> None:
    """Refuses numbers that networks, which compute with float32, cannot hold, or not tell from their neighbours."""
    if array.dtype.kind in "iu" and array.dtype.itemsize > 2:
        for number in array[(array > 2**24) | (array < -(2**24))].tolist():
            if int(np.float32(number)) != number:
                raise Misfit(
                    f"{_part(at)}holds {number}, which float32, with which networks compute, cannot tell from its "
                    "neighbours; write it in larger units, or as choices"
                )
    elif array.dtype.kind == "f":
        large = np.isfinite(array) & (np.abs(array.astype(np.float64, copy=False)) > LARGEST)  # float16 has none
        if large.any():
            raise Misfit(
                f"{_part(at)}holds {array[large][0]:g}, which is too large for float32, with which networks multiply "
                "it; write larger units, and for what is not there, such as a distance to nothing, a number near others"
            )


def _array(value: Any) -> np.ndarray:
    """Returns what a game gave as an array.

    Raises:
        Misfit: if it cannot be made one, or a part of it is masked out.
    """
    try:
        array = np.asarray(value)
    except Exception as error:  # an object of another library may raise anything, such as a tensor with a gradient
        raise Misfit(f"cannot be turned into an array ({error})") from error
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise Misfit(f"is {value}, a masked array in which a part is missing; fill it, and say so beside it")
    return array


def _check_bounds(space: spaces.Box, array: np.ndarray, at: str) -> None:
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    beyond = np.maximum(low - array, array - high)  # how far outside
    if not (beyond > 0).any():
        return
    slack = np.zeros(space.shape)
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            slack = OVERSHOOT * np.nan_to_num(high - low, nan=0.0, posinf=0.0) + ABSOLUTE
    worst = np.unravel_index(np.argmax(beyond - slack), space.shape)
    text = (
        f"{_part(at)}holds {array[worst]} at {[int(i) for i in worst]}; its space says {space.low[worst]} to "
        f"{space.high[worst]}"
    )
    if beyond[worst] > slack[worst]:
        raise Misfit(text)
    if beyond[worst] > ABSOLUTE:
        _say_once(str(space), text)


_SAID: set[str] = set()


def _say_once(space: str, text: str) -> None:
    if space not in _SAID:
        _SAID.add(space)
        logger.warning("an observation %s: a little outside, and taken as it is", text)


def _whole(value: Any, at: str) -> np.ndarray:
    array = _array(value)
    if array.dtype.kind not in "iub":
        raise Misfit(f"{_part(at)}is {value!r}; its space says whole numbers")
    return array


def _part(at: str) -> str:
    return f"at {at} " if at else ""


def read_mask(mask: Any, num_actions: int) -> np.ndarray:
    """Returns an action mask, (|A_i|,) bool: which actions are allowed.

    Raises:
        Misfit: if it is no vector of 0 and 1, one entry per action.
    """
    array = _array(mask)
    if array.shape != (num_actions,):
        raise Misfit(f"has shape {array.shape}; write {(num_actions,)}, one entry per action")
    if array.dtype != bool:
        if array.dtype.kind not in "fiu" or not np.isin(array, (0, 1)).all():
            raise Misfit(f"is {array.tolist()}; write 1 for allowed actions and 0 for forbidden ones")
        array = array.astype(bool)
    return array


def read_number(value: Any) -> float:
    """Returns a reward as a number.

    Raises:
        Misfit: if it is none, or one that float32 cannot hold.
    """
    if type(value) is float and -1e30 < value < 1e30:
        return value
    try:
        array = _array(value)
    except Misfit as error:
        raise Misfit(f"needs one number as its reward; what it got {error}") from error
    if array.size != 1 or array.dtype.kind not in "fiub":
        what = f"shape {array.shape}" if array.shape else repr(value)
        raise Misfit(f"needs one number as its reward; got {what}")
    number = float(array.item())
    if abs(number) > 1e30 and np.isfinite(number):
        raise Misfit(f"has a reward of {number:g}, which is too large to learn from; write it in larger units")
    return number


def read_flag(value: Any) -> bool:
    """Returns whether a flag is set.

    Raises:
        Misfit: if it is neither true nor false.
    """
    if value is True or value is False:
        return value
    array = _array(value)
    if array.size != 1 or array.dtype.kind not in "biu" or array.item() not in (0, 1):
        raise Misfit(f"is {value!r}; write True or False")
    return bool(array.item())
