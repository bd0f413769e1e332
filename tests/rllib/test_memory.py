"""Nothing that training keeps grows with its length. What ten million steps take is `benchmarks/memory.py`."""

import gc
import itertools
from collections import deque

import pytest

from rllib_biac import BiACConfig

ITERATIONS = 10


@pytest.fixture
def only_new_objects():
    """Lets the garbage collector know only what is made from now on: the whole session's objects take long to count."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def kept() -> tuple[int, int]:
    """Returns how many containers there are, and how many things in those that can grow."""
    gc.collect()
    objects = gc.get_objects()
    return len(objects), sum(len(item) for item in objects if type(item) in (list, dict, set, deque))


@pytest.mark.slow
def test_training_evaluation_and_checkpoints_leave_nothing_behind(ray, tmp_path, only_new_objects):
    algo = (
        BiACConfig()
        .environment("escape_v0")
        .hierarchy([["player_0"], ["player_1"]])
        .env_runners(num_envs_per_env_runner=10)
        .training(
            num_steps_sampled_before_learning_starts=10,
            replay_buffer_config={"capacity": 100},
            train_batch_size_per_learner=64,
            training_intensity=16,
        )
        .evaluation(evaluation_interval=5, evaluation_duration=5)
        .reporting(min_sample_timesteps_per_iteration=20, metrics_num_episodes_for_smoothing=10)
        .debugging(seed=0)
        .build_algo()
    )
    seen = []
    for _ in range(4):
        for _ in range(ITERATIONS):
            algo.train()
        algo.save_to_path(tmp_path / "checkpoint")
        seen.append(kept())
    algo.stop()
    # After the first stretch all is there that will be. One thing kept per iteration would be `ITERATIONS` more each
    # time; what other threads happen to hold is not there each time.
    for what, counts in zip(("containers", "things in them"), zip(*seen[1:], strict=True), strict=True):
        grown = [after - before for before, after in itertools.pairwise(counts)]
        assert min(grown) < ITERATIONS // 2, (what, grown)
