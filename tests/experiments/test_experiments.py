"""What is read from files and flags is what would be trained."""

from __future__ import annotations

import os
from collections import Counter

import pytest
from ray.rllib.callbacks.callbacks import RLlibCallback

from rllib_biac.experiments import checks, grid, reading
from tests.experiments.stub import StubAlgorithm

FILE = """
first:
  run: BiAC
  env: matrix_game_v0
  stop: {training_iteration: 5, env_runners/episode_return_mean: 1e2}
  checkpoint_config: {checkpoint_at_end: false, num_to_keep: 2}
  storage_path: /results/of the file
  config:
    lr: 1e-3
    train_batch_size_per_learner: 1e3
    seed: 7
    hierarchy: [[player_0], [player_1]]
    model_config: {hiddens: [8]}
    env_config: {payoffs: [[1]]}
    callbacks: ray.rllib.callbacks.callbacks:RLlibCallback
    leader_module_class: ray.rllib.core.rl_module:RLModule
    evaluation_interval: 3
    evaluation_config: {explore: false}
    pause_s: 0
second:
  run: IDQN
  env: matrix_game_v0
"""


def config_of(experiment, trial=0):
    return experiment.trials[trial].config


def test_settings_reach_the_config_by_its_fluent_methods(rllib, write, started):
    result = rllib("train", "file", write(FILE))
    assert result.exit_code == 0, result.output
    first, second = started
    config = config_of(first)
    assert (first.name, second.name) == ("first", "second")
    assert config.algo_class is StubAlgorithm
    assert (config.lr, config.seed, config.evaluation_interval) == (1e-3, 7, 3)
    assert config.train_batch_size_per_learner == 1000
    assert isinstance(config.train_batch_size_per_learner, int)
    assert config.levels == [["player_0"], ["player_1"]]
    assert config._model_config == {"hiddens": [8]}
    assert config.env_config == {"payoffs": [[1]]}
    assert config.callbacks_class is RLlibCallback
    assert config.leader_module_class.__name__ == "RLModule"
    assert first.stop == {"training_iteration": 5, "env_runners/episode_return_mean": 100.0}


def test_a_config_survives_the_way_through_tune(rllib, write, started):
    rllib("train", "file", write(FILE))
    config = config_of(started[0])
    again = StubAlgorithm.get_default_config().update_from_dict(config.to_dict())
    assert again.to_dict() == config.to_dict()


def test_flags_that_are_not_given_leave_the_file_alone(rllib, write, started):
    rllib("train", "file", write(FILE))
    assert started[0].checkpoint_config == {"checkpoint_at_end": False, "num_to_keep": 2}
    assert started[0].storage_path == "/results/of the file"
    assert started[1].checkpoint_config == {"checkpoint_at_end": True}
    assert started[1].storage_path == os.path.expanduser("~/ray_results")


def test_flags_change_every_experiment_of_the_file(rllib, write, started):
    flags = (
        "--env escape_v0 --seed 3 --storage-path out --checkpoint-freq 4 --checkpoint-at-end --keep-checkpoints-num 1"
    )
    stop = '{"training_iteration": 1}'
    result = rllib("train", "file", write(FILE), *flags.split(), "--stop", stop)
    assert result.exit_code == 0, result.output
    for experiment in started:
        assert config_of(experiment).env == "escape_v0"
        assert config_of(experiment).seed == 3
        assert experiment.stop == {"training_iteration": 1}
        assert experiment.storage_path == os.path.abspath("out")
        assert experiment.checkpoint_config == {
            "checkpoint_at_end": True,
            "checkpoint_frequency": 4,
            "num_to_keep": 1,
        }


def test_a_grid_is_every_combination_and_samples_differ_in_seed(rllib, write, started):
    text = """
sweep:
  run: BiAC
  env: matrix_game_v0
  num_samples: 2
  config:
    seed: 5
    lr: {grid_search: [0.1, 0.2]}
    hierarchy: {grid_search: [[[a], [b]], [[b], [a]]]}
    env_config: {size: {grid_search: [3]}}
"""
    assert rllib("train", "file", write(text)).exit_code == 0
    configs = [trial.config for trial in started[0].trials]
    assert len(configs) == 8
    assert Counter((c.lr, c.levels[0][0], c.seed) for c in configs) == Counter(
        (lr, top, seed) for lr in (0.1, 0.2) for top in "ab" for seed in (5, 6)
    )
    assert all(c.env_config == {"size": 3} for c in configs)
    assert len({trial.label for trial in started[0].trials}) == 8


