"""N games of Highway Merge as arrays: highway-env's arithmetic, operation by operation, so the results are the same.

The plain form is `ParallelMerge`. Where an expression looks clumsy it keeps highway-env's order of floating-point
operations (`vehicle/controller.py`, `vehicle/kinematics.py`, `vehicle/objects.py`, `utils.py` of version 1.12.1).
The core is two pure functions of the cars, `command` and `drive`, so a search can branch from any point of a game.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from rllib_biac.envs.batched import BatchedGame, BatchedStep
from rllib_biac.envs.merge import rules
from rllib_biac.envs.merge.rules import PAPER, MergeRules

# Lanes: main before, beside and after the merge; auxiliary far, approaching and beside the main lane.
MAIN_BEFORE, MAIN_BESIDE, MAIN_AFTER, FAR, APPROACH, BESIDE = range(6)
LANE_Y = np.array([4.0, 4.0, 4.0, 14.5, 11.25, 8.0])  # m; the approach swings around its value
NEXT_LANE = np.array([MAIN_BESIDE, MAIN_AFTER, MAIN_AFTER, APPROACH, BESIDE, MAIN_AFTER])
# x from which a car follows the next lane, half a car's length before the end of its own (`follow_road`).
FOLLOW_X = np.array([247.5, 277.5, np.inf, 197.5, 247.5, 277.5])
SWING, PULSATION, PHASE = 3.25, 2 * np.pi / 100, np.pi / 2  # m, rad/m, rad; the approach is a sine from x = 200 on

LENGTH, WIDTH = rules.LENGTH, 2.0  # m
DIAGONAL = np.sqrt(LENGTH**2 + WIDTH**2)  # m
CORNERS = np.array([[-2.5, -2.5, 2.5, 2.5], [-1.0, 1.0, 1.0, -1.0]])  # m, (along, across) × the four corners
PURSUIT_TIME = 0.1  # s
KP_LATERAL, KP_HEADING = 1 / 0.6, 1 / 0.2  # 1/s
MAX_STEERING = np.pi / 3  # rad
FRAME = 1 / rules.FREQUENCY  # s


@dataclass(frozen=True, slots=True)
class Cars:
    """Where N games stand, all of it; the last axis of every array is the games'. Row 0 is main, row 1 auxiliary."""

    x: np.ndarray  # (2, N) m
    y: np.ndarray  # (2, N) m
    heading: np.ndarray  # (2, N) rad
    speed: np.ndarray  # (2, N) m/s
    target_speed: np.ndarray  # (2, N) m/s
    lane: np.ndarray  # (2, N) int64, the lane that is steered for
    impact: np.ndarray  # (2, N) m; x and y by which a foreseen crash pushes main next frame, auxiliary the other way
    struck: np.ndarray  # (N,) bool; there is such an impact

    def __len__(self) -> int:
        return self.struck.size

    def __getitem__(self, games: np.ndarray | slice) -> Cars:
        """Returns some of the games, picked by an index array, a mask or a slice."""
        return Cars(*(getattr(self, field.name)[..., games] for field in fields(self)))

    @classmethod
    def concatenate(cls, parts: Sequence[Cars]) -> Cars:
        """Returns the games of all parts, in order."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts], axis=-1) for field in fields(cls)))

    def replaced(self, games: np.ndarray, by: Cars) -> Cars:
        """Returns all games, those at the indices `games` replaced."""
        columns = []
        for field in fields(self):
            column = getattr(self, field.name).copy()
            column[..., games] = getattr(by, field.name)
            columns.append(column)
        return Cars(*columns)


def start(starts: np.ndarray, game: MergeRules = PAPER) -> Cars:
    """Returns the cars at the given starts, (N, 4), columns as `rules.START_NAMES`."""
    main_x, main_speed, auxiliary_x, auxiliary_speed = np.asarray(starts, dtype=np.float64).T
    x, speed, n = np.stack([main_x, auxiliary_x]), np.stack([main_speed, auxiliary_speed]), len(main_x)
    return Cars(
        x=x,
        y=np.repeat([[rules.MAIN_Y], [rules.AUXILIARY_Y]], n, axis=1),
        heading=np.zeros((2, n)),
        speed=speed,
        target_speed=game.target_speeds[_nearest_target(speed, game)],
        lane=np.stack([np.full(n, MAIN_BEFORE), np.where(auxiliary_x > 200.0, APPROACH, FAR)]),
        impact=np.zeros((2, n)),
        struck=np.zeros(n, dtype=bool),
    )


def command(cars: Cars, actions: np.ndarray, game: MergeRules = PAPER) -> Cars:
    """Returns the cars with new target speeds and lanes; nothing has moved yet (`MergeVehicle.decide`).

    Args:
        cars: N games.
        actions: (2, N) int, of the discrete kind that the rules say. Accelerations are handed to `drive` instead.
        game: its rules.
    """
    # highway-env follows the road once more here than per frame: a lane change acts on the lane after this switch.
    lane = _follow_road(cars.lane, cars.x)
    last = game.speed_levels - 1
    if game.actions == "speeds":
        left, aims = actions > last, actions <= last
        index = np.minimum(actions, last)
    else:
        step = np.array([0, 0, 0, 1, -1])[actions]
        left, aims = actions == rules.LANE_LEFT, step != 0
        index = np.clip(_nearest_target(cars.speed, game) + step, 0, last)
    crosses = (  # every other lane change is towards a forbidden lane or none
        left
        & (lane == BESIDE)
        & (np.abs(cars.y - LANE_Y[MAIN_BESIDE]) <= 8.0)
        & (cars.x >= 250.0)
        & (cars.x - 250.0 < 35.0)
    )
    return replace(
        cars,
        target_speed=np.where(aims, game.target_speeds[index], cars.target_speed),
        lane=np.where(crosses, MAIN_BESIDE, lane),
    )


def drive(cars: Cars, game: MergeRules = PAPER, asked: np.ndarray | None = None) -> tuple[Cars, np.ndarray]:
    """Drives one second, every game to the frame in which it ends.

    Args:
        cars: N games.
        game: its rules.
        asked: (2, N) m/s², where the actions are accelerations.

    Returns:
        The cars, and the outcomes (N,) int64 as `rules.OUTCOMES`, -1 where a game goes on.
    """
    x, y, heading, speed = cars.x, cars.y, cars.heading, cars.speed
    lane, impact, struck = cars.lane, cars.impact.copy(), cars.struck.copy()
    outcome = np.full(len(cars), rules.ONGOING)
    live = np.ones(len(cars), dtype=bool)
    dt = np.full(len(cars), FRAME)  # 0 once a game is over, so that its cars stand still to the last bit
    bounded = game.acceleration_limits is not None or asked is not None
    for _ in range(rules.FREQUENCY):
        lane = _follow_road(lane, x)
        slip = np.arctan(1 / 2 * np.tan(_steering(x, y, heading, speed, lane)))
        if asked is None:
            acceleration = rules.KP_ACCELERATION * (cars.target_speed - speed)
        else:
            slowest, fastest = (rules.KP_ACCELERATION * (limit - speed) for limit in game.speed_limits)
            acceleration = np.minimum(np.maximum(asked, slowest), fastest)
        if bounded:
            braking, faster = game.accelerations
            acceleration = np.minimum(np.maximum(acceleration, braking), faster)
        course = heading + slip
        x = x + speed * np.cos(course) * dt
        y = y + speed * np.sin(course) * dt
        crashed = live & struck
        if crashed.any():
            push = np.where(crashed, impact, 0.0) * [[[1.0]], [[-1.0]]]  # (2 cars, x and y, N) m
            x, y = x + push[:, 0], y + push[:, 1]
        heading = heading + speed * np.sin(slip) / (LENGTH / 2) * dt
        speed = speed + acceleration * dt

        (near,) = (live & _near(x, y, heading, speed)).nonzero()
        if near.size:
            touching, foreseen, translation = _collision(x[:, near], y[:, near], heading[:, near], speed[:, near])
            crashed[near] |= touching
            struck[near] = foreseen
            impact[:, near] = translation / 2

        over = live & (crashed | (np.maximum(x[0], x[1]) > rules.FINISH_X))
        if over.any():
            first = np.where(x[0] >= x[1], rules.MAIN_FIRST, rules.AUXILIARY_FIRST)
            outcome = np.where(over, np.where(crashed, rules.CRASH, first), outcome)
            live = live & ~over
            dt = np.where(live, FRAME, 0.0)
            if not live.any():
                break
    return Cars(x, y, heading, speed, cars.target_speed, lane, impact, struck), outcome


def step(cars: Cars, actions: np.ndarray, game: MergeRules = PAPER) -> tuple[Cars, np.ndarray, np.ndarray]:
    """Plays one decision of N games.

    Args:
        cars: N games.
        actions: (2, N) int; (2, N, 1) m/s² where the rules' actions are accelerations.
        game: the rules.

    Returns:
        The cars, the outcomes as of `drive`, and the rewards, (N, 2 agents) float64.
    """
    if game.actions == "acceleration":
        ready = replace(cars, lane=_follow_road(cars.lane, cars.x))
        after, outcome = drive(ready, game, actions[:, :, 0].astype(np.float64))
    else:
        after, outcome = drive(command(cars, actions, game), game)
    return after, outcome, game.rewards(outcome, cars.speed.T, after.speed.T)


def state_features(cars: Cars) -> np.ndarray:
    """Returns the games' states, (N, 8) float32: four features of main, then four of auxiliary."""
    per_feature = np.stack(rules.features(cars.x, cars.y, cars.heading, cars.speed))  # (4, 2, N)
    return per_feature.transpose(2, 1, 0).reshape(len(cars), 8).astype(np.float32)


