"""What networks can play (one Discrete, or a vector of floats) against what a game takes (any simple action space)."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rllib_biac.envs.errors import GameError
from rllib_biac.envs.space_words import in_words

MAX_JOINT_ENTRIES = 4096
# A network has an output for each action of a Discrete space, and a mask an entry: here a gigabyte at 256 games.
MAX_ACTIONS = 2**20


class ActionReader:
    """Turns the actions of a team into actions of the game's own space.

    What the team sees of a game's action space:

    - `Discrete(n, start=k)`: `Discrete(n)`; action a is handed to the game as the plain integer a + k.
    - `MultiDiscrete`, `MultiBinary` and a `Box` of integers: one `Discrete` over all combinations of entries, the last
      entry varying fastest, of at most 4,096 combinations.
    - a `Box` of finite floats: a `Box` of one dimension and float32, entries in row-major order. Its bounds are rounded
      inwards, so that whatever float32 lies in it lies in the game's space.

    Everything handed to the game is in its own space: of that dtype and shape, within its bounds as that dtype rounds.

    Args:
        space: the game's own action space.
        what: what the errors call it, such as `"agent 'car'"`.

    Attributes:
        raw: the game's own action space.
        space: what the team sees, `Discrete` from 0 or a float32 `Box` of one dimension.

    Raises:
        ValueError: if a space is unbounded, nested, empty, no array or has too many combinations.
    """

    def __init__(self, space: gym.Space, what: str = "the agent") -> None:
        self.raw = space
        self.space: spaces.Discrete | spaces.Box
        self._what = what
        self._choices: np.ndarray | None = None
        self._counts: list[int] = []  # of values, by entry
        match space:
            case spaces.Discrete():
                if int(space.n) > MAX_ACTIONS:
                    raise ValueError(
                        f"{what}: action space {in_words(space)} has more than {MAX_ACTIONS:,} actions, each of which "
                        "would be an output of its networks; write a Box of floats, or a MultiDiscrete of few entries."
                    )
                self.space = spaces.Discrete(int(space.n))
                self._counts = [int(space.n)]
            case spaces.MultiDiscrete():
                self._enumerate(space.nvec, space.start, space.dtype)
            case spaces.MultiBinary():
                self._enumerate(np.full(space.shape, 2), np.zeros(space.shape, np.int64), space.dtype)
            case spaces.Box() if np.dtype(space.dtype).kind == "f":
                self.space = self._vector_box(space)
            case spaces.Box():
                low, high = space.low.astype(object), space.high.astype(object)  # Python's integers do not wrap
                self._enumerate(high - low + 1, low, space.dtype)
            case _:
                raise ValueError(
                    f"{what}: action space {in_words(space)} is not one array; write a Box, Discrete, MultiDiscrete or "
                    "MultiBinary (of parts that are Discrete, a MultiDiscrete or a Discrete over their combinations)."
                )

    def _enumerate(self, sizes: np.ndarray, start: np.ndarray, dtype: Any) -> None:
        shape, counts = np.shape(sizes), [int(n) for n in np.ravel(sizes)]
        entries = math.prod(counts)
        if not counts or entries > MAX_JOINT_ENTRIES:
            count = f"{entries:,} combinations" if entries < 10**15 else f"about 1e{len(str(entries)) - 1} combinations"
            raise ValueError(
                f"{self._what}: action space {in_words(self.raw)} has {count if counts else 'no entries'}, and 1 to "
                f"{MAX_JOINT_ENTRIES:,} can be played as one Discrete; write fewer values per entry, a Box of floats, "
                "or one agent per entry."
            )
        self.space, self._counts = spaces.Discrete(entries), counts
        digits = np.stack(np.unravel_index(np.arange(entries), counts), axis=-1)  # (entries, parts)
        offset = digits.astype(object) + np.ravel(start).astype(object)
        self._choices = offset.astype(dtype).reshape(entries, *shape)

    def _vector_box(self, space: spaces.Box) -> spaces.Box:
        low, high = np.ravel(space.low), np.ravel(space.high)
        largest = float(np.finfo(np.float32).max)
        if not low.size or not (np.abs(np.asarray([low, high], np.float64)) <= largest).all():  # NaN is refused as well
            raise ValueError(
                f"{self._what}: action space {in_words(space)} needs one or more entries, all with finite bounds "
                "(of float32); write the range that matters, such as Box(-1.0, 1.0, (2,))."
            )
        if space.shape == low.shape and space.dtype == np.float32:
            return space
        low32, high32 = low.astype(np.float32), high.astype(np.float32)
        with np.errstate(over="ignore"):  # beside the largest float32, where nothing is to be rounded
            inner_low = np.where(low32 < low, np.nextafter(low32, np.float32(np.inf)), low32)
            inner_high = np.where(high32 > high, np.nextafter(high32, np.float32(-np.inf)), high32)
        empty = inner_low > inner_high  # no float32 in between
        return spaces.Box(np.where(empty, low32, inner_low), np.where(empty, low32, inner_high), dtype=np.float32)

    @property
    def mask_entries(self) -> int:
        """How many entries a mask of these actions has; 0 where there are none to forbid."""
        return sum(self._counts)

    def to_game(self, actions: np.ndarray) -> list[Any]:
        """Returns the N actions as the game takes them, each of its own space.

        Args:
            actions: of the team's `space`, (N,) integers or (N, size) floats. Floats outside their bounds are clipped.

        Returns:
            N actions: plain integers for a Discrete space, else arrays of the space's shape and dtype.

        Raises:
            GameError: if the actions have the wrong shape, are no integers from 0 to n - 1, or NaN.
        """
        actions = np.asarray(actions)
        if actions.ndim != 1 + len(self.space.shape or ()) or actions.shape[1:] != self.space.shape:
            raise GameError(
                f"actions of {self._what} have shape {actions.shape}; "
                f"write {('N', *(self.space.shape or ()))}, one action of {in_words(self.space)} per game."
            )
        if isinstance(self.space, spaces.Discrete):
            if actions.dtype.kind not in "iu" or ((actions < 0) | (actions >= self.space.n)).any():
                raise GameError(f"actions of {self._what} are not all in {self.space}: {actions}.")
            if self._choices is not None:
                return list(self._choices[actions])
            # plain ints: third-party games look them up in dicts and lists
            return (actions.astype(np.int64) + int(self.raw.start)).tolist()  # type: ignore[attr-defined]
        if actions.dtype.kind not in "iuf" or np.isnan(actions).any():
            raise GameError(f"actions of {self._what} are not all numbers: {actions}.")
        raw = self.raw
        assert isinstance(raw, spaces.Box)
        with np.errstate(over="ignore"):  # float16: infinity is clipped as any other number
            in_dtype = actions.astype(raw.dtype).reshape(-1, *raw.shape)
        # Clipped after rounding to the game's dtype, since rounding alone can lead outside.
        return [np.asarray(action) for action in np.clip(in_dtype, raw.low, raw.high)]

    def allowed(self, mask: Any) -> np.ndarray:
        """Returns which of the team's actions a mask of the game allows.

        Args:
            mask: 0 or 1 for each value: (n,) of a Discrete; of other spaces one such array per entry, in a list or a
                tuple as `MultiDiscrete.sample` takes them, or all of them side by side, (sum of n,).

        Returns:
            (n,) bool, n the number of the team's actions; a combination is allowed if all its values are.

        Raises:
            GameError: if the mask has another form or holds other numbers, or the actions are floats.
        """
        if not self._counts:
            raise GameError(f"{self._what}: action masks need a finite number of actions; got {self.raw}.")
        parts = [np.asarray(part) for part in mask] if isinstance(mask, list | tuple) else []
        if [part.shape for part in parts] != [(n,) for n in self._counts]:
            whole = np.asarray(mask)
            if whole.shape != (sum(self._counts),):
                raise GameError(
                    f"action mask of {self._what} has shape {whole.shape}; write ({sum(self._counts)},), one 0 or 1 "
                    f"for each value of {self.raw}."
                )
            parts = np.split(whole, np.cumsum(self._counts)[:-1])
        if any(part.dtype.kind not in "biuf" or not ((part == 0) | (part == 1)).all() for part in parts):
            raise GameError(
                f"action mask of {self._what} is {mask}; write 1 for what is allowed and 0 for what is not."
            )
        joint = np.ones((), bool)
        for part in parts:
            joint = joint[..., None] & part.astype(bool)
        return joint.ravel()


def null_action(space: gym.Space) -> Any:
    """Returns what an agent plays that has nothing to do, where a game wants an action of it all the same.

    It is the lowest value of what is counted, the middle of a bounded Box of floats, else what is nearest to zero.
    """
    if isinstance(space, spaces.Discrete):
        return int(space.start)
    if isinstance(space, spaces.MultiDiscrete):
        return space.start.astype(space.dtype)
    if isinstance(space, spaces.Box):
        if np.dtype(space.dtype).kind != "f":
            return space.low.copy()
        finite = space.bounded_below & space.bounded_above
        middle = np.where(finite, space.low / 2 + space.high / 2, np.clip(0, space.low, space.high))
        return np.clip(middle.astype(space.dtype), space.low, space.high)
    return np.zeros(space.shape or (), space.dtype)
