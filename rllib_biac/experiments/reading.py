"""Reads experiment files and finds the mistakes in them that can be found without importing Ray."""

from __future__ import annotations

import dataclasses
import re
import runpy
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from rllib_biac.experiments import ranges, sweeps
from rllib_biac.experiments.metrics import TIMES, unreported
from rllib_biac.experiments.mistakes import Mistake, did_you_mean
from rllib_biac.rllib.traps import trap

KEYS = (
    "run",
    "env",
    "stop",
    "config",
    "num_samples",
    "scheduler",
    "search_alg",
    "checkpoint_config",
    "storage_path",
    "max_failures",
    "time_budget_s",
)
# Trials are made, and each one's settings checked, before the first starts.
MOST_TRIALS = 10_000
# Of a file, aliases written out.
MOST_VALUES = 50_000
# The public fields of ray.tune.CheckpointConfig, written out so that a misspelt one is found before Ray is imported.
CHECKPOINT_KEYS: dict[str, type] = {
    "num_to_keep": int,
    "checkpoint_score_attribute": str,
    "checkpoint_score_order": str,
    "checkpoint_frequency": int,
    "checkpoint_at_end": bool,
}


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, with numbers as people write them."""


# PyYAML wants a dot and a signed exponent in a float, so that it reads 1e-3 and 1e6 as strings.
_Loader.yaml_implicit_resolvers = {key: list(value) for key, value in yaml.SafeLoader.yaml_implicit_resolvers.items()}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


@dataclasses.dataclass(frozen=True)
class Draft:
    """One experiment as it was written, not yet resolved into algorithm configs.

    Attributes:
        name: the experiment's name.
        settings: what stands under the name: `run`, `env`, `stop`, `config`, ...
        source: the file's name, or "command line".
        lines: the line of each key, by its path below the experiment's name. Empty where a key has no line.
    """

    name: str
    settings: dict[str, Any]
    source: str
    lines: Mapping[tuple[Any, ...], int] = dataclasses.field(default_factory=dict)

    def mistake(self, path: tuple[Any, ...], text: str) -> str:
        """Returns `text` with the place of `path` before it: file, line, experiment and key."""
        known = [self.lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self.lines]
        line = f", line {known[0]}" if known else ""
        key = f", `{': '.join(map(str, path))}`" if path else ""
        return f"{self.source}{line}, experiment {self.name!r}{key}: {text}"


def find(name: str) -> Path:
    """Returns the path of an experiment file, which may be given by the name of a packaged example.

    Raises:
        Mistake: if there is neither such a file nor such an example.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    packaged = examples()
    found = packaged.get(name.removesuffix(".yaml"))
    if found is not None:
        return found
    what = "is a folder, not a file" if path.is_dir() else "no such file, and no packaged example of that name"
    raise Mistake(f"{name}: {what}.{did_you_mean(name.removesuffix('.yaml'), packaged)} See `rllib example list`.")


def examples() -> dict[str, Path]:
    """Returns the packaged experiment files by name."""
    folder = Path(str(resources.files("rllib_biac.tuned_examples")))
    return {path.stem: path for path in sorted(folder.rglob("*.yaml"))}


def read(path: Path) -> list[Draft]:
    """Reads an experiment file.

    Args:
        path: a YAML file with experiments by name, or a Python file that defines `config` and optionally `stop`.

    Raises:
        Mistake: if it cannot be read or does not have that form.
    """
    if path.suffix == ".py":
        return [_read_python(path)]
    if path.suffix not in (".yaml", ".yml"):
        raise Mistake(f"{path.name}: an experiment file ends in .yaml, .yml or .py.")
    return _read_yaml(path)


def _read_python(path: Path) -> Draft:
    names = runpy.run_path(str(path))
    config, stop = names.get("config"), names.get("stop", {})
    if not hasattr(config, "to_dict"):
        raise Mistake(
            f"{path.name}: a Python experiment file defines `config`, an AlgorithmConfig, and optionally `stop`."
        )
    return Draft(path.stem, {"config": config, "stop": stop}, path.name)


