"""Faults of what agents earn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from bad_games.kinds import CAUGHT, EVERYWHERE, HARMLESS, REW, Faulty, Parts, changes, without


def earns(name: str, right: str, value: Callable[[float], Any], **more: Any) -> None:
    """Adds a kind in which an agent's reward is wrong."""

    def change(game: Faulty, parts: Parts) -> None:
        parts[REW][game.case.agent] = value(parts[REW][game.case.agent])

    changes(name, right, change, first=1, runners=EVERYWHERE, **more)


earns("reward NaN", CAUGHT, lambda r: float("nan"))
earns("reward infinite", CAUGHT, lambda r: np.inf)
earns("reward beyond float32", CAUGHT, lambda r: 1e39)
earns("reward None", CAUGHT, lambda r: None)
earns("reward text", CAUGHT, lambda r: "much")
earns("reward complex", CAUGHT, lambda r: 1 + 1j)
earns("reward a vector", CAUGHT, lambda r: np.array([r, 1.0]))
earns("reward a vector of one", HARMLESS, lambda r: np.array([r]))
earns("reward a tensor", HARMLESS, lambda r: torch.tensor(r))
earns("reward an int", HARMLESS, lambda r: int(r))
changes("no reward of an agent", CAUGHT, without(REW), first=1)
changes("reward of a stranger", HARMLESS, lambda game, parts: parts[REW].update(eve=1.0), first=1)
changes("rewards None", CAUGHT, lambda game, parts: parts.update({REW: None}), first=1, names=("place",))
changes("rewards one number", CAUGHT, lambda game, parts: parts.update({REW: 1.0}), first=1, names=("place",))
