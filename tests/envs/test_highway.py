"""Games of highway-env with several controlled cars: outcomes, each car's own infos, films."""

import copy
from pathlib import Path

import numpy as np
import pytest
import yaml

from rllib_biac.envs import make
from rllib_biac.envs.adapters import HighwayEnv

EXAMPLE = Path(__file__).parents[2] / "tuned_examples" / "highway_biac.yaml"
EXPERIMENT = yaml.safe_load(EXAMPLE.read_text())["highway_biac"]
CONFIG = EXPERIMENT["config"]


def junction(**kwargs):
    return make(EXPERIMENT["env"], **CONFIG["env_config"], **kwargs)


def play(env, seed, action):
    """Plays one action all the time; returns the last step's infos and the sum of rewards."""
    env.reset(seed=seed)
    returns = dict.fromkeys(env.possible_agents, 0.0)
    while env.agents:
        _, rewards, terminated, _, infos = env.step(dict.fromkeys(env.agents, action))
        for agent, reward in rewards.items():
            returns[agent] += reward
    return infos, returns, terminated


def test_a_crash_is_an_outcome_and_each_car_knows_of_its_own():
    env = junction()
    assert isinstance(env, HighwayEnv) and env.possible_agents == ["agent_0", "agent_1"]
    found = set()
    for seed in range(12):
        infos, returns, _ = play(env, seed, 2)  # FASTER
        cars = env.unwrapped.controlled_vehicles
        crashed = [car.crashed for car in cars]
        (outcome,) = {info["outcome"] for info in infos.values()}
        assert outcome == ("crash" if any(crashed) else "no crash")
        for agent, info in infos.items():
            i = env.possible_agents.index(agent)
            assert (info["crashed"], info["speed"]) == (crashed[i], cars[i].speed)
            assert (returns[agent] < -5) == crashed[i]  # the weight of a collision is -20
        found.add(outcome)
        if found == {"crash", "no crash"}:
            return
    pytest.fail(f"only {found} in 12 episodes")


def driven(**action):
    """The example's junction, with actions of another type."""
    config = CONFIG["env_config"]["config"] | {"action": {"type": "MultiAgentAction", "action_config": action}}
    return make(EXPERIMENT["env"], config=config)


@pytest.mark.parametrize("dynamical", [False, True])
def test_a_car_that_was_over_stays_over(dynamical):
    """Cars that steer leave the place where cars arrive again, and highway-env takes its flag back."""
    env = driven(type="ContinuousAction", dynamical=dynamical)
    rng, back = np.random.default_rng(0), False
    for seed in range(60):
        env.reset(seed=seed)
        over, crashed = set(), False
        while env.agents:
            there = list(env.agents)
            actions = {agent: np.array([1, rng.uniform(-0.3, 0.3)], np.float32) for agent in there}
            seen, rewards, terminated, truncated, infos = env.step(actions)
            assert set(seen) == set(rewards) == set(terminated) == set(there) and not over & set(there)
            crashed |= any(infos[agent]["crashed"] for agent in there)
            over |= {agent for agent in there if terminated[agent] or truncated[agent]}
            cars = zip(env.possible_agents, env.unwrapped.controlled_vehicles, strict=True)
            back |= any(
                agent in over and not env.unwrapped._agent_is_terminal(car) for agent, car in cars if env.agents
            )
        assert {info["outcome"] for info in infos.values()} == {"crash" if crashed else "no crash"}
        if back and seed > 5:
            return
    pytest.fail("no flag went back in 60 episodes")


def test_a_car_that_is_over_neither_brakes_nor_steers():
    for kind in ("DiscreteAction", "ContinuousAction"):
        env = driven(type=kind)
        env.reset(seed=0)
        env.agents = ["agent_1"]
        env.step({"agent_1": env.action_space("agent_1").sample()})
        own = env.unwrapped.action_type.agents_action_types[0]
        np.testing.assert_allclose(own.last_action, [0, 0], err_msg=kind)


@pytest.mark.parametrize("nested", [False, True])
def test_images_are_written_as_lists_as_in_experiment_files(nested):
    image = {"type": "GrayscaleObservation", "observation_shape": [32, 24], "stack_size": 2, "weights": [0.3, 0.5, 0.2]}
    own = {"type": "TupleObservation", "observation_configs": [image]} if nested else image
    settings = {"duration": 5, "observation": {"type": "MultiAgentObservation", "observation_config": own}}
    env = make(EXPERIMENT["env"], config=settings)
    seen = env.reset(seed=0)[0]["agent_0"]
    assert (seen[0] if nested else seen).shape == (2, 32, 24)
    assert image["observation_shape"] == [32, 24]  # settings of a checkpoint, say, stay as they are
    env.close()


@pytest.mark.parametrize(
    ("key", "meant"), [("simulation_frequenncy", "simulation_frequency"), ("Duration", "duration")]
)
def test_misspelt_settings_are_refused(key, meant):
    with pytest.raises(ValueError, match=f"{key} is no setting of this game: did you mean {meant}"):
        make(EXPERIMENT["env"], config={**CONFIG["env_config"]["config"], key: 1})


@pytest.mark.parametrize(
    ("kind", "key", "meant"), [("observation", "vehicle_count", "vehicles_count"), ("action", "laterl", "lateral")]
)
def test_misspelt_settings_of_what_cars_see_and_do_are_refused(kind, key, meant):
    config = copy.deepcopy(make(EXPERIMENT["env"]).unwrapped.config)
    make(EXPERIMENT["env"], config=config)  # with "flatten", of which highway-env makes nothing
    config[kind][f"{kind}_config"][key] = 1
    with pytest.raises(ValueError, match=f"config: {kind}: {kind}_config: {key} is no setting.* mean {meant}"):
        make(EXPERIMENT["env"], config=config)


def test_ranges_of_features_that_there_are_not_are_refused():
    config = copy.deepcopy(CONFIG["env_config"]["config"])
    config["observation"]["observation_config"]["features_range"]["xx"] = [-1, 1]
    with pytest.raises(ValueError, match=r"observation_config: features_range: 'xx' is none of .*cos_h.* x, y"):
        make(EXPERIMENT["env"], config=config)


@pytest.mark.parametrize(("key", "text"), [("duration", "long"), ("normalize_reward", "no")])
def test_text_for_numbers_is_refused(key, text):
    with pytest.raises(ValueError, match=f"config: {key} is the text '{text}'; write a value such as"):
        make(EXPERIMENT["env"], config={**CONFIG["env_config"]["config"], key: text})


def test_infos_say_nothing_of_an_outcome_before_the_end():
    env = junction()
    _, infos = env.reset(seed=0)
    assert all(info["crashed"] is False and "outcome" not in info for info in infos.values())
    *_, infos = env.step(dict.fromkeys(env.agents, 0))
    assert all("outcome" not in info for info in infos.values())


def test_films_show_every_frame_of_the_simulation():
    env = junction(render_mode="rgb_array")
    env.reset(seed=0)
    assert env.frames_since_last_step() == []  # who draws begins with a picture of the start
    start = env.render()
    env.step(dict.fromkeys(env.agents, 1))
    frames = env.frames_since_last_step()
    assert len(frames) == CONFIG["env_config"]["config"]["simulation_frequency"]
    assert all((one != other).any() for one, other in zip([start, *frames], frames, strict=False))
    np.testing.assert_array_equal(frames[-1], env.render())
    assert env.metadata["render_fps"] > 1
    env.close()
