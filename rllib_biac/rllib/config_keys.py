"""Makes an algorithm's config from flat settings, with the config's fluent methods.

RLlib's `update_from_dict` sets every key as an attribute, known or not. Here a key is a keyword of a fluent method. So
we find unknown keys, compare values with annotations, and pass `model_config` to `rl_module`.
"""

from __future__ import annotations

import functools
import inspect
import typing
from dataclasses import dataclass
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided

from rllib_biac.rllib.hints import did_you_mean
from rllib_biac.rllib.kinds import fit, nested_mistakes
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


_MISSING = "the value is missing; write one, or leave the key out."


def keys_of(config_class: type[AlgorithmConfig]) -> dict[str, Key]:
    """Returns every setting of a config class: its name in a file -> the keyword of a fluent method."""
    keys: dict[str, Key] = {}
    for owner in reversed(config_class.__mro__):
        for name, method in vars(owner).items():
            if name.startswith("_") or not inspect.isfunction(method):
                continue
            parameters, hints = _annotated(method)
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


@functools.cache
def _annotated(method: Any) -> tuple[list[inspect.Parameter], dict[str, Any]]:
    """Returns a method's parameters but the first, and annotations by name; `return` is among them."""
    parameters = list(inspect.signature(method).parameters.values())[1:]
    try:
        return parameters, typing.get_type_hints(method)
    except NameError:
        # Some names are imported only for type checkers. The annotations that are objects still work.
        hints = method.__annotations__.items()
        return parameters, {name: Any if isinstance(hint, str) else hint for name, hint in hints}


def build(config_class: type[AlgorithmConfig], settings: dict[str, Any]) -> AlgorithmConfig:
    """Returns a config with these settings. It is not validated yet.

    Raises:
        BadSettings: if a key is unknown or its value is of the wrong kind.
    """
    config = config_class()
    keys = keys_of(config_class)
    hints = {name: _hint_or_default(own, config) for name, own in keys.items()}
    found: list[tuple[tuple[str, ...], str]] = []
    calls: dict[str, dict[str, Any]] = {}
    for key, value in settings.items():
        if key not in keys:
            found.append(((key,), f"unknown key.{did_you_mean(key, keys)}"))
            continue
        where = keys[key]
        try:
            fitted = fit(value, hints[key])
        except (TypeError, ValueError) as error:
            found.append(((key,), str(error)))
            continue
        if fitted is None and (key == "callbacks" or isinstance(getattr(config, key, None), dict)):
            found.append(((key,), _MISSING))
            continue
        if text := refusal(config, key, fitted):
            found.append(((key,), text.removeprefix(f"{key}: ")))
            continue
        if wrong := nested_mistakes(key, fitted, hints):
            found += wrong
            continue
        if key == "evaluation_config" and isinstance(fitted, dict):
            fitted = {inner: fit(own, hints[inner]) for inner, own in fitted.items()}
        calls.setdefault(where.method, {})[where.parameter] = fitted
    if found:
        raise BadSettings(found)
    for method, arguments in calls.items():
        try:
            getattr(config, method)(**arguments)
        except (ValueError, TypeError):
            # RLlib checks some values immediately. To find the wrong one, we set each value alone.
            for key, value in arguments.items():
                if text := _why_not(config_class(), method, key, value):
                    found.append(((key,), text))
            if not found:
                raise
    if found:
        raise BadSettings(found)
    return config


def _why_not(config: AlgorithmConfig, method: str, key: str, value: Any) -> str:
    try:
        getattr(config, method)(**{key: value})
    except (ValueError, TypeError) as error:
        return _MISSING if value is None else str(error)
    return ""


def _hint_or_default(where: Key, config: AlgorithmConfig) -> Any:
    if where.hint is not Any:
        return where.hint
    default = getattr(config, where.parameter, None)
    return type(default) if isinstance(default, bool | int | float | str | list | dict) else Any
