"""From a game's name to the game: an id (`merge_v0`), `package.module:factory`, or a gymnasium id (`highway-v0`)."""

from __future__ import annotations

import copy
import difflib
import importlib
import importlib.util
import inspect
import pkgutil
import re
import traceback
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import gymnasium as gym
import numpy as np
from pettingzoo import ParallelEnv

from rllib_biac.envs.adapters import adapt
from rllib_biac.envs.adapters.highway import with_tuples
from rllib_biac.envs.batched import BatchedGame
from rllib_biac.envs.errors import GameError

FORMS = "'package.module:factory', or a gymnasium id such as 'module:Name-v0'"
# What a module of PettingZoo's calls its game, best first: turns only where there is no parallel form.
IN_MODULES = ("parallel_env", "env", "raw_env")
# Packages of games of several agents that gymnasium knows only once they are imported.
REGISTERING = ("highway_env", "lbforaging", "rware", "multigrid.envs")


def game_ids() -> list[str]:
    """Returns the ids of the games that come with the package: every module `<name>_v<k>` of `rllib_biac.envs`."""
    package = importlib.import_module("rllib_biac.envs")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name.rpartition("_v")[2].isdigit())


def is_own(game: str) -> bool:
    """Tells whether a game comes with the package."""
    return game in game_ids()


def factory_of(game: str) -> Callable[..., Any]:
    """Returns what makes the game of a name; what it makes may be of any make that `adapt` knows.

    Args:
        game: an id of `game_ids()`; `package.module:factory`, where the factory is a function, a class, or a module
            with `parallel_env`, `env` or `raw_env`; such a module alone; or a gymnasium id, which ends in -v and a
            number, also as gymnasium's own `module:Name-v0`.

    Raises:
        ValueError: if there is no such game, module or factory.
    """
    if game in (ids := game_ids()):
        return importlib.import_module(f"rllib_biac.envs.{game}").parallel_env
    if re.search(r"-v\d+$", game):
        return lambda **kwargs: _make_gymnasium(game, kwargs)
    module_name, colon, attribute = game.partition(":")
    if not colon and "." not in game:
        near = difflib.get_close_matches(game, ids, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"unknown game {game!r}. {hint}Games here: {', '.join(ids)}. Write your own as {FORMS}.")
    found: Any = _imported(game, module_name)
    if colon:
        found = _attribute(game, found, attribute)
    if isinstance(found, ModuleType):
        makers = [maker for name in IN_MODULES if callable(maker := getattr(found, name, None))]
        if not makers:
            raise ValueError(
                f"game {game!r}: module {found.__name__!r} has none of {', '.join(IN_MODULES)}; "
                "write package.module:factory."
            )
        found = makers[0]
    if not callable(found):
        raise ValueError(
            f"game {game!r}: {attribute!r} of {module_name!r} is {type(found).__name__}, one object for all copies; "
            "write package.module:factory, with a function or a class that makes a new one at each call."
        )
    return lambda **kwargs: _call(game, found, kwargs)


