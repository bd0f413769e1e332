"""Ranges that a sweep draws from, such as `{loguniform: [0.0001, 0.01]}`, anywhere in a tree of settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

Path = tuple[Any, ...]


@dataclass(frozen=True)
class _Kind:
    """The properties of a sampler. It has the same name in `ray.tune`."""

    whole: bool = False  # draws whole numbers
    log: bool = False  # draws uniformly on a log scale
    step: bool = False  # has a third number; draws are multiples of it


CHOICE = "choice"
_KINDS = {
    "uniform": _Kind(),
    "quniform": _Kind(step=True),
    "loguniform": _Kind(log=True),
    "qloguniform": _Kind(log=True, step=True),
    "randint": _Kind(whole=True),
    "qrandint": _Kind(whole=True, step=True),
    "lograndint": _Kind(whole=True, log=True),
}
NAMES = (CHOICE, *_KINDS)
# Tune's samplers without ends. We could not check their draws before anything starts.
_UNCHECKABLE = ("randn", "qrandn", "sample_from")


@dataclass(frozen=True)
class Range:
    """One range: a sampler's name and its arguments, `[low, high]`, `[low, high, step]` or the options."""

    name: str
    arguments: tuple[Any, ...]

    @property
    def ends(self) -> tuple[Any, ...]:
        """The lowest and the highest value that can be drawn; all options of a choice."""
        if self.name == CHOICE:
            return self.arguments
        low, high = self.arguments[:2]
        if not _KINDS[self.name].whole:
            return float(low), float(high)
        # Tune excludes `high` for whole numbers, but includes it where there is a step.
        return low, high if _KINDS[self.name].step else high - 1

    def domain(self) -> Any:
        """Returns Tune's sampler."""
        from ray import tune

        return tune.choice(list(self.arguments)) if self.name == CHOICE else getattr(tune, self.name)(*self.arguments)

    def draw(self, generator: np.random.Generator) -> Any:
        """Returns a value drawn by Tune's sampler, as a plain Python object."""
        if self.name == CHOICE:  # numpy would make arrays of options that are lists
            return self.arguments[int(generator.integers(len(self.arguments)))]
        value = self.domain().sample(random_state=generator)
        return value.item() if hasattr(value, "item") else value


def parse(tree: Any) -> Range | None:
    """Returns the range if the tree is one, else None. The tree must have no `mistakes`."""
    if isinstance(tree, dict) and len(tree) == 1 and (name := next(iter(tree))) in NAMES:
        return Range(name, tuple(tree[name]))
    return None


def find(tree: Any, path: Path = ()) -> list[tuple[Path, Range]]:
    """Returns every range in a tree of settings and the path to it."""
    if (found := parse(tree)) is not None:
        return [(path, found)]
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [one for key, value in items for one in find(value, (*path, key))]


def fill(tree: Any, values: dict[Path, Any], path: Path = ()) -> Any:
    """Returns the tree with these values at their paths."""
    if path in values:
        return values[path]
    if isinstance(tree, dict):
        return {key: fill(value, values, (*path, key)) for key, value in tree.items()}
    return [fill(value, values, (*path, key)) for key, value in enumerate(tree)] if isinstance(tree, list) else tree


def mistakes(tree: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Yields the place of every malformed range and sweep in a tree of settings, and what to write instead."""
    if isinstance(tree, list):
        for key, value in enumerate(tree):
            yield from mistakes(value, (*path, key))
    if not isinstance(tree, dict):
        return
    for key, value in tree.items():
        if key == "grid_search" or key in NAMES or key in _UNCHECKABLE:
            at = (*path, key)
            if key in _UNCHECKABLE:
                yield at, f"this range has no ends, so its draws cannot be checked; write one of {', '.join(NAMES)}."
            elif key in ("grid_search", CHOICE):
                if len(tree) > 1 or not isinstance(value, list) or not value:
                    yield at, f"expected `{{{key}: [first, second]}}`: a list, alone in its mapping."
                elif any(_holds_range(option) for option in value):
                    yield at, "this is a range inside a range; write all values in one list."
            elif text := _numbers_wrong(key, value) or ("" if len(tree) == 1 else "expected it alone in its mapping."):
                yield at, text
        else:
            yield from mistakes(value, (*path, key))


def _holds_range(tree: Any) -> bool:
    inside = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    named = isinstance(tree, dict) and any(key == "grid_search" or key in NAMES for key in tree)
    return named or any(map(_holds_range, inside))


def _numbers_wrong(name: str, given: Any) -> str | None:
    kind = _KINDS[name]
    form = f"`{{{name}: [low, high{', step' if kind.step else ''}]}}`"
    number: Callable[[Any], bool] = _is_whole if kind.whole else _is_number
    if not isinstance(given, list) or len(given) != 2 + kind.step or not all(map(number, given)):
        return f"expected {form} with {'whole' if kind.whole else 'finite'} numbers, not {given!r}."
    low, high = given[:2]
    if low >= high:
        return f"expected {form} with low < high, not {given!r}."
    if kind.log and low <= 0:
        return f"expected {form} with low > 0, because it draws on a log scale, not {given!r}."
    if kind.step:
        step = given[2]
        if step <= 0 or any(not math.isclose(end / step, round(end / step), abs_tol=1e-9) for end in (low, high)):
            return f"expected {form} with a step > 0, and low and high as multiples of the step, not {given!r}."
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e300 < value < 1e300


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**62
