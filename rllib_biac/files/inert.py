"""Pickles of which nothing is executed: what they name is loaded only if it is on a list."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Collection
from pathlib import Path
from typing import Any


class StandIn:
    """Takes the place of an object that is not needed. It takes whatever it is given, and does nothing.

    Attributes:
        state: the state that it was given.
    """

    state: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Reader(pickle.Unpickler):
    def __init__(self, file: Any, loaded: Collection[tuple[str, str]], replaced: tuple[str, ...]) -> None:
        super().__init__(file)
        self._loaded, self._replaced = loaded, replaced
        self.names: list[tuple[str, str]] = []

    def find_class(self, module: str, name: str) -> Any:
        self.names.append((module, name))
        module = module.replace("numpy.core.", "numpy._core.")  # as NumPy 1 calls it
        if (module, name) in self._loaded:
            return super().find_class(module, name)
        if module.startswith(self._replaced):
            return type(name, (StandIn,), {"__module__": module})
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is not needed here and was not loaded")


def read(path: Path, *, loaded: Collection[tuple[str, str]], replaced: tuple[str, ...]) -> Any:
    """Reads a pickle.

    Args:
        path: of the file.
        loaded: modules and names that are loaded as they are.
        replaced: starts of modules. What the file names there is neither imported nor called: a class that is derived
            from `StandIn` has its name.

    Returns:
        What is in the file.

    Raises:
        pickle.UnpicklingError: if the file names anything else.
        Exception: whatever a damaged file makes pickle raise.
    """
    with open(path, "rb") as file:
        return _Reader(file, loaded, replaced).load()


def names(path: Path) -> list[tuple[str, str]]:
    """Returns the modules and names in a pickle, in the file's order; of a damaged file those before the damage."""
    with open(path, "rb") as file:
        reader = _Reader(file, (), ("",))
        with contextlib.suppress(Exception):  # stand-ins cannot take the place of everything
            reader.load()
    return reader.names
