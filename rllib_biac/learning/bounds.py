"""What a number that is written in a file may be."""

from __future__ import annotations

from typing import Any

import numpy as np

# Of what is counted: a run with more of it would never come to its end, or to its first update.
_MOST = 10**9
_TINY, _HUGE = (float(end) for end in (np.finfo(np.float32).tiny, np.finfo(np.float32).max))


def check_number(
    key: str, value: Any, low: float, high: float = np.inf, *, above: bool = False, whole: bool = False
) -> None:
    """Refuses a value that is no number within its bounds.

    Args:
        key: the setting, for the message.
        value: what it is set to.
        low, high: the bounds, `high` included; a whole number without a `high` is at most a thousand million.
        above: whether `low` itself is out.
        whole: whether the number is a whole one. Another must be one that float32 holds.

    Raises:
        ValueError: naming the key, its value and the bounds.
    """
    most = _MOST if whole and high == np.inf else high
    number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    high_enough = number and (low < value if above else low <= value)
    if not (high_enough and value <= most):
        bounds = f"{'greater than' if above else 'at least'} {low}"
        bounds += f" and at most {most:,}" if high != np.inf or high_enough else ""
        raise ValueError(f"{key}: {value!r} must be a {'whole ' if whole else ''}number {bounds}.")
    if not whole:
        check_float32(key, value)


def check_float32(key: str, value: float) -> None:
    """Refuses what networks would take for 0 or infinity, unless it is meant: `inf` is infinite for everybody.

    Args:
        key: the setting, for the message.
        value: what it is set to.

    Raises:
        ValueError: naming the key and its value.
    """
    if value and np.isfinite(value) and not _TINY <= abs(value) <= _HUGE:
        instead = "0, or more" if abs(value) < 1 else "a smaller one"
        raise ValueError(
            f"{key}: {value!r} is beyond the numbers of float32, in which networks learn: write {instead}."
        )
