"""The rules that both forms of Highway Merge share: agents, actions, rewards, the finish, starts, observations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import gymnasium as gym
import numpy as np

MAIN, AUXILIARY = "main_0", "auxiliary_0"
AGENTS = (MAIN, AUXILIARY)

ACTION_KINDS = ("steps", "speeds", "acceleration")
ACTION_NAMES = ("LANE_LEFT", "IDLE", "LANE_RIGHT", "FASTER", "SLOWER")  # of "steps", in highway-env's order
LANE_LEFT, IDLE, LANE_RIGHT, FASTER, SLOWER = range(5)

OUTCOMES = ("main_first", "auxiliary_first", "crash")
MAIN_FIRST, AUXILIARY_FIRST, CRASH = range(3)
ONGOING = -1

FINISH_X = 310.0  # m; an episode ends when a car's centre is past it
LENGTH = 5.0  # m; of a car
MAIN_Y, AUXILIARY_Y = 4.0, 14.5  # m; the two cars' y at the start
KP_ACCELERATION = 1 / 0.6  # 1/s; highway-env's acceleration towards a target speed, per m/s that is missing
FASTEST = 100.0  # m/s; the highest speed that may be allowed
FREQUENCY = 15  # Hz of the simulation; decisions are at 1 Hz

START_NAMES = ("main_x", "main_speed", "auxiliary_x", "auxiliary_speed")
Range = float | Sequence[float]


@dataclass(frozen=True)
class MergeRules:
    """What may be set of Highway Merge. The defaults are the paper's game.

    Args:
        main_speed, auxiliary_speed: start speed in m/s, a number or a (low, high) range to draw from, from 1 to the
            highest of `speed_limits`. The default is the one that fits the paper's results; the authors' released
            environment has (38, 40).
        main_x, auxiliary_x: start x in m, a number or a range within [0, 250).
        first_reward, second_reward: at the end, for the car that is first across, and for the other.
        crash_reward: for each car at a crash, 0 or below.
        speed_weight: times how fast a car drives at the end of every second, 0 at the lowest of `speed_limits` and 1 at
            the highest, is added to its reward. 0 or above.
        speed_change_weight: times by how many m/s a car's speed has changed in a second is taken from its reward, for a
            ride without haste. 0 or above.
        reward_scale: multiplies all rewards. Positive.
        actions: "steps": LANE_LEFT, IDLE, LANE_RIGHT, FASTER, SLOWER, by one target speed. "speeds": one action per
            target speed, the slowest first, and then LANE_LEFT, which keeps the target speed. "acceleration": a Box of
            one number, the acceleration in m/s² of this second; the auxiliary car then changes lane where its own ends.
        speed_limits: lowest and highest target speed in m/s, within 1 and 100. A car never drives faster; one that
            starts slower is brought up to the lowest.
        speed_levels: number of target speeds, equally far apart, for discrete actions. At least 2.
        acceleration_limits: strongest braking, below 0, and strongest acceleration, above 0, in m/s². None: as fast as
            highway-env's cars take up a target speed, up to 83 m/s²; with `actions: acceleration`, (-10, 10).
        sensor_range: how far ahead a car sees the other, in m, positive; None: each always sees the other.

    Raises:
        ValueError: if a value is not as said.
    """

    main_speed: Range = (30.0, 40.0)
    auxiliary_speed: Range = (30.0, 40.0)
    main_x: Range = 215.0
    auxiliary_x: Range = 215.0
    first_reward: float = 50.0
    second_reward: float = 10.0
    crash_reward: float = -10.0
    speed_weight: float = 0.0
    speed_change_weight: float = 0.0
    reward_scale: float = 1.0
    actions: str = "steps"
    speed_limits: Sequence[float] = (20.0, 70.0)
    speed_levels: int = 6
    acceleration_limits: Sequence[float] | None = None
    sensor_range: float | None = None

    def __post_init__(self) -> None:
        for name in ("first_reward", "second_reward", "crash_reward", "speed_weight", "speed_change_weight"):
            if not _is_number(getattr(self, name)):
                raise ValueError(f"{name}={getattr(self, name)!r} must be a finite number, such as 10.")
        if self.crash_reward > 0:
            raise ValueError(
                f"crash_reward={self.crash_reward!r} pays for crashes; write {-self.crash_reward!r} for a penalty."
            )
        for name in ("speed_weight", "speed_change_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)!r} must be 0 or above.")
        if not _is_number(self.reward_scale) or self.reward_scale <= 0:
            raise ValueError(
                f"reward_scale={self.reward_scale!r} must be a positive number; 1.0 gives the paper's 50, 10, -10."
            )
        if self.actions not in ACTION_KINDS:
            raise ValueError(f"actions={self.actions!r} is unknown; use one of {', '.join(ACTION_KINDS)}.")
        low, high = _pair("speed_limits", self.speed_limits, "(20, 70)")
        if not 1.0 <= low < high <= FASTEST:
            raise ValueError(
                f"speed_limits={self.speed_limits!r} must be (low, high) with 1 <= low < high <= {FASTEST:g} m/s."
            )
        levels = self.speed_levels
        if not isinstance(levels, int) or isinstance(levels, bool) or levels < 2:
            raise ValueError(f"speed_levels={levels!r} must be a whole number of at least 2 target speeds.")
        if self.acceleration_limits is not None:
            braking, faster = _pair("acceleration_limits", self.acceleration_limits, "(-8, 4)")
            if not -np.inf < braking < 0.0 < faster < np.inf:
                raise ValueError(
                    f"acceleration_limits={self.acceleration_limits!r} must be (low, high) with low < 0 < high, in "
                    "m/s², such as (-8, 4)."
                )
        if self.sensor_range is not None and not (_is_number(self.sensor_range) and self.sensor_range > 0):
            raise ValueError(
                f"sensor_range={self.sensor_range!r} must be a positive number of metres, such as 20, or None (null in "
                "YAML) for cars that always see each other."
            )
        self.start_ranges()

    @cached_property
    def target_speeds(self) -> np.ndarray:
        """What discrete actions choose from, (speed_levels,) m/s, ascending."""
        low, high = self.speed_limits
        return np.linspace(float(low), float(high), self.speed_levels)

    @cached_property
    def accelerations(self) -> tuple[float, float]:
        """The strongest braking and the strongest acceleration, m/s²."""
        if self.acceleration_limits is None:
            return (-10.0, 10.0) if self.actions == "acceleration" else (-np.inf, np.inf)
        low, high = self.acceleration_limits
        return float(low), float(high)

    @cached_property
    def outcome_rewards(self) -> np.ndarray:
        """What (main, auxiliary) get at the end, (4, 2) by outcome; ONGOING picks the last row. Not scaled."""
        first, second, crash = self.first_reward, self.second_reward, self.crash_reward
        return np.array([[first, second], [second, first], [crash, crash], [0.0, 0.0]])

    def rewards(self, outcome: Any, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """Returns the rewards of one second, (..., 2 agents) float64.

        Args:
            outcome: (...) int, as `OUTCOMES`, or ONGOING.
            before, after: (..., 2 agents) m/s, the cars' speeds at the start and at the end of the second.
        """
        at_the_end = self.outcome_rewards[outcome]
        if not (self.speed_weight or self.speed_change_weight):  # as by default: nothing is paid on the way
            return at_the_end * self.reward_scale
        low, high = self.speed_limits
        driving = self.speed_weight * ((after - low) / (high - low)) - self.speed_change_weight * np.abs(after - before)
        return (at_the_end + driving) * self.reward_scale

    def start_ranges(self, other: Mapping[str, Range] | None = None) -> np.ndarray:
        """Returns the lowest and the highest start, (2, 4), columns as `START_NAMES`.

        Args:
            other: start name -> a number or a (low, high) range, in place of what is set.

        Raises:
            ValueError: if a range is no pair of numbers, reversed, or outside the road or the cars' speeds.
        """
        ranges, fastest = np.empty((2, len(START_NAMES))), float(self.speed_limits[1])
        for column, name in enumerate(START_NAMES):
            value = (other or {}).get(name, getattr(self, name))
            low, high = _pair(name, value, "(30, 40), or one number", one_too=True)
            if not low <= high:
                raise ValueError(f"{name}={value!r}: the range must be (low, high) with low <= high.")
            if name.endswith("_x") and not 0.0 <= low <= high < 250.0:
                raise ValueError(f"{name}={value!r}: cars start before the merge, within 0 <= x < 250 m.")
            if name.endswith("_speed") and not 1.0 <= low <= high <= fastest:
                raise ValueError(
                    f"{name}={value!r}: start speeds lie within 1 and {fastest:g} m/s, the highest of `speed_limits`."
                )
            ranges[:, column] = low, high
        return ranges

    def observation_space(self) -> gym.spaces.Box:
        """Returns a new space: four features of the own car, four of the other, with sensors whether it is seen."""
        return gym.spaces.Box(-np.inf, np.inf, (8 if self.sensor_range is None else 9,), np.float32)

    def action_space(self) -> gym.spaces.Discrete | gym.spaces.Box:
        """Returns a new space of the actions of one car."""
        if self.actions == "acceleration":
            return gym.spaces.Box(*self.accelerations, (1,), np.float32)
        return gym.spaces.Discrete(len(ACTION_NAMES) if self.actions == "steps" else self.speed_levels + 1)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and bool(np.isfinite(value))


def _pair(name: str, value: Any, such_as: str, one_too: bool = False) -> tuple[float, float]:
    try:
        pair = np.asarray(value, dtype=np.float64)
        low, high = (pair, pair) if one_too and not pair.ndim else pair
    except (TypeError, ValueError):
        raise ValueError(f"{name}={value!r} is no (low, high) pair; write e.g. {such_as}.") from None
    return float(low), float(high)


PAPER = MergeRules()
REWARDS = PAPER.outcome_rewards


def features(x: Any, y: Any, heading: Any, speed: Any) -> tuple[Any, Any, Any, Any]:
    """Returns what is seen of a car: x, y and the velocity, absolute, about within ±2, never clipped."""
    return (
        (x - 260.0) / 50.0,
        (y - 7.0) / 6.0,
        (speed * np.cos(heading) - 42.0) / 15.0,
        speed * np.sin(heading) / 8.0,
    )


def sees(ahead: Any, sensor_range: float) -> Any:
    """Returns whether a car sees one whose centre is `ahead` m further along x: at most so far, not wholly behind."""
    return (ahead > -LENGTH) & (ahead <= sensor_range)


def state_space() -> gym.spaces.Box:
    """Returns a new space of 8 features: four of main, then four of auxiliary."""
    return gym.spaces.Box(-np.inf, np.inf, (8,), np.float32)
