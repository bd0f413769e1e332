"""Sweeps: `grid_search` anywhere in a tree of settings, expanded into single settings."""

from __future__ import annotations

import itertools
from typing import Any

Path = tuple[Any, ...]
Choices = dict[Path, Any]


def expand(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Choices, Any]]:
    """Returns every point of the grid.

    The grid is expanded here, not by Tune, because every point has to be validated before anything starts.

    Args:
        tree: nested dicts and lists; a dict `{"grid_search": [a, b]}` in it stands for a or b.
        path: the keys that lead to `tree`.

    Returns:
        For each point its choices (path of the `grid_search` to the chosen value) and the tree with them filled in.
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
    """Returns the choices of one point in short, such as `lr=0.01,seed=3`."""
    shown = {path: f"{value:.4g}" if isinstance(value, float) else value for path, value in choices.items()}
    return ",".join(f"{_name(path)}={value}" for path, value in shown.items()).replace("'", "").replace(" ", "")


def _name(path: tuple[Any, ...]) -> str:
    # A sweep inside a list has the list's name.
    return next((key for key in reversed(path) if isinstance(key, str)), "")