def _read_yaml(path: Path) -> list[Draft]:
    try:
        loader = _Loader(path.read_text(encoding="utf-8"))
        root = loader.get_single_node()
        _check_size(root, path.name)
        if root is None:
            raise Mistake(
                f"{path.name}: the file is empty. Write `name: {{run: BiAC, env: ..., stop: ..., config: ...}}`."
            )
        # Before the document is made of the nodes, which flattens merged mappings (`<<`) into their keys.
        duplicates, lines = list(_duplicates(root)), dict(_lines(root))
        document = loader.construct_document(root)
    except UnicodeDecodeError as error:
        raise Mistake(f"{path.name}: not a text file in UTF-8 ({error}).") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise Mistake(f"{path.name}{line}: not valid YAML: {error.problem or error.context}.") from error
    except yaml.YAMLError as error:
        raise Mistake(f"{path.name}: not valid YAML: {error}.") from error
    except RecursionError as error:
        raise Mistake(f"{path.name}: mappings and lists are nested too deeply.") from error
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        # What PyYAML lets through of a date in month 13, a number of thousands of digits, or a tag's wrong value.
        raise Mistake(f"{path.name}: a value that YAML cannot read: {error}.") from error
    if duplicates:
        raise Mistake(
            "\n".join(
                f"{path.name}, line {key.start_mark.line + 1}: `{key.value}` is written twice in one mapping "
                f"(first in line {first})."
                for key, first in duplicates
            )
        )
    if not isinstance(document, dict) or not document:
        given = f"a {_kind(document)}" if document else "nothing"
        raise Mistake(f"{path.name}: expected experiments by name, `name: {{run: ..., env: ...}}`, not {given}.")
    drafts = []
    for name, settings in document.items():
        if not isinstance(settings, dict):
            hint = (
                " The file's settings stand under an experiment's name: `name: {run: ..., env: ...}`."
                if name in KEYS
                else ""
            )
            at = lines.get((str(name),), 1)
            raise Mistake(
                f"{path.name}, line {at}, experiment {str(name)!r}: expected a mapping with `run`, `env`, `stop`, "
                f"`config`, not a {_kind(settings)}.{hint}"
            )
        own = {where[1:]: line for where, line in lines.items() if where[0] == str(name)}
        drafts.append(Draft(str(name), settings, path.name, own))
    return drafts


def _kind(value: Any) -> str:
    names = {
        dict: "mapping",
        list: "list",
        str: "string",
        type(None): "nothing",
        bool: "true/false value",
        int: "number",
    }
    return names.get(type(value), type(value).__name__)


