"""`scheduler:` of an experiment: checks it and makes Tune's scheduler."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rllib_biac.experiments import ranges
from rllib_biac.experiments.metrics import TIMES
from rllib_biac.experiments.sweeps import Number, Path, is_number, metric_mistakes, num_trials, of_type, starts
from rllib_biac.rllib.hints import did_you_mean

MUTATIONS = "hyperparam_mutations"
# Settings that may change while a trial trains. A trial reads them again when it continues from another trial's
# checkpoint. All other settings shape networks, replay or games, and the checkpoint restores those.
MUTABLE = (
    "lr",
    "critic_lr",
    "actor_lr",
    "gamma",
    "tau",
    "target_network_update_freq",
    "grad_clip",
    "adam_epsilon",
    "training_intensity",
    "entropy_coeff",
    "gumbel_temperature",
    "epsilon",
    "exploration_noise",
    "actor_regularization",
    "target_noise",
    "target_noise_clip",
    "policy_delay",
    "hysteresis",
)


@dataclass(frozen=True)
class _Scheduler:
    """One of Tune's schedulers.

    Attributes:
        name: its name in Tune.
        settings: the settings that are numbers.
        needed: the settings that must be given.
    """

    name: str
    settings: dict[str, Number]
    needed: tuple[str, ...] = ()


SCHEDULERS = {
    "asha": _Scheduler(
        "async_hyperband",
        {
            "max_t": Number(above=True),
            "grace_period": Number(above=True),
            "reduction_factor": Number(1.0, above=True),
            "brackets": Number(1, whole=True),
        },
    ),
    "median_stopping_rule": _Scheduler(
        "median_stopping_rule",
        {
            "grace_period": Number(),
            "min_samples_required": Number(1, whole=True),
        },
        needed=("grace_period",),
    ),
    "pbt": _Scheduler(
        "pbt",
        {
            "perturbation_interval": Number(above=True),
            "burn_in_period": Number(),
            "quantile_fraction": Number(0.0, 0.5, above=True),
            "resample_probability": Number(0.0, 1.0),
        },
        needed=("perturbation_interval", MUTATIONS),
    ),
}
_PBT_ONLY = (MUTATIONS, "perturbation_factors", "synch")
_MISSING = object()


def mistakes(given: Any, settings: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    """Yields the place and the text of each mistake in `scheduler`.

    Args:
        given: the value of `scheduler`.
        settings: all settings of the experiment.
    """
    example = "{type: asha, metric: env_runners/episode_return_mean, mode: max}"
    kind, wrong = of_type(given, "scheduler", tuple(SCHEDULERS), example)
    if kind is None:
        at = ("type",) if isinstance(given, dict) and "type" in given else ()
        yield ("scheduler", *at), wrong
        return
    scheduler = SCHEDULERS[kind]
    known = ("type", "metric", "mode", "time_attr", *scheduler.settings, *(_PBT_ONLY if kind == "pbt" else ()))
    for key, value in given.items():
        if key not in known:
            hint = did_you_mean(key, known)
            yield ("scheduler", key), f"unknown key.{hint} {kind} has: {', '.join(known)}."
        elif key in scheduler.settings and (text := scheduler.settings[key].wrong(value)):
            yield ("scheduler", key), text
    yield from metric_mistakes("scheduler", given, settings, needed=True)
    for key in scheduler.needed:
        if key not in given:
            meaning = f"in units of `time_attr` ({given.get('time_attr', TIMES[0])})"
            yield (("scheduler",), f"`{key}` is missing{'' if key == MUTATIONS else ', ' + meaning}.")
    if given.get("time_attr", TIMES[0]) not in TIMES:
        hint = did_you_mean(given["time_attr"], TIMES)
        yield ("scheduler", "time_attr"), f"expected one of {', '.join(TIMES)}, not {given['time_attr']!r}.{hint}"
        return
    if num_trials(settings) < 2:
        yield ("scheduler",), f"{kind} compares trials, but there is only one; write `num_samples:`, or a range."
    if kind == "asha":
        yield from _asha_mistakes(given, settings)
    elif kind == "pbt":
        yield from _pbt_mistakes(given, settings)
    elif isinstance(end := _end(given, settings), int | float) and _real(given.get("grace_period")) >= end:
        yield (
            ("scheduler", "grace_period"),
            f"trials end at {end:g} already, so none would be stopped early; write a smaller number.",
        )


def _asha_mistakes(given: dict[str, Any], settings: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    time = given.get("time_attr", TIMES[0])
    end = _end(given, settings)
    if "max_t" not in given and end is None:
        yield ("scheduler",), f"`max_t` is missing; write when trials end at the latest, or write `{time}` in `stop:`."
    if time != TIMES[0] and "grace_period" not in given:
        yield ("scheduler",), f"`grace_period` is missing: the {time} at which trials are first compared."
    last = given.get("max_t", end)
    if isinstance(last, int | float) and _real(given.get("grace_period", 1)) >= last:
        yield ("scheduler",), f"trials end at {last:g}, before `grace_period` is over, so none would be stopped early."


def _pbt_mistakes(given: dict[str, Any], settings: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    end = _end(given, settings)
    if end is not None and _real(given.get("perturbation_interval")) >= end:
        where = ("scheduler", "perturbation_interval")
        yield where, f"trials end at {end:g} already, so none would be perturbed; write a smaller number."
    if not isinstance(given.get("synch", False), bool):
        yield ("scheduler", "synch"), f"expected true or false, not {given['synch']!r}."
    factors = given.get("perturbation_factors", [1.2, 0.8])
    if not isinstance(factors, list) or not factors or any(Number(above=True).wrong(factor) for factor in factors):
        yield ("scheduler", "perturbation_factors"), f"expected a list such as [1.2, 0.8], not {factors!r}."
    mutations = given.get(MUTATIONS)
    if mutations is None:
        return
    where = ("scheduler", MUTATIONS)
    if not isinstance(mutations, dict) or not mutations:
        yield where, f"expected a mapping such as `{{lr: {{loguniform: [0.0001, 0.01]}}}}`, not {mutations!r}."
        return
    config = settings.get("config", {})
    for key, tree in mutations.items():
        if key not in MUTABLE:
            hint = did_you_mean(key, MUTABLE)
            yield (*where, key), f"cannot change while a trial trains.{hint} These can: {', '.join(MUTABLE)}."
        else:
            start = config.get(key, _MISSING) if isinstance(config, dict) else _MISSING
            yield from _mutation_mistakes(tree, start, (*where, key))


def _mutation_mistakes(tree: Any, start: Any, where: Path) -> Iterator[tuple[Path, str]]:
    """Compares one mutation with the value that trials start with."""
    key = where[2:]
    example = f"{': {'.join(map(str, key))}: {{loguniform: [0.0001, 0.01]}}{'}' * (len(key) - 1)}"
    found = list(ranges.mistakes(tree, where))
    yield from found
    if found:
        return
    if start is _MISSING:
        yield where, f"not in `config:`; write there the value that trials start with, such as `{example}`."
    elif isinstance(tree, dict) and ranges.parse(tree) is None:
        if not tree or "grid_search" in tree:
            yield where, "expected a range, such as `{loguniform: [0.0001, 0.01]}`, or a list of values."
            return
        for inner, branch in tree.items():
            below = start.get(inner, _MISSING) if isinstance(start, dict) else _MISSING
            yield from _mutation_mistakes(branch, below, (*where, inner))
    elif isinstance(tree, list):
        if not tree:
            yield where, "expected at least one value."
    elif (found_range := ranges.parse(tree)) is None:
        yield where, f"expected a range, such as `{{loguniform: [0.0001, 0.01]}}`, or a list of values, not {tree!r}."
    elif found_range.name != ranges.CHOICE and not all(map(is_number, starts(start))):
        yield where, f"a setting that factors perturb starts as a number, not as {start!r}; write a list of values."


def _end(given: dict[str, Any], settings: dict[str, Any]) -> float | None:
    """Returns when trials end, in units of the scheduler's `time_attr`."""
    stop = settings.get("stop", {})
    end = stop.get(given.get("time_attr", TIMES[0])) if isinstance(stop, dict) else None
    return _real(end) if is_number(end) else None


