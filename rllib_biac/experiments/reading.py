"""Reads experiment files."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
import traceback
import types
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from rllib_biac.experiments import remote
from rllib_biac.experiments.mistakes import Mistake
from rllib_biac.rllib.hints import did_you_mean

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
    "loggers",
)
# Tune's default.
DEFAULT_STORAGE = "~/ray_results"
# The limit for one file, where each alias counts as often as it is used.
MOST_VALUES = 50_000
# PyYAML reads about 70 KB in a second.
MOST_BYTES = 300_000


# Escapes such as "\ud83d\ude00", which JSON joins and YAML does not.
_SURROGATES = re.compile(r"[\ud800-\udfff]")


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, with numbers as people write them."""

    def construct_number(self, node: yaml.ScalarNode) -> Any:
        """Returns a number, unless YAML 1.1 reads it in base 8 or 60: 010 as 8, and 1:30 as 90."""
        number = (self.construct_yaml_int if node.tag.endswith(":int") else self.construct_yaml_float)(node)
        if ":" in node.value or re.fullmatch(r"[-+]?0[0-7_]+", node.value):
            raise yaml.constructor.ConstructorError(
                None,
                None,
                f"{node.value} would be read as {number}; write that, or put it in quotes if it is text",
                node.start_mark,
            )
        return number


# PyYAML expects a dot and a signed exponent in a float. Without this it reads 1e-3 and 1e6 as strings.
_Loader.yaml_implicit_resolvers = {key: list(value) for key, value in yaml.SafeLoader.yaml_implicit_resolvers.items()}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)
for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.construct_number)


@dataclasses.dataclass(frozen=True)
class Draft:
    """One experiment as it is written in a file, before its algorithm configs are made.

    Attributes:
        name: the experiment's name.
        settings: everything under the name: `run`, `env`, `stop`, `config`, ...
        source: the file's name, or "command line".
        lines: the line of each key, by its path below the experiment's name. Empty if there are no lines.
        flags: of the command line, which are in `settings` already.
    """

    name: str
    settings: dict[str, Any]
    source: str
    lines: Mapping[tuple[Any, ...], int] = dataclasses.field(default_factory=dict)
    flags: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def mistake(self, path: tuple[Any, ...], text: str) -> str:
        """Returns `text` with its place in front: file, line, experiment and key."""
        known = [self.lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self.lines]
        line = f", line {known[0]}" if known else ""
        key = f", `{': '.join(map(str, path))}`" if path else ""
        return f"{self.source}{line}, experiment {self.name!r}{key}: {text}"

    @property
    def has_callbacks(self) -> bool:
        """Whether code of the user's own runs in trials, whose prints are for the user."""
        config: Any = self.settings.get("config", {})
        if isinstance(config, dict):
            return "callbacks" in config
        plain = vars(type(config)())
        return any(value != plain.get(key) for key, value in vars(config).items() if key.startswith("callbacks"))


def storage_of(settings: Mapping[str, Any]) -> str:
    """Returns the folder or address that holds an experiment's folder."""
    storage = str(settings.get("storage_path", DEFAULT_STORAGE))
    return storage if remote.is_remote(storage) else os.path.abspath(os.path.expanduser(storage))


def find(name: str) -> Path:
    """Returns the path of an experiment file.

    Args:
        name: a path, or the name of a packaged example.


    Raises:
        Mistake: if there is no such file and no such example.
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


def about(path: Path) -> str:
    """Returns the first sentence of the comment at the head of an experiment file, empty if there is none."""
    words = []
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.removeprefix("#").strip()
        if not line.startswith("#") or not text:
            break
        words.append(text)
    return re.split(r"(?<!al\.)(?<=\.)\s", " ".join(words), maxsplit=1)[0]


def value(text: str) -> Any:
    """Reads a value as an experiment file would.

    Raises:
        ValueError: if it is not valid YAML.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ValueError(getattr(error, "problem", None) or str(error)) from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read(path: Path) -> list[Draft]:
    """Reads an experiment file.

    Args:
        path: a YAML file with experiments by name, or a Python file that defines `config` and optionally `stop`.

    Raises:
        Mistake: if the file cannot be read or has another form.
    """
    if path.suffix == ".py":
        return [_read_python(path)]
    if path.suffix not in (".yaml", ".yml"):
        raise Mistake(f"{path.name}: an experiment file ends in .yaml, .yml or .py.")
    return _read_yaml(path)


