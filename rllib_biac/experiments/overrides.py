"""Flags of the command line that override settings of an experiment."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from rllib_biac.experiments.changes import flags_of, storage_of
from rllib_biac.experiments.reading import Draft

_CHECKPOINT_FLAGS = {
    "checkpoint_freq": "checkpoint_frequency",
    "checkpoint_at_end": "checkpoint_at_end",
    "keep_checkpoints_num": "num_to_keep",
}
# What a run is started with, and resumed with unless it is given again.
OF_THE_RUN = ("stop", "env", "seed", "num_samples", *_CHECKPOINT_FLAGS)


def override(draft: Draft, flags: dict[str, Any]) -> Draft:
    """Returns the experiment with the values of the given flags. A flag that is None changes nothing.

    With --resume the flags that the run was started with are given too.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    if given.get("resume"):
        storage = given.get("storage_path") or draft.settings.get("storage_path")
        given = flags_of(Path(storage_of({"storage_path": storage} if storage else {}), draft.name)) | given
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
    kept = {name: given[name] for name in OF_THE_RUN if name in given}
    return dataclasses.replace(draft, settings=settings, flags=kept)
