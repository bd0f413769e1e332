"""From a game's name to the game: `merge_v0`, or a third-party factory as `package.module:factory`."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from typing import Any

import numpy as np
from pettingzoo import ParallelEnv

from rllib_biac.envs.batched import BatchedGame


def game_ids() -> list[str]:
    """Returns the ids of the games that come with the package: every module `<name>_v<k>` of `rllib_biac.envs`."""
    package = importlib.import_module("rllib_biac.envs")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name.rpartition("_v")[2].isdigit())


def _module_or_factory(game: str) -> Any:
    if ":" not in game:
        if game in (ids := game_ids()):
            return importlib.import_module(f"rllib_biac.envs.{game}")
        near = difflib.get_close_matches(game, ids, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise ValueError(
            f"unknown game {game!r}. {hint}Games here: {', '.join(ids)}. Write your own as 'package.module:factory'."
        )
    module_name, _, attribute = game.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(f"game {game!r}: cannot import {module_name!r} ({error}); is it installed?") from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        raise ValueError(f"game {game!r}: {module_name!r} has no callable {attribute!r}; write package.module:factory.")
    return factory


def make(game: str, **kwargs: Any) -> ParallelEnv:
    """Makes one game as a PettingZoo `ParallelEnv`.

    Args:
        game: an id such as `merge_v0`, or `package.module:factory` with a factory that returns a `ParallelEnv`.
        kwargs: handed to the game.

    Raises:
        ValueError: if there is no such game or factory.
    """
    found = _module_or_factory(game)
    return found(**kwargs) if callable(found) else found.parallel_env(**kwargs)


def make_batched(game: str, num_games: int, rng: np.random.Generator, **kwargs: Any) -> BatchedGame:
    """Makes N games as arrays: the game's own batched form, or the generic one around a third-party `ParallelEnv`.

    Args:
        game: as for `make`.
        num_games: N, at least 1.
        rng: the only source of the games' randomness.
        kwargs: handed to the game.

    Raises:
        ValueError: if there is no such game or factory.
    """
    found = _module_or_factory(game)
    if callable(found):
        from rllib_biac.envs.parallel_batch import ParallelEnvBatch

        return ParallelEnvBatch(lambda: found(**kwargs), num_games, rng)
    return found.batched_env(num_games, rng, **kwargs)