def _nearest_target(speed: np.ndarray, game: MergeRules) -> np.ndarray:
    lowest, highest, last = game.target_speeds[0], game.target_speeds[-1], game.speed_levels - 1
    return np.clip(np.round((speed - lowest) / (highest - lowest) * last), 0, last).astype(np.int64)


def _follow_road(lane: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.where(x > FOLLOW_X[lane], NEXT_LANE[lane], lane)


def _steering(x: np.ndarray, y: np.ndarray, heading: np.ndarray, speed: np.ndarray, lane: np.ndarray) -> np.ndarray:
    """Returns the steering angles, (2, N) rad (`ControlledVehicle.steering_control`)."""
    lateral = y - LANE_Y[lane]
    (approaching,) = (lane[1] == APPROACH).nonzero()  # main never is
    lane_heading = np.zeros_like(heading)  # that of the straight lanes
    if approaching.size:
        along = x[1, approaching] - 200.0
        ahead = along + speed[1, approaching] * PURSUIT_TIME
        lateral[1, approaching] -= SWING * np.sin(PULSATION * along + PHASE)
        lane_heading[1, approaching] = np.arctan(SWING * PULSATION * np.cos(PULSATION * ahead + PHASE))
    aim = np.arcsin(_within(-KP_LATERAL * lateral / speed, 1))
    error = lane_heading + _within(aim, np.pi / 4) - heading
    # highway-env wraps the error to ±π. It is within already, so what is left of the wrap is its rounding.
    rate = KP_HEADING * (error + np.pi - np.pi)
    slip = np.arcsin(_within(LENGTH / 2 / speed * rate, 1))
    return _within(np.arctan(2 * np.tan(slip)), MAX_STEERING)


def _within(values: np.ndarray, limit: float) -> np.ndarray:
    return np.minimum(np.maximum(values, -limit), limit)  # np.clip costs twice as much here


def _near(x: np.ndarray, y: np.ndarray, heading: np.ndarray, speed: np.ndarray) -> np.ndarray:
    """Returns which games, (N,) bool, need the test of `_collision`."""
    gap_x, gap_y = x[1] - x[0], y[1] - y[0]
    near = np.sqrt(gap_x * gap_x + gap_y * gap_y) <= DIAGONAL + speed[0] * FRAME  # highway-env's own pre-check
    # Not highway-env's, only for speed: across main's heading, one of the axes tested, main keeps within its half width
    # while auxiliary is as wide as its heading makes it. Cars side by side on their lanes are told apart by this alone.
    sin, cos = np.sin(heading[1] - heading[0]), np.cos(heading[1] - heading[0])
    reach = WIDTH / 2 + LENGTH / 2 * np.abs(sin) + WIDTH / 2 * np.abs(cos) + np.abs(speed[1] * sin) * FRAME
    return near & (np.abs(gap_y * np.cos(heading[0]) - gap_x * np.sin(heading[0])) <= reach + 1e-6)


def _collision(
    x: np.ndarray, y: np.ndarray, heading: np.ndarray, speed: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tests the axes that could separate two rectangles, now and one frame ahead (`utils.are_polygons_intersecting`).

    highway-env stops early once neither is possible any more; by then both answers are no, so testing all axes says
    the same. Its dot products go through BLAS, which may round once where two numpy operations round twice, so these
    do too.

    Returns:
        Touching now, (M,) bool; touching a frame ahead, (M,) bool; and by how much to push main apart, (2, M) m.
    """
    cos, sin = np.cos(heading), np.sin(heading)
    along, across = CORNERS
    corners = np.empty((*x.shape, 4, 2))  # (2 cars, M, 4 corners, 2)
    corners[..., 0] = cos[..., None] * along - sin[..., None] * across + x[..., None]
    corners[..., 1] = sin[..., None] * along + cos[..., None] * across + y[..., None]
    edges = corners[:, :, [1, 2, 3, 0]] - corners
    normals = edges[..., ::-1] * [-1.0, 1.0]
    normals /= np.sqrt(np.vecdot(normals, normals))[..., None]
    axes = np.concatenate([normals[0], normals[1]], axis=1)  # (M, 8, 2)

    projected = corners @ axes.transpose(0, 2, 1)  # (2 cars, M, 4 corners, 8 axes)
    low, high = projected.min(axis=2), projected.max(axis=2)
    touching = np.all(_gap(low, high) <= 0, axis=1)

    move = np.stack([speed * cos * FRAME, speed * sin * FRAME], axis=-1)  # (2 cars, M, 2) m
    closing = np.vecdot(axes, (move[0] - move[1])[:, None])  # (M, 8) m
    low[0] += np.minimum(closing, 0)
    high[0] += np.maximum(closing, 0)
    gap = _gap(low, high)
    foreseen = np.all(gap <= 0, axis=1)

    pair = np.arange(len(gap))
    least = np.abs(gap).argmin(axis=1)  # the axis along which the least push parts the cars
    axis = axes[pair, least]
    centres = corners.mean(axis=2)
    away = np.vecdot(centres[0] - centres[1], axis) > 0
    push = np.abs(gap[pair, least])
    return touching, foreseen, np.where(away, push, -push) * axis.T


def _gap(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return np.where(low[0] < low[1], low[1] - high[0], low[0] - high[1])


class BatchedMerge(BatchedGame):
    """N games of Highway Merge stepped together; `ParallelMerge` describes the game.

    Args:
        num_games: N, at least 1.
        rng: draws the starts.
        settings: the fields of `MergeRules`, such as `main_speed`.

    Raises:
        TypeError: if `MergeRules` has no such field.
        ValueError: if there is no game, or a setting is not as `MergeRules` says.
    """

    def __init__(self, num_games: int, rng: np.random.Generator, **settings: Any) -> None:
        if num_games < 1:
            raise ValueError(f"num_games={num_games!r} must be at least 1.")
        self.num_games = num_games
        self.rules = MergeRules(**settings)
        self.possible_agents = list(rules.AGENTS)
        self.observation_spaces = {agent: self.rules.observation_space() for agent in self.possible_agents}
        self.action_spaces = {agent: self.rules.action_space() for agent in self.possible_agents}
        self.state_space = rules.state_space()
        self.outcome_names = list(rules.OUTCOMES)
        self._rng = rng
        self._cars = start(np.empty((0, 4)), self.rules)
        self._ranges = self.rules.start_ranges()
        self.reset()

    def reset(self, mask: np.ndarray | None = None, starts: np.ndarray | None = None) -> None:
        """Starts the games of `mask`, (N,) bool, anew; all of them by default.

        Args:
            mask: which games.
            starts: their exact starts, (mask.sum(), 4), columns as `rules.START_NAMES`, instead of drawn ones.

        Raises:
            ValueError: if there are more or fewer starts than games.
        """
        games = np.arange(self.num_games) if mask is None else np.flatnonzero(mask)
        if starts is None:
            low, high = self._ranges
            starts = self._rng.uniform(low, high, size=(games.size, len(rules.START_NAMES)))
        elif np.shape(starts) != (games.size, len(rules.START_NAMES)):
            raise ValueError(f"starts has shape {np.shape(starts)}; {games.size} games need ({games.size}, 4).")
        cars = start(starts, self.rules)
        self._cars = cars if mask is None else self._cars.replaced(games, cars)

    def observe(self) -> dict[str, np.ndarray]:
        """Returns both agents' observations, (N, 8) float32: the own car's four features, then the other's.

        With a `sensor_range` they are (N, 9): the last tells whether the other is seen, whose features else are 0.
        """
        state = self.state()
        observations = {rules.MAIN: state, rules.AUXILIARY: np.roll(state, 4, axis=1)}
        if self.rules.sensor_range is None:
            return observations
        gap = self._cars.x[1] - self._cars.x[0]  # (N,) m
        for agent, ahead in ((rules.MAIN, gap), (rules.AUXILIARY, -gap)):
            seen = rules.sees(ahead, self.rules.sensor_range)[:, None]  # (N, 1)
            own, other = np.split(observations[agent], 2, axis=1)
            other = np.where(seen, other, np.float32(0))
            observations[agent] = np.concatenate([own, other, seen.astype(np.float32)], axis=1)
        return observations

    def state(self) -> np.ndarray:
        """Returns the states, (N, 8) float32: main's four features, then auxiliary's."""
        return state_features(self._cars)

    def step(self, actions: dict[str, np.ndarray]) -> BatchedStep:
        """Drives one second, every game to the frame in which it ends; actions are (N,) int or (N, 1) m/s²."""
        joint = np.stack([np.asarray(actions[agent]) for agent in self.possible_agents])
        self._cars, outcome, rewards = step(self._cars, joint, self.rules)
        rewards = rewards.astype(np.float32)
        return BatchedStep(
            rewards={agent: rewards[:, i] for i, agent in enumerate(self.possible_agents)},
            terminated=outcome != rules.ONGOING,
            truncated=np.zeros(self.num_games, dtype=bool),
            outcome=outcome,
        )

    def kinematics(self) -> np.ndarray:
        """Returns x, y in m, heading in rad and speed in m/s of both cars, (N, 2, 4)."""
        cars = self._cars
        return np.stack([cars.x, cars.y, cars.heading, cars.speed]).transpose(2, 1, 0)

    def get_state(self) -> dict[str, np.ndarray]:
        """Returns where the cars of all games are, by the names of `Cars`."""
        return {field.name: getattr(self._cars, field.name).copy() for field in fields(Cars)}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Puts the cars where `get_state` said that they were."""
        self.restore(Cars(**{name: column.copy() for name, column in state.items()}))

    def snapshot(self) -> Cars:
        """Returns where the games stand, for `restore`, or for `command` and `drive`; later steps leave it alone."""
        return self._cars

    def restore(self, cars: Cars) -> None:
        """Puts the games where `cars` stand.

        Raises:
            ValueError: if these are not of N games.
        """
        if len(cars) != self.num_games:
            raise ValueError(f"a snapshot of {len(cars)} games cannot be restored into {self.num_games}.")
        self._cars = cars
