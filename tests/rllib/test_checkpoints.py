"""Same seed, same run; a restored run goes on exactly; damaged checkpoints are named."""

import json
import logging
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from rllib_biac import BiAC
from rllib_biac.cli.evaluate import find
from rllib_biac.cli.main import main
from rllib_biac.evaluation import play
from rllib_biac.execution import StackelbergPolicy
from rllib_biac.experiments.resume import _refuse_old
from rllib_biac.files.checkpoint import METADATA, is_whole
from rllib_biac.files.damage import DamagedFile
from rllib_biac.learning.diverged import Diverged
from rllib_biac.rllib.reading import load, read_trained
from rllib_biac.rllib.replay import SavedReplayBuffer
from tests.exact import differing, state
from tests.games import StateDecides, config, greedy, learner_of, stock

SCRIPT = """
import hashlib, torch
torch.set_num_threads(1)
from tests.games import config
algo = config("maintain_v0").build_algo()
algo.train()
state = algo.learner_team().weights()["player_0"]
print("hash", hashlib.sha256(b"".join(v.tobytes() for v in state.values())).hexdigest())
"""


def team_weights(team):
    return {f"{agent}/{key}": torch.as_tensor(v) for agent, own in team.weights().items() for key, v in own.items()}


def weights(algo):
    return team_weights(algo.learner_team())


def runner_weights(algo):
    return team_weights(algo.env_runner.module.team)


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


