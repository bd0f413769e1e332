"""What every algorithm of the registry does as an algorithm of RLlib. A new one is tested by being listed there."""

import functools
import json
import re

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from ray.rllib.algorithms.algorithm import Algorithm

from rllib_biac.cli.main import main
from rllib_biac.evaluation import play
from rllib_biac.execution import StackelbergPolicy
from rllib_biac.learning.hierarchy import Hierarchy
from rllib_biac.learning.model_config import MODEL_DEFAULTS
from rllib_biac.learning.peers import PeersSettings
from rllib_biac.rllib.reading import load, read_trained
from rllib_biac.rllib.registry import ALGORITHMS, config_class, load_algorithm
from tests.exact import differing, numbers, state

EVERY = pytest.mark.parametrize("name", ALGORITHMS)
PLAYERS = ("player_0", "player_1")


def levels(name):
    peers = issubclass(config_class(name).algorithm.settings, PeersSettings)
    return [list(PLAYERS)] if peers else [[player] for player in PLAYERS]


def accepts(name, num_learners=1, **settings):
    """Tells whether an algorithm takes these settings: one of tables takes no networks, and no second learner."""
    try:
        config_class(name).algorithm.settings(**settings).check(Hierarchy(levels(name)), num_learners)
    except ValueError:
        return False
    return True


def configured(name, **runners):
    """A tiny run that explores as much as can be."""
    small = {"fcnet_hiddens": [16]}
    networks = small if accepts(name, model_config=MODEL_DEFAULTS | small) else {}
    return (
        config_class(name)()
        .environment("maintain_v0")
        .hierarchy(levels(name))
        .training(num_steps_sampled_before_learning_starts=20, train_batch_size_per_learner=16)
        .env_runners(num_envs_per_env_runner=10, epsilon=1.0, exploration="joint", **runners)
        .rl_module(model_config=networks)
        .reporting(min_sample_timesteps_per_iteration=50)
        .debugging(seed=0, log_level="ERROR")
    )


def greedy(team):
    """Greedy play of the game, whose only state is 1."""
    one = torch.ones(1, 1)
    with torch.no_grad():
        return {agent: int(a) for agent, a in team.act(one, observations=dict.fromkeys(team.agents, one)).items()}


def assert_plays_as(file, team):
    """Holds a file of weights to a team's play; where networks cannot be described the file says so."""
    try:
        team.describe()
    except ValueError as reason:
        with pytest.raises(ValueError, match=re.escape(str(reason))):
            StackelbergPolicy.load(file)
        return
    policy, one = StackelbergPolicy.load(file), np.ones(1, np.float32)
    seen = {"observations": dict.fromkeys(PLAYERS, one)} if policy.description.play == "local" else {"state": one}
    assert policy.act(**seen) == greedy(team)


@pytest.fixture(scope="session")
def trained(ray, tmp_path_factory):
    """A function of an algorithm's name: one that was trained for two iterations, its last result, a checkpoint."""

    @functools.cache
    def make(name):
        algo = configured(name).build_algo()
        made.append(algo)
        result = [algo.train() for _ in range(2)][-1]
        return algo, result, algo.save_to_path(tmp_path_factory.mktemp(name) / "saved")

    made = []
    yield make
    for algo in made:
        algo.stop()


@EVERY
def test_metrics_are_finite(trained, name):
    _, result, _ = trained(name)
    for agent in PLAYERS:
        measured = numbers(result["learners"][agent])
        assert {"qf_mean", "td_error_mean"} <= measured.keys()
        assert all(np.isfinite(value) for value in measured.values()), measured
    assert result["num_env_steps_sampled_lifetime"] == 100
    assert result["learners"]["__all_modules__"]["num_updates_lifetime"] > 0
    assert result["env_runners"]["epsilon"] == 1.0


@EVERY
def test_those_who_play_have_the_learners_weights(trained, name):
    algo, _, _ = trained(name)
    theirs = algo.learner_team().weights()
    for agent, own in algo.env_runner.module.team.weights().items():
        for key, values in own.items():
            np.testing.assert_array_equal(values, theirs[agent][key])


@EVERY
def test_a_checkpoint_plays_as_the_run_did(trained, name):
    algo, _, path = trained(name)
    config, team = load(path)
    joint = greedy(algo.env_runner.module.team)
    assert type(config) is config_class(name) and config.levels == levels(name)
    assert greedy(team) == joint
    outcome = "ABC"[joint["player_0"]] + "-" + "XYZ"[joint["player_1"]]
    assert list(play(read_trained(path), episodes=2, seed=0).outcomes.items()) == [(outcome, 2)]
    assert algo.evaluate()["env_runners"]["outcome_share"][outcome] == 1.0  # and explores no more


