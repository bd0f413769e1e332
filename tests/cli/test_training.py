"""Real trials under Ray Tune, of an algorithm that only reports: how a run ends, and how it goes on."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path

import pytest
import ray
from click.testing import CliRunner
from ray.tune.utils import flatten_dict

from rllib_biac.cli.main import main
from rllib_biac.experiments.metrics import METRICS

ENV = "run: BiAC, env: matrix_game_v0"


@pytest.fixture(scope="module", autouse=True)
def one_ray(ray):
    """The command uses a Ray that is there already."""


@pytest.mark.slow
def test_a_file_with_a_sweep_and_a_failure(rllib, write, tmp_path):
    text = f"""
sweep: {{{ENV}, stop: {{num_env_steps_sampled_lifetime: 300}}, config: {{lr: {{grid_search: [0.1, 0.2]}}}}}}
broken: {{{ENV}, stop: {{training_iteration: 3}}, config: {{fail_at: 2}}}}
"""
    result = rllib("train", "file", write(text), "--storage-path", tmp_path / "my results")
    assert result.exit_code == 1, result.output
    for lr in ("lr=0.1", "lr=0.2"):
        assert f"{lr}: done: iter 3 | 300 steps" in result.output
        (checkpoint,) = (tmp_path / "my results" / "sweep").glob(f"*{lr}/checkpoint_*")
        assert f"rllib evaluate '{checkpoint}'" in result.output
    assert "failed: stub failed in iteration 2\n" in result.output
    assert "Traceback" not in result.output
    (trace,) = (tmp_path / "my results" / "broken").glob("*/error.txt")
    assert f"'{trace}'" in result.output
    assert "stub.py" in trace.read_text()
    assert ray.is_initialized()  # It was not ours to shut down.


@pytest.mark.slow
def test_interrupt_and_resume(rllib, write, tmp_path):
    path = write(f"mine: {{{ENV}, stop: {{training_iteration: 12}}, config: {{pause_s: 0.1}}}}")
    arguments = ["train", "file", path, "--storage-path", tmp_path]
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGUSR1)]

    def interrupt_after_a_checkpoint():
        while not any(Path(tmp_path).glob("mine/*/checkpoint_*")):
            pause.wait(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    pause = threading.Event()
    thread = threading.Thread(target=interrupt_after_a_checkpoint)
    thread.start()
    stopped = rllib(*arguments, "--checkpoint-freq", 1)
    thread.join()
    assert stopped.exit_code == 130, stopped.output
    assert f"rllib train file {path} --storage-path {tmp_path} --resume\n" in stopped.output
    assert "done:" not in stopped.output
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGUSR1)] == handlers

    resumed = rllib(*arguments, "--resume")
    assert resumed.exit_code == 0, resumed.output
    assert "done: iter 12 |" in resumed.output
    assert "iter 1 |" not in resumed.output


def test_a_trial_that_could_never_start_is_refused(write, tmp_path):
    text = "big: {run: BiAC, env: escape_v0, config: {hierarchy: [[player_0], [player_1]], num_env_runners: 5}}"
    result = CliRunner().invoke(main, ["train", "file", str(write(text)), "--storage-path", str(tmp_path)])
    assert result.exit_code == 2
    assert "needs 6 CPUs and there are 2" in result.output


def test_nothing_to_resume(rllib, write, tmp_path):
    result = rllib("train", "file", write(f"mine: {{{ENV}}}"), "--storage-path", tmp_path, "--resume")
    assert result.exit_code == 2
    assert "nothing to resume" in result.output


@pytest.mark.slow
def test_a_real_algorithm_reports_what_a_stop_criterion_may_name(write, tmp_path):
    text = """
real:
  run: BiAC
  env: escape_v0
  stop: {training_iteration: 1}
  config:
    hierarchy: [[player_0], [player_1]]
    min_sample_timesteps_per_iteration: 64
    num_steps_sampled_before_learning_starts: 32
    train_batch_size_per_learner: 16
    num_envs_per_env_runner: 4
    evaluation_interval: 1
    evaluation_duration: 2
"""
    result = CliRunner().invoke(main, ["train", "file", str(write(text)), "--storage-path", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "done: iter 1 | 64 steps | return player_0" in result.output
    (report,) = Path(tmp_path).glob("real/*/result.json")
    reported = set(flatten_dict(json.loads(report.read_text()), delimiter="/"))
    for metric in METRICS:
        assert metric in reported or (metric.endswith("/") and any(name.startswith(metric) for name in reported)), (
            metric
        )


@pytest.mark.slow
def test_a_trial_in_the_process_of_an_earlier_one_learns_as_it_would_alone(write, tmp_path):
    text = """
mine:
  run: BiAC
  env: escape_v0
  stop: {num_env_steps_sampled_lifetime: 300}
  checkpoint_config: {checkpoint_at_end: false}
  config: {hierarchy: [[player_0], [player_1]], seed: 0, min_sample_timesteps_per_iteration: 100}
"""
    path = str(write(text))
    learned = {}
    for name, flags in (("several", ["--num-samples", "4"]), ("alone", ["--seed", "3"])):
        result = CliRunner().invoke(main, ["train", "file", path, "--storage-path", str(tmp_path / name), *flags])
        assert result.exit_code == 0, result.output
        for report in (tmp_path / name).glob("mine/*/result.json"):
            last = json.loads(report.read_text().splitlines()[-1])
            assert last["training_iteration"] == 3
            seen = (last["learners"]["player_1"]["qf_loss"], last["env_runners"]["agent_episode_returns_mean"])
            learned[name, last["config"]["seed"]] = seen
            pids = learned.setdefault((name, "pids"), set())
            pids.add(last["pid"])
    assert len(learned["several", "pids"]) <= 2  # four trials, two cores
    assert learned["several", 3] == learned["alone", 3]
