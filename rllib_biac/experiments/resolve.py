"""From drafts to experiments: every trial of every experiment as a validated config, before Ray starts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rllib_biac.experiments import grid, ranges, sweeps
from rllib_biac.experiments.mistakes import Mistake
from rllib_biac.experiments.reading import Draft
from rllib_biac.experiments.schedulers import MUTATIONS
from rllib_biac.rllib.config_keys import BadSettings, build
from rllib_biac.rllib.hints import did_you_mean

if TYPE_CHECKING:
    from rllib_biac.rllib.config_keys import AlgorithmConfig

# Where Tune writes when nobody says otherwise.
DEFAULT_STORAGE = "~/ray_results"


@dataclass(frozen=True)
class Trial:
    """One training run: its validated config, and what tells it from its siblings (`lr=0.01,seed=3`, or nothing)."""

    label: str
    config: AlgorithmConfig


@dataclass(frozen=True)
class Searched:
    """Trials that are suggested one after another, by what came of those before.

    Attributes:
        options: `type`, `metric`, `mode`, ...
        ranges: the places of what is suggested, and the range of each.
        settings: the tree of settings in which those places are.
        draft: what the settings came from.
        seed: of the searcher.
    """

    options: dict[str, Any]
    ranges: list[tuple[grid.Path, ranges.Range]]
    settings: dict[str, Any]
    draft: Draft
    seed: int | None

    def trial(self, values: list[Any]) -> Trial:
        """Returns a trial with these values of the ranges.

        Raises:
            Mistake: if the config refuses them, which no single range's ends foretold.
        """
        chosen = {path: value for (path, _), value in zip(self.ranges, values, strict=True)}
        config = _config(self.draft, ranges.fill(self.settings, chosen))
        return Trial(grid.label(chosen), _valid(config, self.draft, chosen))


@dataclass(frozen=True)
class Experiment:
    """Trials that share a name, a folder and the criteria to stop.

    Attributes:
        name: the folder's.
        trials: all of them; of a `search`, which makes its own, random ones in their stead.
        stop: criteria, of which one is enough.
        checkpoint_config: for `ray.tune.CheckpointConfig`.
        storage_path: where the folder is.
        max_failures: times that a trial is begun again from its latest checkpoint.
        time_budget_s: seconds for all trials together.
        scheduler: what stands under `scheduler`, None for none.
        search: where trials are suggested instead of drawn beforehand.
        compared: what trials are compared by, if by anything.
    """

    name: str
    trials: tuple[Trial, ...]
    stop: dict[str, Any]
    checkpoint_config: dict[str, Any]
    storage_path: str
    max_failures: int
    time_budget_s: float | None
    scheduler: dict[str, Any] | None = None
    search: Searched | None = None
    compared: sweeps.Compared | None = None

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
    samples = int(settings.get("num_samples", 1))
    scheduler = settings.get("scheduler")
    trials: list[Trial] = []
    searched: Searched | None = None
    first: Any = None
    for choices, point in _points(draft):
        found = ranges.find(point) if isinstance(point, dict) else []
        seed = point.get("seed") if isinstance(point, dict) else None
        generator = np.random.default_rng(seed if isinstance(seed, int) and seed >= 0 else None)
        for sample in range(samples):
            drawn = {path: one.draw(generator) for path, one in found}
            if sample == 0:
                _check_ends(draft, point, found, drawn)
            filled = ranges.fill(point, drawn) if found else point
            first = first or filled
            own = _config(draft, filled).copy(copy_frozen=False)
            chosen = {**choices, **drawn}
            if samples > 1:
                # One seed for all samples would make them the same run several times over.
                own.seed = None if own.seed is None else own.seed + sample
                chosen[("sample",)] = sample
            trials.append(Trial(grid.label(chosen), _valid(own, draft, drawn)))
        if _searches(settings):
            options = {"type": settings["search_alg"]} if isinstance(settings["search_alg"], str) else {}
            by = sweeps.compared(settings)
            assert by is not None
            options |= {"metric": by.metric, "mode": by.mode}
            options |= settings["search_alg"] if isinstance(settings["search_alg"], dict) else {}
            searched = Searched(options, found, point, draft, trials[0].config.seed)
    if scheduler is not None and scheduler["type"] == "pbt":
        _check_mutations(draft, scheduler[MUTATIONS], first)
    storage = str(settings.get("storage_path", DEFAULT_STORAGE))
    return Experiment(
        name=draft.name,
        trials=tuple(trials),
        stop=dict(settings.get("stop", {})),
        checkpoint_config={"checkpoint_at_end": True, **settings.get("checkpoint_config", {})},
        storage_path=storage if "://" in storage else os.path.abspath(os.path.expanduser(storage)),
        max_failures=int(settings.get("max_failures", 0)),
        time_budget_s=settings.get("time_budget_s"),
        scheduler=scheduler,
        search=searched,
        compared=sweeps.compared(settings),
    )


def _searches(settings: dict[str, Any]) -> bool:
    given = settings.get("search_alg", "random")
    return (given["type"] if isinstance(given, dict) else given) != "random"


def _points(draft: Draft) -> list[tuple[grid.Choices, Any]]:
    """Returns every point of the grid: its choices, and its settings or, of a Python file, its config."""
    given = draft.settings.get("config", {})
    if isinstance(given, dict):
        return grid.expand(_settings(draft))
    # A Python file's config, in which a setting may be a grid as in any RLlib config.
    points = grid.expand(given.to_dict())
    if not points[0][0]:
        return [({}, given)]
    return [(choices, type(given)().update_from_dict(point)) for choices, point in points]


def _config(draft: Draft, point: Any) -> AlgorithmConfig:
    """Returns the config of a point.

    Raises:
        Mistake: if it has unknown keys, or values of the wrong kind.
    """
    if not isinstance(point, dict):
        return point
    try:
        return build(_algorithm(draft), point)
    except BadSettings as error:
        found = [draft.mistake(_place(draft, path), text) for path, text in error.found]
        raise Mistake("\n".join(dict.fromkeys(found))) from error


def _valid(config: AlgorithmConfig, draft: Draft, drawn: grid.Choices) -> AlgorithmConfig:
    """Returns the config, which has validated itself.

    Raises:
        Mistake: if it is refused, with what was drawn for it.
    """
    if text := _refusal(config):
        told = "".join(f" (drawn: `{': '.join(map(str, path))}` {value!r})" for path, value in drawn.items())
        raise Mistake(draft.mistake(_key_in(text, draft), text + told))
    return config


def _refusal(config: AlgorithmConfig) -> str:
    try:
        config.copy(copy_frozen=False).validate()
    except Exception as error:  # a game is somebody's own code, and raises what it likes at a bad `env_config`
        # RLlib adds how to switch validation off, which no experiment file can.
        text = str(error).partition("To suppress all validation errors")[0].strip()
        return text if isinstance(error, ValueError | TypeError) else f"{type(error).__name__}: {text}"
    return ""


def _check_ends(
    draft: Draft, point: Any, found: list[tuple[grid.Path, ranges.Range]], drawn: dict[grid.Path, Any]
) -> None:
    """Tries the ends of every range, one at a time, so that no draw is refused once others train already."""
    wrong = []
    for path, one in found:
        for end in one.ends:
            try:
                text = _refusal(_config(draft, ranges.fill(point, {**drawn, path: end})))
            except Mistake as mistake:
                wrong.append(str(mistake))
                continue
            if text:
                told = f"{end!r} can be drawn, and is refused: {text}"
                wrong.append(draft.mistake((*_place(draft, path), one.name), told))
    if wrong:
        raise Mistake("\n".join(dict.fromkeys(wrong)))


def _check_mutations(draft: Draft, mutations: Any, settings: dict[str, Any]) -> None:
    """Tries the ends of everything that may be mutated into, in one trial's settings."""
    for key, tree in mutations.items():
        for path, end in _mutants(tree, (key,)):
            try:
                text = _refusal(_config(draft, {**settings, key: ranges.fill(settings[key], {path[1:]: end})}))
            except Mistake as mistake:
                text = str(mistake)
            if text:
                told = f"{end!r} may come of it, and is refused: {text}"
                raise Mistake(draft.mistake(("scheduler", MUTATIONS, *path), told))


def _mutants(tree: Any, path: grid.Path) -> Iterator[tuple[grid.Path, Any]]:
    """Yields every value that a mutation leads to, at the ends of its range, with its place in the config."""
    if isinstance(tree, list):
        yield from ((path, value) for value in tree)
    elif (found := ranges.parse(tree)) is not None:
        yield from ((path, value) for value in found.ends)
    else:
        for key, branch in tree.items():
            yield from _mutants(branch, (*path, key))


def _algorithm(draft: Draft) -> type[AlgorithmConfig]:
    from rllib_biac.algorithms import REGISTRY

    name = draft.settings["run"]
    if isinstance(name, str) and name in REGISTRY:
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
