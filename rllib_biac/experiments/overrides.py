"""Flags of the command line that override settings of an experiment."""

from __future__ import annotations

import dataclasses
from typing import Any

from rllib_biac.experiments.mistakes import Mistake
from rllib_biac.experiments.reading import Draft

_CHECKPOINT_FLAGS = {
    "checkpoint_freq": "checkpoint_frequency",
    "checkpoint_at_end": "checkpoint_at_end",
    "keep_checkpoints_num": "num_to_keep",
}
# --resume restores trials with their saved settings. These flags would silently do nothing.
NOT_WITH_RESUME = ("stop", "env", "seed", "num_samples", *_CHECKPOINT_FLAGS)


def override(draft: Draft, flags: dict[str, Any]) -> Draft:
    """Returns the experiment with the values of the given flags. A flag that is None changes nothing.

    Raises:
        Mistake: if a flag cannot be used with --resume.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    if given.get("resume") and (refused := [name for name in NOT_WITH_RESUME if name in given]):
        names = ", ".join(f"--{name.replace('_', '-')}" for name in refused)
        raise Mistake(f"--resume continues with the settings of the interrupted run; leave out {names}.")
    settings = dict(draft.settings)
    settings |= {name: given[name] for name in ("stop", "num_samples", "storage_path") if name in given}
    in_config = {name: given[name] for name in ("env", "seed") if name in given}
    config = settings.get("config", {})
    if isinstance(config, dict):
        if "env" in in_config:
            settings.pop("env", None)
        settings["config"] = {**config, **in_config}
    elif hasattr(config, "to_dict"):
        config = config.copy(copy_frozen=False)
        if "env" in in_config:
            config.environment(env=in_config["env"])
        if "seed" in in_config:
            config.debugging(seed=in_config["seed"])
        settings["config"] = config
    checkpoint = settings.get("checkpoint_config", {})
    if isinstance(checkpoint, dict):
        changes = {key: given[name] for name, key in _CHECKPOINT_FLAGS.items() if name in given}
        settings["checkpoint_config"] = {**checkpoint, **changes}
    return dataclasses.replace(draft, settings=settings)
