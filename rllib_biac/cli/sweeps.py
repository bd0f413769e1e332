"""`scheduler:` and `search_alg:` of an experiment: what is wrong with them, and Tune's own objects made of them."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from rllib_biac.cli import ranges
from rllib_biac.cli.metrics import TIMES, unreported
from rllib_biac.cli.mistakes import did_you_mean

Path = tuple[Any, ...]
MODES = ("max", "min")
MUTATIONS = "hyperparam_mutations"
# Settings that a trial may change on the way: each is read anew when a trial goes on from another's checkpoint. All
# others shape networks, replay or games, which come back as the checkpoint has them.
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
class _Number:
    """A scheduler's setting: a number from `low` (itself excluded where `above`) to `high`."""

    low: float = 0.0
    high: float = math.inf
    above: bool = False
    whole: bool = False

    def wrong(self, value: Any) -> str | None:
        number = _is_number(value) and (not self.whole or isinstance(value, int))
        if number and (self.low < value if self.above else self.low <= value) and value <= self.high:
            return None
        bounds = f"{'greater than' if self.above else 'at least'} {self.low:g}"
        bounds += "" if self.high == math.inf else f" and at most {self.high:g}"
        return f"expected a {'whole ' if self.whole else ''}number {bounds}, not {value!r}."


@dataclass(frozen=True)
class _Scheduler:
    """A scheduler of Tune's.

    Attributes:
        name: Tune's name of it.
        settings: its settings that are numbers.
        needed: those that must be given.
    """

    name: str
    settings: dict[str, _Number]
    needed: tuple[str, ...] = ()


SCHEDULERS = {
    "asha": _Scheduler(
        "async_hyperband",
        {
            "max_t": _Number(above=True),
            "grace_period": _Number(above=True),
            "reduction_factor": _Number(1.0, above=True),
            "brackets": _Number(1, whole=True),
        },
    ),
    "median_stopping_rule": _Scheduler(
        "median_stopping_rule",
        {
            "grace_period": _Number(),
            "min_samples_required": _Number(1, whole=True),
        },
        needed=("grace_period",),
    ),
    "pbt": _Scheduler(
        "pbt",
        {
            "perturbation_interval": _Number(above=True),
            "burn_in_period": _Number(),
            "quantile_fraction": _Number(0.0, 0.5, above=True),
            "resample_probability": _Number(0.0, 1.0),
        },
        needed=("perturbation_interval", MUTATIONS),
    ),
}
_PBT_ONLY = (MUTATIONS, "perturbation_factors", "synch")
SEARCHERS = ("random", "optuna")


