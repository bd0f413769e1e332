"""A game's errors on their way from a remote runner to the user."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from rllib_biac.envs.errors import GameError


class GameFault:
    """A game's error in place of a remote call's result; raised as soon as somebody looks into the result."""

    def __init__(self, error: GameError, index: int) -> None:
        self.error = error
        self.index = index  # of the runner

    def __iter__(self) -> Iterator[Any]:
        raise self.error


class HandsOverGameErrors:
    """What a remote runner does with a `GameError`: it reaches the user, and training stops, as on a local runner.

    RLlib would log it and restart the runner, which meets the same error again: a thousand times, learning nothing.
    """

    def apply(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Calls `func` with this runner; returns a `GameFault` where that raises a `GameError`."""

        def handing_over(runner: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return func(runner, *args, **kwargs)
            except GameError as error:
                return GameFault(error, runner.worker_index)

        return super().apply(handing_over, *args, **kwargs)  # type: ignore[misc]
