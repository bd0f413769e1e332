"""Grids: expands every `grid_search` in a tree of settings."""

from __future__ import annotations

import itertools
from typing import Any

Path = tuple[Any, ...]
Choices = dict[Path, Any]


def expand(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Choices, Any]]:
    """Returns every point of the grid.

    We expand the grid ourselves, not with Tune, because we validate every point before anything starts.

    Args:
        tree: nested dicts and lists. A dict `{"grid_search": [a, b]}` in it means: a in one point, b in another.
        path: the keys that lead to `tree`.

    Returns:
        For each point its choices (path of a `grid_search` -> chosen value) and the tree with these values.
    """
    if isinstance(tree, dict) and set(tree) == {"grid_search"}:
        return [({path: value}, value) for value in tree["grid_search"]]
    if not isinstance(tree, dict | list):
        return [({}, tree)]
    keys = list(tree) if isinstance(tree, dict) else range(len(tree))
    points: list[tuple[Choices, Any]] = []
    for branch in itertools.product(*(expand(tree[key], (*path, key)) for key in keys)):
        choices = {where: value for chosen, _ in branch for where, value in chosen.items()}
        values = [value for _, value in branch]
        points.append((choices, dict(zip(keys, values, strict=True)) if isinstance(tree, dict) else values))
    return points


def label(choices: Choices) -> str:
    """Returns a short text for the choices of one point, such as `lr=0.01,seed=3`."""
    shown = {path: f"{value:.4g}" if isinstance(value, float) else value for path, value in choices.items()}
    return ",".join(f"{_name(path)}={value}" for path, value in shown.items()).replace("'", "").replace(" ", "")


def _name(path: tuple[Any, ...]) -> str:
    # A sweep inside a list gets the list's name.
    return next((key for key in reversed(path) if isinstance(key, str)), "")