def mistakes(settings: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    """Yields what is wrong with an experiment's `scheduler` and `search_alg`, by their places."""
    if "scheduler" in settings:
        yield from _scheduler_mistakes(settings["scheduler"], settings)
    if "search_alg" in settings:
        yield from _search_mistakes(settings["search_alg"], settings)


def _of_type(given: Any, key: str, known: tuple[str, ...], example: str) -> tuple[str | None, str]:
    """Returns the type that a `scheduler` or `search_alg` names, or None and what is wrong."""
    if not isinstance(given, dict):
        return None, f"expected a mapping such as `{example}`, not {given!r}."
    kind = given.get("type")
    if kind not in known:
        said = f"unknown {key} {kind!r}.{did_you_mean(kind, known)}" if "type" in given else "`type` is missing."
        return None, f"{said} There are: {', '.join(known)}."
    return kind, ""


def _scheduler_mistakes(given: Any, settings: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    example = "{type: asha, metric: env_runners/episode_return_mean, mode: max}"
    kind, wrong = _of_type(given, "scheduler", tuple(SCHEDULERS), example)
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
    yield from _metric_mistakes("scheduler", given, settings, needed=True)
    for key in scheduler.needed:
        if key not in given:
            meaning = f"in units of `time_attr` ({given.get('time_attr', TIMES[0])})"
            yield (("scheduler",), f"`{key}` is missing{'' if key == MUTATIONS else ', ' + meaning}.")
    if given.get("time_attr", TIMES[0]) not in TIMES:
        hint = did_you_mean(given["time_attr"], TIMES)
        yield ("scheduler", "time_attr"), f"expected one of {', '.join(TIMES)}, not {given['time_attr']!r}.{hint}"
        return
    if num_trials(settings) < 2:
        yield ("scheduler",), f"{kind} compares trials, and there is only one; write `num_samples:`, or a range."
    if kind == "asha":
        yield from _asha_mistakes(given, settings)
    elif kind == "pbt":
        yield from _pbt_mistakes(given, settings)
    elif isinstance(end := _end(given, settings), int | float) and _real(given.get("grace_period")) >= end:
        yield (
            ("scheduler", "grace_period"),
            f"trials end at {end:g} already, and none would be stopped; write less.",
        )


def _asha_mistakes(given: dict[str, Any], settings: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    time = given.get("time_attr", TIMES[0])
    end = _end(given, settings)
    if "max_t" not in given and end is None:
        yield ("scheduler",), f"`max_t` is missing, where trials end at the latest; or write `{time}` in `stop:`."
    if time != TIMES[0] and "grace_period" not in given:
        yield ("scheduler",), f"`grace_period` is missing: the {time} at which trials are first compared."
    last = given.get("max_t", end)
    if isinstance(last, int | float) and _real(given.get("grace_period", 1)) >= last:
        yield ("scheduler",), f"trials end at {last:g}, before `grace_period` is over; none would be stopped early."


def _pbt_mistakes(given: dict[str, Any], settings: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    end = _end(given, settings)
    if end is not None and _real(given.get("perturbation_interval")) >= end:
        where = ("scheduler", "perturbation_interval")
        yield where, f"trials end at {end:g} already, so that none would be perturbed; write less."
    if not isinstance(given.get("synch", False), bool):
        yield ("scheduler", "synch"), f"expected true or false, not {given['synch']!r}."
    factors = given.get("perturbation_factors", [1.2, 0.8])
    if not isinstance(factors, list) or not factors or any(_Number(above=True).wrong(factor) for factor in factors):
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
    """Holds one mutation against the value that trials start with, of which it is a mutation."""
    key = where[2:]
    example = f"{': {'.join(map(str, key))}: {{loguniform: [0.0001, 0.01]}}{'}' * (len(key) - 1)}"
    found = list(ranges.mistakes(tree, where))
    yield from found
    if found:
        return
    if start is _MISSING:
        yield where, f"not in `config:`; write there what trials start with, such as `{example}`."
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
    elif found_range.name != ranges.CHOICE and not all(map(_is_number, starts(start))):
        yield where, f"what is perturbed by factors starts as a number, not as {start!r}; write a list of values."


def starts(tree: Any) -> tuple[Any, ...]:
    """Returns the values with which trials may start, for a setting that may be swept or drawn; of a range its ends."""
    if isinstance(tree, dict) and isinstance(tree.get("grid_search"), list):
        return tuple(tree["grid_search"])
    found = ranges.parse(tree) if not list(ranges.mistakes(tree)) else None
    return (tree,) if found is None else found.ends


def _search_mistakes(given: Any, settings: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    where: Path = ("search_alg",)
    if isinstance(given, str):
        given = {"type": given}
    kind, wrong = _of_type(given, "search_alg", SEARCHERS, "{type: random}")
    if kind is None:
        yield where, wrong
        return
    known = ("type",) if kind == "random" else ("type", "metric", "mode", "max_concurrent")
    for key, value in given.items():
        if key not in known:
            yield (*where, key), f"unknown key.{did_you_mean(key, known)} {kind} has: {', '.join(known)}."
        elif key == "max_concurrent" and (text := _Number(1, whole=True).wrong(value)):
            yield (*where, key), text
    if not isinstance(settings.get("config", {}), dict) or not ranges.find(_sound(settings.get("config", {}))):
        yield where, f"nothing to search: no setting is a range, such as `lr: {{{ranges.NAMES[3]}: [0.0001, 0.01]}}`."
    if kind == "random":
        return
    if _has_grid(settings.get("config", {})) or _has_grid(settings.get("env")):
        yield where, "optuna chooses trial by trial and runs no grid; write `{choice: [...]}` instead of `grid_search`."
    scheduler = settings.get("scheduler")
    if isinstance(scheduler, dict) and scheduler.get("type") == "pbt":
        yield where, "pbt makes its trials all at once and leaves none to suggest; leave `search_alg` out."
    inherited = isinstance(scheduler, dict) and "metric" in scheduler
    yield from _metric_mistakes("search_alg", given, settings, needed=not inherited)
    if importlib.util.find_spec("optuna") is None:
        yield where, 'optuna is not installed; write pip install -e ".[optuna]" in a clone of rllib_biac.'


def _metric_mistakes(key: str, given: dict[str, Any], settings: dict[str, Any], needed: bool) -> Iterator[Any]:
    if "metric" in given and (
        text := "it is no number." if given["metric"] == "done" else unreported(given["metric"], settings.get("config"))
    ):
        yield (key, "metric"), text
    elif "metric" not in given and needed:
        yield (key,), "`metric` is missing, such as `metric: env_runners/agent_episode_returns_mean/player_0`."
    if given.get("mode", "max" if "metric" not in given and not needed else None) not in MODES:
        yield (key,), f"`mode` says whether more of the metric is better: write max or min, not {given.get('mode')!r}."


def num_trials(settings: dict[str, Any]) -> int:
    """Returns how many trials an experiment makes, at least 1 whatever is wrong with it."""
    samples = settings.get("num_samples", 1)
    points = math.prod(_grid_sizes([settings.get("config"), settings.get("env")]))
    return points * (int(samples) if _is_number(samples) and 1 <= samples < 1e18 else 1)


def _grid_sizes(tree: Any) -> Iterator[int]:
    if isinstance(tree, dict) and isinstance(tree.get("grid_search"), list):
        yield max(len(tree["grid_search"]), 1)
    elif isinstance(tree, dict | list):
        for branch in tree.values() if isinstance(tree, dict) else tree:
            yield from _grid_sizes(branch)


def _has_grid(tree: Any) -> bool:
    return any(True for _ in _grid_sizes(tree))


def _sound(tree: Any) -> Any:
    return {} if list(ranges.mistakes(tree)) else tree


def _end(given: dict[str, Any], settings: dict[str, Any]) -> float | None:
    """Returns when trials end, counted by the scheduler's `time_attr`."""
    stop = settings.get("stop", {})
    end = stop.get(given.get("time_attr", TIMES[0])) if isinstance(stop, dict) else None
    return _real(end) if _is_number(end) else None


def _real(value: Any) -> float:
    return float(value) if _is_number(value) else -math.inf


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


_MISSING = object()


# Tune's own objects.


@dataclass(frozen=True)
class Compared:
    """What trials are compared by: `mode` is `max` or `min`."""

    metric: str
    mode: str


def compared(settings: dict[str, Any]) -> Compared | None:
    """Returns what an experiment without mistakes compares trials by, None if by nothing."""
    for key in ("search_alg", "scheduler"):
        given = settings.get(key)
        if isinstance(given, dict) and "metric" in given:
            return Compared(given["metric"], given["mode"])
    return None


def make_scheduler(given: dict[str, Any], stop: dict[str, Any]) -> Any:
    """Returns Tune's scheduler for what stands under `scheduler`, which has no mistakes.

    Args:
        given: the mapping.
        stop: the experiment's criteria; where ASHA is not told `max_t`, they tell.
    """
    from ray.tune.schedulers import create_scheduler

    options = {"time_attr": TIMES[0], **{key: value for key, value in given.items() if key != "type"}}
    if given["type"] == "asha":
        options.setdefault("max_t", stop.get(options["time_attr"]))
    if given["type"] == "pbt":
        # A metric that is missing once is no reason to end the whole sweep; one that never comes is told at its end.
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
    """Keeps what PBT perturbs between the ends of its range, beyond which its factors would carry it."""

    mutations: dict[str, Any]

    def __call__(self, config: dict[str, Any]) -> dict[str, Any]:
        return config | {key: self._inside(tree, config[key]) for key, tree in self.mutations.items()}

    def _inside(self, tree: Any, value: Any) -> Any:
        if isinstance(tree, list):
            return value
        if (found := ranges.parse(tree)) is None:
            return value | {key: self._inside(branch, value[key]) for key, branch in tree.items()}
        return value if found.name == ranges.CHOICE else min(max(value, found.ends[0]), found.ends[1])


def make_searcher(
    given: dict[str, Any], drawn: list[ranges.Range], seed: int | None, config_of: Callable[[str, list[Any]], Any]
) -> Any:
    """Returns a searcher of Tune's that suggests whole configs.

    Args:
        given: `type`, `metric`, `mode`, `max_concurrent`.
        drawn: the experiment's ranges.
        seed: of the searcher.
        config_of: makes the config of a trial, given its id and a value for each range.
    """
    from optuna.logging import WARNING, set_verbosity
    from ray import tune
    from ray.tune.search import ConcurrencyLimiter, Searcher, create_searcher
    from ray.tune.search.optuna import OptunaSearch

    set_verbosity(WARNING)
    # Optuna's options are plain values, so that it chooses among their numbers.
    space = {
        str(n): tune.choice(list(range(len(one.arguments)))) if one.name == ranges.CHOICE else one.domain()
        for n, one in enumerate(drawn)
    }
    inner = create_searcher(
        given["type"],
        space=OptunaSearch.convert_search_space(space),
        metric=given["metric"],
        mode=given["mode"],
        seed=seed,
    )

    class WholeConfigs(Searcher):
        """Makes of each suggestion the config of a trial."""

        def suggest(self, trial_id: str) -> Any:
            suggested = inner.suggest(trial_id)
            if not isinstance(suggested, dict):
                return suggested
            values = [suggested[str(n)] for n in range(len(drawn))]
            chosen = zip(drawn, values, strict=True)
            options = [one.arguments[value] if one.name == ranges.CHOICE else value for one, value in chosen]
            return config_of(trial_id, options)

        def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
            inner.on_trial_result(trial_id, result)

        def on_trial_complete(
            self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False, **_: Any
        ) -> None:
            inner.on_trial_complete(trial_id, result, error)

        def save(self, checkpoint_path: str) -> None:
            inner.save(checkpoint_path)

        def restore(self, checkpoint_path: str) -> None:
            inner.restore(checkpoint_path)

    whole = WholeConfigs(metric=given["metric"], mode=given["mode"])
    return ConcurrencyLimiter(whole, max_concurrent=given["max_concurrent"]) if "max_concurrent" in given else whole
