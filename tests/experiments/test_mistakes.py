"""Everything that would silently do nothing, or fail late, is refused before Ray starts, with place and remedy."""

from __future__ import annotations

import re

import pytest
import yaml

from rllib_biac import BiACConfig
from rllib_biac.experiments.checks import CHECKPOINT_KEYS
from rllib_biac.experiments.metrics import METRICS
from rllib_biac.experiments.reading import KEYS
from rllib_biac.rllib.config_keys import keys_of
from rllib_biac.rllib.traps import TRAPS

GOOD = "run: BiAC, env: matrix_game_v0"


@pytest.fixture(autouse=True)
def nothing_starts(started):
    yield
    assert not started


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: f"{trap.section}-{trap.key}")
def test_every_trap_names_its_place_and_the_remedy(rllib, write, trap):
    experiment = {"run": "BiAC", "env": "matrix_game_v0", "stop": {"training_iteration": 1}, "config": {"lr": 0.1}}
    (experiment if trap.section == "experiment" else experiment[trap.section])[trap.key] = 7
    text = yaml.safe_dump({"mine": experiment}, sort_keys=False)
    line = next(n for n, row in enumerate(text.splitlines(), 1) if row.strip().startswith(f"{trap.key}: 7"))
    result = rllib("train", "file", write(text))
    assert result.exit_code == 2
    for fragment in ("game.yaml", f"line {line}", "'mine'", trap.key, trap.instead):
        assert fragment in result.output


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: f"{trap.section}-{trap.key}")
def test_what_a_trap_advises_exists(trap):
    known = {
        "experiment": (*KEYS, *CHECKPOINT_KEYS, "checkpoint_config"),
        "config": (*keys_of(BiACConfig), *KEYS),
        "stop": METRICS,
    }[trap.section]
    for advised in re.findall(r"(?:write|as) `([\w/]+)[:`]", trap.instead):
        assert advised in known


