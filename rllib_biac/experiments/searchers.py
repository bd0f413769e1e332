"""`search_alg:` of an experiment: checks it and makes Tune's searcher."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

from rllib_biac.experiments import ranges
from rllib_biac.experiments.sweeps import Number, Path, has_grid, metric_mistakes, of_type
from rllib_biac.rllib.hints import did_you_mean

SEARCHERS = ("random", "optuna")


def mistakes(given: Any, settings: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    """Yields the place and the text of each mistake in `search_alg`.

    Args:
        given: the value of `search_alg`.
        settings: all settings of the experiment.
    """
    where: Path = ("search_alg",)
    if isinstance(given, str):
        given = {"type": given}
    kind, wrong = of_type(given, "search_alg", SEARCHERS, "{type: random}")
    if kind is None:
        yield where, wrong
        return
    known = ("type",) if kind == "random" else ("type", "metric", "mode", "max_concurrent")
    for key, value in given.items():
        if key not in known:
            yield (*where, key), f"unknown key.{did_you_mean(key, known)} {kind} has: {', '.join(known)}."
        elif key == "max_concurrent" and (text := Number(1, whole=True).wrong(value)):
            yield (*where, key), text
    if not isinstance(settings.get("config", {}), dict) or not ranges.find(_sound(settings.get("config", {}))):
        yield where, f"nothing to search: no setting is a range, such as `lr: {{{ranges.NAMES[3]}: [0.0001, 0.01]}}`."
    if kind == "random":
        return
    if has_grid(settings.get("config", {})) or has_grid(settings.get("env")):
        yield (
            where,
            "optuna suggests single trials and cannot run a grid; write `{choice: [...]}` instead of `grid_search`.",
        )
    scheduler = settings.get("scheduler")
    if isinstance(scheduler, dict) and scheduler.get("type") == "pbt":
        yield where, "pbt starts all trials at once, so there is nothing to suggest; leave `search_alg` out."
    inherited = isinstance(scheduler, dict) and "metric" in scheduler
    yield from metric_mistakes("search_alg", given, settings, needed=not inherited)
    if importlib.util.find_spec("optuna") is None:
        yield where, 'optuna is not installed; write pip install -e ".[optuna]" in a clone of rllib_biac.'


def _sound(tree: Any) -> Any:
    return {} if list(ranges.mistakes(tree)) else tree


def make_searcher(
    given: dict[str, Any], drawn: list[ranges.Range], seed: int | None, config_of: Callable[[str, list[Any]], Any]
) -> Any:
    """Returns a Tune searcher that suggests whole configs.

    Args:
        given: `type`, `metric`, `mode`, `max_concurrent`.
        drawn: the experiment's ranges.
        seed: the searcher's seed.
        config_of: makes the config of a trial, given its id and a value for each range.
    """
    from optuna.logging import WARNING, set_verbosity
    from ray import tune
    from ray.tune.search import ConcurrencyLimiter, Searcher, create_searcher
    from ray.tune.search.optuna import OptunaSearch

    set_verbosity(WARNING)
    # Optuna's options must be plain values, so it chooses their indices.
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
        """Turns each suggestion into the config of a trial."""

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
