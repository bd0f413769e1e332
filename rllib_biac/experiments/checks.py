"""Finds the mistakes in an experiment that can be found without importing Ray."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

from rllib_biac.experiments import loggers, ranges, schedulers, searchers, sweeps
from rllib_biac.experiments.metrics import TIMES, unreported
from rllib_biac.experiments.mistakes import Mistake
from rllib_biac.experiments.reading import KEYS, Draft, kind_of
from rllib_biac.learning.hierarchy import Hierarchy
from rllib_biac.rllib.hints import did_you_mean
from rllib_biac.rllib.kinds import fit, nested_mistakes
from rllib_biac.rllib.known_keys import known_keys
from rllib_biac.rllib.traps import trap

# All trials are created, and their settings checked, before the first one starts.
MOST_TRIALS = 10_000
_ENV_STEPS, _LEARNING_STARTS = "num_env_steps_sampled_lifetime", "num_steps_sampled_before_learning_starts"
# The public fields of ray.tune.CheckpointConfig, written out so that a misspelt one is found before Ray is imported.
CHECKPOINT_KEYS: dict[str, type] = {
    "num_to_keep": int,
    "checkpoint_score_attribute": str,
    "checkpoint_score_order": str,
    "checkpoint_frequency": int,
    "checkpoint_at_end": bool,
}


def check(draft: Draft) -> None:
    """Checks everything about an experiment that needs neither Ray nor torch.

    What needs them is checked in `resolve`. A Ray may have been started by then, for that takes seconds as well.

    Raises:
        Mistake: with one line for each mistake, each with its place and what to write instead.
    """
    found = [draft.mistake(path, text) for path, text in _mistakes(draft.settings)]
    long = len(draft.name.encode(errors="replace")) > 200  # file systems take 255 bytes
    if long or draft.name in (".", "..") or not re.fullmatch(r"[^/\\\x00-\x1f]+", draft.name):
        text = (
            "the name becomes a folder's name; write 1 to 200 characters without / and \\ (ü and its like count more)."
        )
        found.append(draft.mistake((), text))
    found = found or [draft.mistake(path, text) for path, text in _mistakes_in_game(draft.settings)]
    if found:
        raise Mistake("\n".join(found))


def _mistakes(settings: dict[str, Any]) -> Iterator[tuple[tuple[Any, ...], str]]:
    for key in settings:
        if instead := trap("experiment", key):
            yield (key,), f"{instead}."
        elif key not in KEYS:
            yield (key,), f"unknown key.{did_you_mean(key, KEYS)} An experiment has: {', '.join(KEYS)}."
    config = settings.get("config", {})
    if settings.get("run") is None and isinstance(config, dict):
        yield ("run",) if "run" in settings else (), "`run:` is missing; write the algorithm, such as `run: BiAC`."
    for key in ("num_samples", "max_failures", "time_budget_s"):
        value = settings.get(key, 1)
        if isinstance(value, bool) or not isinstance(value, int | float) or (key != "time_budget_s" and value % 1):
            yield (key,), f"expected a number, not {value!r}."
        elif key == "num_samples" and value < 1:
            yield (key,), f"expected at least 1, not {value!r}."
        elif key == "max_failures" and value < -1:
            yield (key,), f"expected at least 0, or -1 for no limit, not {value!r}."
        elif key == "time_budget_s" and not 0 < value < 1e9:
            yield (key,), f"expected a number of seconds greater than 0, not {value!r}."
    storage = settings.get("storage_path", "~")
    if not isinstance(storage, str) or not storage.strip() or "\0" in storage:
        yield ("storage_path",), f"expected a path, not {storage!r}."
    elif wrong := _no_place(storage):
        yield ("storage_path",), wrong
    yield from _config_mistakes(settings, config)
    yield from _algorithm_mistakes(settings.get("run"), config)
    if "scheduler" in settings:
        yield from schedulers.mistakes(settings["scheduler"], settings)
    if "loggers" in settings:
        yield from loggers.mistakes(settings["loggers"])
    if "search_alg" in settings:
        yield from searchers.mistakes(settings["search_alg"], settings)
    if (trials := sweeps.num_trials(settings)) > MOST_TRIALS:
        yield (), f"this makes {trials:,} trials; the limit is {MOST_TRIALS:,}. Write a smaller grid or fewer samples."
    yield from _stop_mistakes(settings.get("stop", {}), config)
    yield from _checkpoint_mistakes(settings.get("checkpoint_config", {}), config)


def _no_place(storage: str) -> str | None:
    """Returns what is wrong with a place for results that would become a folder of that name here."""
    if scheme := re.match(r"(s3|gs|gcs|hdfs|abfss?|https?|file):(?!//)", storage):
        return f"{storage!r} would be a folder here; write an address with two slashes, {scheme[0]}//..."
    if storage.startswith("~") and os.path.expanduser(storage) == storage:
        return f"there is no user {storage[1:].partition('/')[0]!r}; write the folder's whole path."
    if variable := os.name != "nt" and re.search(r"\$\w+|\$\{\w+\}|%\w+%|^[A-Za-z]:(?=\\)", storage):
        return (
            f"{variable[0]!r} would be a part of a folder's name here; write the path itself, or ~ for your own folder."
        )
    return None


def _config_mistakes(settings: dict[str, Any], config: Any) -> Iterator[tuple[tuple[Any, ...], str]]:
    if not isinstance(config, dict):
        if not hasattr(config, "to_dict"):
            yield ("config",), f"expected a mapping of settings, not {kind_of(config)}."
        return
    for key in config:
        if instead := trap("config", key):
            yield ("config", key), f"{instead}."
    for path, text in (*ranges.mistakes(config), *_unusable_numbers(config)):
        yield ("config", *path), text
    for key in env_config if isinstance(env_config := config.get("env_config"), dict) else ():
        if not isinstance(key, str):
            yield ("config", "env_config", key), f"a game's settings have names; {key!r} is {kind_of(key)}: quote it."
    if "env" in settings and "env" in config:
        yield ("config", "env"), "`env` is given twice, inside `config` and beside it; write it once."
    env_path = ("env",) if "env" in settings else ("config", "env")
    env = settings.get("env", config.get("env"))
    if env is None:
        yield (), "`env:` is missing; write the game, such as `env: merge_v0`."
        return
    wrong = list(ranges.mistakes(env, env_path)) if env_path == ("env",) else []
    yield from wrong
    for game in () if wrong else sweeps.starts(env):
        if unknown := _unknown_game(game):
            yield env_path, unknown


def _algorithm_mistakes(run: Any, config: Any) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Yields an unknown algorithm, settings that it does not have, and values of the wrong kind."""
    from rllib_biac.rllib.registry import ALGORITHMS

    if run is None or not isinstance(config, dict):
        return
    if not isinstance(run, str) or not (run in ALGORITHMS or ":" in run):
        known = ", ".join(sorted(ALGORITHMS))
        yield ("run",), f"unknown algorithm {run!r}.{did_you_mean(run, ALGORITHMS)} There are: {known}."
        return
    keys = known_keys(ALGORITHMS.get(run, run))
    for key, value in config.items() if keys else ():
        if trap("config", key):
            continue
        if key not in keys:
            yield ("config", key), f"unknown key.{did_you_mean(key, keys)}"
            continue
        for path, text in nested_mistakes(key, value, keys, by_name=False):
            yield ("config", *path), text
        if misfit := _misfit(value, keys[key]):
            yield ("config", key), misfit