@EVERY
def test_weights_alone(trained, name, tmp_path):
    algo, _, _ = trained(name)
    algo.save_weights(file := tmp_path / "weights.safetensors")
    team = algo.learner_team()
    then = team.weights()
    with torch.no_grad():
        for member in team.members().values():
            for values in member.state_dict().values():
                values.copy_(values + 1)
    algo.load_weights(file)
    for now in (team.weights(), algo.env_runner.module.team.weights()):
        for agent, own in now.items():
            for key, values in own.items():
                np.testing.assert_array_equal(values, then[agent][key])
    assert_plays_as(file, team)


@EVERY
def test_commands_take_its_checkpoint(trained, name, tmp_path):
    algo, _, path = trained(name)
    result = CliRunner().invoke(main, ["evaluate", path, "--episodes", "2", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["episodes"] == 2
    result = CliRunner().invoke(main, ["export", path, str(tmp_path / "policy.safetensors")])
    assert result.exit_code == 0, result.output
    assert_plays_as(tmp_path / "policy.safetensors", algo.env_runner.module.team)


def go_on(algo):
    reported = [numbers(algo.train()) for _ in range(2)]
    become = state(algo)
    algo.stop()
    return reported, become


@pytest.mark.slow
@EVERY
def test_another_process_goes_on_bit_for_bit(ray, tmp_path, name):
    algo = configured(name).build_algo()
    algo.train()
    path = algo.save_to_path(tmp_path / "saved")
    elsewhere = ray.remote(num_cpus=0)(lambda: go_on(Algorithm.from_checkpoint(path))).remote()
    reported, become = go_on(algo)
    reported_there, become_there = ray.get(elsewhere)
    for one, other in zip(reported, reported_there, strict=True):
        assert differing(one, other) == {}
    assert differing(become, become_there) == {}


@pytest.mark.slow
@EVERY
@pytest.mark.parametrize("kind", ["joint", "stock"])
def test_remote_runners_play_with_the_learners_weights(ray, name, kind):
    runners = {"num_env_runners": 2 if kind == "joint" else 1, "num_cpus_per_env_runner": 0.5}
    algo = configured(name, env_runner_cls=kind, **runners).build_algo()
    result = [algo.train() for _ in range(2)][-1]
    assert np.isfinite(result["learners"]["player_0"]["qf_mean"])
    theirs = algo.learner_team().weights()
    for played in algo.env_runner_group.foreach_env_runner(
        lambda runner: runner.module.team.weights(), local_env_runner=False
    ):
        for agent, own in played.items():
            for key, values in own.items():
                np.testing.assert_array_equal(values, theirs[agent][key])
    algo.stop()


@pytest.mark.slow
@EVERY
def test_two_remote_learners_learn(ray, name):
    settings = configured(name).learners(num_learners=2, num_cpus_per_learner=0.5)
    if not accepts(name, num_learners=2):
        with pytest.raises(ValueError, match="num_learners"):
            settings.validate()
        return
    algo = settings.build_algo()
    before = algo.env_runner.module.team.weights()
    result = [algo.train() for _ in range(2)][-1]
    after = algo.env_runner.module.team.weights()
    assert np.isfinite(result["learners"]["player_0"]["qf_mean"])
    assert any((before[agent][key] != after[agent][key]).any() for agent in PLAYERS for key in after[agent])
    algo.stop()


@pytest.mark.slow
@EVERY
def test_an_experiment_of_it_is_trained_and_reported(ray, name, tmp_path):
    settings = {"hierarchy": levels(name), "num_envs_per_env_runner": 10, "min_sample_timesteps_per_iteration": 50}
    arguments = ["train", "--algo", name, "--env", "maintain_v0", "--config", json.dumps(settings)]
    arguments += ["--stop", '{"training_iteration": 2}', "--storage-path", str(tmp_path), "--experiment-name", "mine"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    result = CliRunner().invoke(main, ["report", str(tmp_path / "mine")])
    assert result.exit_code == 0, result.output
    written = (tmp_path / "mine" / "report.html").read_text(encoding="utf-8")
    assert name in written and "its checkpoint cannot be played" not in written and "Learned" in written
    assert "In use" in written


@EVERY
def test_its_class_is_found_by_its_name(name):
    algorithm = load_algorithm(name)
    assert algorithm.__name__ == algorithm.config_class.algorithm.name == name
    assert type(algorithm.get_default_config()) is config_class(name)
