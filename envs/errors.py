"""What a game can do wrong, said so that its author finds the place."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import numpy as np

# A game may raise anything; Ctrl-C alone is its user's.
RAISED_BY_GAMES = (Exception, SystemExit, GeneratorExit, asyncio.CancelledError)


class GameError(RuntimeError):
    """A game broke its contract: a shape, a number or a flag is wrong. Names the agent and the step."""


def check_finite(what: str, arrays: Mapping[str, np.ndarray], steps: int | np.ndarray) -> None:
    """Refuses NaN and infinity in what N games returned.

    Args:
        what: what the arrays hold, `"observation"` or `"reward"`.
        arrays: agent -> (N, ...).
        steps: the step the games have come to, counted from their reset (0); one for all or (N,).

    Raises:
        GameError: naming the agent, the first such game's index and its step.
    """
    for agent, array in arrays.items():
        finite = np.isfinite(array)
        if finite.all():
            continue
        game = int(np.argwhere(~finite)[0, 0])
        step = np.broadcast_to(steps, len(array))[game]
        raise GameError(f"{what} of agent {agent!r} is NaN or infinite in game {game} at step {step}: {array[game]}.")