def _mistakes_in_game(settings: dict[str, Any]) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Yields what does not fit a game of this package: its settings, and who leads whom in it.

    The settings have no other mistakes. What a sweep changes is checked in `resolve`, and so is anybody's own game,
    which may take its time to be made.
    """
    from rllib_biac.envs import game_ids, make

    config = settings.get("config")
    if not isinstance(config, dict):
        return
    env, levels, given = settings.get("env", config.get("env")), config.get("hierarchy"), config.get("env_config") or {}
    partners = config.get("partners") or {}
    swept = any(sweeps.has_grid(tree) or ranges.find(tree) for tree in (levels, given, partners))
    if env not in game_ids() or swept or not isinstance(partners, dict):
        return
    try:
        game = make(env, **given)
    except (TypeError, ValueError) as error:
        named = [key for key in given if re.search(rf"\b{re.escape(str(key))}\b", str(error))]
        yield ("config", "env_config", *named[:1]), str(error)
        return
    agents = [agent for agent in game.possible_agents if agent not in partners]
    if levels is None:
        yield (), f"no hierarchy: write e.g. hierarchy: {[[agent] for agent in agents]}, top level first."
        return
    try:
        Hierarchy(levels).check_against(agents)
    except ValueError as error:
        yield ("config", "hierarchy"), str(error)


def _misfit(value: Any, hint: Any) -> str | None:
    """Returns why a value, or one that a sweep may give, is not of the kind that a setting takes; None if it is."""
    for one in () if list(ranges.mistakes(value)) else sweeps.starts(value):
        if (isinstance(one, str) and ":" in one) or sweeps.has_grid(one) or ranges.find(one):
            continue  # the name of an object, which would have to be imported, or swept further inside
        try:
            fit(one, hint)
        except TypeError as error:
            return str(error)
    return None


def _unusable_numbers(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], str]]:
    if isinstance(tree, dict | list):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from _unusable_numbers(value, (*path, key))
    elif isinstance(tree, float) and tree != tree:
        yield path, "expected a value, not .nan (not a number)."
    elif isinstance(tree, int) and abs(tree) >= 2**63:
        yield path, "this whole number needs more than 64 bits; write a smaller one, or a float such as 1e30."


def _unknown_game(game: Any) -> str | None:
    from rllib_biac.envs import game_ids

    if not isinstance(game, str):
        return f"expected a game's id or 'package.module:factory', not {game!r}."
    # Modules, and gymnasium's ids, are looked up where the game is made.
    if ":" in game or "." in game or re.search(r"-v\d+$", game) or game in (ids := game_ids()):
        return None
    return (
        f"unknown game {game!r}.{did_you_mean(game, ids)} Games here: {', '.join(ids)}. "
        "Write your own as 'package.module:factory', or a gymnasium id such as 'module:Name-v0'; a name of "
        "tune.register_env is known only to a Python file that registers it."
    )


def _stop_mistakes(stop: Any, config: Any) -> Iterator[tuple[tuple[Any, ...], str]]:
    if not isinstance(stop, dict):
        yield ("stop",), f"expected a mapping such as `{{training_iteration: 100}}`, not {kind_of(stop)}."
        return
    for key, value in stop.items():
        if instead := trap("stop", key):
            yield ("stop", key), f"RLlib does not report this metric, so the run would never stop; {instead}."
        elif isinstance(value, dict) and value.keys() & {"grid_search", *ranges.NAMES}:
            yield ("stop", key), "all trials stop alike; write one number, and ranges under `config`."
        elif isinstance(value, dict):
            inner = next(iter(value), "...")
            yield ("stop", key), f"a nested criterion never fires; write `{key}/{inner}: ...`."
        elif why := unreported(key, config):
            yield ("stop", key), f"the run would never stop because of this: {why}"
        elif isinstance(value, bool) != (key == "done") or not isinstance(value, int | float):
            yield ("stop", key), f"expected a number, not {value!r}."
        elif not abs(value) < 1e300:  # also true for .nan
            yield ("stop", key), f"{value!r} is never reached; write a finite number, or leave it out."
        elif key in TIMES and value <= 0:
            yield ("stop", key), f"expected more than 0, not {value!r}."
        elif key == _ENV_STEPS and isinstance(config, dict) and value <= _number(config.get(_LEARNING_STARTS)):
            yield (
                ("stop", key),
                f"nothing would be learned until then: {_LEARNING_STARTS} is {config[_LEARNING_STARTS]}.",
            )


def _number(value: Any) -> float:
    return value if type(value) in (int, float) else -1


def _checkpoint_mistakes(checkpoint: Any, config: Any) -> Iterator[tuple[tuple[Any, ...], str]]:
    if not isinstance(checkpoint, dict):
        yield ("checkpoint_config",), f"expected a mapping, not {kind_of(checkpoint)}."
        return
    for key, value in checkpoint.items():
        path = ("checkpoint_config", key)
        kind = CHECKPOINT_KEYS.get(key)
        if kind is None:
            yield path, f"unknown key.{did_you_mean(key, CHECKPOINT_KEYS)} It has: {', '.join(CHECKPOINT_KEYS)}."
        elif not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
            yield path, f"expected {kind.__name__}, not {value!r}."
        elif key == "checkpoint_score_attribute" and (why := unreported(value, config)):
            yield path, f"checkpoints would not be compared because of this: {why}"
        elif key == "checkpoint_score_order" and value not in ("min", "max"):
            yield path, f"expected min or max, not {value!r}."
        elif isinstance(value, int) and value < (lowest := 1 if key == "num_to_keep" else 0):
            yield path, f"expected at least {lowest}, not {value!r}."