def _read_python(path: Path) -> Draft:
    from ray import cloudpickle

    # Functions and classes of the file reach workers by value: they could not import it.
    name = f"_experiment_{path.stem}"
    module = types.ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module
    cloudpickle.register_pickle_by_value(module)
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    except Exception as error:  # a program may raise anything
        own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        number = error.lineno if isinstance(error, SyntaxError) else own[-1].lineno if own else None
        line = f", line {number}" if number else ""
        text = error.msg if isinstance(error, SyntaxError) else str(error).strip()
        raise Mistake(f"{path.name}{line}: the program raised {type(error).__name__}: {text}") from error
    config, stop = getattr(module, "config", None), getattr(module, "stop", {})
    if not hasattr(config, "to_dict") or isinstance(config, type):
        raise Mistake(
            f"{path.name}: a Python experiment file defines `config`, an AlgorithmConfig, and optionally `stop`."
        )
    return Draft(path.stem, {"config": config, "stop": stop}, path.name)


def _read_yaml(path: Path) -> list[Draft]:
    if (size := path.stat().st_size) > MOST_BYTES:
        raise Mistake(f"{path.name}: the file has {size:,} bytes, and an experiment file has at most {MOST_BYTES:,}.")
    try:
        loader = _Loader(path.read_text(encoding="utf-8"))
        root = loader.get_single_node()
        _check_size(root, path.name)
        if root is None:
            raise Mistake(
                f"{path.name}: the file is empty. Write `name: {{run: BiAC, env: ..., stop: ..., config: ...}}`."
            )
        # This must come first: making the document flattens merged mappings (`<<`) into their keys.
        duplicates, lines = list(_duplicates(root, loader)), dict(_lines(root))
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
        # PyYAML raises these for a date in month 13, a number of thousands of digits, or a wrong value of a tag.
        raise Mistake(f"{path.name}: YAML cannot read a value: {error}.") from error
    if duplicates:
        raise Mistake(
            "\n".join(
                f"{path.name}, line {key.start_mark.line + 1}: `{key.value}` is given twice in one mapping "
                f"(first in line {first})."
                for key, first in duplicates
            )
        )
    if not isinstance(document, dict) or not document:
        given = kind_of(document or None)
        raise Mistake(f"{path.name}: expected experiments by name, `name: {{run: ..., env: ...}}`, not {given}.")
    drafts = []
    for name, settings in document.items():
        if not isinstance(settings, dict):
            hint = (
                " Write the settings under an experiment's name: `name: {run: ..., env: ...}`." if name in KEYS else ""
            )
            at = lines.get((str(name),), 1)
            raise Mistake(
                f"{path.name}, line {at}, experiment {str(name)!r}: expected a mapping with `run`, `env`, `stop`, "
                f"`config`, not {kind_of(settings)}.{hint}"
            )
        own = {where[1:]: line for where, line in lines.items() if where[0] == str(name)}
        drafts.append(Draft(str(name), settings, path.name, own))
    return drafts


def kind_of(value: Any) -> str:
    """Returns what a value read from a file is called in YAML, with its article."""
    names = {
        dict: "a mapping",
        list: "a list",
        str: "a string",
        type(None): "nothing",
        bool: "a true/false value",
        int: "a number",
    }
    return names.get(type(value), f"a {type(value).__name__}")


def _check_size(root: yaml.Node | None, name: str) -> None:
    """Refuses aliases that contain themselves or expand to more than memory can hold, and halves of characters.

    Raises:
        Mistake: if the document without aliases would be endless or have more than `MOST_VALUES` values, or if one of
            these has half of a character.
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
        elif not node.value.isprintable() and _SURROGATES.search(node.value):
            raise Mistake(
                f"{name}, line {node.start_mark.line + 1}: {node.value!r} has half of a character, which no file can "
                "hold; write the character itself, or \\U and its eight digits."
            )
    raise Mistake(f"{name}: the file expands to more than {MOST_VALUES:,} values. Does an alias contain itself?")


def _duplicates(node: yaml.Node, loader: _Loader) -> Iterator[tuple[yaml.ScalarNode, int]]:
    """Yields each repeated key and the line of the first. PyYAML would silently keep the last one."""
    if isinstance(node, yaml.MappingNode):
        first: dict[Any, int] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                # As it is read: `yes` and `true` are one key.
                read = key.value if key.tag.endswith(":merge") else loader.construct_object(key)
                if read in first:
                    yield key, first[read]
                else:
                    first[read] = key.start_mark.line + 1
            yield from _duplicates(value, loader)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _duplicates(value, loader)


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
