"""Networks of version 0.1.0 are taken over as they were; its training is refused, in one sentence on all roads."""

import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.numpy import load_file

from rllib_biac import BiACConfig
from rllib_biac.cli.main import main
from rllib_biac.evaluation.greedy import greedy, greedy_on_observations
from rllib_biac.execution import StackelbergPolicy
from rllib_biac.experiments.mistakes import Mistake
from rllib_biac.experiments.resume import mend
from rllib_biac.files.checkpoint import MADE_BY, METADATA, check, check_current, check_own
from rllib_biac.files.weights import load_weights
from rllib_biac.learning.team import as_tensors
from rllib_biac.rllib.biac import BiAC
from rllib_biac.rllib.reading import load, load_networks, read_trained
from rllib_biac.rllib.registry import ALGORITHMS

FOLDER = Path(__file__).parents[1] / "fixtures" / "checkpoints_0_1_0"
CASES = sorted(path.name for path in FOLDER.iterdir())
MODULES = Path("learner_group") / "learner" / "rl_module"
STATE = "module_state.pkl"
SENTENCE = (
    "{} was made by version 0.1.0 of rllib_biac: its networks can be taken over with `rllib export CHECKPOINT FILE` "
    "and `algo.load_weights(FILE)`, but its training cannot be resumed."
)


def parts(probes, kind):
    """Agent -> what 0.1.0 said."""
    return {name.partition("/")[2]: probes[name] for name in probes if name.startswith(f"{kind}/")}


def assert_plays(played, expected):
    assert expected
    for agent, actions in expected.items():
        if np.issubdtype(actions.dtype, np.integer):
            np.testing.assert_array_equal(played[agent], actions, err_msg=agent)
        else:
            np.testing.assert_allclose(played[agent], actions, rtol=1e-5, atol=1e-6, err_msg=agent)


@pytest.fixture
def old(tmp_path):
    """A copy of a checkpoint, to be changed."""
    return Path(shutil.copytree(FOLDER / "biac" / "checkpoint", tmp_path / "old"))


def rewrite(folder, name, content):
    """Puts other content in the place of a file, as somebody would who also mends the list of sizes."""
    (folder / name).write_bytes(content)
    about = json.loads((folder / METADATA).read_text())
    about["rllib_biac"]["files"][str(name)] = len(content)
    (folder / METADATA).write_text(json.dumps(about))


def test_every_algorithm_has_a_checkpoint():
    newer = {"CommitmentDQN"}
    assert {load_networks(FOLDER / case / "checkpoint")[0] for case in CASES} == set(ALGORITHMS) - newer


@pytest.mark.parametrize("case", CASES)
def test_networks_say_what_they_said(case):
    probes = np.load(FOLDER / case / "probes.npz")
    _, team = load_networks(FOLDER / case / "checkpoint")
    state, observations = probes["state"], parts(probes, "observations")
    assert_plays(greedy(team, state, observations), parts(probes, "actions"))
    if local := parts(probes, "local_actions"):
        assert_plays(greedy_on_observations(team, observations), local)
    seen = as_tensors(observations)
    with torch.no_grad():
        if expected := parts(probes, "q"):
            tables = team.q_tables(torch.from_numpy(state), seen)
            assert tables.keys() == expected.keys()
            for agent, q in expected.items():
                np.testing.assert_allclose(tables[agent], q, rtol=1e-5, atol=1e-5, err_msg=agent)
        if "responses" in probes:
            np.testing.assert_array_equal(team.responses(torch.from_numpy(state), seen), probes["responses"])


@pytest.mark.parametrize("case", CASES)
def test_weights_and_policies(case, tmp_path):
    checkpoint, old = FOLDER / case / "checkpoint", FOLDER / case / "weights.safetensors"
    exported = tmp_path / "exported.safetensors"
    result = CliRunner().invoke(main, ["export", str(checkpoint), str(exported)])
    assert result.exit_code == 0, result.output
    one, other = load_file(old), load_file(exported)
    assert one.keys() == other.keys()
    for name, values in one.items():
        assert values.dtype == other[name].dtype
        np.testing.assert_array_equal(values, other[name], err_msg=name)
    held = load_networks(checkpoint)[1].weights()
    for file in (old, exported):
        for agent, own in load_weights(file, held).items():
            for name, values in own.items():
                np.testing.assert_array_equal(values, held[agent][name], err_msg=f"{agent}/{name}")
    probes = np.load(FOLDER / case / "probes.npz")
    if expected := parts(probes, "policy_actions"):
        for path in (old, exported, checkpoint):
            policy = StackelbergPolicy.load(path)
            local = policy.description.play == "local"
            seen = {"observations": parts(probes, "observations")} if local else {"state": probes["state"]}
            assert_plays(policy.act(**seen), expected)


def test_an_algorithm_goes_on_from_them(ray, tmp_path):
    probes = np.load(FOLDER / "biac" / "probes.npz")
    exported = tmp_path / "exported.safetensors"
    CliRunner().invoke(main, ["export", str(FOLDER / "biac" / "checkpoint"), str(exported)])
    config = BiACConfig().environment("merge_v0").hierarchy([["main_0"], ["auxiliary_0"]])
    config.rl_module(model_config={"fcnet_hiddens": [8]})
    with pytest.raises(ValueError, match=r"are not normalised in .* Write model_config: \{fcnet_rms_norm: false\}"):
        config.copy(copy_frozen=False).build_algo().load_weights(exported)
    config.rl_module(model_config={"fcnet_hiddens": [8], "fcnet_rms_norm": False}).training(
        num_steps_sampled_before_learning_starts=50
    )
    config.reporting(min_sample_timesteps_per_iteration=100)
    algo = config.build_algo()
    for file in (FOLDER / "biac" / "weights.safetensors", exported):
        algo.load_weights(file)
        assert_plays(greedy(algo.env_runner.module.team, probes["state"]), parts(probes, "actions"))
        algo.train()
    # Restoring is another thing: the algorithm stays as it is.
    folder = FOLDER / "biac" / "checkpoint"
    with pytest.raises(ValueError) as refused:
        algo.restore_from_path(folder)
    assert str(refused.value) == SENTENCE.format(folder)
    assert algo.train()["training_iteration"] == 3
    algo.stop()


