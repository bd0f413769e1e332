"""What is read from files and flags is what would be trained."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from ray.rllib.callbacks.callbacks import RLlibCallback

from rllib_biac.cli.progress import clock, line, seconds_left
from rllib_biac.core.best_response import Estimate, LearnedRegret
from rllib_biac.equilibria import NashComparison
from rllib_biac.experiments import grid
from rllib_biac.experiments import reading as experiment_file
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
    train_batch_size: 1e3
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
    assert config.train_batch_size == 1000
    assert isinstance(config.train_batch_size, int)
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
    result = rllib("train", "--run", "BiAC", "--env", "matrix_game_v0", "--config", config)
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
    monkeypatch.setattr(experiment_file.resources, "files", lambda _: tmp_path)
    assert "small" in rllib("example", "list").output
    assert "A small game." in rllib("example", "list").output
    assert rllib("example", "get", "small").output == text
    for arguments in (["example", "run", "small"], ["train", "file", "small"], ["train", "file", "small.yaml"]):
        assert rllib(*arguments).exit_code == 0
    assert len(started) == 3
    assert "'small'" in rllib("train", "file", "smal").output


@pytest.mark.parametrize("path", experiment_file.examples().values(), ids=lambda path: path.stem)
def test_packaged_examples_have_no_mistakes(path):
    for draft in experiment_file.read(path):
        experiment_file.check(draft)


def test_expand_equals_nested_loops():
    tree = {"a": {"grid_search": [1, 2]}, "b": [{"c": {"grid_search": ["x", "y"]}}, 0], "d": 3}
    expected = [{"a": a, "b": [{"c": c}, 0], "d": 3} for a in (1, 2) for c in ("x", "y")]
    assert [point for _, point in grid.expand(tree)] == expected
    assert [grid.label(choices) for choices, _ in grid.expand(tree)] == ["a=1,c=x", "a=1,c=y", "a=2,c=x", "a=2,c=y"]


def test_time_left_is_of_the_first_criterion_to_be_met():
    result = {"training_iteration": 10, "time_total_s": 20.0, "env_runners": {"num_episodes_lifetime": 5}}
    assert seconds_left(result, {"training_iteration": 40}) == pytest.approx(60)
    assert seconds_left(result, {"training_iteration": 40, "env_runners/num_episodes_lifetime": 10}) == pytest.approx(
        20
    )
    assert seconds_left(result, {"env_runners/episode_return_mean": 3}) is None
    assert [clock(s) for s in (8.2, 185, 7620)] == ["8s", "3m05s", "2h07m"]


def test_a_line_says_what_matters():
    result = {
        "training_iteration": 3,
        "time_total_s": 9.0,
        "num_env_steps_sampled_lifetime": 12000,
        "env_runners": {
            "agent_episode_returns_mean": {"main_0": 1.234, "auxiliary_0": -5},
            "outcome_share": {"a": 0.1, "b": 0.6, "c": 0.05, "d": 0.25},
        },
    }
    assert line(result, {"training_iteration": 6}) == (
        "iter 3 | 12,000 steps | return auxiliary_0 -5.00, main_0 1.23 | b 60%, d 25%, a 10% | 9s (about 9s left)"
    )


def test_help_and_version_do_not_import_ray():
    code = "import sys, rllib_biac.cli.main as m\ntry: m.main(sys.argv[1:])\nfinally: assert 'ray' not in sys.modules"
    for flag in ("--help", "--version"):
        done = subprocess.run([sys.executable, "-c", code, flag], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "rllib" in done.stdout.lower() or "Usage" in done.stdout


@pytest.fixture
def played(monkeypatch):
    frames = [np.full((4, 6, 3), shade, np.uint8) for shade in (0, 100, 200)]
    calls = []

    def play(checkpoint, episodes, seed, render, on_observations, best_response, progress):
        calls.append((checkpoint, episodes, seed, render, best_response))
        learned = {
            "main_0": LearnedRegret(False, Estimate(0.5, 0.25), Estimate(0.5, 0.25)),
            "auxiliary_0": LearnedRegret(True, Estimate(0.0, 0.0), Estimate(3.0, 0.125)),
        }
        return SimpleNamespace(
            returns={"main_0": [1.0, 2.0], "auxiliary_0": [0.0, 1.0]},
            lengths=[3, 5],
            outcomes=Counter(merged=1, crashed=1),
            frames=frames if render else [],
            frames_per_second=10.0,
            regret=SimpleNamespace(worst_response_regret=0.25, worst_leader_regret=1.5),
            nash=NashComparison(np.array([2.0, 1.0]), np.array([[2.0, 0.0], [1.0, 1.0], [2.0, 1.0], [3.0, 0.0]])),
            learned_regret=learned if best_response else {},
        )

    monkeypatch.setitem(sys.modules, "rllib_biac.core.play", SimpleNamespace(play=play))
    return calls


def test_evaluate_reports_and_draws(rllib, tmp_path, played):
    checkpoint = tmp_path / "a trial" / "checkpoint_000002"
    for number in (1, 2):
        (older := tmp_path / "a trial" / f"checkpoint_00000{number}").mkdir(parents=True)
        (older / "rllib_checkpoint.json").write_text("{}")
    picture = tmp_path / "game.gif"
    result = rllib("evaluate", tmp_path, "--episodes", 2, "--seed", 5, "--render-to", picture)
    assert result.exit_code == 0, result.output
    assert played == [(str(checkpoint), 2, 5, True, 0)]
    assert "main_0: 1.500" in result.output
    assert "merged: 50.0%" in result.output
    assert "response regret: 0.25 " in result.output and "leader regret: 1.5 " in result.output
    assert "equilibria: 4; this play dominates 2 of them" in result.output
    assert "equals 1, is dominated by 0" in result.output
    assert Image.open(picture).n_frames == 3
    learned = rllib("evaluate", checkpoint, "--best-response", 2000)
    assert "main_0, leader regret: 0.5 ± 0.25\n" in learned.output
    assert "auxiliary_0, response regret: 3 ± 0.12 at worst" in learned.output
    assert "0 ± 0 as they play" in learned.output
    report = json.loads(rllib("evaluate", checkpoint, "--json", "--best-response", 2000).output)
    assert report["agent_episode_returns_mean"] == {"main_0": 1.5, "auxiliary_0": 0.5}
    assert report["nash"]["equilibria"][0] == {"main_0": 2.0, "auxiliary_0": 0.0}
    worst = report["best_response"]["regret"]["auxiliary_0"]["worst"]
    assert worst == {"value": 3.0, "standard_error": 0.125} and report["best_response"]["env_steps"] == 2000
    assert rllib("evaluate", checkpoint, "--best-response", 10).exit_code == 2


def test_evaluate_asks_which_of_several_trials(rllib, tmp_path):
    for trial in ("a b", "c"):
        (folder := tmp_path / trial / "checkpoint_000000").mkdir(parents=True)
        (folder / "rllib_checkpoint.json").write_text("{}")
    result = rllib("evaluate", tmp_path)
    assert result.exit_code == 2
    assert f"rllib evaluate '{tmp_path}/a b/checkpoint_000000'" in result.output
