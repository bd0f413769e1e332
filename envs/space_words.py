"""Spaces in words, on one line each however many numbers their bounds are."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

_LONGEST = 100


def in_words(space: Any) -> str:
    """Returns a space on one line, as gymnasium writes it where that is short.

    Bounds of many numbers are told by their range: `Box(-inf to -1, 1 to inf, (57,), float32)` has lowest values from
    -inf to -1, and highest ones from 1 to inf. `MultiDiscrete(2 to 9, (30,))` has choices of 2 to 9.
    """
    if isinstance(space, spaces.Dict):
        return f"Dict({', '.join(f'{key!r}: {in_words(part)}' for key, part in space.spaces.items())})"
    if isinstance(space, spaces.Tuple):
        return f"Tuple({', '.join(map(in_words, space.spaces))})"
    if len(whole := _on_one_line(space)) <= _LONGEST:
        return whole
    if isinstance(space, spaces.Box):
        return f"Box({_range(space.low)}, {_range(space.high)}, {space.shape}, {space.dtype})"
    if isinstance(space, spaces.MultiDiscrete):
        start = f", start={_range(space.start)}" if space.start.any() else ""
        return f"MultiDiscrete({_range(space.nvec)}, {space.shape}{start})"
    return f"{whole[:_LONGEST]}…"


def told_apart(one: gym.Space, other: gym.Space) -> tuple[str, str]:
    """Returns two spaces in words, with every bound where only these tell them apart."""
    brief = in_words(one), in_words(other)
    return brief if brief[0] != brief[1] else (_on_one_line(one), _on_one_line(other))


def _range(numbers: np.ndarray) -> str:
    low, high = numbers.min(), numbers.max()
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _on_one_line(space: Any) -> str:
    return " ".join(str(space).split())
