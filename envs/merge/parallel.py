"""Highway Merge as a PettingZoo `ParallelEnv`: two of highway-env's cars on highway-env's road."""

from __future__ import annotations

import os
import tempfile
from types import SimpleNamespace
from typing import Any

import numpy as np
from gymnasium.utils import EzPickle, seeding
from highway_env.envs.common.graphics import EnvViewer
from highway_env.road.lane import LineType, SineLane, StraightLane
from highway_env.road.road import Road, RoadNetwork
from highway_env.vehicle.controller import MDPVehicle
from highway_env.vehicle.graphics import VehicleGraphics
from pettingzoo import ParallelEnv

from rllib_biac.envs.merge import rules
from rllib_biac.envs.merge.rules import MergeRules

COLORS = (VehicleGraphics.BLUE, VehicleGraphics.YELLOW)  # of main and auxiliary


def road_network() -> RoadNetwork:
    """Returns the road: a main lane at y = 4 m, and an auxiliary lane that joins it between x = 250 and 280 m."""
    solid, striped, none = LineType.CONTINUOUS_LINE, LineType.STRIPED, LineType.NONE
    network = RoadNetwork()
    network.add_lane("a", "b", StraightLane([0, 4], [250, 4], line_types=[solid, solid]))
    network.add_lane("b", "c", StraightLane([250, 4], [280, 4], line_types=[solid, striped]))
    network.add_lane("c", "d", StraightLane([280, 4], [1080, 4], line_types=[solid, solid]))
    amplitude = 3.25
    far = StraightLane([0, 14.5], [200, 14.5], line_types=[solid, solid], forbidden=True)
    approach = SineLane(
        far.position(200, -amplitude),
        far.position(250, -amplitude),
        amplitude,
        2 * np.pi / 100,
        np.pi / 2,
        line_types=[solid, solid],
        forbidden=True,
    )
    end = approach.position(50, 0)
    beside = StraightLane(end, end + np.array([30, 0]), line_types=[none, solid], forbidden=True)
    network.add_lane("j", "k", far)
    network.add_lane("k", "b", approach)
    network.add_lane("b", "c", beside)
    return network


class MergeVehicle(MDPVehicle):
    """highway-env's car, which follows its lane, with the speeds and the actions of `MergeRules`."""

    def __init__(self, road: Road, position: list[float], speed: float, game: MergeRules) -> None:
        super().__init__(road, position, speed=speed, target_speeds=game.target_speeds)
        self.MAX_SPEED = float(game.speed_limits[1])
        self._game = game
        self._asked: float | None = None  # m/s²

    def decide(self, action: Any) -> None:
        """Takes an action of the game's action space, for the second to come."""
        if self._game.actions == "acceleration":
            self._asked = float(np.asarray(action)[0])
            self.act("IDLE")
        elif self._game.actions == "steps":
            self.act(rules.ACTION_NAMES[int(action)])
        elif action < len(self.target_speeds):
            self.target_speed = self.index_to_speed(int(action))
            self.act("IDLE")
        else:
            self.act("LANE_LEFT")

    def speed_control(self, target_speed: float) -> float:
        """Returns the acceleration in m/s²: towards the target speed, or what was asked within the speed limits."""
        wanted = super().speed_control(target_speed)
        if self._asked is not None:
            slowest, fastest = (super(MergeVehicle, self).speed_control(v) for v in self._game.speed_limits)
            wanted = min(max(self._asked, slowest), fastest)
        braking, faster = self._game.accelerations
        return min(max(wanted, braking), faster)

    def on_state_update(self) -> None:
        """Skips the search for the lane the car is on: nothing here asks for it, and it is slow."""


