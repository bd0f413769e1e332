"""Bad command lines by the thousand, and what became of each: refused, accepted and visible, or a fault of ours."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any

import click
import yaml
from click.testing import CliRunner
from hypothesis import strategies as st

from rllib_biac.cli.main import main
from rllib_biac.cli.options import Settings
from rllib_biac.rllib.registry import config_class
from tests.properties.bad_inputs import ACCEPTED, EXAMPLES, REFUSED, SILENT, TRACE, Verdict, same

DRY = "--dry-run"
_SHOWN = re.compile(r"^(.*): (\d+) trial\(s\) of (\w+) in (.*), results would go to (.*)$", re.MULTILINE)


def judge(argv: list[str], folder: Path) -> Verdict:
    """Does what `rllib ARGV...` does, training dry.

    A refusal counts as one if it is told in words, with exit code 2, and by no exception of Python's. What is accepted
    must show: each value on the command line is looked up in what is printed of what would be trained.
    """
    with chdir(folder):
        result = CliRunner().invoke(main, argv)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return Verdict(TRACE, repr(result.exception))
    told = result.output
    if "Traceback (most recent" in told and not any(word.startswith("--trace") for word in argv):
        return Verdict(TRACE, told)
    if result.exit_code:
        words = "Error: " in told or told.startswith("Usage: ")
        return Verdict(REFUSED if result.exit_code == 2 and words else TRACE, told)
    if DRY not in argv:
        asks = any(word in ("-h", "--help", "--version", "example") for word in argv)
        return Verdict(ACCEPTED if asks else SILENT, told)
    lost = unseen(argv, told)
    return Verdict(SILENT, f"{', '.join(lost)} of {argv} in\n{told}") if lost else Verdict(ACCEPTED, told)


def unseen(argv: list[str], told: str) -> list[str]:
    """Returns the flags whose values do not show in what a dry run tells."""
    if (found := _SHOWN.search(told)) is None:
        return ["what would be trained"]
    name, trials, algorithm, game, place = found.groups()
    keyed = dict(line[2:].split(": ", 1) for line in told.splitlines() if line.startswith("  ") and ": " in line)
    shown = {key: yaml.safe_load(text) for key, text in keyed.items()}
    plain = config_class(algorithm)()

    def sets(settings: dict[str, Any]) -> bool:
        return all(same(value, shown.get(key, getattr(plain, key, None))) for key, value in settings.items())

    holds: dict[str, Callable[[str], bool]] = {
        "--seed": lambda value: shown.get("seed") == int(value),
        "--stop": lambda value: shown["stop"] == json.loads(value),
        "--num-samples": lambda value: int(trials) % int(value) == 0,
        "--env": lambda value: game == value.rpartition(":")[2],
        "--algo": lambda value: algorithm == value,
        "--experiment-name": lambda value: name == value,
        "--storage-path": lambda value: value.strip("~.") in place,
        "--config": lambda value: sets(Settings().convert(value, None, None)),
    }
    alike = {"--set": "--config", "--local-dir": "--storage-path"}
    given = [(alike.get(flag, flag), value) for flag, value in itertools.pairwise(argv)]
    return [f"{flag} {value}" for flag, value in given if flag in holds and not holds[flag](value)]


# Command lines.

_OPTIONS = {
    name: {word: option for option in command.params if isinstance(option, click.Option) for word in option.opts}
    for name, command in main.commands.items()
}
_FITTING = {
    "--stop": '{"training_iteration": 1}',
    "--config": "lr=0.001",
    "--set": "gamma=0.9",
    "--storage-path": "here",
    "--env": "escape_v0",
    "--algo": "BiAC",
}
_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0/:"), max_size=6)
_VALUES = st.one_of(
    st.sampled_from(
        ["0", "1", "-1", "3", "1.5", "1e3", "nan", "ten", "true", "", " ", "-", "--", "auto", "~", "*", "."]
    ),
    st.sampled_from([str(2**31), str(2**32), str(2**64), "9" * 400, "{}", "[]", "{", "null", '"', "=", "a=", "=1"]),
    st.sampled_from(
        ['{"training_iteration": 1}', '{"training_iteration": "soon"}', '{"a": 1, "a": 2}', '{"iteration": 1}']
    ),
    st.sampled_from(
        ["lr=0.001", "lr=much", "lr=", "gama=0.9", "env_config.size=9", "a..b=1", "seed=[1", '{"lr": 0.01}']
    ),
    st.sampled_from(["escape_v0", "merge_v0", "merg_v0", "BiAC", "biac", "nowhere.at:all", "nowhere/at/all"]),
    _TEXT,
)
_FLAGS = st.sampled_from(sorted(_OPTIONS["train"]))


@st.composite
def _misspelt(draw: st.DrawFn, words: st.SearchStrategy[str]) -> str:
    word = draw(words)
    at = draw(st.integers(0, len(word) - 1))
    return word[:at] + draw(st.sampled_from(["", "x", word[at] * 2, word[at].upper()])) + word[at + 1 :]


@st.composite
def _flags(draw: st.DrawFn, command: str) -> list[str]:
    """Flags of a command with values that fit them, flags with any values, misspelt ones, words alone."""
    known, argv = _OPTIONS[command], []
    for _ in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from(sorted(known)))
        kind = draw(st.sampled_from(["fits", "fits", "fits", "fits", "any", "any", "misspelt", "alone"]))
        if kind in ("misspelt", "alone"):
            argv.append(draw(_misspelt(st.just(name)) if kind == "misspelt" else _VALUES))
        elif known[name].is_flag:
            argv.append(name)
        else:
            argv += [name, _FITTING.get(name, "7") if kind == "fits" else draw(_VALUES)]
    return argv


@st.composite
def trainings(draw: st.DrawFn) -> list[str]:
    """`rllib train` of an example, or of an algorithm and a game, with any flags, dry."""
    named = [
        "file",
        draw(st.one_of(*[st.sampled_from(sorted(EXAMPLES))] * 5, _misspelt(st.sampled_from(sorted(EXAMPLES))))),
    ]
    written = ["--algo", draw(st.sampled_from(["BiAC", "MADDPG", "DQN", "Biac"])), "--env", draw(_VALUES)]
    argv = ["train", *draw(st.sampled_from([named, named, named, written])), DRY]
    return [*argv, *draw(_flags("train"))]


@st.composite
def elsewhere(draw: st.DrawFn) -> list[str]:
    """Any other command, with any flags, on what is not there. Never right, unless it asks for help."""
    command = draw(st.sampled_from(sorted(set(_OPTIONS) - {"train", "example"})))
    return [command, draw(st.sampled_from(["nowhere/at/all", "nowhere.yaml", "", "."])), *draw(_flags(command))]


@st.composite
def words(draw: st.DrawFn) -> list[str]:
    """Any words, known and unknown."""
    known = st.sampled_from([*main.commands, "file", "list", "show"])
    argv = draw(st.lists(st.one_of(known, _misspelt(known), _VALUES, _FLAGS), max_size=4))
    if "train" in argv:
        argv.remove("train")
        return ["train", *argv, DRY]
    return argv


# What is wrong in each, in a user's words -> the command lines.
KINDS: dict[str, st.SearchStrategy[list[str]]] = {
    "`rllib train` with any flags": trainings(),
    "other commands with any flags, on what is not there": elsewhere(),
    "`rllib` and any words": words(),
}
