"""2N iterations in one go, or N, a checkpoint, and N more in another process: the same to the last bit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rllib_biac import LenientDQNConfig
from tests.core.exact import differing, numbers, state
from tests.core.games import config

N = 2
CHILD = """
import json, sys
import ray, torch
torch.set_num_threads(1)
from ray.rllib.algorithms.algorithm import Algorithm
from tests.core.exact import numbers, state
ray.init(address=sys.argv[1], log_to_driver=False)
gone_on = {}
for path in sys.argv[3:]:
    algo = Algorithm.from_checkpoint(path)
    reported = [numbers(algo.train()) for _ in range(2)]
    gone_on[path] = [[{k: repr(v) for k, v in each.items()} for each in reported], state(algo)]
    algo.stop()
with open(sys.argv[2], "w") as file:
    json.dump(gone_on, file)
"""


def merge():
    return config("merge_v0", [["main_0"], ["auxiliary_0"]]).evaluation(evaluation_interval=1, evaluation_duration=5)


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
    "merge": lambda: merge().checkpointing(compress_buffer_in_checkpoints=True),
    "merge, 2 remote runners, remote evaluation": lambda: (
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


@pytest.fixture(scope="module")
def runs(ray, tmp_path_factory):
    """Case -> what a run reported and became in one go, and the same of its second half in another process."""
    folder = tmp_path_factory.mktemp("runs")
    in_one_go, paths = {}, {}
    for name, make in CASES.items():
        algo = make().build_algo()
        for _ in range(N):
            algo.train()
        paths[name] = algo.save_to_path(folder / name)
        reported = [numbers(algo.train()) for _ in range(N)]
        in_one_go[name] = ([{k: repr(v) for k, v in each.items()} for each in reported], state(algo))
        algo.stop()
    address = ray.get_runtime_context().gcs_address
    argv = [sys.executable, "-c", CHILD, address, str(folder / "results.json"), *paths.values()]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run(argv, check=True, timeout=200, env=environment)
    gone_on = json.loads((folder / "results.json").read_text())
    return {name: (in_one_go[name], gone_on[path]) for name, path in paths.items()}


@pytest.mark.parametrize("name", CASES)
def test_another_process_goes_on_exactly(runs, name):
    (reported, become), (reported_there, become_there) = runs[name]
    for one, other in zip(reported, reported_there, strict=True):
        assert len(one) > 30 and differing(one, other) == {}
    become = json.loads(json.dumps(become))  # tuples as lists, as the other has them
    assert len(become) > 100 and differing(become, become_there) == {}