@pytest.mark.slow
def test_the_order_of_sets_does_not_matter():
    environments = [os.environ | {"PYTHONHASHSEED": seed, "RAY_ADDRESS": ""} for seed in ("1", "2")]
    runs = [
        subprocess.Popen([sys.executable, "-c", SCRIPT], env=each, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for each in environments
    ]
    printed = [run.communicate()[0].decode().splitlines() for run in runs]
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
    np.testing.assert_equal(one.trainer.get_state(), two.trainer.get_state())
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
    settings, team = load(path)
    assert settings.levels == [["player_0"], ["player_1"]]
    assert {agent: int(a[0]) for agent, a in team.act(torch.ones(1, 1)).items()} == joint
    played = play(read_trained(path), episodes=3, seed=0)
    assert played.lengths == [1] * 3
    assert list(played.outcomes.values()) == [3]
    assert list(played.outcomes) == ["ABC"[joint["player_0"]] + "-" + "XYZ"[joint["player_1"]]]


def test_damaged_checkpoints_are_named(saved, tmp_path):
    with pytest.raises(ValueError, match="is no checkpoint"):
        load(tmp_path / "nowhere")
    copy = tmp_path / "copy"
    for name in ("class_and_ctor_args.pkl", "learner_group/learner/rl_module/player_0/module_state.pkl"):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(saved[0], copy)
        content = (copy / name).read_bytes()
        (copy / name).write_bytes(content[: len(content) // 2].ljust(len(content), b"."))
        with pytest.raises(ValueError, match=f"is damaged: {name} is not as it was written"):
            load(copy)
        # Cut short, as by a copy that was interrupted: known before anything is read.
        (copy / name).write_bytes(content[: len(content) // 2])
        cut = rf"is damaged: {name} has {len(content) // 2} of {len(content)} bytes"
        for read in (load, BiAC.from_checkpoint):
            with pytest.raises(ValueError, match=cut):
                read(copy)
        (copy / name).unlink()
        with pytest.raises(ValueError, match=f"{name} is missing"):
            load(copy)
    (copy / METADATA).write_text("{")
    with pytest.raises(ValueError, match=r"is damaged: rllib_checkpoint\.json"):
        load(copy)


def test_the_checkpoint_before_a_damaged_one_is_taken(saved, tmp_path, caplog):
    for number in range(2):
        shutil.copytree(saved[0], tmp_path / f"checkpoint_00000{number}")
    newest = tmp_path / "checkpoint_000001"
    name = "learner_group/learner/rl_module/player_0/module_state.pkl"
    content = (newest / name).read_bytes()
    (newest / name).write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    algo = config("maintain_v0").debugging(seed=5).build_algo()
    before = weights(algo)
    for read in (load, algo.restore_from_path):  # whoever names it gets no other
        with pytest.raises(DamagedFile, match=f"{name} is not as it was written"):
            read(newest)
    assert_same(before, weights(algo))
    with caplog.at_level(logging.WARNING, "rllib_biac"):
        algo.restore(str(newest))  # as Tune does
    assert f"{name} is not as it was written" in caplog.text
    assert f"Training goes on from {tmp_path / 'checkpoint_000000'}" in caplog.text
    assert_same(team_weights(load(saved[0])[1]), weights(algo))
    assert algo.train()["training_iteration"] == 6
    assert find(str(tmp_path)) == tmp_path / "checkpoint_000000"
    (tmp_path / "checkpoint_000000" / METADATA).write_text("{")
    with pytest.raises(DamagedFile, match=f"{name} is not as it was written"):
        algo.restore(str(newest))
    algo.stop()


def test_checkpoints_of_other_versions(saved, tmp_path):
    shutil.copytree(saved[0], copy := tmp_path / "copy")
    about = json.loads((copy / METADATA).read_text())
    del about["rllib_biac_seal"]
    (copy / METADATA).write_text(json.dumps(about | {"rllib_biac": {"format": 99, "version": "9.9.0"}}))
    for read in (load, BiAC.from_checkpoint):
        with pytest.raises(ValueError, match=r"made by a newer version of rllib_biac, 9\.9\.0: it has format 99"):
            read(copy)


@pytest.mark.parametrize("metadata", ["{}", '{"rllib_biac": {"format": 2}}', '{"type": "Algorithm"}'])
def test_metadata_that_were_exchanged_are_damage(saved, tmp_path, metadata):
    for number in range(2):
        shutil.copytree(saved[0], tmp_path / "trial" / f"checkpoint_00000{number}")
    newest = tmp_path / "trial" / "checkpoint_000001"
    (newest / METADATA).write_text(metadata)
    with pytest.raises(DamagedFile, match=f"is damaged: {METADATA} lacks what was written into it"):
        load(newest)
    assert find(str(tmp_path)) == tmp_path / "trial" / "checkpoint_000000"
    _refuse_old(tmp_path)  # whoever resumes the run goes on


def test_another_librarys_checkpoint_is_refused(ray, tmp_path):
    from ray.rllib.algorithms.dqn import DQN, DQNConfig

    state = DQNConfig().get_state()
    made_by = {"class": DQN, "ctor_args_and_kwargs": ((state,), {})}
    (tmp_path / "class_and_ctor_args.pkl").write_bytes(pickle.dumps(made_by))
    (tmp_path / METADATA).write_text("{}")
    with pytest.raises(ValueError, match="made by DQN, not by an algorithm of rllib_biac"):
        load(tmp_path)


@pytest.mark.parametrize("on", [lambda c: c, stock], ids=["joint", "stock"])
def test_an_older_state_in_a_live_algorithm(ray, on):
    algo = on(config("maintain_v0")).evaluation(evaluation_interval=1, evaluation_duration=2).build_algo()
    algo.train()
    older, then, all_then = algo.get_state(), weights(algo), state(algo)
    algo.train()
    assert any((then[key] != value).any() for key, value in weights(algo).items())
    algo.set_state(older)
    assert_same(then, weights(algo))
    for runner in (algo.env_runner, algo.eval_env_runner):
        played = team_weights(runner.module.team)
        assert_same({key: then[key] for key in played}, played)
    if on is not stock:
        assert differing(all_then, state(algo)) == {}
    assert algo.train()["training_iteration"] == 2
    algo.stop()


def test_without_its_buffer_a_restored_run_refills_it_first(ray, tmp_path):
    made = config("maintain_v0", num_steps_sampled_before_learning_starts=300)
    algo = made.checkpointing(store_buffer_in_checkpoints=False).build_algo()
    for _ in range(2):
        algo.train()
    path = algo.save_to_path(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / METADATA).read_text())["rllib_biac"]["replay_buffer"] == "left out"
    restored = BiAC.from_checkpoint(path)
    for each in (restored, algo):  # a live one, too, ends up as the checkpoint says
        each.restore_from_path(path)
        then = weights(each)
        each.train()
        assert len(each.local_replay_buffer) == 200 and each._env_steps == 600
        assert_same(then, weights(each))
        each.train()
        assert any((then[key] != value).any() for key, value in weights(each).items())
        each.stop()


def save_and_be_killed_while_saving_again(folder):
    algo = config("escape_v0").build_algo()
    algo.save_to_path(folder)
    written = SavedReplayBuffer.save_to_path

    def killed(*args, **kwargs):
        written(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    SavedReplayBuffer.save_to_path = killed
    algo.train()
    algo.save_to_path(folder)


@pytest.mark.slow
def test_killed_while_it_saves_over_an_earlier_checkpoint(ray, tmp_path):
    folder = tmp_path / "saved"
    in_a_worker = ray.remote(max_retries=0)(save_and_be_killed_while_saving_again)
    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(in_a_worker.remote(folder))
    assert is_whole(folder) and len(list(tmp_path.iterdir())) == 2
    algo = BiAC.from_checkpoint(folder)
    assert algo.iteration == 0 and list(tmp_path.iterdir()) == [folder]  # nothing is left of the kill
    algo.train()
    algo.save_to_path(folder)
    assert is_whole(folder)
    assert json.loads((folder / METADATA).read_text())["rllib_biac"]["training_iteration"] == 1
    algo.stop()


def test_a_checkpoint_takes_the_place_of_another_and_of_nothing_else(ray, tmp_path):
    algo = config("escape_v0").build_algo()
    (tmp_path / "mine.txt").write_text("mine")
    algo.save_to_path(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine" and is_whole(tmp_path)
    algo.save_to_path(tmp_path / "saved")
    algo.train()
    algo.save_to_path(tmp_path / "saved")
    (tmp_path / ".saved.abcd_123.saving" / "part").mkdir(parents=True)  # as a killed save leaves it
    (tmp_path / ".other.abcd_123.saving").mkdir()
    assert BiAC.from_checkpoint(tmp_path / "saved").iteration == 1
    assert [path.name for path in tmp_path.glob(".*.saving")] == [".other.abcd_123.saving"]
    # Killed between the two steps of a replacement: the earlier one is found.
    os.replace(tmp_path / "saved", tmp_path / ".saved.replaced")
    assert is_whole(tmp_path / "saved")
    assert not list(tmp_path.glob(".saved*"))
    algo.stop()


def test_a_trial_clears_what_its_killed_saves_left_among_temporary_files(ray, tmp_path, monkeypatch):
    """Tune asks for each checkpoint in a temporary folder of its own, and copies it to the results."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    algo = config("escape_v0").build_algo()
    algo._storage = SimpleNamespace(trial_dir_name="BiAC_1_lr=0.1")
    for name in ("BiAC_1_lr=0.1", "BiAC_2_lr=0.1"):
        (tmp_path / "temporary" / f".{name}.abcd_123.saving" / "part").mkdir(parents=True)
    algo.save_to_path(tmp_path / "results" / "checkpoint_000000")
    assert len(list((tmp_path / "temporary").iterdir())) == 2  # saved elsewhere
    algo.restore_from_path(tmp_path / "results" / "checkpoint_000000")
    assert [path.name for path in (tmp_path / "temporary").iterdir()] == [".BiAC_2_lr=0.1.abcd_123.saving"]
    algo._storage = None
    algo.stop()


@pytest.mark.slow
def test_other_numbers_of_runners_and_games_that_restart_are_said(ray, tmp_path, caplog):
    algo = config(StateDecides).env_runners(num_env_runners=1).build_algo()
    algo.train()
    path = Path(algo.save_to_path(tmp_path / "saved"))
    assert json.loads((path / METADATA).read_text())["rllib_biac"]["games_in_flight"] == "start anew"
    older = algo.get_state()
    (runner,) = older["joint_algorithm"]["runners"]["env runners"].values()
    for numbers, said in (
        ({1: runner, 2: runner}, "0 start afresh, 1 are left out"),
        ({}, "1 start afresh, 0 are left"),
    ):
        older["joint_algorithm"]["runners"]["env runners"] = numbers
        caplog.clear()
        with caplog.at_level(logging.WARNING, "rllib_biac"):
            algo.set_state(older)
        first, second = (r.getMessage() for r in caplog.records if r.name.startswith("rllib_biac"))
        assert f"has {len(numbers)} remote env runners, and 1 play now: {said}" in first
        assert second == "The games in flight start anew: where they stood only they themselves know."
        assert algo.train()["training_iteration"] == 2
    algo.stop()


def test_weights_alone(ray, tmp_path, saved):
    file = tmp_path / "weights.safetensors"
    made = config("merge_v0", [["main_0"], ["auxiliary_0"]])
    algo = made.build_algo()
    algo.train()
    algo.save_weights(file)
    other = made.copy(copy_frozen=False).debugging(seed=7).training(lr=0.0).build_algo()
    assert any((weights(algo)[key] != value).any() for key, value in weights(other).items())
    other.load_weights(file)
    assert_same(weights(algo), weights(other))
    assert_same(runner_weights(algo), runner_weights(other))
    starts = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    played = StackelbergPolicy.load(file).act(starts)
    for agent, actions in greedy(algo, starts).items():
        np.testing.assert_array_equal(played[agent], actions)
    # Where they learn on, a new unit of targets changes nothing of what they say; here they learn at a rate of 0.
    team, x = other.learner_team(), torch.as_tensor(starts)
    before = {agent: (float(team[agent].q_std), team[agent].q_values(x).detach()) for agent in played}
    other.train()
    for agent, (unit, q) in before.items():
        assert float(team[agent].q_std) != unit
        torch.testing.assert_close(team[agent].q_values(x).detach(), q, rtol=1e-3, atol=1e-3)

    exported = tmp_path / "exported.safetensors"
    result = CliRunner().invoke(main, ["export", saved[0], str(exported)])
    assert result.exit_code == 0 and str(exported) in result.output, result.output
    assert StackelbergPolicy.load(exported).act([1.0]) == saved[1]
    result = CliRunner().invoke(main, ["export", saved[0], str(tmp_path / "exported.pkl")])
    assert result.exit_code == 2 and "the file's name must end in .safetensors" in result.output
    with pytest.raises(ValueError, match=r"no networks of player_0: it has those of main_0 auxiliary_0"):
        BiAC.from_checkpoint(saved[0]).load_weights(file)
    narrow = made.copy(copy_frozen=False).rl_module(model_config={"fcnet_hiddens": [8]}).build_algo()
    with pytest.raises(ValueError, match=r"has shape \(8, 8\) here and \(32, 8\) there"):
        narrow.load_weights(file)
    tanh = {"fcnet_hiddens": [32, 32], "fcnet_activation": "tanh"}
    smooth = made.copy(copy_frozen=False).rl_module(model_config=tanh).build_algo()
    with pytest.raises(ValueError, match=r"have tanh between .* Write model_config: \{fcnet_activation: relu\}"):
        smooth.load_weights(file)
    StackelbergPolicy.load(file).save(tmp_path / "policy.safetensors")
    with pytest.raises(ValueError, match="has a policy to play, not all networks"):
        other.load_weights(tmp_path / "policy.safetensors")
    for each in (algo, other, narrow, smooth):
        each.stop()


def test_what_has_diverged_is_not_saved(ray, tmp_path):
    algo = config("maintain_v0").build_algo()
    algo.train()
    algo.save_to_path(tmp_path / "saved")
    with torch.no_grad():
        next(iter(learner_of(algo).module.team["player_1"].actor.parameters())).view(-1)[0] = torch.nan
    for call in (algo.train, lambda: algo.save_to_path(tmp_path / "saved")):
        with pytest.raises(Diverged, match="of player_1, actor"):
            call()
    with pytest.raises(ValueError, match=r"is not written: player_1/actor[\w./]+ holds numbers that are not finite"):
        algo.save_weights(tmp_path / "weights.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]
    algo.restore_from_path(tmp_path / "saved")
    assert algo.train()["training_iteration"] == 2
    algo.stop()
