"""Highway Merge: its facts, and its arrays against highway-env. What every game must do is in `test_conformance`."""

import pickle

import gymnasium as gym
import numpy as np
import pytest
from highway_env.envs.common.abstract import AbstractEnv
from highway_env.road.road import Road
from highway_env.vehicle.controller import MDPVehicle

from rllib_biac.envs import make, make_batched
from rllib_biac.envs.merge import rules
from rllib_biac.envs.merge.batched import command, drive
from rllib_biac.envs.merge.parallel import road_network
from rllib_biac.envs.merge.rules import MergeRules

RELEASED = {"main_speed": (38, 40), "auxiliary_speed": (38, 40)}
WIDE = {"main_speed": (15, 60), "auxiliary_speed": (15, 60), "main_x": (150, 230), "auxiliary_x": (150, 230)}
WHOLE_ROAD = {"main_speed": (1, 70), "auxiliary_speed": (1, 70), "main_x": (0, 249), "auxiliary_x": (0, 249)}
LANE_LEFT, IDLE, FASTER, SLOWER = rules.LANE_LEFT, rules.IDLE, rules.FASTER, rules.SLOWER


def joint(main, auxiliary):
    return {"main_0": main, "auxiliary_0": auxiliary}


def draw_starts(count, rng, **ranges):
    game = make_batched("merge_v0", count, rng, **ranges)
    cars = game.kinematics()
    return cars[:, :, [0, 3]].reshape(count, 4)


def options_of(start):
    return dict(zip(rules.START_NAMES, start, strict=True))


def kinematics(env):
    return np.array([[*car.position, car.heading, car.speed] for car in env.cars])


def constant_play(count, main, auxiliary, **ranges):
    """Returns how often each outcome follows from constant actions."""
    game = make_batched("merge_v0", count, np.random.default_rng(0), **ranges)
    outcome, going = np.full(count, -1), np.ones(count, dtype=bool)
    while going.any():
        step = game.step(joint(np.full(count, main), np.full(count, auxiliary)))
        outcome[going] = step.outcome[going]
        going &= ~step.terminated
    return np.bincount(outcome, minlength=3) / count


class StockMerge(AbstractEnv):
    """The same two cars in highway-env's own environment, action type and simulation loop."""

    class Car(MDPVehicle):
        MAX_SPEED = 70.0
        DEFAULT_TARGET_SPEEDS = np.array([20.0, 30.0, 40.0, 50.0, 60.0, 70.0])

    start = (215.0, 35.0, 215.0, 35.0)

    @classmethod
    def default_config(cls):
        speeds = {"type": "DiscreteMetaAction", "target_speeds": cls.Car.DEFAULT_TARGET_SPEEDS}
        return super().default_config() | {"action": {"type": "MultiAgentAction", "action_config": speeds}}

    def _reset(self):
        main_x, main_speed, auxiliary_x, auxiliary_speed = self.start
        self.road = Road(road_network(), np_random=self.np_random)
        self.controlled_vehicles = [
            self.Car(self.road, [main_x, 4.0], speed=main_speed),
            self.Car(self.road, [auxiliary_x, 14.5], speed=auxiliary_speed),
        ]
        self.road.vehicles = list(self.controlled_vehicles)

    def _reward(self, action):
        return 0.0

    def _is_terminated(self):
        return any(car.crashed or car.position[0] > 310 for car in self.controlled_vehicles)

    def _is_truncated(self):
        return False


def test_cars_drive_as_in_highway_env_s_own_loop():
    rng = np.random.default_rng(5)
    stock, env = StockMerge(), make("merge_v0")
    for start in draw_starts(15, rng, **WIDE):
        stock.start = tuple(start)
        stock.reset()
        env.reset(options=options_of(start))
        while True:
            actions = rng.integers(5, size=2)
            *_, ended, _, _ = stock.step(tuple(actions))
            _, _, terminated, _, _ = env.step(joint(*actions))
            assert ended == terminated["main_0"]
            if ended:  # highway-env's loop drives on to the end of the second
                break
            expected = [[*car.position, car.heading, car.speed] for car in stock.controlled_vehicles]
            np.testing.assert_array_equal(kinematics(env), expected)


