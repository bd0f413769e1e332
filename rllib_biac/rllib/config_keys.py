"""Makes an algorithm's config from flat settings, with the config's fluent methods.

RLlib's `update_from_dict` sets every key as an attribute, known or not. Here a key is a keyword of a fluent method. So
we find unknown keys, compare values with annotations, and pass `model_config` to `rl_module`.
"""

from __future__ import annotations

import collections.abc
import importlib
import inspect
import types
import typing
from dataclasses import dataclass
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided

from rllib_biac.rllib.hints import did_you_mean
from rllib_biac.rllib.refusals import refusal
from rllib_biac.rllib.traps import trap


@dataclass(frozen=True)
class Key:
    """Where a setting goes: `config.<method>(<parameter>=value)`, annotated with `hint`."""

    method: str
    parameter: str
    hint: Any


class BadSettings(ValueError):
    """Settings that a config cannot take.

    Attributes:
        found: for each mistake the path of the key below `config`, and what is wrong.
    """

    def __init__(self, found: list[tuple[tuple[str, ...], str]]):
        super().__init__("; ".join(text for _, text in found))
        self.found = found


def keys_of(config_class: type[AlgorithmConfig]) -> dict[str, Key]:
    """Returns every setting of a config class: its name in a file -> the keyword of a fluent method."""
    keys: dict[str, Key] = {}
    for owner in reversed(config_class.__mro__):
        for name, method in vars(owner).items():
            if name.startswith("_") or not inspect.isfunction(method):
                continue
            hints = _hints(method)
            parameters = list(inspect.signature(method).parameters.values())[1:]
            for parameter in parameters:
                if parameter.default is NotProvided and not parameter.name.startswith("_"):
                    keys[parameter.name] = Key(name, parameter.name, hints.get(parameter.name, Any))
            # A group with one setting, such as `.hierarchy(levels)`, has the group's name in a file.
            fluent = "Self" in str(hints.get("return", ""))
            if fluent and len(parameters) == 1 and not hasattr(AlgorithmConfig, name):
                keys.pop(parameters[0].name, None)
                keys[name] = Key(name, parameters[0].name, hints.get(parameters[0].name, Any))
    keys["callbacks"] = keys.pop("callbacks_class")
    return {key: where for key, where in keys.items() if not trap("config", key)}


