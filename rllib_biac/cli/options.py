"""What several commands have in common: kinds of values, completion, the options that override an experiment."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from rllib_biac.cli.mistaken import Group
from rllib_biac.experiments import reading
from rllib_biac.rllib.hints import did_you_mean

SEED = click.IntRange(0, 2**32 - 1)  # what numpy, torch and games all take
STOP_EXAMPLE = '{"training_iteration": 10}'
CONFIG_EXAMPLE = '{"lr": 0.001, "hierarchy": [["player_0"], ["player_1"]]}'


class Settings(click.ParamType):
    """Settings as a JSON object, or one as `key=value`: dots lead into mappings, the value is YAML.

    Args:
        pairs: examples of pairs, a flat one and one with a dot, for those who wrote something else.
        example: the same as JSON.
    """

    name = "settings"

    def __init__(self, pairs: tuple[str, str] = ("lr=0.001", "env_config.size=9"), example: str = CONFIG_EXAMPLE):
        self._pairs, self._example = pairs, example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, dict):
            return value
        key, equals, text = value.partition("=")
        if value.lstrip().startswith("{") or not equals:
            if not value.lstrip().startswith(("{", "[")):
                like = f"such as {self._pairs[0]}, or a JSON object like '{self._example}'"
                self.fail(f"expected key=value, {like}, not {value}")
            return Json(self._example).convert(value, param, ctx)
        parts = key.strip().split(".")
        if not all(parts):
            self.fail(f"no key before the = in {value}; write {' or '.join(self._pairs)}")
        try:
            settings: Any = reading.value(text)
        except ValueError as error:
            self.fail(
                f"{key}: not valid YAML after the = ({error}); quote what the shell would change: '{key}=[0.1, 0.2]'"
            )
        for part in reversed(parts):
            settings = {part: settings}
        return settings


class Json(click.ParamType):
    """A JSON object; `example` is shown to those who wrote something else."""

    name = "json"

    def __init__(self, example: str) -> None:
        self._example = example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, dict):
            return value
        try:
            parsed = json.loads(value, object_pairs_hook=self._once)
        except ValueError as error:
            self.fail(f"not valid JSON ({error}); write it like '{self._example}'", param, ctx)
        if not isinstance(parsed, dict):
            self.fail(f"expected a JSON object like '{self._example}', not {value}", param, ctx)
        return parsed

    def _once(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        if twice := next((key for key in keys if keys.count(key) > 1), None):
            raise ValueError(f"{twice!r} is given twice")
        return dict(pairs)


def _remember_traceback(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    ctx.meta["traceback"] = ctx.meta.get("traceback") or value


traceback_option = click.option(
    "--traceback",
    "--trace",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_remember_traceback,
    help="Show stack traces of errors.",
)


class TrainGroup(Group):
    """Tells those who write a file or an example without `file` what to write."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None:
            name = args[0]
            packaged = reading.examples()
            if Path(name).is_file() or name.removesuffix(".yaml") in packaged:
                raise click.UsageError(
                    f"to train a file or a packaged example, write: rllib train file {shlex.join(args)}"
                )
            hint = (
                did_you_mean(name, packaged)
                .replace("Did you mean '", "Did you mean `rllib train file ")
                .replace("'?", "`?")
            )
            raise click.UsageError(f"no such command {name!r}.{hint} Write --algo and --env, or `file FILE`.")
        return super().resolve_command(ctx, args)


def complete_examples(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Returns the packaged examples that begin so; where a file may be named, files as well."""
    files = [] if param.name == "name" else [CompletionItem(incomplete, type="file")]
    return [CompletionItem(name) for name in reading.examples() if name.startswith(incomplete)] + files


def complete_games(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Returns the ids of games that begin so."""
    from rllib_biac.envs import game_ids

    return [name for name in game_ids() if name.startswith(incomplete)]


def complete_algorithms(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Returns the algorithms whose names begin so, in either case."""
    from rllib_biac.rllib.registry import ALGORITHMS

    return [name for name in ALGORITHMS if name.lower().startswith(incomplete.lower())]


# A flag that is not given is None and does not change the file's value.
_OVERRIDES: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--stop",
        type=Json(STOP_EXAMPLE),
        metavar="JSON",
        help=f"When to stop, such as '{STOP_EXAMPLE}'.",
    ),
    click.option(
        "--config",
        "--set",
        "config",
        type=Settings(),
        multiple=True,
        metavar="KEY=VALUE|JSON",
        help="Settings of the algorithm: lr=0.001, env_config.size=9 or a JSON object; may be given several times.",
    ),
    click.option("--experiment-name", "name", metavar="NAME", help="The folder's name.  [default: the experiment's]"),
    click.option("--num-samples", type=click.IntRange(min=1), help="Runs of each trial; sample k gets seed + k."),
    click.option("--seed", type=int, help="The seed of every trial."),
    click.option("--storage-path", "--local-dir", metavar="PATH", help="Where results go.  [default: ~/ray_results]"),
    click.option("--checkpoint-freq", type=click.IntRange(min=0), help="Iterations between checkpoints; 0: none."),
    click.option(
        "--checkpoint-at-end/--no-checkpoint-at-end", default=None, help="Checkpoint when done.  [default: yes]"
    ),
    click.option("--keep-checkpoints-num", type=click.IntRange(min=1), help="Keep only this many.  [default: all]"),
    click.option("--ray-address", metavar="ADDRESS", help="A running Ray cluster, such as auto.  [default: start one]"),
    click.option("--ray-num-cpus", type=click.IntRange(min=1), help="CPUs of the Ray to start.  [default: all]"),
    click.option("--resume", is_flag=True, help="Continue the interrupted or failed trials of the last run."),
    click.option("--dry-run", is_flag=True, help="Check everything, show what would be trained, and start nothing."),
    click.option("-v", "--verbose", is_flag=True, help="Show Ray's own messages too."),
    traceback_option,
)


def overridable(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command the flags that replace what an experiment file says."""
    for option in reversed(_OVERRIDES):
        command = option(command)
    return command


def was_given(ctx: click.Context, name: str) -> bool:
    """Tells whether a parameter stands on the command line, and is not its default."""
    return ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def as_given(leave_out: Collection[str] = (), **instead: str) -> list[str]:
    """Returns the words of the command that runs, with other values instead of some."""
    ctx = click.get_current_context()
    words = ["rllib", *ctx.command_path.split()[1:]]
    for parameter in ctx.command.params:
        name, option = str(parameter.name), isinstance(parameter, click.Option)
        if not was_given(ctx, name) or name in leave_out:
            continue
        words += [parameter.opts[0]] if option else []
        value = instead.get(name, ctx.params.get(name, True))
        if isinstance(value, tuple):
            words.pop()
            words += [word for one in value for word in (parameter.opts[0], json.dumps(one))]
        elif value is not True:
            words.append(json.dumps(value) if isinstance(value, dict) else str(value))
    return words
