"""An algorithm of one's own, in one file: whatever the library's own can do, it can."""

import importlib
import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch

from tests.training import Run, checked, differ, load_weights

EXAMPLES = Path(__file__).parents[2] / "examples"
ESCAPE = ["player_0", "player_1"]


@pytest.fixture
def own(monkeypatch):
    """The example as a module, found as from its own folder."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module("own_algorithm")


def mixer_of(run):
    return {name: values for name, values in run.weights().items() if name.startswith("__shared__/mixer")}


# Without Ray.


@pytest.mark.slow
def test_it_learns_escape(own):
    settings = {"training_intensity": 256.0, "epsilon": [[0, 1.0], [800, 1.0], [1500, 0.1]]}
    run = Run(own.QMIX.config_class.algorithm, "escape_v0", [ESCAPE], **settings)
    before = mixer_of(run)
    run.train(2500)
    played = run.team.act(torch.zeros(1, 1), observations={agent: torch.zeros(1, 1) for agent in ESCAPE})
    assert {agent: int(action) for agent, action in played.items()} == {"player_0": 2, "player_1": 2}  # C-Z
    assert differ(before, mixer_of(run))
    assert set(run.trainer.take_report()) >= {("__shared__", "qf_loss")}


def test_the_mixer_rises_with_every_utility(own):
    torch.manual_seed(0)
    mixer = own.Mixer(state_size=3, num_agents=4, width=8)
    q = torch.randn(64, 4, requires_grad=True)
    mixer(torch.cat([torch.randn(64, 3), q], 1)).sum().backward()
    assert (q.grad >= 0).all() and (q.grad > 0).any(0).all()


def test_what_belongs_to_nobody_is_saved_with_the_rest(own):
    algorithm = own.QMIX.config_class.algorithm
    one = Run(algorithm, "escape_v0", [ESCAPE]).train(200)
    other = Run(algorithm, "escape_v0", [ESCAPE], seed=1)
    assert differ(mixer_of(one), mixer_of(other))
    load_weights(other.team, one.team.weights())
    assert len(mixer_of(one)) == 16 and not differ(one.weights(), other.weights())  # network and target, 4 layers
    resumed = Run(algorithm, "escape_v0", [ESCAPE], seed=2).take_over(one.learned())
    rows = one.replay.sample(64)
    one.update(rows)
    resumed.update(rows)
    assert not differ(one.weights(), resumed.weights())


def test_play_does_without_the_mixer(own):
    team = Run(own.QMIX.config_class.algorithm, "escape_v0", [ESCAPE]).team
    team.drop_training_only()
    assert not [name for name in team["__shared__"].state_dict() if name.startswith("mixer")]
    assert set(team.act(torch.zeros(1, 1), observations={a: torch.zeros(1, 1) for a in ESCAPE})) == set(ESCAPE)


def test_its_settings_are_keywords_and_are_checked(own):
    config = own.QMIX.get_default_config().environment("escape_v0").hierarchy([ESCAPE])
    assert config.training(mixing_embed_dim=16, tau=0.01).settings().mixing_embed_dim == 16
    assert config.tau == 0.01
    config.validate()
    with pytest.raises(TypeError, match="mixing_dim"):
        config.training(mixing_dim=16)
    with pytest.raises(ValueError, match="mixing_embed_dim: 0"):
        config.training(mixing_embed_dim=0).validate()
    with pytest.raises(ValueError, match="no linear output"):
        checked(config.algorithm, [ESCAPE], normalize_targets=True)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("mixing_embed_dim", "wide", "expected"),
        ("mixing_dim", 16, "mixing_embed_dim"),  # it says what may have been meant
        ("tau", "slow", "expected"),
    ],
)
def test_files_say_what_is_wrong_with_its_settings(own, key, value, message):
    from rllib_biac.rllib.config_keys import BadSettings, build

    with pytest.raises(BadSettings) as refused:
        build(own.QMIX.config_class, {key: value})
    assert refused.value.found[0][0] == (key,) and message in refused.value.found[0][1]


def test_its_classes_are_pickled_by_reference(own):
    config_class = own.QMIX.config_class
    for found in (own.QMIX, config_class):
        assert pickle.loads(pickle.dumps(found)) is found
    config = config_class().hierarchy([ESCAPE]).training(mixing_embed_dim=16)
    again = pickle.loads(pickle.dumps(config))
    assert type(again) is config_class and again.algo_class is own.QMIX and again.mixing_embed_dim == 16
    assert len(pickle.dumps(own.QMIX)) < 100


# By the commands and in processes that have imported nothing yet.

COMMAND = "from rllib_biac.cli.main import main; main()"
FILE = """
mine:
  run: own_algorithm:QMIX
  env: escape_v0
  stop: {num_env_steps_sampled_lifetime: STEPS}
  config:
    hierarchy: [[player_0, player_1]]
    epsilon: [[0, 1.0], [1000, 1.0], [2000, 0.1]]
    seed: 0
