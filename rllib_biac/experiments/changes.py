"""What may change between a run and its `--resume` is applied and said. What may not is refused. Nothing is ignored."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rllib_biac.experiments import grid, ranges, remote
from rllib_biac.experiments.metrics import flat
from rllib_biac.experiments.mistakes import Mistake
from rllib_biac.files.folders import text_of

if TYPE_CHECKING:
    from rllib_biac.experiments.reading import Draft
    from rllib_biac.experiments.resolve import Experiment

_RECORD = ".rllib_experiment.json"
# Beside `config`: of trials, or read anew by Tune.
_OF_TRIALS = ("stop", "checkpoint_config", "max_failures", "time_budget_s", "loggers")
_NEVER_COMPARED = ("storage_path",)  # a run's folder may have been moved
# Settings that a restored algorithm reads anew. Others are part of what was learned, of its replay or of its games.
MAY_CHANGE = (
    "lr",
    "critic_lr",
    "actor_lr",
    "lr_fade",
    "adam_epsilon",
    "grad_clip",
    "grad_clip_by",
    "epsilon",
    "spread_epsilon",
    "tau",
    "target_network_update_freq",
    "training_intensity",
    "train_batch_size_per_learner",
    "min_sample_timesteps_per_iteration",
    "num_env_runners",
    "num_cpus_per_env_runner",
    "num_cpus_for_main_process",
    "sample_timeout_s",
    "restart_failed_env_runners",
    "num_consecutive_env_runner_failures_tolerance",
    "env_runner_health_probe_timeout_s",
    "evaluation_interval",
    "evaluation_duration",
    "evaluation_sample_timeout_s",
    "store_buffer_in_checkpoints",
    "compress_buffer_in_checkpoints",
    "log_level",
)
_ABSENT = object()
Key = tuple[str, ...]


def flags_of(folder: str) -> dict[str, Any]:
    """Returns the flags that a run was started with: a resumed run has them too, without their being given again."""
    return _read(folder).get("flags", {})


def write(experiment: Experiment) -> None:
    """Writes down what a run is started with, in its folder."""
    folder, content = Path(experiment.folder), json.dumps(_written(experiment.draft))
    with contextlib.suppress(OSError):  # what cannot be written there, Tune says itself
        if remote.is_remote(experiment.folder):
            remote.write(f"{experiment.folder}/{_RECORD}", content.encode())
            return
        folder.mkdir(parents=True, exist_ok=True)
        written = folder / f"{_RECORD}.new"
        written.write_text(content, encoding="utf-8")
        os.replace(written, folder / _RECORD)


def _written(draft: Draft) -> dict[str, Any]:
    return {"settings": _plain(draft.settings), "flags": _plain(draft.flags)}


def _read(folder: str) -> dict[str, Any]:
    path = f"{folder}/{_RECORD}"
    try:
        read = json.loads((remote.read(path) or b"") if remote.is_remote(folder) else text_of(Path(path)))
        return read if isinstance(read["settings"], dict) and isinstance(read["flags"], dict) else {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def _plain(value: Any) -> Any:
    """Returns settings as JSON has them; what JSON has not, as text without addresses of memory."""
    if hasattr(value, "to_dict"):
        value = value.to_dict()
    return json.loads(json.dumps(value, default=lambda other: re.sub(r" at 0x[0-9a-f]+", "", repr(other))))


def differences(experiment: Experiment, say: Callable[[str], None]) -> dict[Key, tuple[Any, Any]]:
    """Compares an experiment with what its run was started with.

    Args:
        experiment: as it is written now.
        say: shows a line to a person.

    Returns:
        The path of each setting that changed -> what it was, what it is. A setting that is not written is None.

    Raises:
        Mistake: if a setting changed that may not.
    """
    before = _read(experiment.folder)
    if not before:
        say(f"What {experiment.folder} was started with is not known: its trials go on with their own settings.")
        return {}
    then, now = (dict(_leaves(settings)) for settings in (before["settings"], _written(experiment.draft)["settings"]))
    changed = {
        path: (then.get(path, _ABSENT), now.get(path, _ABSENT))
        for path in {**then, **now}
        if then.get(path, _ABSENT) != now.get(path, _ABSENT) and path[0] not in _NEVER_COMPARED
    }
    if refused := [path for path, values in changed.items() if not _may_change(path, values, experiment)]:
        told = "; ".join(f"`{': '.join(path)}` was {_said(changed[path][0])}" for path in sorted(refused))
        raise Mistake(
            f"experiment {experiment.name!r} cannot be resumed with other settings than it was started with: {told}. "
            "Write these back, or start it anew under another name. What may change: "
            f"{', '.join(_OF_TRIALS)}, and of config {', '.join(MAY_CHANGE)}."
        )
    return {
        path: (None if a is _ABSENT else a, None if b is _ABSENT else b) for path, (a, b) in sorted(changed.items())
    }


def _may_change(path: Key, values: tuple[Any, Any], experiment: Experiment) -> bool:
    if path[0] in _OF_TRIALS:
        return True
    mutated = (experiment.scheduler or {}).get("hyperparam_mutations", {})
    return (
        len(path) == 2
        and path[0] == "config"
        and path[1] in MAY_CHANGE
        and path[1] not in mutated
        and not any(_is_choice(value) for value in values)
    )


def _is_choice(value: Any) -> bool:
    """Tells whether a setting stands for several values: a grid, or a range that is drawn from."""
    if not isinstance(value, dict):
        return False
    return len(grid.expand({"key": value})) > 1 or "grid_search" in value or bool(ranges.find({"key": value}))


def _leaves(settings: Mapping[str, Any]) -> Iterator[tuple[Key, Any]]:
    """Yields the settings: those of `config`, `stop` and the like one by one."""
    for key, value in settings.items():
        if key in ("config", "stop", "checkpoint_config") and isinstance(value, dict):
            yield from ((((key, str(inner)), each)) for inner, each in value.items())
        elif value is not None:
            yield (key,), value


def _said(value: Any) -> str:
    return "not written" if value is _ABSENT or value is None else json.dumps(value)


def apply(
    trial: Any, experiment: Experiment, changed: Mapping[Key, tuple[Any, Any]], set_checkpoints: Callable[..., None]
) -> bool:
    """Gives a trial, as Tune saved it, the settings that changed.

    A trial that had reached its stop stays finished, unless the stop itself changed and it has not reached the new one.

    Args:
        trial: Tune's, not running.
        experiment: as it is written now.
        changed: as `differences` returns them.
        set_checkpoints: gives Tune's manager of the trial's checkpoints another `CheckpointConfig`'s arguments.

    Returns:
        Whether the trial goes on now, although it had finished.
    """
    parts = {path[0] for path in changed}
    if "stop" in parts:
        trial.stopping_criterion = dict(experiment.stop)
    if "max_failures" in parts:
        trial.max_failures = experiment.max_failures
    if "checkpoint_config" in parts:
        set_checkpoints(trial.run_metadata.checkpoint_manager, experiment.checkpoint_config)
    if "config" in parts:
        algorithm: Any = experiment.trials[0].config.algo_class
        resolved = experiment.trials[0].config.to_dict()
        trial.config = {**trial.config, **{path[1]: resolved[path[1]] for path in changed if path[0] == "config"}}
        trial.update_resources(algorithm.default_resource_request(trial.config))
    finished = trial.status == "TERMINATED"
    if "stop" in parts and finished and not experiment.scheduler and not experiment.search:
        trial.status = "TERMINATED" if reached(trial, trial.run_metadata.last_result) else "PENDING"
    return finished and trial.status == "PENDING"


def reached(trial: Any, result: Mapping[str, Any]) -> bool:
    """Tells whether a trial's report is one at which it stops."""
    reported = dict(flat(result))
    return any(reported.get(name, -math.inf) >= value for name, value in trial.stopping_criterion.items())
