"""Same seed, same run; a restored run goes on exactly; damaged checkpoints are named."""

import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from rllib_biac.core.play import load, play
from tests.core.games import config, greedy, learner_of, stock

SCRIPT = """
import hashlib, torch
torch.set_num_threads(1)
from tests.core.games import config, learner_of
algo = config("maintain_v0").build_algo()
algo.train()
state = learner_of(algo).module["player_0"].state_dict()
print("hash", hashlib.sha256(b"".join(v.numpy().tobytes() for v in state.values())).hexdigest())
"""


def weights(algo):
    module = learner_of(algo).module
    return {f"{a}/{k}": v.clone() for a in module.hierarchy.agents for k, v in module[a].state_dict().items()}


def runner_weights(algo):
    module = algo.env_runner.module
    return {f"{a}/{k}": v.clone() for a in module.hierarchy.agents for k, v in module[a].state_dict().items()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        torch.testing.assert_close(value, other[key], rtol=0, atol=0, msg=key)


def numbers(result):
    """All metrics but times, by path."""
    found = {}

    def walk(node, path):
        for key, value in node.items():
            if isinstance(value, dict):
                walk(value, (*path, key))
            elif isinstance(value, int | float | np.number):
                found[(*path, key)] = value

    walk({key: result[key] for key in ("env_runners", "learners")}, ())
    seconds = ("time", "throughput", "sample", "per_second")
    return {path: v for path, v in found.items() if not any(word in key for key in path[1:] for word in seconds)}


def test_same_seed_same_run_another_seed_another(ray):
    runs = []
    for seed in (0, 0, 1):
        algo = config("maintain_v0").debugging(seed=seed).build_algo()
        results = [numbers(algo.train()) for _ in range(2)]
        runs.append((results, weights(algo)))
        algo.stop()
    (first, w1), (second, w2), (_, w3) = runs
    assert first == second and len(first[0]) > 20
    assert_same(w1, w2)
    assert any((w1[key] != w3[key]).any() for key in w1)


def test_the_order_of_sets_does_not_matter():
    environments = [os.environ | {"PYTHONHASHSEED": seed, "RAY_ADDRESS": ""} for seed in ("1", "2")]
    runs = [
        subprocess.Popen([sys.executable, "-c", SCRIPT], env=each, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for each in environments
    ]
    printed = [run.communicate(timeout=100)[0].decode().splitlines() for run in runs]
    hashes = [[line for line in lines if line.startswith("hash")] for lines in printed]
    assert hashes[0] == hashes[1] and hashes[0]


@pytest.mark.parametrize("on", [lambda c: c, stock], ids=["joint", "stock"])
def test_a_restored_run_has_everything(ray, tmp_path, on):
    algo = on(config("maintain_v0", normalize_observations=True)).build_algo()
    for _ in range(2):
        algo.train()
    path = str(algo.save_to_path(str(tmp_path / "saved")))
    restored = type(algo).from_checkpoint(path)
    one, two = learner_of(algo), learner_of(restored)
    assert_same(weights(algo), weights(restored))
    assert_same(runner_weights(algo), runner_weights(restored))
    for name, optimizer in one._named_optimizers.items():
        states = [o.state[o.param_groups[0]["params"][0]] for o in (optimizer, two._named_optimizers[name])]
        for key, value in states[0].items():
            torch.testing.assert_close(value, states[1][key], rtol=0, atol=0)
    for agent, moments in one._target_statistics.items():
        assert moments.state() == two._target_statistics[agent].state()
    assert restored.iteration == algo.iteration == 2
    a, b = (x.local_replay_buffer.sample(30).columns for x in (algo, restored))
    for key in a:
        np.testing.assert_array_equal(a[key], b[key])
    if on is not stock:  # RLlib's runner keeps no generators
        # One-step games: nothing in the games themselves is lost, so both go on in step.
        for _ in range(2):
            assert numbers(algo.train())["learners", "player_0", "qf_loss"] == pytest.approx(
                numbers(restored.train())["learners", "player_0", "qf_loss"], abs=0
            )
        assert_same(weights(algo), weights(restored))
    else:
        restored.train()
    assert restored.iteration >= 3
    for each in (algo, restored):
        each.stop()


@pytest.mark.parametrize("on", [lambda c: c, stock], ids=["joint", "stock"])
def test_an_older_checkpoint_in_a_live_algorithm(ray, tmp_path, on):
    algo = on(config("maintain_v0")).build_algo()
    algo.train()
    path = str(algo.save_to_path(str(tmp_path / "saved")))
    then = weights(algo)
    algo.train()
    assert any((then[key] != value).any() for key, value in weights(algo).items())
    algo.restore_from_path(path)
    assert_same(then, weights(algo))
    assert_same({key: then[key] for key in runner_weights(algo)}, runner_weights(algo))
    # Networks are still what the optimizers step and what runners are given.
    algo.train()
    now = weights(algo)
    assert any((then[key] != value).any() for key, value in now.items())
    assert_same({key: now[key] for key in runner_weights(algo)}, runner_weights(algo))
    algo.stop()


@pytest.fixture(scope="module")
def saved(ray, tmp_path_factory):
    algo = config("maintain_v0").build_algo()
    for _ in range(5):
        algo.train()
    path = algo.save_to_path(str(tmp_path_factory.mktemp("saved")))
    state = np.ones((1, 1), np.float32)
    yield path, {agent: int(a[0]) for agent, a in greedy(algo, state).items()}
    algo.stop()


def test_play_of_a_checkpoint(saved):
    path, joint = saved
    settings, module = load(path)
    assert settings.levels == [["player_0"], ["player_1"]]
    assert {agent: int(a[0]) for agent, a in module.act(torch.ones(1, 1)).items()} == joint
    played = play(path, episodes=3, seed=0)
    assert played.lengths == [1] * 3
    assert list(played.outcomes.values()) == [3]
    assert list(played.outcomes) == ["ABC"[joint["player_0"]] + "-" + "XYZ"[joint["player_1"]]]


def test_damaged_checkpoints_are_named(saved, tmp_path):
    with pytest.raises(ValueError, match="is no checkpoint"):
        load(tmp_path / "nowhere")
    copy = tmp_path / "copy"
    for name, message in (
        ("class_and_ctor_args.pkl", "is damaged"),
        ("learner_group/learner/rl_module/player_0/module_state.pkl", "is damaged: its networks"),
    ):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(saved[0], copy)
        content = (copy / name).read_bytes()
        (copy / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(ValueError, match=message):
            load(copy)
    (copy / "class_and_ctor_args.pkl").write_bytes(pickle.dumps(["something", "else"]))
    with pytest.raises(ValueError, match="is damaged"):
        load(copy)


def test_another_librarys_checkpoint_is_refused(ray, tmp_path):
    from ray.rllib.algorithms.dqn import DQN, DQNConfig

    state = DQNConfig().get_state()
    made_by = {"class": DQN, "ctor_args_and_kwargs": ((state,), {})}
    (tmp_path / "class_and_ctor_args.pkl").write_bytes(pickle.dumps(made_by))
    with pytest.raises(ValueError, match="made by DQN, not by an algorithm of rllib_biac"):
        load(tmp_path)