def drawn_actions(space, rng, shape):
    """Returns random actions, of a Box with some beyond both ends, which count as the ends."""
    if isinstance(space, gym.spaces.Discrete):
        return rng.integers(space.n, size=shape)
    return rng.uniform(1.3 * space.low, 1.3 * space.high, (*shape, 1)).astype(np.float32)


def assert_arrays_equal_highway_env(settings, count, rng):
    """Every car at every decision and at the last frame, and every reward, outcome and observation, to the last bit.

    Returns:
        The outcomes that were seen.
    """
    starts = draw_starts(count, rng, **settings)
    game = make_batched("merge_v0", count, rng, **settings)
    longest = 20 if min(game.rules.speed_limits) >= 20 else 70
    actions = drawn_actions(game.action_spaces["main_0"], rng, (longest, 2, count))
    game.reset(starts=starts)
    cars, states, observations, steps = [game.kinematics()], [game.state()], [game.observe()], []
    for main, auxiliary in actions:
        steps.append(game.step(joint(main, auxiliary)))
        cars.append(game.kinematics())
        states.append(game.state())
        observations.append(game.observe())

    env = make("merge_v0", **settings)
    seen = set()
    for i, start in enumerate(starts):
        env.reset(options=options_of(start))
        t = 0
        while env.agents:
            observation, rewards, terminated, truncated, infos = env.step(joint(*actions[t, :, i]))
            step, t = steps[t], t + 1
            np.testing.assert_array_equal(cars[t][i], kinematics(env))
            np.testing.assert_array_equal(states[t][i], env.state())
            for agent in env.possible_agents:
                np.testing.assert_array_equal(observations[t][agent][i], observation[agent])
                assert step.rewards[agent][i] == np.float32(rewards[agent])
                assert step.terminated[i] == terminated[agent]
                assert step.truncated[i] == truncated[agent]
                outcome = game.outcome_names[step.outcome[i]] if step.outcome[i] >= 0 else None
                assert infos[agent].get("outcome") == outcome
        seen.add(outcome)
    return seen


@pytest.mark.parametrize(
    ("ranges", "count"),
    [
        (RELEASED, 150),
        (WIDE, 150),
        (WHOLE_ROAD, 150),
        *(pytest.param(*more, marks=pytest.mark.slow) for more in (({}, 800), (RELEASED, 500), (WIDE, 600))),
    ],
    ids=["released", "wide", "road", "paper", "released, more", "wide, more"],
)
def test_arrays_equal_highway_env(ranges, count):
    seen = assert_arrays_equal_highway_env(ranges, count, np.random.default_rng(count))
    assert seen == {"main_first", "auxiliary_first", "crash"}


def drawn_settings(rng):
    """Returns settings of the game, each at its default or drawn."""
    low = rng.uniform(1, 60)
    limits = (low, rng.uniform(low + 1, 100))
    settings = {
        "actions": str(rng.choice(rules.ACTION_KINDS)),
        "speed_levels": int(rng.integers(2, 12)),
        "acceleration_limits": (-rng.uniform(0.5, 30), rng.uniform(0.5, 30)),
        "first_reward": rng.uniform(-5, 100),
        "second_reward": rng.uniform(-5, 100),
        "crash_reward": -rng.uniform(0, 200),
        "speed_weight": rng.uniform(0, 5),
        "speed_change_weight": rng.uniform(0, 1),
        "reward_scale": rng.uniform(0.01, 10),
        "sensor_range": rng.uniform(1, 50),
    }
    settings = {name: value for name, value in settings.items() if rng.random() < 0.6}
    fastest = 70.0
    if rng.random() < 0.7:
        settings["speed_limits"], fastest = limits, limits[1]
    slowest = rng.uniform(1, fastest)
    for car in rules.AGENTS:
        settings[f"{car[:-2]}_speed"] = (slowest, fastest)
        settings[f"{car[:-2]}_x"] = (rng.uniform(50, 200), 245)
    return settings