def _check_size(root: yaml.Node | None, name: str) -> None:
    """Refuses aliases that stand for themselves, or for so much that a few lines would fill the memory.

    Raises:
        Mistake: if the document, written out without aliases, has no end or more than `MOST_VALUES` values.
    """
    waiting = [root] if root else []
    for _ in range(MOST_VALUES):
        if not waiting:
            return
        node = waiting.pop()
        if isinstance(node, yaml.MappingNode):
            waiting += [one for pair in node.value for one in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value
    raise Mistake(
        f"{name}: more than {MOST_VALUES:,} values, aliases written out; does an alias stand in its own anchor?"
    )


def _duplicates(node: yaml.Node) -> Iterator[tuple[yaml.ScalarNode, int]]:
    """Yields keys that stand twice in a mapping, with the line of the first: PyYAML would silently keep the last."""
    if isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in first:
                yield key, first[key.value]
            elif isinstance(key, yaml.ScalarNode):
                first[key.value] = key.start_mark.line + 1
            yield from _duplicates(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _duplicates(value)


def _lines(node: yaml.Node, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                yield (*path, key.value), key.start_mark.line + 1
                yield from _lines(value, (*path, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*path, index), value.start_mark.line + 1
            yield from _lines(value, (*path, index))


def check(draft: Draft) -> None:
    """Checks everything about an experiment that needs neither Ray nor torch.

    Raises:
        Mistake: with one line for each mistake, each with its place and what to write instead.
    """
    found = [draft.mistake(path, text) for path, text in _mistakes(draft.settings)]
    if draft.name in (".", "..") or not re.fullmatch(r"[^/\\\x00-\x1f]{1,200}", draft.name):
        found.append(draft.mistake((), "its name is that of a folder, and needs 1 to 200 characters without / and \\."))
    if found:
        raise Mistake("\n".join(found))


def _mistakes(settings: dict[str, Any]) -> Iterator[tuple[tuple[Any, ...], str]]:
    for key in settings:
        if instead := trap("experiment", key):
            yield (key,), f"{instead}."
        elif key not in KEYS:
            yield (key,), f"unknown key.{did_you_mean(key, KEYS)} An experiment has: {', '.join(KEYS)}."
    config = settings.get("config", {})
    if "run" not in settings and isinstance(config, dict):
        yield (), "`run:` is missing; write the algorithm, such as `run: BiAC`."
    for key in ("num_samples", "max_failures", "time_budget_s"):
        value = settings.get(key, 1)
        if isinstance(value, bool) or not isinstance(value, int | float) or (key != "time_budget_s" and value % 1):
            yield (key,), f"expected a number, not {value!r}."
        elif key == "num_samples" and value < 1:
            yield (key,), f"expected at least 1, not {value!r}."
        elif key == "max_failures" and value < -1:
            yield (key,), f"expected at least 0, or -1 for as often as it takes, not {value!r}."
        elif key == "time_budget_s" and not 0 < value < 1e9:
            yield (key,), f"expected seconds, more than 0, not {value!r}."
    storage = settings.get("storage_path", "~")
    if not isinstance(storage, str) or not storage.strip() or "\0" in storage:
        yield ("storage_path",), f"expected a path, not {storage!r}."
    yield from _config_mistakes(settings, config)
    yield from sweeps.mistakes(settings)
    if (trials := sweeps.num_trials(settings)) > MOST_TRIALS:
        yield (), f"this makes {trials:,} trials, more than the {MOST_TRIALS:,} that are made at once."
    yield from _stop_mistakes(settings.get("stop", {}), config)
    yield from _checkpoint_mistakes(settings.get("checkpoint_config", {}))


def _config_mistakes(settings: dict[str, Any], config: Any) -> Iterator[tuple[tuple[Any, ...], str]]:
    if not isinstance(config, dict):
        if not hasattr(config, "to_dict"):
            yield ("config",), f"expected a mapping of settings, not a {_kind(config)}."
        return
    for key, value in config.items():
        if instead := trap("config", key, value):
            yield ("config", key), f"{instead}."
    for path, text in (*ranges.mistakes(config), *_unusable_numbers(config)):
        yield ("config", *path), text
    if "env" in settings and "env" in config:
        yield ("config", "env"), "`env` also stands beside `config`; write it once."
    env_path = ("env",) if "env" in settings else ("config", "env")
    env = settings.get("env", config.get("env"))
    if env is None:
        yield (), "`env:` is missing; write the game, such as `env: merge_v0`."
        return
    wrong = list(ranges.mistakes(env, env_path)) if env_path == ("env",) else []
    yield from wrong
    for game in () if wrong else sweeps.starts(env):
        if unknown := _unknown_game(game):
            yield env_path, unknown


def _unusable_numbers(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], str]]:
    if isinstance(tree, dict | list):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from _unusable_numbers(value, (*path, key))
    elif isinstance(tree, float) and tree != tree:
        yield path, "expected a value, not .nan, which is no number."
    elif isinstance(tree, int) and abs(tree) >= 2**63:
        yield path, "a whole number of more than 64 bits; write a smaller one, or 1e30 for a number with a fraction."


def _unknown_game(game: Any) -> str | None:
    from rllib_biac.envs import game_ids

    if not isinstance(game, str):
        return f"expected a game's id or 'package.module:factory', not {game!r}."
    if ":" in game or game in (ids := game_ids()):
        return None
    return (
        f"unknown game {game!r}.{did_you_mean(game, ids)} Games here: {', '.join(ids)}. "
        "Write your own as 'package.module:factory'."
    )


def _stop_mistakes(stop: Any, config: Any) -> Iterator[tuple[tuple[Any, ...], str]]:
    if not isinstance(stop, dict):
        yield ("stop",), f"expected a mapping such as `{{training_iteration: 100}}`, not a {_kind(stop)}."
        return
    for key, value in stop.items():
        if instead := trap("stop", key):
            yield ("stop", key), f"RLlib reports no such metric, the run would never stop; {instead}."
        elif isinstance(value, dict):
            inner = next(iter(value), "...")
            yield ("stop", key), f"a nested criterion never fires; write `{key}/{inner}: ...`."
        elif why := unreported(key, config):
            yield ("stop", key), f"the run would never stop by it: {why}"
        elif isinstance(value, bool) != (key == "done") or not isinstance(value, int | float):
            yield ("stop", key), f"expected a number, not {value!r}."
        elif not abs(value) < 1e300:  # also true of what is no number, .nan
            yield ("stop", key), f"{value!r} is never reached; write a finite number, or leave it out."
        elif key in TIMES and value <= 0:
            yield ("stop", key), f"expected more than 0, not {value!r}."


def _checkpoint_mistakes(checkpoint: Any) -> Iterator[tuple[tuple[Any, ...], str]]:
    if not isinstance(checkpoint, dict):
        yield ("checkpoint_config",), f"expected a mapping, not a {_kind(checkpoint)}."
        return
    for key, value in checkpoint.items():
        path = ("checkpoint_config", key)
        kind = CHECKPOINT_KEYS.get(key)
        if kind is None:
            yield path, f"unknown key.{did_you_mean(key, CHECKPOINT_KEYS)} It has: {', '.join(CHECKPOINT_KEYS)}."
        elif not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
            yield path, f"expected {kind.__name__}, not {value!r}."
        elif key == "checkpoint_score_order" and value not in ("min", "max"):
            yield path, f"expected min or max, not {value!r}."
        elif isinstance(value, int) and value < (lowest := 1 if key == "num_to_keep" else 0):
            yield path, f"expected at least {lowest}, not {value!r}."
