"""The cheapest faults, one seed each: what is reported stays so, and training goes on. All: `benchmarks/faults`."""

import errno
import os
import signal
import threading

import pytest
from click.testing import CliRunner

from rllib_biac import BiAC
from rllib_biac.cli.main import main
from rllib_biac.envs.errors import GameError
from rllib_biac.files.checkpoint import is_whole
from rllib_biac.rllib.replay import SavedReplayBuffer
from tests.exact import differing, state
from tests.faults.games import GoesWrongOnce
from tests.games import config


def two_runners(fault, folder, **more):
    game = {"fault": fault, "once": str(folder / "gone_wrong")}
    # Else random play would show who knows what, before training.
    configured = config(GoesWrongOnce).environment(GoesWrongOnce, env_config=game, information="full")
    return configured.env_runners(num_env_runners=2, num_cpus_per_env_runner=0.5, **more).build_algo()


def train(algo, until):
    """Trains until something holds; replay has all that is reported, which never goes back."""
    steps = 0
    while not until():
        result = algo.train()
        dropped = result.get("num_env_steps_dropped_lifetime", 0)
        assert steps <= result["num_env_steps_sampled_lifetime"] <= algo.local_replay_buffer.num_added + dropped
        steps = result["num_env_steps_sampled_lifetime"]


@pytest.mark.slow
def test_a_game_that_raised_is_named_and_what_others_played_is_kept(ray, tmp_path):
    algo = two_runners("raise", tmp_path)
    with pytest.raises(GameError, match=r"^GoesWrongOnce: .*the simulator is gone.* in step\(\) in game \d at step \d"):
        train(algo, lambda: False)
    before, iteration = algo.local_replay_buffer.num_added, algo.iteration
    assert before % 20 == 10  # rows of ten games of either runner; one of them had none to give the last time
    train(algo, lambda: algo.iteration == iteration + 2)
    assert algo.local_replay_buffer.num_added >= before + 400
    algo.stop()


@pytest.mark.slow
@pytest.mark.parametrize("max_sampling_lag", [None, 1000], ids=["synchronous", "asynchronous"])
def test_a_runner_whose_game_hangs_is_started_again(ray, tmp_path, max_sampling_lag):
    algo = two_runners("hang", tmp_path, sample_timeout_s=3.0, max_sampling_lag=max_sampling_lag)
    group = algo.env_runner_group
    train(algo, lambda: group.num_remote_worker_restarts() and group.num_healthy_remote_workers() == 2)
    assert (tmp_path / "gone_wrong").exists()
    algo.save_to_path(tmp_path / "saved")  # which asks everybody for their state
    assert is_whole(tmp_path / "saved")
    algo.stop()


@pytest.mark.slow
def test_training_without_any_runner_ends(ray):
    algo = config().env_runners(num_env_runners=1, num_cpus_per_env_runner=0.5)
    algo = algo.fault_tolerance(
        restart_failed_env_runners=False,
        ignore_env_runner_failures=True,
        num_consecutive_env_runner_failures_tolerance=3,
    ).build_algo()
    algo.train()
    (pid,) = algo.env_runner_group.foreach_env_runner(lambda runner: os.getpid(), local_env_runner=False)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match=r"no env runner has played anything in 4 calls.*tolerance"):
        algo.train()
    algo.stop()


@pytest.mark.slow
def test_a_dead_learner_is_named_and_its_checkpoint_goes_on(ray, tmp_path):
    algo = config().learners(num_learners=1, num_cpus_per_learner=0.5).build_algo()
    algo.train()
    path = algo.save_to_path(tmp_path / "saved")
    (pid,) = (each.get() for each in algo.learner_group.foreach_learner(lambda learner: os.getpid()))
    os.kill(pid, signal.SIGKILL)
    for then in (algo.train, lambda: algo.save_to_path(tmp_path / "late"), algo.get_state):
        with pytest.raises(RuntimeError, match=r"remote learner 0 of 1 died.*max_failures.*--resume.*from_checkpoint"):
            then()
    assert not (tmp_path / "late").exists()
    algo.stop()
    algo = BiAC.from_checkpoint(path)
    algo.train()
    assert algo.iteration == 2
    algo.stop()


def test_a_checkpoint_for_which_there_is_no_room(ray, tmp_path, monkeypatch):
    algo, untouched = (config("escape_v0").build_algo() for _ in range(2))
    algo.save_to_path(tmp_path / "saved")
    algo.train()
    with monkeypatch.context() as patch:

        def full(*args, **kwargs):
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(SavedReplayBuffer, "save_to_path", full)
        with pytest.raises(OSError, match="No space left"):
            algo.save_to_path(tmp_path / "saved")
    assert [path.name for path in tmp_path.iterdir()] == ["saved"] and is_whole(tmp_path / "saved")
    algo.train()
    for _ in range(2):
        untouched.train()
    assert differing(state(algo), state(untouched)) == {}
    for each in (algo, untouched):
        each.stop()


TEXT = """
mine:
  run: BiAC
  env: escape_v0
  stop: {training_iteration: 30}
  config: {hierarchy: [[player_0], [player_1]], seed: 0, min_sample_timesteps_per_iteration: 50}
"""


@pytest.mark.slow
def test_ctrl_c_writes_a_checkpoint_from_which_resume_goes_on(ray, tmp_path):
    (tmp_path / "game.yaml").write_text(TEXT)
    arguments = ["train", "file", str(tmp_path / "game.yaml"), "--storage-path", str(tmp_path)]

    def interrupt():
        while not any(path.stat().st_size for path in tmp_path.glob("mine/*/result.json")):
            pause.wait(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    pause, thread = threading.Event(), threading.Thread(target=interrupt)
    thread.start()
    stopped = CliRunner().invoke(main, arguments)
    thread.join()
    assert stopped.exit_code == 130, stopped.output
    (saved,) = tmp_path.glob("mine/*/checkpoint_*")
    assert is_whole(saved)
    resumed = CliRunner().invoke(main, [*arguments, "--resume"])
    assert resumed.exit_code == 0, resumed.output
    assert "done: iter 30 |" in resumed.output and "iter 1 |" not in resumed.output


@pytest.mark.parametrize("games", [2, 3])
def test_every_iteration_reports_what_was_learned(ray, games):
    """Even if its last call brings too few rows for an update."""
    algo = config().env_runners(num_envs_per_env_runner=games).build_algo()
    updates = [algo.train()["learners"]["__all_modules__"]["num_updates_lifetime"] for _ in range(4)]
    assert updates == sorted(updates) and updates[0] > 0  # which NaN is not
    algo.stop()