@pytest.mark.parametrize("seed", [*range(8), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(8, 100))])
def test_arrays_equal_highway_env_in_every_setting(seed):
    rng = np.random.default_rng(seed)
    assert_arrays_equal_highway_env(drawn_settings(rng), 15, rng)


def test_the_defaults_are_the_paper_s():
    paper = MergeRules()
    np.testing.assert_array_equal(paper.target_speeds, [20, 30, 40, 50, 60, 70])
    speeds = np.array([[33.0, 50.0]])
    for outcome, rewards in zip(range(-1, 3), ([0, 0], [50, 10], [10, 50], [-10, -10]), strict=True):
        np.testing.assert_array_equal(paper.rewards(np.array([outcome]), speeds, speeds + 1), [rewards])


def test_rewards_are_what_the_weights_say():
    env = make(
        "merge_v0", crash_reward=-200, speed_weight=4, speed_change_weight=0.5, main_speed=30, auxiliary_speed=30
    )
    env.reset(seed=0)
    _, rewards, *_ = env.step(joint(FASTER, IDLE))
    main, auxiliary = (car.speed for car in env.cars)
    assert main > 38 and auxiliary == 30
    assert rewards["main_0"] == pytest.approx(4 * (main - 20) / 50 - 0.5 * (main - 30))
    assert rewards["auxiliary_0"] == pytest.approx(4 * 10 / 50)


@pytest.mark.parametrize("actions", rules.ACTION_KINDS)
def test_cars_keep_to_their_limits(actions):
    """Between all frames, and the game ends."""
    env = make(
        "merge_v0",
        actions=actions,
        speed_limits=(12, 32),
        acceleration_limits=(-6, 3),
        main_speed=(5, 32),
        auxiliary_speed=(5, 32),
        render_mode="rgb_array",
    )
    rng = np.random.default_rng(1)
    for _ in range(5):
        env.reset()
        while env.agents:
            before = np.array([car.speed for car in env.cars])
            env.step({agent: drawn_actions(env.action_space(agent), rng, ()) for agent in env.agents})
            frames, after = len(env._poses), np.array([car.speed for car in env.cars])
            change = (after - before) / (frames / rules.FREQUENCY)
            assert (change <= 3 + 1e-9).all() and (change >= -6 - 1e-9).all()
            assert (after <= 32).all() and (after >= np.minimum(before, 12)).all()


def test_an_action_per_target_speed():
    env = make("merge_v0", actions="speeds", speed_levels=11, main_speed=30, auxiliary_speed=30)
    assert env.action_space("main_0").n == 12
    env.reset(seed=0)
    env.step(joint(3, 10))  # 35 and 70 m/s
    main, auxiliary = env.cars
    assert (main.target_speed, auxiliary.target_speed) == (35, 70)
    assert 34 < main.speed < 35 and auxiliary.speed > 60


def test_the_car_drives_as_it_is_asked_to():
    env = make("merge_v0", actions="acceleration", main_speed=30, auxiliary_speed=30)
    env.reset(seed=0)
    env.step({"main_0": np.array([2.5], np.float32), "auxiliary_0": np.array([-3.0], np.float32)})
    assert [car.speed for car in env.cars] == pytest.approx([32.5, 27.0])


