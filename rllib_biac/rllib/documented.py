"""Docstrings of fluent methods from the settings they set: each setting is described in one place."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Callable
from typing import Any, TypeVar

from rllib_biac.learning.settings import Settings

Method = TypeVar("Method", bound=Callable[..., Any])


def own_fields(settings: type[Settings]) -> list[dataclasses.Field[Any]]:
    """Returns the fields that a subclass adds to `Settings`, or has otherwise; of `Settings` itself all."""
    common = {f.name: f for f in dataclasses.fields(Settings)} if settings is not Settings else {}
    return [f for f in dataclasses.fields(settings) if common.get(f.name) is not f]


def documented(settings: type[Settings], group: str = "training") -> Callable[[Method], Method]:
    """Makes a decorator that adds to a method's docstring what settings of that group do.

    Args:
        settings: whose fields; those of a subclass that it has from `Settings` are left out.
        group: the method's name, as the fields say it.
    """

    def add(method: Method) -> Method:
        summary, _, rest = (method.__doc__ or "").partition("\n\n")
        lines = [f"{f.name}: {f.metadata['doc']}" for f in own_fields(settings) if f.metadata["group"] == group]
        written = [line.strip() for line in _entries(rest)]
        wrapped = textwrap.TextWrapper(108, initial_indent="    ", subsequent_indent="        ")
        args = "\n".join(map(wrapped.fill, lines))
        kept = "".join(f"\n    {line}" for line in written)
        method.__doc__ = f"{summary.strip()}\n\nArgs:\n{args}{kept}\n\nReturns:\n    This config.\n"
        return method

    return add


def _entries(rest: str) -> list[str]:
    """Returns the lines of a docstring's Args that are written out in the code."""
    _, _, args = textwrap.dedent(rest).partition("Args:\n")
    args, _, _ = args.partition("\n\nReturns:")
    return args.splitlines()