def test_grid_of_the_command_line(rllib, started):
    config = '{"lr": {"grid_search": [0.1, 0.2]}}'
    result = rllib("train", "--algo", "BiAC", "--env", "matrix_game_v0", "--config", config)
    assert result.exit_code == 0, result.output
    assert started[0].name == "BiAC_matrix_game_v0"
    assert [trial.config.lr for trial in started[0].trials] == [0.1, 0.2]


def test_a_python_file(rllib, write, started):
    text = """
from tests.experiments.stub import StubConfig
config = StubConfig().environment("matrix_game_v0").training(lr={"grid_search": [0.1, 0.2]}).hierarchy([["a"], ["b"]])
stop = {"training_iteration": 2}
"""
    result = rllib("train", "file", write(text, "mine.py"), "--seed", 4)
    assert result.exit_code == 0, result.output
    assert started[0].name == "mine"
    assert started[0].stop == {"training_iteration": 2}
    assert [(t.config.lr, t.config.seed, t.config.levels) for t in started[0].trials] == [
        (0.1, 4, [["a"], ["b"]]),
        (0.2, 4, [["a"], ["b"]]),
    ]


def test_a_python_file_with_a_grid_of_one(rllib, write, started):
    text = """
from tests.experiments.stub import StubConfig
config = StubConfig().environment("matrix_game_v0").training(lr={"grid_search": [0.1]})
"""
    assert rllib("train", "file", write(text, "mine.py")).exit_code == 0
    assert [trial.config.lr for trial in started[0].trials] == [0.1]


def test_merged_mappings_and_own_metrics(rllib, write, started):
    text = """
a: {run: BiAC, env: matrix_game_v0, config: &shared {lr: 0.5}}
b:
  run: BiAC
  env: matrix_game_v0
  stop: {env_runners/mine: 3}
  config: {<<: *shared, gamma: 0.5, callbacks: 'ray.rllib.callbacks.callbacks:RLlibCallback'}
"""
    result = rllib("train", "file", write(text))
    assert result.exit_code == 0, result.output
    assert (config_of(started[1]).lr, config_of(started[1]).gamma) == (0.5, 0.5)


def test_harmless_old_words_pass(rllib, write, started):
    text = "a: {run: BiAC, env: matrix_game_v0, config: {framework: torch, num_gpus: 0}}"
    assert rllib("train", "file", write(text)).exit_code == 0
    assert len(started) == 1


def test_examples_by_name(rllib, tmp_path, started, monkeypatch):
    text = "# A small game.\nmine: {run: BiAC, env: matrix_game_v0}\n"
    (tmp_path / "small.yaml").write_text(text)
    monkeypatch.setattr(reading.resources, "files", lambda _: tmp_path)
    assert "small" in rllib("example", "list").output
    assert "A small game." in rllib("example", "list").output
    assert rllib("example", "get", "small").output == text
    for arguments in (["example", "run", "small"], ["train", "file", "small"], ["train", "file", "small.yaml"]):
        assert rllib(*arguments).exit_code == 0
    assert len(started) == 3
    assert "'small'" in rllib("train", "file", "smal").output


@pytest.mark.parametrize("path", reading.examples().values(), ids=lambda path: path.stem)
def test_packaged_examples_have_no_mistakes(path):
    for draft in reading.read(path):
        checks.check(draft)


def test_expand_equals_nested_loops():
    tree = {"a": {"grid_search": [1, 2]}, "b": [{"c": {"grid_search": ["x", "y"]}}, 0], "d": 3}
    expected = [{"a": a, "b": [{"c": c}, 0], "d": 3} for a in (1, 2) for c in ("x", "y")]
    assert [point for _, point in grid.expand(tree)] == expected
    assert [grid.label(choices) for choices, _ in grid.expand(tree)] == ["a=1,c=x", "a=1,c=y", "a=2,c=x", "a=2,c=y"]