# What is wrong, and what the message has to say.
MISTAKES = {
    "empty file": ("", ["game.yaml", "empty"]),
    "only a comment": ("# nothing\n", ["empty"]),
    "a list": ("- 1\n", ["by name", "list"]),
    "not YAML": ("mine:\n  run: [BiAC\n  env: x\n", ["game.yaml, line 3", "not valid YAML"]),
    "a tab": ("mine:\n\trun: BiAC\n", ["line 2", "not valid YAML"]),
    "a Python object": ("mine: !!python/name:os.system\n", ["line 1", "not valid YAML"]),
    "no experiment name": ("run: BiAC\nenv: merge_v0\n", ["line 1", "'run'", "under an experiment's name"]),
    "experiment is a list": ("mine: [1]\n", ["line 1", "'mine'", "not a list"]),
    "duplicate key": (
        f"mine:\n  {GOOD.replace(', ', chr(10) + '  ')}\n  config:\n    lr: 1\n    lr: 2\n",
        ["line 6", "`lr`", "twice", "line 5"],
    ),
    "duplicate once it is read": (f"mine: {{{GOOD}, config: {{yes: 1, true: 2}}}}\n", ["line 1", "`true`", "twice"]),
    "a number in base 60": (
        f"mine: {{{GOOD}, config: {{seed: 1:30}}}}\n",
        ["line 1", "1:30 would be read as 90", "quotes"],
    ),
    "a number in base 8": (f"mine: {{{GOOD}, config: {{seed: 010}}}}\n", ["line 1", "010 would be read as 8"]),
    "agents that YAML reads as false and true": (
        f"mine: {{{GOOD}, config: {{hierarchy: [[no], [yes]]}}}}\n",
        ["`config: hierarchy`", "not False", "no, yes, on or 0, needs quotes"],
    ),
    "seeds that run twice": (
        f"mine: {{{GOOD}, num_samples: 2, config: {{seed: {{grid_search: [0, 1]}}}}}}\n",
        ["`config: seed`", "seed 1 would run twice"],
    ),
    "too large": (f"mine: {{{GOOD}}}\n" + "# nothing\n" * 40_000, ["bytes", "at most 300,000"]),
    "duplicate experiment": ("mine: {}\nmine: {}\n", ["line 2", "`mine`", "twice"]),
    "no run": ("mine: {env: matrix_game_v0}\n", ["'mine'", "`run:` is missing"]),
    "no env": ("mine: {run: BiAC}\n", ["'mine'", "`env:` is missing"]),
    "unknown experiment key": (
        f"mine:\n  {GOOD.replace(', ', chr(10) + '  ')}\n  num_sample: 2\n",
        ["line 4", "`num_sample`", "'num_samples'"],
    ),
    "unknown algorithm": ("mine: {run: BiAK, env: matrix_game_v0}\n", ["`run`", "'BiAK'", "'BiAC'"]),
    "algorithm in other letters": ("mine: {run: biac, env: matrix_game_v0}\n", ["'BiAC'"]),
    "unknown game": (
        "mine: {run: BiAC, env: matrix_gam_v0}\n",
        ["`env`", "'matrix_game_v0'", "package.module:factory"],
    ),
    "unknown game in a grid": (
        "mine: {run: BiAC, env: {grid_search: [matrix_game_v0, nowhere]}}\n",
        ["`env`", "'nowhere'"],
    ),
    "env twice": (f"mine: {{{GOOD}, config: {{env: matrix_game_v0}}}}\n", ["`config: env`", "write it once"]),
    "unknown config key": (
        f"mine:\n  {GOOD.replace(', ', chr(10) + '  ')}\n  config:\n    gama: 0.9\n",
        ["line 5", "`config: gama`", "'gamma'"],
    ),
    "unknown key in evaluation_config": (
        f"mine: {{{GOOD}, config: {{evaluation_config: {{explor: false}}}}}}\n",
        ["`config: evaluation_config: explor`", "'explore'"],
    ),
    "overrides per module": (
        f"mine: {{{GOOD}, config: {{algorithm_config_overrides_per_module: {{player_0: {{lr: 1}}}}}}}}\n",
        ["`config: algorithm_config_overrides_per_module`", "critic_lr or actor_lr"],
    ),
    "a private key": (f"mine: {{{GOOD}, config: {{_model_config: {{}}}}}}\n", ["_model_config", "'model_config'"]),
    "a group's name": (f"mine: {{{GOOD}, config: {{training: {{lr: 0.1}}}}}}\n", ["`config: training`", "unknown"]),
    "string for a number": (f"mine: {{{GOOD}, config: {{gamma: high}}}}\n", ["`config: gamma`", "float", "'high'"]),
    "fraction for an integer": (f"mine: {{{GOOD}, config: {{num_env_runners: 1.5}}}}\n", ["num_env_runners", "int"]),
    "number for a boolean": (f"mine: {{{GOOD}, config: {{explore: 1}}}}\n", ["explore", "true or false"]),
    "string for a mapping": (f"mine: {{{GOOD}, config: {{env_config: big}}}}\n", ["env_config", "a mapping"]),
    "string for a list": (f"mine: {{{GOOD}, config: {{hierarchy: player_0}}}}\n", ["hierarchy", "list"]),
    "wrong type in a grid": (f"mine: {{{GOOD}, config: {{lr: {{grid_search: [0.1, x]}}}}}}\n", ["`config: lr`", "'x'"]),
    "grid that is no list": (f"mine: {{{GOOD}, config: {{lr: {{grid_search: 0.1}}}}}}\n", ["grid_search", "list"]),
    "empty grid": (f"mine: {{{GOOD}, config: {{lr: {{grid_search: []}}}}}}\n", ["grid_search", "list"]),
    "class by dots": (f"mine: {{{GOOD}, config: {{callbacks: a.b.C}}}}\n", ["callbacks", "'package.module:name'"]),
    "class of no module": (f"mine: {{{GOOD}, config: {{callbacks: 'nowhere:C'}}}}\n", ["cannot import 'nowhere'"]),
    "no such class": (f"mine: {{{GOOD}, config: {{callbacks: 'json:Nope'}}}}\n", ["'json' has no 'Nope'"]),
    "refused by the config itself": (
        f"mine:\n  {GOOD.replace(', ', chr(10) + '  ')}\n  config:\n    gamma: 2\n",
        ["line 5", "'mine'", "`config: gamma`", "write a number in [0, 1]"],
    ),
    "refused by the game": (
        "mine:\n  run: BiAC\n  env: escape_v0\n  config:\n    env_config:\n      foo: 1\n",
        ["line 6", "`config: env_config: foo`"],
    ),
    "a name too long for file systems": (f"{'ü' * 150}: {{{GOOD}}}\n", ["becomes a folder's name"]),
    "an address with one slash": (f"mine: {{{GOOD}, storage_path: 's3:/bucket'}}\n", ["line 1", "s3://..."]),
    "somebody who is not there": (f"mine: {{{GOOD}, storage_path: ~nobody_at_all/x}}\n", ["no user 'nobody_at_all'"]),
    "settings of the game without names": (
        f"mine: {{{GOOD}, config: {{env_config: {{1: 2}}}}}}\n",
        ["`config: env_config: 1`", "quote it"],
    ),
    "checkpoints by a metric that is not there": (
        f"mine: {{{GOOD}, checkpoint_config: {{checkpoint_score_attribute: return}}}}\n",
        ["`checkpoint_config: checkpoint_score_attribute`", "unknown metric"],
    ),
    "a value twice in a grid": (
        f"mine: {{{GOOD}, config: {{lr: {{grid_search: [0.1, 0.2, 0.1]}}}}}}\n",
        ["`config: lr`", "lr=0.1 twice"],
    ),
    "a variable of the shell": (
        f"mine: {{{GOOD}, storage_path: $HOME/results}}",
        ["`storage_path`", "'$HOME' would be a part of a folder's name here"],
    ),
    "a variable of the shell in braces": (f"mine: {{{GOOD}, storage_path: 'a/${{SCRATCH}}'}}", ["'${SCRATCH}'"]),
    "a drive": (f"mine: {{{GOOD}, storage_path: 'C:\\results'}}", ["'C:' would be a part of a folder's name"]),
    "a stop before anything is learned": (
        f"mine: {{{GOOD}, stop: {{num_env_steps_sampled_lifetime: 500}}, "
        "config: {num_steps_sampled_before_learning_starts: 1000}}",
        ["`stop: num_env_steps_sampled_lifetime`", "nothing would be learned until then", "is 1000."],
    ),
    "text for a number in evaluation": (
        f"mine: {{{GOOD}, config: {{evaluation_config: {{explore: 'no'}}}}}}",
        ["`config: evaluation_config: explore`", "expected true or false, not 'no'"],
    ),
    "half of a character": (
        'mine:\n  run: BiAC\n  env: "\\ud83d\\ude00"\n',
        ["game.yaml, line 3", "has half of a character"],
    ),
    "half of a character in a name": (f'"\\ud800": {{{GOOD}}}', ["game.yaml, line 1", "has half of a character"]),
    "a range for the stop": (
        f"mine: {{{GOOD}, stop: {{training_iteration: {{grid_search: [1, 2]}}}}}}",
        ["`stop: training_iteration`", "all trials stop alike; write one number"],
    ),
    "config is empty": (f"mine: {{{GOOD}, config: }}", ["`config`", "a mapping of settings, not nothing."]),
    "config is a list": (f"mine: {{{GOOD}, config: [1]}}\n", ["`config`", "not a list"]),
    "nested stop": (
        f"mine: {{{GOOD}, stop: {{env_runners: {{episode_return_mean: 5}}}}}}\n",
        ["never fires", "`env_runners/episode_return_mean: ...`"],
    ),
    "unknown metric": (
        f"mine: {{{GOOD}, stop: {{env_runners/episode_retrun_mean: 5}}}}\n",
        ["unknown metric", "'env_runners/episode_return_mean'"],
    ),
    "evaluation that is never run": (
        f"mine: {{{GOOD}, stop: {{evaluation/env_runners/episode_return_mean: 5}}}}\n",
        ["`evaluation_interval: 1`"],
    ),
    "stop at the return of an agent that is not there": (
        f"mine: {{{GOOD}, config: {{hierarchy: [[player_0], [player_1]]}}, "
        "stop: {env_runners/agent_episode_returns_mean/player_2: 5}}\n",
        ["no agent 'player_2'", "Did you mean"],
    ),
    "stop at a word": (f"mine: {{{GOOD}, stop: {{training_iteration: soon}}}}\n", ["training_iteration", "number"]),
    "stop is a number": (f"mine: {{{GOOD}, stop: 3}}\n", ["`stop`", "mapping"]),
    "unknown checkpoint key": (
        f"mine: {{{GOOD}, checkpoint_config: {{checkpoint_freq: 3}}}}\n",
        ["`checkpoint_config: checkpoint_freq`", "'checkpoint_frequency'"],
    ),
    "checkpoint at a word": (f"mine: {{{GOOD}, checkpoint_config: {{num_to_keep: yes}}}}\n", ["num_to_keep", "int"]),
    "keep none": (f"mine: {{{GOOD}, checkpoint_config: {{num_to_keep: 0}}}}\n", ["num_to_keep", "at least 1"]),
    "no samples": (f"mine: {{{GOOD}, num_samples: 0}}\n", ["num_samples", "at least 1"]),
    "samples in words": (f"mine: {{{GOOD}, num_samples: many}}\n", ["num_samples", "number"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_every_mistake_is_told(rllib, write, name):
    text, fragments = MISTAKES[name]
    result = rllib("train", "file", write(text))
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    for fragment in fragments:
        assert fragment in result.output


def test_all_mistakes_of_an_experiment_are_told_at_once(rllib, write):
    result = rllib("train", "file", write(f"mine: {{{GOOD}, config: {{gama: 1, lr: x, explore: 1}}}}"))
    assert all(key in result.output for key in ("gama", "`config: lr`", "explore"))
    assert "loading Ray" not in result.output


def test_a_mistake_in_a_later_experiment_stops_the_first_from_starting(rllib, write):
    assert rllib("train", "file", write(f"good: {{{GOOD}}}\nbad: {{{GOOD}, config: {{gama: 1}}}}")).exit_code == 2


@pytest.mark.parametrize(
    ("name", "text", "fragment"),
    [
        ("game.py", "x = 1", "defines `config`"),
        ("game.json", "{}", ".yaml"),
        ("game.py", "from ray.rllib.algorithms import AlgorithmConfig as config", "defines `config`"),
        (
            "game.py",
            "x = 1\n\nraise RuntimeError('no licence')",
            "game.py, line 3: the program raised RuntimeError: no lic",
        ),
        ("game.py", "x = 1\ny = (", "game.py, line 2: the program raised SyntaxError: '(' was never closed"),
        ("game.py", "\0", "game.py"),
    ],
)
def test_other_files_are_refused(rllib, write, name, text, fragment):
    result = rllib("train", "file", write(text, name))
    assert result.exit_code == 2
    assert fragment in result.output


def test_a_missing_file_and_a_folder(rllib, tmp_path):
    assert "no such file" in rllib("train", "file", tmp_path / "no.yaml").output
    assert "is a folder" in rllib("train", "file", tmp_path).output
