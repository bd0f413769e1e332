"""The settings of a run: those that differ from defaults, those that differ between trials, and the command."""

from __future__ import annotations

import functools
import json
import math
import re
import shlex
from typing import Any

from rllib_biac.report.folders import Run, Trial

# Attributes of a config with another name than the setting a user writes.
_WRITTEN = {
    "levels": "hierarchy",
    "_model_config": "model_config",
    "_train_batch_size_per_learner": "train_batch_size_per_learner",
}
# These follow from the hierarchy, or differ between runs without meaning.
_IMPLIED = ("policies", "policy_mapping_fn", "is_policy_to_train")
_CLASS = re.compile(r"<class '([\w.]+)\.(\w+)'>")


def written(settings: dict[str, Any]) -> dict[str, Any]:
    """Returns a whole config with the names that a user writes, and classes as `package.module:name`."""
    named = {_WRITTEN.get(key, key): value for key, value in settings.items() if key not in _IMPLIED}
    return {
        key: _CLASS.sub(r"\1:\2", value) if isinstance(value, str) else value
        for key, value in sorted(named.items())
        if not key.startswith("_")
    }


def changes(trial: Trial) -> list[tuple[int, str, str, str]]:
    """Returns the changes by a scheduler: iteration, setting as a user writes it, old and new value."""
    return [
        (iteration, _WRITTEN.get(key, key), text(old), text(new))
        for iteration, key, old, new in trial.changes
        if key not in _IMPLIED
    ]


def chosen(trial: Trial) -> dict[str, Any]:
    """Returns the settings that differ from the algorithm's defaults; all settings if the defaults are unknown."""
    defaults = _defaults(trial.algorithm)
    return {key: value for key, value in written(trial.settings).items() if value != defaults.get(key, _MISSING)}


def varied(trials: list[Trial]) -> list[str]:
    """Returns the settings that differ between trials."""
    settings = [written(trial.settings) for trial in trials if trial.settings]
    keys = sorted({key for one in settings for key in one})
    return [key for key in keys if len({_json(one.get(key)) for one in settings}) > 1]


def groups(trials: list[Trial]) -> list[tuple[str, list[Trial]]]:
    """Groups trials whose settings differ only in the seed. Each group gets a name that shows its settings."""
    keys = [key for key in varied(trials) if key != "seed"]
    found: dict[str, list[Trial]] = {}
    for trial in trials:
        settings = written(trial.settings)
        name = ", ".join(f"{key} = {text(settings[key])}" for key in keys if key in settings)
        found.setdefault(name, []).append(trial)
    return list(found.items())


def levels(settings: dict[str, Any]) -> list[list[str]]:
    """Returns the hierarchy of a whole config, leaders first; empty if there is none."""
    found = settings.get("levels")
    if not isinstance(found, list) or not all(isinstance(level, list) for level in found):
        return []
    return [[str(agent) for agent in level] for level in found]


def text(value: Any) -> str:
    """Returns a setting as a user writes it."""
    return value if isinstance(value, str) else _json(value)


def train_commands(run: Run) -> list[str]:
    """Returns the commands that train the same again: one if the trials are a grid, else one for each trial."""
    trials = [trial for trial in run.trials if trial.settings and trial.algorithm]
    if not trials:
        return []
    keys = varied(trials)
    points = [tuple(_json(written(trial.settings).get(key)) for key in keys) for trial in trials]
    axes = [list(dict.fromkeys(column)) for column in zip(*points, strict=True)]
    same_algorithm = len({trial.algorithm for trial in trials}) == 1
    # True if every point of the grid occurs once. The command line cannot sweep games; only a file can.
    if same_algorithm and "env" not in keys and len(set(points)) == len(points) == math.prod(map(len, axes)):
        grid = {
            key: {"grid_search": [json.loads(value) for value in axis]} for key, axis in zip(keys, axes, strict=True)
        }
        return [_command(run, trials[0], grid, run.folder.name)]
    return [_command(run, trial, {}, f"{run.folder.name}_{number}") for number, trial in enumerate(trials)]


def _command(run: Run, trial: Trial, grid: dict[str, Any], name: str) -> str:
    known = _keys(trial.algorithm)
    settings = {**chosen(trial), **grid}
    # The repr of a Python object. Only its own program could make it again.
    lost = [key for key, value in settings.items() if isinstance(value, str) and value.startswith("<")]
    config = {key: value for key, value in settings.items() if key in known and key not in (*lost, "env")}
    env = written(trial.settings).get("env", "")
    words = ["rllib", "train", "--algo", trial.algorithm, "--env", str(env), "--experiment-name", name]
    if run.stop:
        words += ["--stop", _json(run.stop)]
    return shlex.join([*words, "--config", _json(config)])


@functools.cache
def _defaults(algorithm: str) -> dict[str, Any]:
    from rllib_biac.experiments.tuning import as_recorded

    config_class = _config_class(algorithm)
    if config_class is None:
        return {}
    return written(as_recorded(config_class()))


@functools.cache
def _keys(algorithm: str) -> frozenset[str]:
    from rllib_biac.rllib.config_keys import keys_of

    config_class = _config_class(algorithm)
    return frozenset() if config_class is None else frozenset(keys_of(config_class))


def _config_class(algorithm: str) -> Any:
    from rllib_biac.rllib.registry import config_class

    try:
        return config_class(algorithm)
    except ValueError:  # its code is not here
        return None


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


_MISSING = object()
