"""What a game does wrong reaches the user, on either runner, here or in another process; and what runners report."""

import os
import signal

import pytest

from rllib_biac.envs.errors import GameError
from rllib_biac.rllib.runner import JointEnvRunner
from tests.games import Broken, config, stock

FAULTS = {
    "observation": r"observation of agent 'two' .*step 3",
    "reward": r"reward of agent 'two' .*step 3",
    "vanish": r"agent 'two' has no observation .*step 3",
    "raise": r"ZeroDivisionError\('what a game may do'\) in step\(\)",
}


def broken(fault, on=lambda c: c):
    return on(config(Broken).environment(Broken, env_config={"fault": fault}))


@pytest.mark.parametrize("on", [lambda c: c, stock], ids=["joint", "stock"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_game_is_named_and_nothing_of_it_kept(ray, fault, on):
    algo = broken(fault, on).env_runners(rollout_fragment_length=4).build_algo()
    with pytest.raises(GameError, match=FAULTS[fault]):
        algo.train()
    assert len(algo.local_replay_buffer) == 0
    algo.stop()


@pytest.mark.slow
@pytest.mark.parametrize("on", [lambda c: c, stock], ids=["joint", "stock"])
def test_a_broken_game_in_another_process_is_named_too(ray, on):
    """RLlib alone would restart the runner again and again."""
    algo = broken("raise", on).env_runners(num_env_runners=1).build_algo()
    with pytest.raises(GameError, match=FAULTS["raise"]):
        algo.train()
    algo.stop()


@pytest.mark.slow
def test_a_broken_game_stops_a_remote_evaluation(ray):
    settings = broken("reward").evaluation(evaluation_num_env_runners=1, evaluation_interval=1)
    algo = settings.build_algo()
    with pytest.raises(GameError, match=FAULTS["reward"]):
        algo.evaluate()
    algo.stop()


@pytest.mark.slow
def test_a_killed_runner_is_replaced(ray):
    algo = config().env_runners(num_env_runners=2).build_algo()
    algo.train()
    pid = algo.env_runner_group.foreach_env_runner(lambda runner: os.getpid(), local_env_runner=False)[0]
    os.kill(pid, signal.SIGKILL)
    steps = []
    # The other runner goes on meanwhile; the new one is up after a few seconds.
    while len(steps) < 4 or algo.env_runner_group.num_healthy_remote_workers() < 2:
        steps.append(algo.train()["num_env_steps_sampled_lifetime"])
    assert steps[-1] > steps[0] > 0
    pids = algo.env_runner_group.foreach_env_runner(lambda runner: os.getpid(), local_env_runner=False)
    assert pid not in pids
    algo.stop()


def test_metrics_are_those_of_the_episodes_played():
    runner = JointEnvRunner(config=config("escape_v0").environment("escape_v0", env_config={"horizon": 3}))
    runner.sample(num_timesteps=20)
    runner.get_metrics()
    runner.sample(num_episodes=25, explore=False)
    metrics = runner.get_metrics()
    assert metrics["num_episodes"].peek() == 25
    assert metrics["episode_len_mean"].peek() == 3
    assert metrics["epsilon"].peek() == 0.0
    assert sum(float(value.peek()) for value in metrics["outcome_share"].values()) == pytest.approx(1.0)


def test_more_games_than_fit_into_memory_are_named():
    settings = config("merge_v0", [["main_0"], ["auxiliary_0"]])
    settings.num_envs_per_env_runner = 2**44  # more than a config takes
    with pytest.raises(ValueError, match=r"num_envs_per_env_runner: 17,592,186,044,416 games do not fit into memory"):
        JointEnvRunner(config=settings)
