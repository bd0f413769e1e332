"""Options that several commands share, and words for those who mistake one command for another."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from rllib_biac.cli.main import main
from rllib_biac.experiments import overrides, reading


@pytest.fixture
def rllib():
    """Runs `rllib` with these arguments, and with the real algorithms."""
    return lambda *arguments: CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def shown(monkeypatch):
    """The experiments that a command would train."""
    found = []
    monkeypatch.setattr("rllib_biac.cli.run.run", lambda experiments, *a, **k: found.extend(experiments) or 0)
    return found


COMMANDS = (
    ["train", "--algo", "BiAC", "--env", "escape_v0", "--set", "hierarchy=[[player_0], [player_1]]"],
    ["train", "file", "escape_biac"],
    ["example", "run", "escape_biac"],
)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: " ".join(words[:2]))
@pytest.mark.parametrize("option", ["--config", "--set"])
def test_settings_alike_on_every_command(rllib, shown, tmp_path, command, option):
    given = ["lr=1e-2", '{"gamma": 0.5, "env_config": {"horizon": 1}}', "model_config.fcnet_hiddens=[8, 8]"]
    words = [word for one in given for word in (option, one)]
    result = rllib(*command, *words, "--experiment-name", "mine", "--storage-path", tmp_path)
    assert result.exit_code == 0, result.output
    (experiment,) = shown
    config = experiment.trials[0].config
    assert (experiment.name, config.lr, config.gamma, config.env_config) == ("mine", 0.01, 0.5, {"horizon": 1})
    assert config.levels == [["player_0"], ["player_1"]]
    assert config.model_config["fcnet_hiddens"] == [8, 8]


def test_settings_keep_what_they_do_not_name():
    trees = [{"env_config": {"a": 1, "b": 2}, "lr": 1}, {"env_config": {"b": 3}}, {"lr": {"grid_search": [1]}}]
    swept = overrides.merged([{"a": {"b": 1}}, {"a": {"grid_search": [{"b": 2}]}}, {"a": {"b": 3}}])
    assert swept == {"a": {"b": 3}}
    assert overrides.merged(trees) == {"env_config": {"a": 1, "b": 3}, "lr": {"grid_search": [1]}}


def test_settings_of_a_python_file(rllib, shown, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from rllib_biac import BiACConfig\n"
        'config = BiACConfig().environment("escape_v0", env_config={"horizon": 1})'
        '.hierarchy([["player_0"], ["player_1"]])\n'
    )
    result = rllib("train", "file", tmp_path / "mine.py", "--set", "lr=0.5", "--storage-path", tmp_path)
    assert result.exit_code == 0, result.output
    assert (shown[0].trials[0].config.lr, shown[0].trials[0].config.env_config) == (0.5, {"horizon": 1})


def test_a_dry_run_starts_nothing(rllib, shown, tmp_path):
    result = rllib(
        "train", "file", "escape_biac", "--set", "lr=0.5", "--num-samples", 2, "--dry-run", "--storage-path", tmp_path
    )
    assert result.exit_code == 0 and not shown and not list(tmp_path.iterdir())
    for text in ("2 trial(s) of BiAC in escape_v0", "  lr: 0.5\n", "  trial sample=1\n", "Nothing was started"):
        assert text in result.output
    wrong = rllib("train", "file", "escape_biac", "--set", "lrr=0.5", "--dry-run")
    assert wrong.exit_code == 2 and "Did you mean 'lr'?" in wrong.output


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["train", "merge_biac"], "write: rllib train file merge_biac"),
        (["train", "merge_bia"], "Did you mean `rllib train file merge_biac`?"),
        (["train", "nonsense"], "Write --algo and --env, or `file FILE`."),
        (["train", "--algo", "BiAC", "--env", "merge_v0"], "hierarchy: [['main_0'], ['auxiliary_0']]"),
        (["train", "file", "escape_biac", "--set", "lr"], "expected key=value"),
        (["train", "file", "escape_biac", "--set", "=3"], "no key before the ="),
        (["train", "file", "escape_biac", "--set", "lr=[1"], "not valid YAML"),
        (
            ["train", "file", "escape_biac", "--set", "lr=" + "[" * 5000],
            "not valid YAML after the = (nested too deeply)",
        ),
        *(
            (
                ["train", "file", "escape_biac", "--storage-path", "/proc/nothing", *more],
                "--storage-path /proc/nothing: cannot write",
            )
            for more in ([], ["--dry-run"])
        ),
        (
            ["train", "file", "escape_biac", "--dry-run", "--storage-path", "a" * 300],
            "cannot write there (File name too long)",
        ),
        (
            ["train", "file", "escape_biac", "--dry-run", "--storage-path", "s3://"],
            "--storage-path s3://: cannot write",
        ),
        (["train", "file", "escape_biac", "--set", "lr=.1", "--config", "lr=.2"], "lr is given twice on the command"),
        (
            [
                "train",
                "file",
                "escape_biac",
                "--set",
                '{"env_config": {"horizon": 1}}',
                "--set",
                "env_config.horizon=1",
            ],
            "env_config.horizon is given twice",
        ),
        (
            ["train", "file", "escape_biac", "--set", "env_config.horizon=1", "--set", "env_config=3"],
            "env_config is given twice",
        ),
        (["train", "file", "escape_biac", "--seed", 1, "--seed", 2], "--seed is given twice: leave one out"),
        (["train", "--algo", "BiAC", "--env", "a", "--env", "b"], "--env is given twice"),
        (
            ["example", "run", "escape_biac", "--checkpoint-at-end", "--no-checkpoint-at-end"],
            "--checkpoint-at-end / --no-checkpoint-at-end is given twice",
        ),
        (["evaluate", "here", "--episodes", 1, "--episodes", 2], "--episodes is given twice"),
    ],
)
def test_mistakes(rllib, arguments, fragment):
    result = rllib(*arguments)
    assert result.exit_code == 2, result.output
    assert fragment in result.output


def test_what_callbacks_print_is_shown(rllib, tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr(
        "rllib_biac.cli.run.run", lambda experiments, cluster, *a, **k: found.append(cluster.prints) or 0
    )
    command = ["train", "file", "escape_biac", "--storage-path", tmp_path]
    rllib(*command)
    rllib(*command, "--set", "callbacks=ray.rllib.callbacks.callbacks:RLlibCallback")
    text = "from rllib_biac import BiACConfig\nconfig = BiACConfig().environment('escape_v0')"
    text += ".hierarchy([['player_0'], ['player_1']])"
    for number, more in enumerate(("", ".callbacks(on_train_result=print)")):
        (tmp_path / f"mine_{number}.py").write_text(text + more)
        rllib("train", "file", tmp_path / f"mine_{number}.py", "--storage-path", tmp_path)
    assert found == [False, True, False, True]


def test_one_name_for_several_experiments(rllib, write):
    one = "{run: BiAC, env: escape_v0}"
    result = rllib("train", "file", write(f"a: {one}\nb: {one}"), "--experiment-name", "x")
    assert result.exit_code == 2 and "this file has 2" in result.output


def test_the_command_to_resume_names_the_settings_again_only_if_they_are_not_saved(rllib, shown, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("rllib_biac.cli.run.run", lambda experiments, cluster, again, **k: said.append(again) or 0)
    rllib("train", "file", "escape_biac", "--set", "lr=1", "--experiment-name", "mine", "--storage-path", tmp_path)
    assert said == [f"rllib train file escape_biac --experiment-name mine --storage-path {tmp_path} --resume"]
    said.clear()
    rllib(*COMMANDS[0], "--set", "lr=0.5", "--storage-path", tmp_path)
    assert said[0].startswith("rllib train --algo BiAC --env escape_v0 ") and said[0].endswith("--resume")


def test_an_import_inside_a_game_is_blamed_for_itself(tmp_path, monkeypatch):
    from rllib_biac.envs import make

    (tmp_path / "outer_game.py").write_text("import not_there_at_all\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match=r"'not_there_at_all', which .*outer_game.py:1 needs, is not installed"):
        make("outer_game:env")
    with pytest.raises(ValueError, match="cannot import 'no_such_game'"):
        make("no_such_game:env")


def listed(**streams):
    command = [sys.executable, "-c", "from rllib_biac.cli.main import main; main()", "example", "list"]
    env = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}  # users have it not
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env, **streams)


def test_a_reader_who_goes_away_is_no_error():
    read, write = os.pipe()
    os.close(read)
    command = listed(stdout=write)
    os.close(write)
    assert command.communicate()[1] == "" and command.returncode == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has it")
def test_output_that_cannot_be_written():
    with open("/dev/full", "w") as full:
        command = listed(stdout=full)
        told = command.communicate()[1]
    assert command.returncode == 1 and told.startswith("Error: there is no room to write") and "Traceback" not in told


def test_examples_are_listed_in_whole_sentences(rllib):
    lines = rllib("example", "list").output.splitlines()
    assert len(lines) == len(reading.examples())
    for line in lines:
        assert line.endswith(".") and not line.endswith("al."), line


@pytest.mark.parametrize(
    ("words", "found"), [("rllib train file esc", "escape_biac"), ("rllib train --env mer", "merge_v0")]
)
def test_completion(words, found):
    parts = words.split()
    env = {**os.environ, "_RLLIB_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(parts) - 1)}
    code = "import sys; sys.argv[0] = 'rllib'; from rllib_biac.cli.main import main; main(prog_name='rllib')"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert f"plain,{found}" in done.stdout.splitlines(), done.stderr


def test_every_command_has_help():
    for command in main.commands.values():
        assert command.help and json.dumps(command.help)