@pytest.mark.parametrize("road", [load, read_trained, BiAC.from_checkpoint, check_current])
def test_training_does_not_go_on(road):
    folder = FOLDER / "biac" / "checkpoint"
    assert check(folder)["format"] == 2
    with pytest.raises(ValueError) as refused:
        road(folder)
    assert str(refused.value) == SENTENCE.format(folder)


def test_before_formats_were_numbered(old):
    about = json.loads((old / METADATA).read_text())
    del about["rllib_biac"]
    (old / METADATA).write_text(json.dumps(about))
    assert check(old)["format"] == 1 and load_networks(old)[0] == "BiAC"
    with pytest.raises(ValueError) as refused:
        load(old)
    assert str(refused.value) == SENTENCE.format(old)


def test_runs_are_not_resumed(tmp_path):
    folder = tmp_path / "run" / "trial"
    saved = Path(shutil.copytree(FOLDER / "biac" / "checkpoint", folder / "checkpoint_000001"))
    (folder / "checkpoint_000000").mkdir()  # cut short
    record = tmp_path / "run" / "experiment_state-2026-01-01_00-00-00.json"
    record.write_text("what 0.1.0 wrote")
    with pytest.raises(Mistake) as refused:
        mend(tmp_path / "run")
    assert str(refused.value) == SENTENCE.format(saved)
    assert record.read_text() == "what 0.1.0 wrote"


def test_runs_without_checkpoints_are_not_resumed(tmp_path):
    config = {"_type": "CLOUDPICKLE_FALLBACK", "value": b"crllib_biac.core.config\nagent_is_module\n.".hex()}
    trials = [[json.dumps({"config": config}), "{}"]]
    (tmp_path / "experiment_state-2026-01-01_00-00-00.json").write_text(json.dumps({"trial_data": trials}))
    with pytest.raises(Mistake, match=r"No module named 'rllib_biac.core'.*run it without --resume"):
        mend(tmp_path)


def test_commands_say_so():
    folder = FOLDER / "biac" / "checkpoint"
    result = CliRunner().invoke(main, ["evaluate", str(folder)])
    assert result.exit_code == 2 and SENTENCE.format(folder) in " ".join(result.output.split()), result.output


class Hostile:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("function", "args"),
    [
        (os.system, ("touch {harm}",)),
        (eval, ("open({harm!r}, 'w')",)),
        (getattr, (np.ndarray, "tofile")),
        (np.save, ("{harm}", 1)),
        (pickle.loads, (b"I1\n.",)),
        (torch.save, (1, "{harm}")),
    ],
    ids=["os.system", "eval", "getattr", "np.save", "pickle.loads", "torch.save"],
)
def test_nothing_is_executed(old, tmp_path, function, args):
    harm = tmp_path / "harm"
    args = tuple(arg.format(harm=str(harm)) if isinstance(arg, str) else arg for arg in args)
    for name in (MODULES / "main_0" / STATE, MODULES / MADE_BY):
        rewrite(old, name, pickle.dumps({"class": 1, "critic": Hostile(function, *args)}))
        with pytest.raises(ValueError, match=r"its networks cannot be read .* which is not needed here"):
            load_networks(old)
    rewrite(old, MADE_BY, pickle.dumps({"class": Hostile(function, *args)}))
    for road in (load_networks, load, BiAC.from_checkpoint):
        with pytest.raises(ValueError, match=f"was made by {function.__name__}, not by an algorithm of rllib_biac"):
            road(old)
    assert not any(tmp_path.glob("harm*"))


def test_checkpoints_of_tune(old):
    """Tune derives a class from the algorithm's, which cloudpickle writes as a whole."""
    named = b"crllib_biac.algorithms.dqn.dqn\nLenientDQN\n"
    derived = b"(S'class'\ncray.cloudpickle.cloudpickle\n_make_skeleton_class\n((" + named + b"ltRd."
    rewrite(old, MADE_BY, derived)
    assert check_own(old) == "LenientDQN"


def test_old_classes_are_never_called(old):
    """What stands in for RLlib's own functions does nothing either."""
    content = b"cray.rllib.utils.framework\ntry_import_torch\n(tR."
    rewrite(old, MODULES / "main_0" / STATE, content)
    with pytest.raises(ValueError, match="its networks cannot be read"):
        load_networks(old)


def test_damage_is_named(old):
    state = pickle.loads((old / MODULES / "main_0" / STATE).read_bytes())
    rewrite(old, MODULES / "main_0" / STATE, pickle.dumps({k: v for k, v in state.items() if k != "q_mean"}))
    with pytest.raises(ValueError, match=r"its networks cannot be read .*q_mean"):
        load_networks(old)
    for content in (b"", pickle.dumps({"class": 1})):
        rewrite(old, MADE_BY, content)
        with pytest.raises(ValueError, match=f"is damaged: {MADE_BY} cannot be read"):
            load_networks(old)
    (old / MADE_BY).unlink()
    with pytest.raises(ValueError, match=f"is damaged: {MADE_BY} is missing"):
        load_networks(old)
