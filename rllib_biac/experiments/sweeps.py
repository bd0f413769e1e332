"""What schedulers and searchers share: the number of trials, the start values, and the metric that compares trials."""

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
    """The metric that compares trials. `mode` is `max` or `min`."""

    metric: str
    mode: str


def compared(settings: dict[str, Any]) -> Compared | None:
    """Returns the metric that compares the trials of an experiment, None if there is none.

    The settings have no mistakes.
    """
    for key in ("search_alg", "scheduler"):
        given = settings.get(key)
        if isinstance(given, dict) and "metric" in given:
            return Compared(given["metric"], given["mode"])
    return None


@dataclass(frozen=True)
class Number:
    """A setting of a scheduler or a searcher: a number from `low` to `high`. `above` excludes `low`."""

    low: float = 0.0
    high: float = math.inf
    above: bool = False
    whole: bool = False

    def wrong(self, value: Any) -> str | None:
        """Returns what is wrong with a value, None if it is right."""
        number = is_number(value) and (not self.whole or isinstance(value, int))
        if number and (self.low < value if self.above else self.low <= value) and value <= self.high:
            return None
        bounds = f"{'greater than' if self.above else 'at least'} {self.low:g}"
        bounds += "" if self.high == math.inf else f" and at most {self.high:g}"
        return f"expected a {'whole ' if self.whole else ''}number {bounds}, not {value!r}."


def num_trials(settings: dict[str, Any]) -> int:
    """Returns the number of trials of an experiment, at least 1. The settings may have mistakes."""
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
    """Tells whether a tree of settings has a `grid_search`."""
    return any(True for _ in _grid_sizes(tree))


def starts(tree: Any) -> tuple[Any, ...]:
    """Returns the values of a setting that trials may start with: its grid, the ends of its range, or the one value."""
    if isinstance(tree, dict) and isinstance(tree.get("grid_search"), list):
        return tuple(tree["grid_search"])
    found = ranges.parse(tree) if not list(ranges.mistakes(tree)) else None
    return (tree,) if found is None else found.ends


def of_type(given: Any, key: str, known: tuple[str, ...], example: str) -> tuple[str | None, str]:
    """Returns the `type` of a `scheduler` or a `search_alg`, or None and what is wrong."""
    if not isinstance(given, dict):
        return None, f"expected a mapping such as `{example}`, not {given!r}."
    kind = given.get("type")
    if kind not in known:
        said = f"unknown {key} {kind!r}.{did_you_mean(kind, known)}" if "type" in given else "`type` is missing."
        return None, f"{said} There are: {', '.join(known)}."
    return kind, ""


def metric_mistakes(key: str, given: dict[str, Any], settings: dict[str, Any], needed: bool) -> Iterator[Any]:
    """Yields the mistakes in `metric` and `mode` of a `scheduler` or a `search_alg` (`key`)."""
    if "metric" in given and (
        text := "it is no number." if given["metric"] == "done" else unreported(given["metric"], settings.get("config"))
    ):
        yield (key, "metric"), text
    elif "metric" not in given and needed:
        yield (key,), "`metric` is missing, such as `metric: env_runners/agent_episode_returns_mean/player_0`."
    if given.get("mode", "max" if "metric" not in given and not needed else None) not in MODES:
        yield (
            (key,),
            f"`mode` says which value of the metric is best: write max or min, not {given.get('mode')!r}.",
        )


def is_number(value: Any) -> bool:
    """Tells whether a value read from a file is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