"""


def start(*arguments, **options):
    """A new Python in the example's folder."""
    env = os.environ | {"PYTHONPATH": str(EXAMPLES.parent), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        **{"cwd": EXAMPLES, "env": env, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True} | options,
    )


def rllib(*arguments, code=0, **options):
    """Runs the command; returns what it says."""
    process = start("-c", COMMAND, *arguments, **options)
    said = process.communicate(timeout=300)[0]
    assert process.returncode == code, said
    return said


def python(code, *arguments):
    """Runs a script that prints JSON in its last line; returns that."""
    code = "import json, sys, ray\nray.init(num_cpus=4, include_dashboard=False)\n" + textwrap.dedent(code)
    process = start("-c", code, *arguments, stderr=subprocess.PIPE)
    said, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return json.loads(said.splitlines()[-1])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The results of `rllib train file own_algorithm.yaml`, and what it said."""
    folder = tmp_path_factory.mktemp("results")
    said = rllib("train", "file", "own_algorithm.yaml", "--storage-path", folder, "--ray-num-cpus", 2)
    return folder / "own_algorithm", said


@pytest.mark.slow
def test_it_trains_from_its_file(trained):
    folder, said = trained
    assert "done: iter 3 | 3,000 steps" in said and "| C-Z " in said
    played = rllib("evaluate", folder)
    assert "C-Z: 100.0%" in played


@pytest.mark.slow
def test_it_has_a_report(trained, tmp_path):
    rllib("report", trained[0], "--out", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "QMIX" in page and "player_0" in page


@pytest.mark.slow
def test_its_networks_are_exported_and_loaded(trained, tmp_path):
    (checkpoint,) = trained[0].glob("*/checkpoint_*")
    rllib("export", checkpoint, tmp_path / "weights.safetensors")
    differ, played = python(
        """
        import numpy as np
        from own_algorithm import QMIX
        from rllib_biac.rllib.reading import load
        config = QMIX.get_default_config().environment("escape_v0").hierarchy([["player_0", "player_1"]])
        algo = config.build_algo()
        algo.load_weights(sys.argv[1])
        own, other = algo.learner_team().weights(), load(sys.argv[2])[1].weights()
        assert "mixer_target.bias2.weight" in own["__shared__"] and own.keys() == other.keys()
        differ = [(m, k) for m in own for k in own[m] if not np.array_equal(own[m][k], other[m][k])]
        played = algo.evaluate()["env_runners"]["outcome_share"]
        print(json.dumps([differ, played]))
        """,
        tmp_path / "weights.safetensors",
        checkpoint,
    )
    assert differ == [] and played["C-Z"] == 1.0


@pytest.mark.slow
def test_another_process_goes_on_exactly(tmp_path):
    go_on = """
        from tests.exact import state
        for _ in range(2):
            algo.train()
        print(json.dumps({path: repr(value) for path, value in state(algo).items()}))
        """
    became = python(
        """
        from own_algorithm import QMIX
        config = QMIX.get_default_config().environment("escape_v0").hierarchy([["player_0", "player_1"]])
        config.training(normalize_observations=True, num_steps_sampled_before_learning_starts=100)
        algo = config.reporting(min_sample_timesteps_per_iteration=200).debugging(seed=1).build_algo()
        algo.train()
        algo.save_to_path(sys.argv[1])
        """
        + go_on,
        tmp_path / "saved",
    )
    elsewhere = python(
        """
        from ray.rllib.algorithms.algorithm import Algorithm
        algo = Algorithm.from_checkpoint(sys.argv[1])
        """
        + go_on,
        tmp_path / "saved",
    )
    assert sum("__shared__/mixer" in path for path in became) >= 16
    assert became == elsewhere


@pytest.mark.slow
def test_tune_goes_on_with_an_interrupted_run(tmp_path):
    (tmp_path / "mine.yaml").write_text(FILE.replace("STEPS", "30000"))
    arguments = ["train", "file", tmp_path / "mine.yaml", "--storage-path", tmp_path, "--ray-num-cpus", 2]
    process = start("-c", COMMAND, *arguments, "--checkpoint-freq", 1)
    while not any(tmp_path.glob("mine/*/checkpoint_*")) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=100)[0]
    assert process.returncode == 130 and "--resume" in said, said
    resumed = rllib(*arguments, "--resume")
    assert "done: iter 30 | 30,000 steps" in resumed and "iter 1 |" not in resumed


@pytest.mark.slow
def test_remote_runners_and_two_learners(tmp_path):
    learners, runner, loss = python(
        """
        import numpy as np
        from own_algorithm import QMIX
        config = QMIX.get_default_config().environment("escape_v0").hierarchy([["player_0", "player_1"]])
        config.learners(num_learners=2).env_runners(num_env_runners=1).training(
            num_steps_sampled_before_learning_starts=100, train_batch_size_per_learner=32
        ).reporting(min_sample_timesteps_per_iteration=300)
        algo = config.build_algo()
        before = algo.learner_team().weights()
        results = [algo.train() for _ in range(2)]

        def digest(members):
            return {m: {k: np.asarray(v).tolist() for k, v in own.items()} for m, own in members.items()}

        answers = algo.learner_group.foreach_learner(lambda learner: learner.module.team.weights()).ignore_errors()
        learners = [digest(answer.get()) for answer in answers]
        assert learners[0] != digest(before)
        (runner,) = algo.env_runner_group.foreach_env_runner(
            lambda runner: runner.module.team.weights(), local_env_runner=False
        )
        print(json.dumps([learners, digest(runner), float(results[-1]["learners"]["__shared__"]["qf_loss"])]))
        """
    )
    assert len(learners) == 2 and learners[0] == learners[1]
    assert any(name.startswith("mixer.") for name in learners[0]["__shared__"])
    for name, own in runner.items():  # play does without targets and mixer
        assert own == {key: learners[0][name][key] for key in own}
    assert loss > 0.0


@pytest.mark.slow
def test_remote_workers_of_the_command_find_it(tmp_path):
    text = FILE.replace("STEPS", "600") + "    num_env_runners: 1\n    num_learners: 2\n"
    (tmp_path / "mine.yaml").write_text(text + "    min_sample_timesteps_per_iteration: 300\n")
    said = rllib("train", "file", tmp_path / "mine.yaml", "--storage-path", tmp_path, "--ray-num-cpus", 4)
    assert "done: iter 2 | 600 steps" in said


@pytest.mark.slow
def test_a_checkpoint_whose_module_is_not_found_says_so(trained, tmp_path):
    (checkpoint,) = trained[0].glob("*/checkpoint_*")
    said = rllib("evaluate", checkpoint, cwd=tmp_path, code=2)
    assert "own_algorithm" in said and "PYTHONPATH" in said and "damaged" not in said