@pytest.mark.parametrize("sensor_range", [3, 20.0])
def test_arrays_equal_highway_env_with_sensors(sensor_range):
    rng, count = np.random.default_rng(4), 150
    kwargs = {**WIDE, "sensor_range": sensor_range}
    starts, actions = draw_starts(count, rng, **WIDE), rng.integers(5, size=(20, 2, count))
    game, env = make_batched("merge_v0", count, rng, **kwargs), make("merge_v0", **kwargs)
    game.reset(starts=starts)
    observations = [game.observe()]
    for main, auxiliary in actions:
        game.step(joint(main, auxiliary))
        observations.append(game.observe())
    flags = set()
    for i, start in enumerate(starts):
        seen, _ = env.reset(options=options_of(start))
        t = 0
        while True:
            gap = env.cars[1].position[0] - env.cars[0].position[0]
            state = np.split(env.state(), 2)
            for agent, ahead, (own, other) in (("main_0", gap, state), ("auxiliary_0", -gap, state[::-1])):
                sees = -5 < ahead <= sensor_range
                np.testing.assert_array_equal(seen[agent], [*own, *(other if sees else np.zeros(4)), sees])
                np.testing.assert_allclose(observations[t][agent][i], seen[agent], rtol=0, atol=1e-6)
                flags.add(sees)
            if not env.agents:
                break
            seen, *_ = env.step(joint(*actions[t, :, i]))
            t += 1
    assert flags == {True, False}


def test_sensors_look_ahead_at_most_so_far():
    """Cars at x = 200 and 200 + gap: the front one sees the rear one only while they are side by side."""
    env = make("merge_v0", sensor_range=20, main_x=200, main_speed=35, auxiliary_speed=35)
    assert env.observation_space("main_0").shape == (9,) and env.state_space.shape == (8,)
    for gap, main_sees, auxiliary_sees in (
        (-21, False, False),
        (-20, False, True),
        (-5, False, True),
        (-4.5, True, True),
        (0, True, True),
        (4.5, True, True),
        (5, True, False),
        (20, True, False),
        (20.5, False, False),
    ):
        observations, _ = env.reset(options={"auxiliary_x": 200 + gap})
        assert [o[-1] for o in observations.values()] == [main_sees, auxiliary_sees], gap
        assert env.state().shape == (8,) and np.abs(env.state()[4:]).sum() > 0


def test_a_sensor_range_changes_nothing_but_what_is_seen():
    rng = np.random.default_rng(2)
    starts, actions = draw_starts(100, rng), rng.integers(5, size=(3, 2, 100))
    whole, partial = (make_batched("merge_v0", 100, rng, sensor_range=r) for r in (None, 10))
    for game in (whole, partial):
        game.reset(starts=starts)
    for main, auxiliary in actions:
        assert np.array_equal(whole.step(joint(main, auxiliary)).outcome, partial.step(joint(main, auxiliary)).outcome)
        np.testing.assert_array_equal(whole.state(), partial.state())


def test_the_quick_check_before_the_collision_test_misses_none():
    """Cars in every position near each other: the lateral check may only skip pairs that neither touch nor will."""
    from rllib_biac.envs.merge.batched import DIAGONAL, FRAME, _collision, _near

    rng = np.random.default_rng(0)
    n = 20_000
    x, y = 260 + rng.uniform(-5, 5, (2, n)), rng.uniform(-4, 4, (2, n))
    heading, speed = rng.uniform(-0.8, 0.8, (2, n)), rng.uniform(1, 70, (2, n))
    within = np.hypot(x[1] - x[0], y[1] - y[0]) <= DIAGONAL + speed[0] * FRAME
    touching, foreseen, _ = _collision(x, y, heading, speed)
    skipped = within & ~_near(x, y, heading, speed)
    assert skipped.any()
    assert not (skipped & (touching | foreseen)).any()


@pytest.mark.parametrize(
    ("main", "auxiliary", "shares"),
    [
        (FASTER, SLOWER, (1, 0, 0)),
        (IDLE, IDLE, (0.23, 0.26, 0.51)),
    ],
)
def test_constant_play(main, auxiliary, shares):
    np.testing.assert_allclose(constant_play(3000, main, auxiliary), shares, atol=0 if 1 in shares else 0.03)