def _real(value: Any) -> float:
    return float(value) if is_number(value) else -math.inf


def make_scheduler(given: dict[str, Any], stop: dict[str, Any]) -> Any:
    """Returns Tune's scheduler.

    Args:
        given: the value of `scheduler`, without mistakes.
        stop: the experiment's criteria. They give ASHA's `max_t` if `given` does not.
    """
    from ray.tune.schedulers import create_scheduler

    options = {"time_attr": TIMES[0], **{key: value for key, value in given.items() if key != "type"}}
    if given["type"] == "asha":
        options.setdefault("max_t", stop.get(options["time_attr"]))
    if given["type"] == "pbt":
        # One report without the metric must not end the sweep. If the metric never comes, a message says so at the end.
        options["require_attrs"] = False
        options["custom_explore_fn"] = _Within(given[MUTATIONS])
        options[MUTATIONS] = _as_domains(given[MUTATIONS])
    return create_scheduler(SCHEDULERS[given["type"]].name, **options)


def _as_domains(tree: Any) -> Any:
    if isinstance(tree, list):
        return tree
    if (found := ranges.parse(tree)) is None:
        return {key: _as_domains(branch) for key, branch in tree.items()}
    return list(found.arguments) if found.name == ranges.CHOICE else found.domain()


@dataclass(frozen=True)
class _Within:
    """Keeps perturbed settings inside their ranges. PBT's factors could carry them out."""

    mutations: dict[str, Any]

    def __call__(self, config: dict[str, Any]) -> dict[str, Any]:
        return config | {key: self._inside(tree, config[key]) for key, tree in self.mutations.items()}

    def _inside(self, tree: Any, value: Any) -> Any:
        if isinstance(tree, list):
            return value
        if (found := ranges.parse(tree)) is None:
            return value | {key: self._inside(branch, value[key]) for key, branch in tree.items()}
        return value if found.name == ranges.CHOICE else min(max(value, found.ends[0]), found.ends[1])
