"""Playing while others learn: the slowest is not waited for, weights are never too old, each step counts once."""

import time

import pytest

from rllib_biac.core.async_sampling import NUM_ENV_STEPS_DROPPED_LIFETIME, SAMPLING_LAG
from tests.core.games import config

FOR_EVER = 300.0  # s; longer than the test


def runners(max_lag, **settings):
    configured = config(training_intensity=16).env_runners(
        num_env_runners=2, num_cpus_per_env_runner=0.25, max_sampling_lag=max_lag, **settings
    )
    return configured.build_algo()


def slow_down_the_second(algo, seconds):
    def slow(runner):
        if runner.worker_index == 2:
            sample = runner.sample
            runner.sample = lambda *args, **kwargs: (time.sleep(seconds), sample(*args, **kwargs))[1]

    algo.env_runner_group.foreach_env_runner(slow, local_env_runner=False)


def test_a_slow_runner_holds_nobody_up(ray):
    algo = runners(max_lag=10_000)
    slow_down_the_second(algo, FOR_EVER)
    begin = time.monotonic()
    results = [algo.train() for _ in range(3)]
    assert time.monotonic() - begin < FOR_EVER, "training waited for the slow runner"
    assert results[-1]["num_env_steps_sampled_lifetime"] >= 600
    assert results[-1]["learners"]["__all_modules__"]["num_updates_lifetime"] > 50
    algo.stop()


def test_old_fragments_are_dropped_and_each_step_counts_once(ray):
    algo = runners(max_lag=5, max_requests_in_flight_per_env_runner=2)
    slow_down_the_second(algo, 0.2)
    dropped, lags, sampled = 0, [], 0
    for _ in range(6):
        result = algo.train()
        dropped = result[NUM_ENV_STEPS_DROPPED_LIFETIME]
        lags.append(result[SAMPLING_LAG]["max"])
        sampled = result["num_env_steps_sampled_lifetime"]
    assert max(lags) <= 5
    assert sampled == algo.local_replay_buffer.num_added + dropped
    algo.stop()


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