def test_random_play():
    rng = np.random.default_rng(1)
    game = make_batched("merge_v0", 1000, rng)
    counts = np.zeros(3)
    for _ in range(12):
        step = game.step(joint(rng.integers(5, size=1000), rng.integers(5, size=1000)))
        counts += np.bincount(step.outcome[step.terminated], minlength=3)
        game.reset(step.terminated)
    np.testing.assert_allclose(counts / counts.sum(), (0.38, 0.40, 0.22), atol=0.03)


def test_main_has_no_lane_to_change_to():
    for action in (LANE_LEFT, rules.LANE_RIGHT):
        np.testing.assert_array_equal(constant_play(300, action, SLOWER), constant_play(300, IDLE, SLOWER))


def test_lane_left_acts_beside_the_main_lane_only():
    starts = np.array([[215.0, 35.0, 215.0, 35.0]])
    before = make_batched("merge_v0", 1, np.random.default_rng(0))
    before.reset(starts=starts)
    at_start = before.snapshot()

    def after(cars, auxiliary):
        return drive(command(cars, np.array([[SLOWER], [auxiliary]])))[0]

    np.testing.assert_array_equal(after(at_start, LANE_LEFT).y, after(at_start, IDLE).y)
    beside = after(at_start, FASTER)
    assert beside.x[1, 0] > 250
    assert after(beside, LANE_LEFT).y[1, 0] < after(beside, IDLE).y[1, 0] - 0.5
    np.testing.assert_array_equal(after(beside, rules.LANE_RIGHT).y, after(beside, IDLE).y)


def test_rewards_and_infos_at_the_end():
    env = make("merge_v0", reward_scale=0.1)
    env.reset(seed=0)
    while env.agents:
        _, rewards, terminated, truncated, infos = env.step(joint(FASTER, SLOWER))
        if env.agents:
            assert set(rewards.values()) == {0.0}
    assert rewards == pytest.approx({"main_0": 5.0, "auxiliary_0": 1.0})
    assert all(terminated.values()) and not any(truncated.values())
    assert {info["outcome"] for info in infos.values()} == {"main_first"}


def test_both_forms_draw_the_same_starts():
    env, game = make("merge_v0", **WIDE), make_batched("merge_v0", 1, np.random.default_rng(3), **WIDE)
    env.np_random = np.random.default_rng(3)
    for _ in range(3):
        env.reset()
        np.testing.assert_array_equal(game.kinematics()[0], kinematics(env))
        game.reset()


def test_starts_stay_within_their_ranges_and_options_hold_for_one_episode():
    env = make("merge_v0", main_speed=[20, 25], auxiliary_speed=33, main_x=(200, 210))
    env.reset(seed=1, options={"main_speed": 50.0, "auxiliary_x": 180, "anything": object()})
    assert (env.cars[0].speed, env.cars[1].position[0]) == (50.0, 180.0)
    env.reset()
    main, auxiliary = kinematics(env)
    assert 20 <= main[3] <= 25 and 200 <= main[0] <= 210
    assert (auxiliary[0], auxiliary[3]) == (215.0, 33.0)


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        ({"main_speed": (40, 30)}, "low <= high"),
        ({"main_speed": (30, 40, 50)}, r"\(low, high\) pair"),
        ({"main_speed": "fast"}, r"\(low, high\) pair"),
        ({"main_speed": float("nan")}, "low <= high"),
        ({"auxiliary_speed": (0, 10)}, "within 1 and 70"),
        ({"main_x": 250.0}, "0 <= x < 250"),
        ({"auxiliary_x": (-1, 10)}, "0 <= x < 250"),
        ({"reward_scale": 0.0}, "positive"),
        ({"sensor_range": 0}, "positive number of metres"),
        ({"sensor_range": float("inf")}, "None"),
        ({"sensor_range": "far"}, "positive number of metres"),
        ({"sensor_range": True}, "positive number of metres"),
        ({"crash_reward": 10}, "write -10"),
        ({"first_reward": "much"}, "finite number"),
        ({"speed_weight": -1}, "0 or above"),
        ({"actions": "five"}, "steps, speeds, acceleration"),
        ({"speed_limits": (0, 30)}, "1 <= low"),
        ({"speed_limits": 30}, r"\(low, high\) pair"),
        ({"speed_limits": (10, 30)}, "within 1 and 30 m/s"),
        ({"speed_levels": 1}, "at least 2"),
        ({"speed_levels": 3.0}, "whole number"),
        ({"acceleration_limits": (1, 4)}, "low < 0 < high"),
        ({"acceleration_limits": (-8, float("inf"))}, "low < 0 < high"),
    ],
)
def test_bad_options_are_refused(kwargs, says):
    for build in (
        lambda: make("merge_v0", **kwargs),
        lambda: make_batched("merge_v0", 2, np.random.default_rng(0), **kwargs),
    ):
        with pytest.raises(ValueError, match=says):
            build()


