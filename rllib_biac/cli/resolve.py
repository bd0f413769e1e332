"""From drafts to experiments: every trial of every experiment as a validated config, before Ray starts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rllib_biac.cli import grid
from rllib_biac.cli.config_keys import BadSettings, build
from rllib_biac.cli.experiment_file import Draft
from rllib_biac.cli.mistakes import Mistake, did_you_mean

if TYPE_CHECKING:
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

# Where Tune writes when nobody says otherwise.
DEFAULT_STORAGE = "~/ray_results"


@dataclass(frozen=True)
class Trial:
    """One training run: its validated config, and what tells it from its siblings (`lr=0.01,seed=3`, or nothing)."""

    label: str
    config: AlgorithmConfig


@dataclass(frozen=True)
class Experiment:
    """Trials that share a name, a folder and the criteria to stop."""

    name: str
    trials: tuple[Trial, ...]
    stop: dict[str, Any]
    checkpoint_config: dict[str, Any]
    storage_path: str
    max_failures: int
    time_budget_s: float | None

    @property
    def folder(self) -> str:
        """The folder, or the remote address, that holds the trials."""
        return f"{self.storage_path.rstrip('/')}/{self.name}"


def resolve(draft: Draft) -> Experiment:
    """Makes the configs of all trials of an experiment and lets each validate itself.

    Raises:
        Mistake: if the algorithm does not exist or a config is refused, with the place of the key at fault.
    """
    settings = draft.settings
    points = _points(draft)
    samples = int(settings.get("num_samples", 1))
    trials = []
    for choices, config in points:
        for sample in range(samples):
            own = config.copy(copy_frozen=False)
            if samples > 1:
                # One seed for all samples would make them the same run several times over.
                own.seed = None if config.seed is None else config.seed + sample
                choices = {**choices, ("sample",): sample}
            try:
                own.copy(copy_frozen=False).validate()
            except (
                ValueError,
                TypeError,
            ) as error:  # A TypeError is what a game raises at an unknown `env_config` key.
                # RLlib adds how to switch validation off, which no experiment file can.
                text = str(error).partition("To suppress all validation errors")[0].strip()
                raise Mistake(draft.mistake(_key_in(text, draft), text)) from error
            trials.append(Trial(grid.label(choices), own))
    storage = str(settings.get("storage_path", DEFAULT_STORAGE))
    return Experiment(
        name=draft.name,
        trials=tuple(trials),
        stop=dict(settings.get("stop", {})),
        checkpoint_config={"checkpoint_at_end": True, **settings.get("checkpoint_config", {})},
        storage_path=storage if "://" in storage else os.path.abspath(os.path.expanduser(storage)),
        max_failures=int(settings.get("max_failures", 0)),
        time_budget_s=settings.get("time_budget_s"),
    )


def _points(draft: Draft) -> list[tuple[grid.Choices, AlgorithmConfig]]:
    given = draft.settings.get("config", {})
    if not isinstance(given, dict):
        # A Python file's config, in which a setting may be a grid as in any RLlib config.
        points = grid.expand(given.to_dict())
        if not points[0][0]:
            return [({}, given)]
        return [(choices, type(given)().update_from_dict(point)) for choices, point in points]
    config_class = _algorithm(draft)
    found: list[str] = []
    made = []
    for choices, point in grid.expand(_settings(draft)):
        try:
            made.append((choices, build(config_class, point)))
        except BadSettings as error:
            found += [draft.mistake(_place(draft, path), text) for path, text in error.found]
    if found:
        raise Mistake("\n".join(dict.fromkeys(found)))
    return made


def _algorithm(draft: Draft) -> type[AlgorithmConfig]:
    from rllib_biac.algorithms import REGISTRY

    name = draft.settings["run"]
    if name in REGISTRY:
        return REGISTRY[name]
    hint = did_you_mean(name, REGISTRY)
    raise Mistake(
        draft.mistake(("run",), f"unknown algorithm {name!r}.{hint} There are: {', '.join(sorted(REGISTRY))}.")
    )


def _settings(draft: Draft) -> dict[str, Any]:
    """Returns all that goes to the config: `env` too, which stands beside `config` or inside it."""
    config = draft.settings.get("config", {})
    env = {"env": draft.settings["env"]} if "env" in draft.settings else {}
    return {**env, **config} if isinstance(config, dict) else {}


def _place(draft: Draft, path: tuple[Any, ...]) -> tuple[Any, ...]:
    return path if path[0] == "env" and "env" in draft.settings else ("config", *path)


def _key_in(message: str, draft: Draft) -> tuple[Any, ...]:
    """Returns the path of the setting that a config's own error names or quotes, so that the error gets a line."""
    paths = dict(_paths(_settings(draft)))
    named = [path for path in paths if re.search(rf"\b{re.escape(str(path[-1]))}\b", message)]
    quoted = [path for path, value in paths.items() if isinstance(value, str) and repr(value) in message]
    found = named or quoted
    return _place(draft, max(found, key=len)) if found else ()


def _paths(tree: dict[str, Any], path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    for key, value in tree.items():
        yield (*path, key), value
        if isinstance(value, dict):
            yield from _paths(value, (*path, key))
