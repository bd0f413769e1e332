"""Which settings an algorithm has, read from the source of its config: importing RLlib would take seconds.

`config_keys.keys_of` says the same of the imported class, and is the definition; a test holds both equal.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rllib_biac.rllib.traps import trap

_BASE = "AlgorithmConfig"  # RLlib's


def known_keys(algorithm: str) -> dict[str, Any]:
    """Returns an algorithm's settings, name -> annotation; `Any` where that would need an import.

    Args:
        algorithm: `package.module:Name`.

    Returns:
        Nothing where the algorithm, or its config, is no class that is written out.
    """
    module, _, name = algorithm.partition(":")
    for _, node in _classes(module, name):
        for line in node.body:
            if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "config_class":
                return _keys(list(_classes(module, ast.unparse(line.value))))
    return {}


def _keys(classes: list[tuple[str, ast.ClassDef]]) -> dict[str, Any]:
    """Returns the settings of a config, by its class and the classes it is made of."""
    if not any(node.name == _BASE for _, node in classes):
        return {}
    keys: dict[str, Any] = {}
    groups: set[str] = set()  # RLlib's own
    for module, node in reversed(classes):
        for method in node.body:
            if not isinstance(method, ast.FunctionDef) or method.name.startswith("_"):
                continue
            keys |= {one.arg: _hint(one, module) for one in _may_be_left_out(method) if not one.arg.startswith("_")}
            if node.name == _BASE:
                groups.add(method.name)
            elif method.name not in groups and len(method.args.args) == 2 and _returns_self(method):
                # A group with one setting, such as `.hierarchy(levels)`, has the group's name in a file.
                keys[method.name] = _hint(method.args.args[1], module)
    if "callbacks_class" in keys:
        keys["callbacks"] = keys.pop("callbacks_class")
    return {key: hint for key, hint in keys.items() if not trap("config", key)}


def _returns_self(method: ast.FunctionDef) -> bool:
    return method.returns is not None and "Self" in ast.unparse(method.returns)


def _may_be_left_out(method: ast.FunctionDef) -> Iterator[ast.arg]:
    """Yields those parameters of a method that are `NotProvided` by default."""
    own = method.args
    last = own.args[len(own.args) - len(own.defaults) :]
    for one, default in (*zip(last, own.defaults, strict=True), *zip(own.kwonlyargs, own.kw_defaults, strict=True)):
        if isinstance(default, ast.Name) and default.id == "NotProvided":
            yield one


def _hint(parameter: ast.arg, module: str) -> Any:
    if parameter.annotation is None:
        return Any
    try:
        return eval(ast.unparse(parameter.annotation), {}, _Names(module))
    except NameError:  # a class, which would have to be imported
        return Any


class _Names(dict[str, Any]):
    """What names stand for in the annotations of a module: those of `typing`, and aliases that are written out."""

    def __init__(self, module: str) -> None:
        super().__init__(vars(typing))
        self._module = module

    def __missing__(self, name: str) -> Any:
        source = _source(self._module)
        if name in source.imported:
            module, theirs = source.imported[name]
            return _Names(module)[theirs]
        for line in source.body:
            if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == name:
                return eval(ast.unparse(line.value), {}, self)
        raise KeyError(name)


@dataclass(frozen=True)
class _Source:
    """A module as it is written: its statements, and what it imports, name -> (module, name there)."""

    body: list[ast.stmt] = field(default_factory=list)
    imported: dict[str, tuple[str, str]] = field(default_factory=dict)


@functools.cache
def _source(module: str) -> _Source:
    """Reads a module; one that is not in a file of a package counts as empty."""
    package, *inside = module.split(".")
    found = importlib.util.find_spec(package)  # of the package alone: what lies inside is found by importing it
    if found is None or not found.submodule_search_locations:
        return _Source()
    file = Path(found.submodule_search_locations[0], *inside).with_suffix(".py")
    if not file.is_file():
        return _Source()
    body = ast.parse(file.read_text(encoding="utf-8")).body
    names = ((line, alias) for line in body if isinstance(line, ast.ImportFrom) for alias in line.names)
    return _Source(body, {each.asname or each.name: (line.module or "", each.name) for line, each in names})


def _classes(module: str, name: str) -> Iterator[tuple[str, ast.ClassDef]]:
    """Yields a class and those it is made of, with their modules, itself first, wherever they are written out."""
    source = _source(module)
    for line in source.body:
        if isinstance(line, ast.ClassDef) and line.name == name:
            yield module, line
            if name != _BASE:
                for base in map(ast.unparse, line.bases):
                    yield from _classes(*source.imported.get(base, (module, base)))
