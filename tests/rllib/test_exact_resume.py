"""2N iterations in one go, or N, a checkpoint, and N more in another process: the same to the last bit."""

import pytest
from ray.rllib.algorithms.algorithm import Algorithm

from rllib_biac import LenientDQNConfig
from tests.exact import differing, numbers, state
from tests.games import config

N = 2


def go_on(algo):
    """Trains N iterations more; returns what they reported, and what the algorithm became."""
    reported = [numbers(algo.train()) for _ in range(N)]
    become = state(algo)
    algo.stop()
    return reported, become


def go_on_from(path):
    return go_on(Algorithm.from_checkpoint(path))


def merge():
    return config("merge_v0", [["main_0"], ["auxiliary_0"]]).evaluation(evaluation_interval=1, evaluation_duration=5)


REMOTE = "merge, 2 remote runners, remote evaluation"
CASES = {
    "escape": lambda: config("escape_v0"),
    # A schedule in mid-way, episodes in mid-way, a ring that is full, metrics whose window is longer than an iteration.
    "maintain": lambda: (
        config(
            "maintain_v0",
            normalize_observations=True,
            lr=[[0, 1e-3], [600, 1e-4]],
            replay_buffer_config={"capacity": 150},
        )
        .environment(env_config={"horizon": 7})
        .env_runners(num_envs_per_env_runner=9)
        .reporting(metrics_num_episodes_for_smoothing=150)
    ),
    "history": lambda: merge().environment(history=3),
    "merge": lambda: merge().checkpointing(compress_buffer_in_checkpoints=True),
    REMOTE: lambda: (
        merge().env_runners(num_env_runners=2, num_cpus_per_env_runner=0.5).evaluation(evaluation_num_env_runners=1)
    ),
    # Chance in the game, answers that are drawn, and a column and tables of the algorithm's own.
    "lenient": lambda: (
        LenientDQNConfig()
        .environment("two_state_v0")
        .hierarchy([["player_0", "player_1"]])
        .training(num_steps_sampled_before_learning_starts=50)
        .env_runners(num_envs_per_env_runner=10)
        .reporting(min_sample_timesteps_per_iteration=200)
        .debugging(seed=3, log_level="ERROR")
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_another_process_goes_on_exactly(ray, tmp_path, name):
    algo = CASES[name]().build_algo()
    for _ in range(N):
        algo.train()
    path = algo.save_to_path(tmp_path / "saved")
    elsewhere = ray.remote(num_cpus=0)(go_on_from).remote(path)  # on a worker of Ray's
    reported, become = go_on(algo)
    reported_there, become_there = ray.get(elsewhere)
    for one, other in zip(reported, reported_there, strict=True):
        assert len(one) > 30 and differing(one, other) == {}
    assert len(become) > 100 and differing(become, become_there) == {}
