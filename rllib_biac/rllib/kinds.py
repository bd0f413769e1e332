"""Compares values from a file with annotations, and converts them. It imports no Ray."""

from __future__ import annotations

import collections.abc
import importlib
import types
import typing
from collections.abc import Mapping
from typing import Any

from rllib_biac.rllib.hints import did_you_mean


def nested_mistakes(
    key: str, value: Any, known: Mapping[str, Any], *, by_name: bool = True
) -> list[tuple[tuple[str, ...], str]]:
    """Returns what is wrong in a setting that is a partial config. RLlib would set everything as it is.

    Args:
        key: the setting.
        value: what it is set to.
        known: all keys of a config -> their annotations.
        by_name: whether to look up objects that are named, which imports their modules.
    """
    if key != "evaluation_config" or not isinstance(value, dict):
        return []
    found: list[tuple[tuple[str, ...], str]] = []
    for inner, own in value.items():
        if inner not in known:
            found.append(((key, inner), f"unknown key.{did_you_mean(inner, known)}"))
        elif by_name or not (isinstance(own, str) and ":" in own):
            try:
                fit(own, known[inner])
            except (TypeError, ValueError) as error:
                found.append(((key, inner), str(error)))
    return found


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
        raise ValueError(
            f"cannot import {module_name!r} of {name!r} ({error}): run the command from the folder that holds it, or "
            "name that folder in PYTHONPATH."
        ) from error
    except AttributeError as error:
        raise ValueError(f"{module_name!r} has no {attribute!r}; write 'package.module:name'.") from error
