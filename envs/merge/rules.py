"""The rules that both forms of Highway Merge share: agents, actions, rewards, the finish, starts, observations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

MAIN, AUXILIARY = "main_0", "auxiliary_0"
AGENTS = (MAIN, AUXILIARY)

ACTION_NAMES = ("LANE_LEFT", "IDLE", "LANE_RIGHT", "FASTER", "SLOWER")  # highway-env's order
LANE_LEFT, IDLE, LANE_RIGHT, FASTER, SLOWER = range(5)

OUTCOMES = ("main_first", "auxiliary_first", "crash")
MAIN_FIRST, AUXILIARY_FIRST, CRASH = range(3)
ONGOING = -1
# Rewards of (main, auxiliary) by outcome; ONGOING picks the last row.
REWARDS = np.array([[50.0, 10.0], [10.0, 50.0], [-10.0, -10.0], [0.0, 0.0]])

FINISH_X = 310.0  # m; an episode ends when a car's centre is past it
LENGTH = 5.0  # m; of a car
MAIN_Y, AUXILIARY_Y = 4.0, 14.5  # m; the two cars' y at the start
TARGET_SPEEDS = np.linspace(20.0, 70.0, 6)  # m/s; what FASTER and SLOWER step through
FREQUENCY = 15  # Hz of the simulation; decisions are at 1 Hz

START_NAMES = ("main_x", "main_speed", "auxiliary_x", "auxiliary_speed")
Range = float | Sequence[float]


def start_ranges(starts: Mapping[str, Range]) -> np.ndarray:
    """Returns the lowest and the highest start, (2, 4), columns as `START_NAMES`.

    Args:
        starts: for every start name a number or a (low, high) range; x in m in [0, 250), speed in m/s in [1, 70].

    Raises:
        ValueError: if a range is no pair of numbers, reversed, or outside the road or the cars' speeds.
    """
    ranges = np.empty((2, len(START_NAMES)))
    for column, name in enumerate(START_NAMES):
        try:
            pair = np.asarray(starts[name], dtype=np.float64)
            low, high = pair if pair.ndim else (pair, pair)
        except (TypeError, ValueError):
            raise ValueError(
                f"{name}={starts[name]!r} is neither a number nor a (low, high) pair; write e.g. (30, 40)."
            ) from None
        if not low <= high:
            raise ValueError(f"{name}={starts[name]!r}: the range must be (low, high) with low <= high.")
        if name.endswith("_x") and not 0.0 <= low <= high < 250.0:
            raise ValueError(f"{name}={starts[name]!r}: cars start before the merge, within 0 <= x < 250 m.")
        if name.endswith("_speed") and not 1.0 <= low <= high <= TARGET_SPEEDS[-1]:
            raise ValueError(f"{name}={starts[name]!r}: start speeds lie within 1 and {TARGET_SPEEDS[-1]:g} m/s.")
        ranges[:, column] = low, high
    return ranges


def rewards_by_outcome(reward_scale: float) -> np.ndarray:
    """Returns the (4, 2) table of rewards, outcome × agent, scaled; its last row is for a game that goes on.

    Raises:
        ValueError: if `reward_scale` is not positive and finite.
    """
    if not 0.0 < reward_scale < np.inf:
        raise ValueError(f"reward_scale={reward_scale!r} must be a positive number; 1.0 gives the paper's 50, 10, -10.")
    return REWARDS * reward_scale


def features(x: Any, y: Any, heading: Any, speed: Any) -> tuple[Any, Any, Any, Any]:
    """Returns what is seen of a car: x, y and the velocity, absolute, about within ±2, never clipped."""
    return (
        (x - 260.0) / 50.0,
        (y - 7.0) / 6.0,
        (speed * np.cos(heading) - 42.0) / 15.0,
        speed * np.sin(heading) / 8.0,
    )


def check_sensor_range(sensor_range: float | None) -> None:
    """Raises a ValueError if cars cannot see that far."""
    number = isinstance(sensor_range, int | float) and not isinstance(sensor_range, bool)
    if sensor_range is not None and not (number and 0.0 < sensor_range < np.inf):
        raise ValueError(
            f"sensor_range={sensor_range!r} must be a positive number of metres, such as 20, or None (null in YAML) "
            "for cars that always see each other."
        )


def sees(ahead: Any, sensor_range: float) -> Any:
    """Returns whether a car sees one whose centre is `ahead` m further along x: at most so far, not wholly behind."""
    return (ahead > -LENGTH) & (ahead <= sensor_range)


def state_space() -> gym.spaces.Box:
    """Returns a new space of 8 features: four of main, then four of auxiliary."""
    return gym.spaces.Box(-np.inf, np.inf, (8,), np.float32)


def observation_space(sensor_range: float | None) -> gym.spaces.Box:
    """Returns a new space: four features of the own car, four of the other, with a range also whether it is seen."""
    return gym.spaces.Box(-np.inf, np.inf, (8 if sensor_range is None else 9,), np.float32)


def action_space() -> gym.spaces.Discrete:
    """Returns a new space of the five actions, `ACTION_NAMES`."""
    return gym.spaces.Discrete(len(ACTION_NAMES))