def test_bad_render_mode_and_bad_exact_starts_are_refused():
    with pytest.raises(ValueError, match="render_mode"):
        make("merge_v0", render_mode="human")
    with pytest.raises(ValueError, match="main_x"):
        make("merge_v0").reset(options={"main_x": 400})
    with pytest.raises(ValueError, match="shape"):
        make_batched("merge_v0", 2, np.random.default_rng(0)).reset(starts=np.zeros((1, 4)))


def test_a_pickled_game_keeps_its_options():
    env = pickle.loads(pickle.dumps(make("merge_v0", main_speed=20, auxiliary_speed=30)))
    env.reset(seed=0)
    assert [car.speed for car in env.cars] == [20.0, 30.0]


def test_a_snapshot_branches():
    rng = np.random.default_rng(2)
    game = make_batched("merge_v0", 50, rng)
    game.step(joint(rng.integers(5, size=50), rng.integers(5, size=50)))
    snapshot, here = game.snapshot(), game.kinematics()
    actions = joint(rng.integers(5, size=50), rng.integers(5, size=50))
    first = game.step(actions)
    there = game.kinematics()
    game.reset(first.terminated)
    game.restore(snapshot)
    np.testing.assert_array_equal(game.kinematics(), here)
    np.testing.assert_array_equal(game.step(actions).outcome, first.outcome)
    np.testing.assert_array_equal(game.kinematics(), there)


def test_reset_by_mask_leaves_the_others():
    rng = np.random.default_rng(0)
    game = make_batched("merge_v0", 6, rng)
    game.step(joint(np.full(6, IDLE), np.full(6, IDLE)))
    before, mask = game.kinematics(), np.array([True, False, False, True, False, False])
    exact = np.array([[200.0, 31.0, 210.0, 32.0], [201.0, 33.0, 211.0, 34.0]])
    game.reset(mask, exact)
    after = game.kinematics()
    np.testing.assert_array_equal(after[~mask], before[~mask])
    np.testing.assert_array_equal(after[mask][:, :, [0, 3]].reshape(2, 4), exact)


@pytest.mark.parametrize("driver", [None, "dummy"])
def test_rendering(monkeypatch, driver):
    if driver:
        monkeypatch.setenv("SDL_VIDEODRIVER", driver)
    env = make("merge_v0", render_mode="rgb_array", main_speed=35, auxiliary_speed=35)
    env.reset(seed=0)
    start = env.render()
    assert start.shape == (160, 900, 3) and start.dtype == np.uint8
    assert len(np.unique(start.reshape(-1, 3), axis=0)) > 3
    np.testing.assert_array_equal(env.frames_since_last_step(), [start])
    env.step(joint(IDLE, IDLE))
    position = kinematics(env)
    frames = env.frames_since_last_step()
    assert len(frames) == env.metadata["render_fps"]
    assert all((a != b).any() for a, b in zip([start, *frames], frames, strict=False))
    np.testing.assert_array_equal(frames[-1], env.render())
    np.testing.assert_array_equal(kinematics(env), position)
    env.close()
    assert make("merge_v0").render() is None