class ParallelMerge(ParallelEnv, EzPickle):
    """Two cars drive towards one lane and each would rather go first (Zhang et al. 2020, "Highway Merge", Table 4).

    `main_0` comes along the main lane; `auxiliary_0` along a lane that ends at x = 280 m, where highway-env changes the
    lane for it if it has not done so itself. Decisions are taken once a second, the cars move at 15 Hz. The episode
    ends when the first car is past x = 310 m or the two crash: the first across receives 50, the second 10, a crash
    gives -10 to each, and everything before 0. The slowest target speed is 20 m/s, so an episode always ends (after 2
    to 5 decisions from the default starts, at most 17 from the far end of the road) and is never truncated. Rewards,
    speeds and actions may be set (`MergeRules`); what follows is the default, the paper's game.

    Actions: LANE_LEFT, IDLE, LANE_RIGHT, FASTER, SLOWER. FASTER and SLOWER set the target speed one step of 10 m/s
    above or below the one that is nearest to the present speed. LANE_LEFT acts only for the auxiliary car beside the
    main lane, x from 250 m; LANE_RIGHT never.

    Observations: own x, y, vx, vy, then the other's, float32, scaled (`rules.features`). The state: main's, then
    auxiliary's. `infos[agent]["outcome"]` tells at the end what happened: "main_first", "auxiliary_first" or "crash".

    With a `sensor_range` a car sees the other only while that one is not wholly behind it and its centre is at most so
    far ahead: -5 m < other's x - own x <= `sensor_range`. 5 m is a car's length, so cars side by side see each other.
    An observation then has a ninth number, 1 if the other is seen and else 0, and zeros for the four features of a car
    that is not. The state stays complete.

    Args:
        render_mode: "rgb_array" or None.
        settings: the fields of `MergeRules`, such as `main_speed`.

    Raises:
        TypeError: if `MergeRules` has no such field.
        ValueError: if a setting is not as `MergeRules` says, or the render mode unknown.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  (PettingZoo's form)
        "name": "merge_v0",
        "render_modes": ["rgb_array"],
        "render_fps": rules.FREQUENCY,
        "is_parallelizable": True,
    }

    def __init__(self, render_mode: str | None = None, **settings: Any) -> None:
        EzPickle.__init__(self, render_mode, **settings)
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode={render_mode!r} is unknown; use 'rgb_array' or None.")
        self.render_mode = render_mode
        self.rules = MergeRules(**settings)
        self._ranges = self.rules.start_ranges()
        self.possible_agents = list(rules.AGENTS)
        self.agents: list[str] = []
        self.observation_spaces = {agent: self.rules.observation_space() for agent in self.possible_agents}
        self.action_spaces = {agent: self.rules.action_space() for agent in self.possible_agents}
        self.state_space = rules.state_space()
        self.np_random, _ = seeding.np_random()
        self._network = road_network()
        self._viewer: EnvViewer | None = None
        self._poses: list[list[tuple[np.ndarray, float, bool]]] = []

    def observation_space(self, agent: str) -> Any:
        """Returns the agent's space of 8 features, or of 9 with a `sensor_range`."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Any:
        """Returns the agent's space of 5 actions, or what `actions` makes of it."""
        return self.action_spaces[agent]

    @property
    def cars(self) -> list[MergeVehicle]:
        """The two cars, main then auxiliary."""
        return self._road.vehicles

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, dict[str, Any]]]:
        """Puts both cars at a start.

        Args:
            seed: of the starts from now on.
            options: may hold `main_x`, `main_speed`, `auxiliary_x`, `auxiliary_speed`, numbers or ranges, for this
                episode only; other keys are ignored.
        """
        if seed is not None:
            self.np_random, _ = seeding.np_random(seed)
        ranges = self.rules.start_ranges(options) if options else self._ranges
        main_x, main_speed, auxiliary_x, auxiliary_speed = self.np_random.uniform(*ranges)
        self._road = Road(self._network, np_random=self.np_random)
        self._road.vehicles = [
            MergeVehicle(self._road, [main_x, rules.MAIN_Y], main_speed, self.rules),
            MergeVehicle(self._road, [auxiliary_x, rules.AUXILIARY_Y], auxiliary_speed, self.rules),
        ]
        self.agents = list(self.possible_agents)
        self._poses = [self._pose()]
        return self._observations(), {agent: {} for agent in self.agents}

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[dict[str, np.ndarray], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Drives one second, or to the frame in which the episode ends."""
        before = self._speeds()
        for agent, car in zip(rules.AGENTS, self.cars, strict=True):
            car.decide(actions[agent])
        self._poses = []
        for _ in range(rules.FREQUENCY):
            self._road.act()
            self._road.step(1 / rules.FREQUENCY)
            if self.render_mode is not None:
                self._poses.append(self._pose())
            if (outcome := self._outcome()) != rules.ONGOING:
                break
        over = outcome != rules.ONGOING
        rewards = self.rules.rewards(outcome, before, self._speeds())
        agents = self.agents
        if over:
            self.agents = []
        return (
            self._observations(),
            {agent: float(reward) for agent, reward in zip(agents, rewards, strict=True)},
            dict.fromkeys(agents, over),
            dict.fromkeys(agents, False),
            {agent: {"outcome": rules.OUTCOMES[outcome]} if over else {} for agent in agents},
        )

    def _speeds(self) -> np.ndarray:
        return np.array([car.speed for car in self.cars])

    def _outcome(self) -> int:
        main, auxiliary = self.cars
        # The crash first: highway-env marks a foreseen one a frame late, when the finish may have been passed.
        if main.crashed or auxiliary.crashed:
            return rules.CRASH
        main_x, auxiliary_x = main.position[0], auxiliary.position[0]
        if max(main_x, auxiliary_x) > rules.FINISH_X:
            return rules.MAIN_FIRST if main_x >= auxiliary_x else rules.AUXILIARY_FIRST
        return rules.ONGOING

    def _features(self) -> list[float]:
        seen = (rules.features(car.position[0], car.position[1], car.heading, car.speed) for car in self.cars)
        return [feature for features in seen for feature in features]

    def _observations(self) -> dict[str, np.ndarray]:
        state, gap = self._features(), self.cars[1].position[0] - self.cars[0].position[0]
        return {
            rules.MAIN: self._observation(state[:4], state[4:], gap),
            rules.AUXILIARY: self._observation(state[4:], state[:4], -gap),
        }

    def _observation(self, own: list[float], other: list[float], ahead: float) -> np.ndarray:
        if self.rules.sensor_range is None:
            return np.array(own + other, dtype=np.float32)
        seen = bool(rules.sees(ahead, self.rules.sensor_range))
        return np.array(own + (other if seen else [0.0] * 4) + [seen], dtype=np.float32)

    def state(self) -> np.ndarray:
        """Returns the 8 features, the main car's and then the auxiliary car's, float32."""
        return np.array(self._features(), dtype=np.float32)

    def _pose(self) -> list[tuple[np.ndarray, float, bool]]:
        return [(car.position.copy(), car.heading, car.crashed) for car in self.cars]

    def render(self) -> np.ndarray | None:
        """Returns the picture now, (160, 900, 3) uint8, or None without a render mode."""
        if self.render_mode is None:
            return None
        if self._viewer is None:
            scene = SimpleNamespace(
                config={
                    "offscreen_rendering": True,
                    "screen_width": 900,
                    "screen_height": 160,
                    "scaling": 6.0,
                    "centering_position": [0.5, 0.5],
                    "render_agent": True,
                    "simulation_frequency": rules.FREQUENCY,
                },
                observation_type=None,
            )
            # SDL complains of its absence, though it draws nothing on any screen here.
            os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
            self._viewer = EnvViewer(scene)
            self._viewer.enabled = True  # it draws on its own surface, which needs no screen, SDL's dummy included
            self._viewer.observer_vehicle = SimpleNamespace(position=np.array([260.0, 9.0]))
        self._viewer.env.road = self._road
        for car, color in zip(self.cars, COLORS, strict=True):
            car.color = VehicleGraphics.RED if car.crashed else color
        self._viewer.display()
        return self._viewer.get_image()

    def frames_since_last_step(self) -> list[np.ndarray]:
        """Returns the pictures of all frames of the last step (after a reset: the start), `render_fps` per second."""
        if self.render_mode is None:
            return []
        now = self._pose()
        frames: list[Any] = []
        for pose in [*self._poses, now]:
            for car, (position, heading, crashed) in zip(self.cars, pose, strict=True):
                car.position, car.heading, car.crashed = position.copy(), heading, crashed
            frames.append(self.render())
        return frames[:-1]  # without `now`, which only puts the cars back

    def close(self) -> None:
        """Frees the drawing surface."""
        if self._viewer is not None:
            self._viewer.close()
            self._viewer = None