def _hints(method: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(method)
    except NameError:
        # Some names are imported only for type checkers. The annotations that are objects still work.
        return {name: Any if isinstance(hint, str) else hint for name, hint in method.__annotations__.items()}


def build(config_class: type[AlgorithmConfig], settings: dict[str, Any]) -> AlgorithmConfig:
    """Returns a config with these settings. It is not validated yet.

    Raises:
        BadSettings: if a key is unknown or its value is of the wrong kind.
    """
    config = config_class()
    keys = keys_of(config_class)
    found: list[tuple[tuple[str, ...], str]] = []
    calls: dict[str, dict[str, Any]] = {}
    for key, value in settings.items():
        if key not in keys:
            found.append(((key,), f"unknown key.{did_you_mean(key, keys)}"))
            continue
        where = keys[key]
        try:
            fitted = fit(value, _hint_or_default(where, config))
        except (TypeError, ValueError) as error:
            found.append(((key,), str(error)))
            continue
        if fitted is None and (key == "callbacks" or isinstance(getattr(config, key, None), dict)):
            found.append(((key,), "the value is missing; write one, or leave the key out."))
            continue
        if text := refusal(config, key, fitted):
            found.append(((key,), text.removeprefix(f"{key}: ")))
            continue
        found += _nested_mistakes(key, fitted, keys)
        calls.setdefault(where.method, {})[where.parameter] = fitted
    if found:
        raise BadSettings(found)
    for method, arguments in calls.items():
        try:
            getattr(config, method)(**arguments)
        except (ValueError, TypeError) as error:
            # RLlib checks some values immediately. To find the wrong one, we set each value alone.
            found += [((key,), str(error)) for key in arguments if _fails(config_class(), method, key, arguments)]
            if not found:
                raise
    if found:
        raise BadSettings(found)
    return config


def _fails(config: AlgorithmConfig, method: str, key: str, arguments: dict[str, Any]) -> bool:
    try:
        getattr(config, method)(**{key: arguments[key]})
    except (ValueError, TypeError):
        return True
    return False


def _nested_mistakes(key: str, value: Any, keys: dict[str, Key]) -> list[tuple[tuple[str, ...], str]]:
    """Returns the unknown keys in a setting that is a partial config. RLlib would silently set them too."""
    if key != "evaluation_config" or not isinstance(value, dict):
        return []
    return [((key, inner), f"unknown key.{did_you_mean(inner, keys)}") for inner in value if inner not in keys]


def _hint_or_default(where: Key, config: AlgorithmConfig) -> Any:
    if where.hint is not Any:
        return where.hint
    default = getattr(config, where.parameter, None)
    return type(default) if isinstance(default, bool | int | float | str | list | dict) else Any


def fit(value: Any, hint: Any) -> Any:
    """Converts a value from a file to the annotated type.

    A whole float becomes an int, an int becomes a float, and `package.module:name` becomes the object of that name.

    Raises:
        TypeError: if the value has another type.
        ValueError: if there is no object of that name.
    """
    arguments, origin = typing.get_args(hint), typing.get_origin(hint)
    if origin is typing.Union or origin is types.UnionType:
        exact = [option for option in arguments if option is type(value)]
        for option in [*exact, *arguments]:
            try:
                return fit(value, option)
            except TypeError:
                continue
        raise _wrong(value, hint)
    if origin is typing.Literal:
        if value not in arguments:
            raise _wrong(value, hint)
        return value
    kind = origin or hint
    if kind is type or kind is collections.abc.Callable or kind is typing.Callable:
        return _load(value, hint) if isinstance(value, str) else _require(callable(value), value, hint)
    if hint is Any or not isinstance(kind, type):
        return value  # Any, type variables, forward references: nothing to compare with.
    if kind is bool:
        return _require(isinstance(value, bool), value, hint)
    if kind in (int, float):
        # Numbers that are not finite fail late, or silently.
        number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
        return kind(_require(number and (kind is float or value == int(value)), value, hint))
    if kind is tuple:
        return tuple(_require(isinstance(value, list | tuple), value, hint))
    if issubclass(kind, str) or kind in (str, bytes):
        return _require(isinstance(value, kind), value, hint)
    if isinstance(value, list) and issubclass(list, kind) and len(arguments) == 1:
        return [fit(item, arguments[0]) for item in value]
    return _require(isinstance(value, kind) and not (isinstance(value, str) and kind is not str), value, hint)


def _require(right: bool, value: Any, hint: Any) -> Any:
    if not right:
        raise _wrong(value, hint)
    return value


def _wrong(value: Any, hint: Any) -> TypeError:
    unquoted = hint is str and isinstance(value, bool | int | float)
    quotes = "; text that YAML takes for something else, such as no, yes, on or 0, needs quotes" if unquoted else ""
    return TypeError(f"expected {describe(hint)}, not {value!r}{quotes}.")


def describe(hint: Any) -> str:
    """Describes an annotation for a user, such as `int or list`."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(
            dict.fromkeys(describe(option) for option in typing.get_args(hint) if option is not type(None))
        )
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(map(repr, typing.get_args(hint)))
    kind = typing.get_origin(hint) or hint
    if kind in (type, collections.abc.Callable):
        return "'package.module:name'"
    return {bool: "true or false", dict: "a mapping"}.get(kind, getattr(kind, "__name__", str(kind)))


def _load(name: str, hint: Any) -> Any:
    module_name, colon, attribute = name.partition(":")
    if not colon:
        raise _wrong(name, hint)
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except ImportError as error:
        raise ValueError(f"cannot import {module_name!r} of {name!r} ({error}).") from error
    except AttributeError as error:
        raise ValueError(f"{module_name!r} has no {attribute!r}; write 'package.module:name'.") from error
