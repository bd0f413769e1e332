"""Playing while others learn: the slowest is not waited for, weights are never too old, each step counts once."""

import time

import pytest

from rllib_biac.rllib.async_sampling import NUM_ENV_STEPS_DROPPED_LIFETIME, SAMPLING_LAG
from tests.games import config


@pytest.fixture(scope="module")
def algo(ray):
    """Two remote runners, whose weights may be 5 updates old."""
    configured = config(training_intensity=16).env_runners(
        num_env_runners=2, num_cpus_per_env_runner=0.25, max_sampling_lag=5, max_requests_in_flight_per_env_runner=2
    )
    algo = configured.build_algo()
    yield algo
    algo.stop()


def let_the_second_wait(algo, wait):
    """Has the second runner call `wait` before it plays a fragment."""

    def slow(runner):
        if runner.worker_index == 2:
            sample = type(runner).sample
            runner.sample = lambda *args, **kwargs: (wait(), sample(runner, *args, **kwargs))[1]

    algo.env_runner_group.foreach_env_runner(slow, local_env_runner=False)


@pytest.mark.slow
def test_old_fragments_are_dropped_and_each_step_counts_once(algo):
    let_the_second_wait(algo, lambda: time.sleep(0.2))
    dropped, lags, sampled = 0, [], 0
    for _ in range(6):
        result = algo.train()
        dropped = result[NUM_ENV_STEPS_DROPPED_LIFETIME]
        lags.append(result[SAMPLING_LAG]["max"])
        sampled = result["num_env_steps_sampled_lifetime"]
    assert max(lags) <= 5
    assert sampled == algo.local_replay_buffer.num_added + dropped


@pytest.mark.slow
def test_a_slow_runner_holds_nobody_up(algo, tmp_path):
    go_on = tmp_path / "go_on"

    def wait():
        while not go_on.exists():
            time.sleep(0.02)

    let_the_second_wait(algo, wait)
    # These calls would never return if training waited for the second runner.
    before, *_, after = [algo.train() for _ in range(4)]
    assert after["num_env_steps_sampled_lifetime"] - before["num_env_steps_sampled_lifetime"] >= 600
    updates = [result["learners"]["__all_modules__"]["num_updates_lifetime"] for result in (before, after)]
    assert updates[1] - updates[0] > 50
    go_on.touch()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_sampling_lag": 3}, "num_env_runners: 1 or more"),
        ({"max_sampling_lag": -1, "num_env_runners": 1}, "max_sampling_lag"),
        ({"max_requests_in_flight_per_env_runner": 7, "num_env_runners": 1}, "max_sampling_lag as well"),
    ],
)
def test_settings_that_do_nothing_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        config().env_runners(**settings).validate()
