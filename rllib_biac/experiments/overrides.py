"""Flags of the command line that override settings of an experiment."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from rllib_biac.experiments import ranges
from rllib_biac.experiments.changes import flags_of
from rllib_biac.experiments.mistakes import Mistake
from rllib_biac.experiments.reading import Draft, storage_of

_CHECKPOINT_FLAGS = {
    "checkpoint_freq": "checkpoint_frequency",
    "checkpoint_at_end": "checkpoint_at_end",
    "keep_checkpoints_num": "num_to_keep",
}
# What a run is started with, and resumed with unless it is given again.
OF_THE_RUN = ("stop", "env", "config", "seed", "num_samples", *_CHECKPOINT_FLAGS)


def override(draft: Draft, flags: dict[str, Any]) -> Draft:
    """Returns the experiment with the values of the given flags. A flag that is None changes nothing.

    With --resume the flags that the run was started with are given too.
    """
    given = {key: value for key, value in flags.items() if value is not None}
    name = given.get("name", draft.name)
    if given.get("resume"):
        storage = given.get("storage_path") or draft.settings.get("storage_path")
        given = flags_of(f"{storage_of({'storage_path': storage} if storage else {}).rstrip('/')}/{name}") | given
    settings = dict(draft.settings)
    own = given.get("config", {})
    settings |= {key: given[key] for key in ("stop", "num_samples", "storage_path") if key in given}
    in_config = {key: given[key] for key in ("env", "seed") if key in given}
    config = settings.get("config", {})
    if isinstance(config, dict):
        if "env" in in_config:
            settings.pop("env", None)
        settings["config"] = {**merged([config, own]), **in_config}
    elif hasattr(config, "to_dict"):
        config = config.copy(copy_frozen=False)
        if "env" in in_config:
            config.environment(env=in_config["env"])
        if own:
            config.update_from_dict(merged([{key: config[key] for key in own if isinstance(own[key], dict)}, own]))
        if "seed" in in_config:
            config.debugging(seed=in_config["seed"])
        settings["config"] = config
    checkpoint = settings.get("checkpoint_config", {})
    if isinstance(checkpoint, dict):
        changes = {key: given[name] for name, key in _CHECKPOINT_FLAGS.items() if name in given}
        settings["checkpoint_config"] = {**checkpoint, **changes}
    kept = {key: given[key] for key in OF_THE_RUN if key in given}
    return dataclasses.replace(draft, name=name, settings=settings, flags=kept)


def merged(trees: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns one tree of settings: what stands later wins, mappings are merged key by key."""
    whole: dict[str, Any] = {}
    for tree in trees:
        for key, value in tree.items():
            both = _is_mapping(value) and _is_mapping(whole.get(key))
            whole[key] = merged([whole[key], value]) if both else value
    return whole


def given_once(trees: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns one tree of settings that were given one by one.

    Raises:
        Mistake: if a setting was given twice, whatever its values.
    """
    whole: dict[str, Any] = {}
    for tree in trees:
        if twice := _in_both(whole, tree):
            raise Mistake(f"{'.'.join(twice)} is given twice on the command line: leave one out.")
        whole = merged([whole, tree])
    return whole


def _in_both(whole: Mapping[str, Any], tree: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the path of a setting that is in both; empty if there is none."""
    for key in tree.keys() & whole.keys():
        if not (_is_mapping(whole[key]) and _is_mapping(tree[key])):
            return (key,)
        if inner := _in_both(whole[key], tree[key]):
            return (key, *inner)
    return ()


def _is_mapping(value: Any) -> bool:
    """Tells whether a value is a mapping of settings, not a grid or a range of values."""
    swept = ("grid_search", *ranges.NAMES)
    return isinstance(value, dict) and not (len(value) == 1 and next(iter(value)) in swept)
