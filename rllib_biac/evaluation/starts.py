"""Episodes that start where they are told to. A game that does not look at what it is told is found out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Start:
    """Where an episode starts: what is handed to the game's `reset`. What is None is left to the game."""

    seed: int | None = None
    options: Mapping[str, Any] | None = None


class Starts:
    """Lets each reset of a game begin from a chosen start.

    Args:
        game: whose `reset` is replaced.
        starts: at least one.
    """

    def __init__(self, game: Any, starts: Sequence[Start]) -> None:
        self._starts, self._number = starts, 0
        self._handed: list[_Options] = []
        self._reset, game.reset = game.reset, self._from_start

    def take(self, number: int) -> None:
        """Chooses the start of the next episode."""
        self._number = number
        self._handed = []

    def check_that_all_counted(self) -> None:
        """Checks, at the end of an episode, that the game has looked at all options that it was handed.

        Raises:
            ValueError: if it has not: they were ignored, and the episode is not the one that was asked for.
        """
        if self._handed and (ignored := self._handed[0].ignored):
            names = ", ".join(map(repr, sorted(ignored)))
            raise ValueError(
                f"start {self._number + 1} has options that the game never looks at: {names}. Leave them out, or write "
                "what the game's own reset(seed, options) reads."
            )

    def _from_start(self, seed: int | None = None, options: Mapping[str, Any] | None = None) -> Any:
        start = self._starts[self._number]
        if start.options is not None:
            options = _Options(start.options)
            self._handed.append(options)
        seed = seed if start.seed is None else start.seed
        return self._reset(seed=seed) if options is None else self._reset(seed=seed, options=options)


class _Options(dict[str, Any]):
    """Options that note which of them were not looked at. Who goes through all of them, or copies them, looks at each.

    Attributes:
        ignored: those that were not.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self.ignored = set(options)

    def __getitem__(self, key: str) -> Any:
        self.ignored.discard(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.ignored.discard(key)
        return super().get(key, default)

    def pop(self, key: str, *default: Any) -> Any:
        self.ignored.discard(key)
        return super().pop(key, *default)

    def __contains__(self, key: object) -> bool:
        self.ignored -= {key}
        return super().__contains__(key)

    def __iter__(self) -> Iterator[str]:
        self.ignored.clear()
        return super().__iter__()

    def keys(self) -> Any:
        self.ignored.clear()
        return super().keys()

    def values(self) -> Any:
        self.ignored.clear()
        return super().values()

    def items(self) -> Any:
        self.ignored.clear()
        return super().items()

    def copy(self) -> dict[str, Any]:
        return dict(self.items())

    def __or__(self, other: Any) -> dict[str, Any]:  # type: ignore[override]
        return self.copy() | other

    def __ror__(self, other: Any) -> dict[str, Any]:  # type: ignore[override]
        return other | self.copy()
