"""What the trials of a sweep have in common: how many they are, what they start with, what they are compared by."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rllib_biac.experiments import ranges
from rllib_biac.experiments.metrics import unreported
from rllib_biac.rllib.hints import did_you_mean

Path = tuple[Any, ...]
MODES = ("max", "min")


@dataclass(frozen=True)
class Compared:
    """What trials are compared by: `mode` is `max` or `min`."""

    metric: str
    mode: str


def compared(settings: dict[str, Any]) -> Compared | None:
    """Returns what an experiment without mistakes compares trials by, None if by nothing."""
    for key in ("search_alg", "scheduler"):
        given = settings.get(key)
        if isinstance(given, dict) and "metric" in given:
            return Compared(given["metric"], given["mode"])
    return None


@dataclass(frozen=True)
class Number:
    """A setting of a scheduler or a searcher: a number from `low` (itself excluded where `above`) to `high`."""

    low: float = 0.0
    high: float = math.inf
    above: bool = False
    whole: bool = False

    def wrong(self, value: Any) -> str | None:
        """Returns why a value does not fit, None if it does."""
        number = is_number(value) and (not self.whole or isinstance(value, int))
        if number and (self.low < value if self.above else self.low <= value) and value <= self.high:
            return None
        bounds = f"{'greater than' if self.above else 'at least'} {self.low:g}"
        bounds += "" if self.high == math.inf else f" and at most {self.high:g}"
        return f"expected a {'whole ' if self.whole else ''}number {bounds}, not {value!r}."


def num_trials(settings: dict[str, Any]) -> int:
    """Returns how many trials an experiment makes, at least 1 whatever is wrong with it."""
    samples = settings.get("num_samples", 1)
    points = math.prod(_grid_sizes([settings.get("config"), settings.get("env")]))
    return points * (int(samples) if is_number(samples) and 1 <= samples < 1e18 else 1)


def _grid_sizes(tree: Any) -> Iterator[int]:
    if isinstance(tree, dict) and isinstance(tree.get("grid_search"), list):
        yield max(len(tree["grid_search"]), 1)
    elif isinstance(tree, dict | list):
        for branch in tree.values() if isinstance(tree, dict) else tree:
            yield from _grid_sizes(branch)


def has_grid(tree: Any) -> bool:
    """Tells whether `grid_search` stands anywhere in a tree of settings."""
    return any(True for _ in _grid_sizes(tree))


def starts(tree: Any) -> tuple[Any, ...]:
    """Returns the values with which trials may start, for a setting that may be swept or drawn; of a range its ends."""
    if isinstance(tree, dict) and isinstance(tree.get("grid_search"), list):
        return tuple(tree["grid_search"])
    found = ranges.parse(tree) if not list(ranges.mistakes(tree)) else None
    return (tree,) if found is None else found.ends


def of_type(given: Any, key: str, known: tuple[str, ...], example: str) -> tuple[str | None, str]:
    """Returns the type that a `scheduler` or `search_alg` names, or None and what is wrong."""
    if not isinstance(given, dict):
        return None, f"expected a mapping such as `{example}`, not {given!r}."
    kind = given.get("type")
    if kind not in known:
        said = f"unknown {key} {kind!r}.{did_you_mean(kind, known)}" if "type" in given else "`type` is missing."
        return None, f"{said} There are: {', '.join(known)}."
    return kind, ""


def metric_mistakes(key: str, given: dict[str, Any], settings: dict[str, Any], needed: bool) -> Iterator[Any]:
    """Yields what is wrong with `metric` and `mode` of a `scheduler` or a `search_alg`, whichever `key` says."""
    if "metric" in given and (
        text := "it is no number." if given["metric"] == "done" else unreported(given["metric"], settings.get("config"))
    ):
        yield (key, "metric"), text
    elif "metric" not in given and needed:
        yield (key,), "`metric` is missing, such as `metric: env_runners/agent_episode_returns_mean/player_0`."
    if given.get("mode", "max" if "metric" not in given and not needed else None) not in MODES:
        yield (key,), f"`mode` says whether more of the metric is better: write max or min, not {given.get('mode')!r}."


def is_number(value: Any) -> bool:
    """Tells whether a value read from a file is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
