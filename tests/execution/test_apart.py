"""Two cars in two processes that share nothing but the game's state drive as one joint policy does."""

import json
import subprocess
import sys

import numpy as np
import pytest

from rllib_biac.envs import make_batched
from rllib_biac.evaluation.greedy import greedy
from rllib_biac.execution import StackelbergPolicy
from rllib_biac.rllib.reading import load
from tests.games import config

EPISODES = 20

CAR = """
import json, sys
from rllib_biac.execution import StackelbergPolicy
car = StackelbergPolicy.load(sys.argv[1]).agent(sys.argv[2])
assert "ray" not in sys.modules and "torch" not in sys.modules
for line in sys.stdin:
    print(car.act(json.loads(line)), flush=True)
"""


@pytest.fixture(scope="module")
def checkpoint(ray, tmp_path_factory):
    """A checkpoint of a Bi-AC that was trained for some hundred steps."""
    algo = config("merge_v0", [["main_0"], ["auxiliary_0"]], normalize_observations=True).build_algo()
    for _ in range(3):
        algo.train()
    path = algo.save_to_path(str(tmp_path_factory.mktemp("saved")))
    living = StackelbergPolicy.from_module(algo.env_runner.module)
    yield path, living
    algo.stop()


def drive(decide):
    """Plays episodes; returns all states, joint actions and outcomes."""
    game = make_batched("merge_v0", 1, np.random.default_rng(5))
    trajectory = []
    for _ in range(EPISODES):
        game.reset()
        over = False
        while not over:
            state = game.state()
            actions = decide(state[0])
            step = game.step({agent: np.array([action]) for agent, action in actions.items()})
            trajectory.append((state[0].tolist(), actions, int(step.outcome[0])))
            over = bool(step.terminated[0] | step.truncated[0])
    return trajectory


@pytest.mark.slow
def test_processes_apart_play_as_one(checkpoint, tmp_path):
    path, living = checkpoint
    _, team = load(path)
    policy = StackelbergPolicy.load(path)
    policy.save(tmp_path / "merge.policy")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    cars = {
        agent: subprocess.Popen([sys.executable, "-c", CAR, str(tmp_path / "merge.policy"), agent], **pipes)
        for agent in policy.agents
    }

    def apart(state):
        for car in cars.values():
            car.stdin.write(json.dumps(state.tolist()) + "\n")
            car.stdin.flush()
        return {agent: int(car.stdout.readline()) for agent, car in cars.items()}

    def joint(state):
        return {agent: int(action[0]) for agent, action in greedy(team, state[None]).items()}

    try:
        trajectory = drive(apart)
    finally:
        for car in cars.values():
            car.stdin.close()
            car.wait(timeout=60)
            car.stdout.close()
    assert trajectory == drive(joint)
    assert trajectory == drive(policy.act) == drive(living.act)
    assert len({tuple(actions.items()) for _, actions, _ in trajectory}) > 1, "the test would show nothing"