def _attribute(game: str, module: ModuleType, attribute: str) -> Any:
    found: Any = module
    for part in attribute.split("."):  # a method of a class, too
        inner = f"{found.__name__}.{part}" if isinstance(found, ModuleType) and part.isidentifier() else ""
        if inner and not hasattr(found, part) and hasattr(found, "__path__") and _exists(inner):
            found = _imported(game, inner)
        elif hasattr(found, part):
            found = getattr(found, part)
        else:
            near = difflib.get_close_matches(part, dir(found), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "; write package.module:factory."
            raise ValueError(f"game {game!r}: {found.__name__!r} has no callable {part!r}{hint}")
    return found


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except Exception:  # the package that it is in is missing, or raises anything
        return False


def _imported(game: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # a module may raise anything
        raise ValueError(f"game {game!r}: cannot import {name!r}: {_why(name, error)}") from error


def _why(name: str, error: BaseException) -> str:
    """Says which module fails innermost, of all that an import goes through."""
    first = error
    while isinstance(cause := first.__cause__ or first.__context__, ImportError):
        first = cause
    place = _place(first, lambda frame: frame.name == "<module>")
    if isinstance(first, ModuleNotFoundError) and first.name:
        needs = "" if name == first.name or name.startswith(f"{first.name}.") else f", which {place} needs,"
        return f"module {first.name!r}{needs} is not installed or not on Python's path."
    return f"{_said(first)}{f' ({place})' if place else ''}."


def _place(error: BaseException, wanted: Callable[[traceback.FrameSummary], bool]) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if wanted(f) and f.filename != __file__]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def _said(error: BaseException) -> str:
    """Returns the first line of an error."""
    line = str(error).strip().partition("\n")[0].rstrip(".")
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def _make_gymnasium(game: str, kwargs: dict[str, Any]) -> Any:
    module, _, name = game.rpartition(":")
    unknown = ""
    # Some packages register their games only when they are imported; without a module, those that are installed are.
    for registering in [module] if module else ["", *filter(_exists, REGISTERING)]:
        try:
            if registering:
                _imported(game, registering)
            entry = gym.spec(name).entry_point
        except gym.error.Error as error:
            unknown = unknown or str(error).rstrip(".?")
            continue
        except ValueError:
            if module:
                raise
            continue  # a broken package is not the one that was asked for, as far as anyone can tell
        if isinstance(entry, str):
            _imported(game, entry.partition(":")[0])
        return _call(game, partial(gym.make, name, disable_env_checker=True), kwargs)  # it wants one number as reward
    raise ValueError(
        f"unknown game {game!r}: {unknown}, says gymnasium; "
        f"{'write' if module else 'name the module that registers it and write'} 'module:Name-v0'."
    )


def own_copy(settings: Any) -> Any:
    """Returns settings for one game alone: what it changes in them, deep inside too, no other game sees.

    What cannot be copied, such as a lock, stays as it is.
    """
    try:
        return copy.deepcopy(settings)
    except Exception:  # an object may raise anything
        if type(settings) is dict:
            return {key: own_copy(value) for key, value in settings.items()}
        return type(settings)(map(own_copy, settings)) if type(settings) in (list, tuple) else settings


def _call(game: str, factory: Callable[..., Any], kwargs: dict[str, Any]) -> Any:
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):  # written in C, say
        signature = inspect.Signature([inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)])
    try:
        signature.bind(**kwargs)
        by_name = bool(kwargs) or not _takes_one_dict(factory, signature)
    except TypeError as error:
        if not _takes_one_dict(factory, signature):
            raise ValueError(f"game {game!r}: {error}; its settings are {signature}.") from error
        by_name = False
    kwargs = with_tuples(own_copy(kwargs))
    if not by_name:
        factory, kwargs = partial(factory, _Context(kwargs)), {}
    try:
        return factory(**kwargs)
    except (ValueError, GameError):
        raise
    except Exception as error:  # a game may raise anything; whose it is, the reader sees
        place = _place(error, lambda frame: True)
        raise ValueError(f"game {game!r}: making it raised {_said(error)} ({place}).") from error


class _Context(dict[str, Any]):
    """Settings as RLlib hands them to its environments: a dict that tells which worker asks as well."""

    worker_index = vector_index = num_workers = 0
    remote = recreated_worker = False


def _takes_one_dict(factory: Callable[..., Any], signature: inspect.Signature) -> bool:
    """Tells whether a factory takes all its settings in one dict, as RLlib's environments and creators do."""
    first = next(iter(signature.parameters.values()), None)
    if first is None or first.kind > first.POSITIONAL_OR_KEYWORD:
        return False
    needed = first.default is first.empty and sum(p.default is p.empty for p in signature.parameters.values()) == 1
    of_rllib = callable(getattr(factory, "with_agent_groups", None)) and (needed or first.default is None)
    return of_rllib or (needed and first.name in ("config", "env_config", "context", "env_context"))


def make(game: str, **kwargs: Any) -> ParallelEnv:
    """Makes one game as a PettingZoo `ParallelEnv`.

    Args:
        game: as for `factory_of`.
        kwargs: handed to the game.

    Raises:
        ValueError: if there is no such game or factory, or what it makes is of no make that `adapt` knows.
    """
    return adapt(factory_of(game)(**kwargs))


def make_batched(game: str, num_games: int, rng: np.random.Generator, **kwargs: Any) -> BatchedGame:
    """Makes N games as arrays: the game's own batched form, or the generic one around a third-party game.

    Args:
        game: as for `factory_of`.
        num_games: N, at least 1.
        rng: the only source of the games' randomness.
        kwargs: handed to the game.

    Raises:
        ValueError: if there is no such game or factory, or what it makes is of no make that `adapt` knows.
    """
    if game in game_ids():
        return importlib.import_module(f"rllib_biac.envs.{game}").batched_env(num_games, rng, **kwargs)
    from rllib_biac.envs.parallel_batch import ParallelEnvBatch

    factory = factory_of(game)
    return ParallelEnvBatch(lambda: adapt(factory(**kwargs)), num_games, rng)
