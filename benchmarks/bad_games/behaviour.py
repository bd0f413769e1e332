"""What else games do: return too little, raise, and meddle with the program that they run in."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from bad_games.kinds import CAUGHT, HARMLESS, OBS, Clean, Faulty, Parts, changes, made

changes("step returns four", CAUGHT, lambda game, parts: tuple(parts.values())[:4], first=1, names=("place",))
changes("step returns None", CAUGHT, lambda game, parts: (), first=1, names=("place",))
changes("reset returns observations alone", CAUGHT, lambda game, parts: parts[OBS], last=0, names=("place",))


# Exceptions, and what games do to the program they run in.


def raises(error: BaseException) -> Callable[[Faulty, Parts], Any]:
    def change(game: Faulty, parts: Parts) -> Any:
        raise error

    return change


changes("step raises", CAUGHT, raises(KeyError("ann")), first=1, names=("place",))
changes("step raises an assertion", CAUGHT, raises(AssertionError()), first=1, names=("place",))
changes("reset raises", CAUGHT, raises(OSError("no file")), last=0, names=("place",))
changes("step exits the program", CAUGHT, raises(SystemExit(3)), first=1, names=("place",))
changes("step raises StopIteration", CAUGHT, raises(StopIteration()), first=1, names=("place",))


class CloseRaises(Clean):
    def close(self) -> None:
        raise RuntimeError("no window")


class StateRaises(Clean):
    state_space = spaces.Box(0, 1, (1,), np.float32)

    def state(self) -> np.ndarray:
        if not self.agents:
            raise RuntimeError("no state after the end")
        return np.zeros(1, np.float32)


made("close raises", HARMLESS, lambda case: lambda: CloseRaises(case))
made("state raises, and nobody asked", HARMLESS, lambda case: lambda: StateRaises(case))


def does(act: Callable[[], Any]) -> Callable[[Faulty, Parts], None]:
    def change(game: Faulty, parts: Parts) -> None:
        act()

    return change


def fork() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


changes("prints", HARMLESS, does(lambda: print("hello")), "always")
changes("warns", HARMLESS, does(lambda: warnings.warn("careful", stacklevel=1)), "always")
changes("forks", HARMLESS, does(fork))
changes("is slow once", HARMLESS, does(lambda: time.sleep(0.3)), last=0)
changes("seeds numpy for all", HARMLESS, does(lambda: np.random.seed(0)), "always")
changes("seeds torch for all", HARMLESS, does(lambda: torch.manual_seed(0)), "always")
changes("makes numpy raise", HARMLESS, does(lambda: np.seterr(all="raise")))
changes("changes the folder", HARMLESS, does(lambda: os.chdir("/")))


class ClearsActions(Clean):
    """Empties the dict of actions that it was handed."""

    def step(self, actions: dict) -> Any:
        given = super().step(actions)
        actions.clear()
        return given


made("empties the actions", HARMLESS, lambda case: lambda: ClearsActions(case))
