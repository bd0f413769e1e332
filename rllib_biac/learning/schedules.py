"""Numbers that change while training goes on."""

from __future__ import annotations

import numpy as np

Schedule = float | list[list[float]]


def piecewise(schedule: Schedule, t: float) -> float:
    """Evaluates a schedule: a number, or [[step, value], …] interpolated linearly and held at both ends."""
    if isinstance(schedule, int | float):
        return float(schedule)
    steps, values = zip(*schedule, strict=True)
    return float(np.interp(t, steps, values))
