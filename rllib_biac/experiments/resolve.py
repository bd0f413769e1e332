"""Turns drafts into experiments: every trial gets a validated config before Ray starts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from rllib_biac.envs import make
from rllib_biac.envs.errors import GameError
from rllib_biac.experiments import grid, loggers, ranges, sweeps
from rllib_biac.experiments.mistakes import Mistake
from rllib_biac.experiments.reading import Draft, storage_of
from rllib_biac.experiments.schedulers import MUTATIONS
from rllib_biac.rllib.config_keys import BadSettings, build

if TYPE_CHECKING:
    from rllib_biac.rllib.config_keys import AlgorithmConfig


@dataclass(frozen=True)
class Trial:
    """One training run: its validated config, and the label that sets it apart (`lr=0.01,seed=3`, or empty)."""

    label: str
    config: AlgorithmConfig


@dataclass(frozen=True)
class Searched:
    """A search: trials are suggested one by one, using the results of the earlier ones.

    Attributes:
        options: `type`, `metric`, `mode`, ...
        ranges: the paths of the suggested settings, and the range of each.
        settings: the tree of settings that has these paths.
        draft: the experiment as it is written.
        seed: the searcher's seed.
    """

    options: dict[str, Any]
    ranges: list[tuple[grid.Path, ranges.Range]]
    settings: dict[str, Any]
    draft: Draft
    seed: int | None

    def trial(self, values: list[Any]) -> Trial:
        """Returns a trial with these values of the ranges.

        Raises:
            Mistake: if the config refuses this combination. The ends of each range alone were accepted.
        """
        chosen = {path: value for (path, _), value in zip(self.ranges, values, strict=True)}
        config = _config(self.draft, ranges.fill(self.settings, chosen))
        return Trial(grid.label(chosen), _valid(config, self.draft, chosen))


@dataclass(frozen=True)
class Experiment:
    """Trials that share a name, a folder and the criteria to stop.

    Attributes:
        name: the folder's name.
        trials: all trials. A `search` makes its own; then these are random examples of the same number.
        stop: criteria; a trial stops when one of them is met.
        checkpoint_config: for `ray.tune.CheckpointConfig`.
        storage_path: the folder or address that holds the folder.
        max_failures: how often a failed trial restarts from its latest checkpoint.
        time_budget_s: seconds for all trials together.
        scheduler: the settings of `scheduler`; None if there is none.
        search: the search, if trials are suggested one by one.
        compared: the metric that compares trials, if there is one.
        loggers: callbacks of Tune's.
        draft: the experiment as it is written.
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
    loggers: tuple[Any, ...] = ()
    draft: Draft = field(default_factory=lambda: Draft("", {}, ""))

    @property
    def folder(self) -> str:
        """The folder or the remote address of the trials."""
        return f"{self.storage_path.rstrip('/')}/{self.name}"


def resolve(draft: Draft) -> Experiment:
    """Makes and validates the configs of all trials of an experiment.

    Raises:
        Mistake: if the algorithm does not exist or a config is refused. The message names the key and its line.
    """
    settings = draft.settings
    samples = int(settings.get("num_samples", 1))
    scheduler = settings.get("scheduler")
    trials: list[Trial] = []
    seeds: set[tuple[str, int]] = set()
    searched: Searched | None = None
    first: Any = None
    points = _points(draft)
    _check_apart(draft, [choices for choices, _ in points])
    for choices, point in points:
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
                # With one seed, all samples would be the same run.
                own.seed = None if own.seed is None else own.seed + sample
                chosen[("sample",)] = sample
            trials.append(Trial(grid.label(chosen), _valid(own, draft, drawn)))
            if samples > 1 and ("seed",) in choices and own.seed is not None:
                _check_seed(draft, own.seed, {k: v for k, v in choices.items() if k != ("seed",)}, seeds)
        if _searches(settings):
            options = {"type": settings["search_alg"]} if isinstance(settings["search_alg"], str) else {}
            by = sweeps.compared(settings)
            assert by is not None
            options |= {"metric": by.metric, "mode": by.mode}
            options |= settings["search_alg"] if isinstance(settings["search_alg"], dict) else {}
            searched = Searched(options, found, point, draft, trials[0].config.seed)
    if scheduler is not None and scheduler["type"] == "pbt":
        _check_mutations(draft, scheduler[MUTATIONS], first)
    return Experiment(
        name=draft.name,
        trials=tuple(trials),
        stop=dict(settings.get("stop", {})),
        checkpoint_config={"checkpoint_at_end": True, **settings.get("checkpoint_config", {})},
        storage_path=storage_of(settings),
        max_failures=int(settings.get("max_failures", 0)),
        time_budget_s=settings.get("time_budget_s"),
        scheduler=scheduler,
        search=searched,
        compared=sweeps.compared(settings),
        loggers=loggers.make(draft),
        draft=draft,
    )


def _check_apart(draft: Draft, points: list[grid.Choices]) -> None:
    """Refuses a grid with a value twice: two trials would be one, and count as two in every comparison.

    Raises:
        Mistake: naming the setting.
    """
    labels = [repr(choices) for choices in points]
    if twice := next((k for k, label in enumerate(labels) if label in labels[:k]), None):
        path = next(iter(points[twice]))
        text = f"the grid has {grid.label(points[twice])} twice; write num_samples: 2 for two runs, whose seeds differ."
        raise Mistake(draft.mistake(_place(draft, path), text))


def _check_seed(draft: Draft, seed: int, others: grid.Choices, seen: set[tuple[str, int]]) -> None:
    """Refuses a grid of seeds that are so near to each other that their samples are the same runs.

    Raises:
        Mistake: if a run with this seed and these other choices was seen before.
    """
    if (run := (grid.label(others), seed)) in seen:
        text = f"sample k of a seed gets seed + k, so seed {seed} would run twice: leave num_samples out, or the grid."
        raise Mistake(draft.mistake(("config", "seed"), text))
    seen.add(run)


def _searches(settings: dict[str, Any]) -> bool:
    given = settings.get("search_alg", "random")
    return (given["type"] if isinstance(given, dict) else given) != "random"


def _points(draft: Draft) -> list[tuple[grid.Choices, Any]]:
    """Returns every point of the grid: its choices, and its settings (for a Python file, its config)."""
    given = draft.settings.get("config", {})
    if isinstance(given, dict):
        return grid.expand(_settings(draft))
    # The config of a Python file. As in any RLlib config, a setting may be a grid.
    points = grid.expand(given.to_dict())
    if not points[0][0]:
        return [({}, given)]
    return [(choices, type(given)().update_from_dict(point)) for choices, point in points]


def _config(draft: Draft, point: Any) -> AlgorithmConfig:
    """Returns the config of a point.

    Raises:
        Mistake: if a key is unknown or a value is of the wrong kind.
    """
    if not isinstance(point, dict):
        return _with_registered(point)
    try:
        return build(_algorithm(draft), point)
    except BadSettings as error:
        found = [draft.mistake(_place(draft, path), text) for path, text in error.found]
        raise Mistake("\n".join(dict.fromkeys(found))) from error


def _with_registered(config: AlgorithmConfig) -> AlgorithmConfig:
    """Turns the name of a registered game, which a Python file may give, into the game's factory."""
    from rllib_biac.rllib.multi_agent_env import game_of

    env: Any = config.env
    if not isinstance(env, str) or (factory := game_of(env)) is env:
        return config
    config = config.copy(copy_frozen=False)
    config.environment(env=factory)
    return config


def _valid(config: AlgorithmConfig, draft: Draft, drawn: grid.Choices) -> AlgorithmConfig:
    """Validates the config and returns it.

    Raises:
        Mistake: if the config is refused. The message shows the values that were drawn for it.
    """
    if text := _refusal(config):
        if text.startswith("no hierarchy") and (levels := _agents(config)):
            text = f"no hierarchy: write e.g. hierarchy: {levels}, top level first."
        told = "".join(f" (drawn: `{': '.join(map(str, path))}` {value!r})" for path, value in drawn.items())
        raise Mistake(draft.mistake(_key_in(text, draft), text + told))
    return config


def _agents(config: AlgorithmConfig) -> list[list[str]]:
    """Returns a hierarchy of the game's own agents, one a level; empty if the game cannot be made."""
    try:
        return [[agent] for agent in make(str(config.env), **config.env_config).possible_agents]
    except Exception:  # a game may raise anything, and says so elsewhere
        return []


def _refusal(config: AlgorithmConfig) -> str:
    try:
        config.copy(copy_frozen=False).validate()
    except Exception as error:  # a user's game may raise anything for a bad `env_config`
        # RLlib adds how to switch validation off. An experiment file cannot do that.
        text = str(error).partition("To suppress all validation errors")[0].strip()
        return text if isinstance(error, ValueError | TypeError | GameError) else f"{type(error).__name__}: {text}"
    return ""


def _check_ends(
    draft: Draft, point: Any, found: list[tuple[grid.Path, ranges.Range]], drawn: dict[grid.Path, Any]
) -> None:
    """Validates the ends of every range, one at a time, so that no draw is refused while others train."""
    wrong = []
    for path, one in found:
        for end in one.ends:
            try:
                text = _refusal(_config(draft, ranges.fill(point, {**drawn, path: end})))
            except Mistake as mistake:
                wrong.append(str(mistake))
                continue
            if text:
                told = f"{end!r} can be drawn, and the config refuses it: {text}"
                wrong.append(draft.mistake((*_place(draft, path), one.name), told))
    if wrong:
        raise Mistake("\n".join(dict.fromkeys(wrong)))


def _check_mutations(draft: Draft, mutations: Any, settings: dict[str, Any]) -> None:
    """Validates the ends of every mutation in the settings of one trial."""
    for key, tree in mutations.items():
        for path, end in _mutants(tree, (key,)):
            try:
                text = _refusal(_config(draft, {**settings, key: ranges.fill(settings[key], {path[1:]: end})}))
            except Mistake as mistake:
                text = str(mistake)
            if text:
                told = f"a mutation can give {end!r}, and the config refuses it: {text}"
                raise Mistake(draft.mistake(("scheduler", MUTATIONS, *path), told))


def _mutants(tree: Any, path: grid.Path) -> Iterator[tuple[grid.Path, Any]]:
    """Yields the path of each mutated setting and the values at the ends of its range."""
    if isinstance(tree, list):
        yield from ((path, value) for value in tree)
    elif (found := ranges.parse(tree)) is not None:
        yield from ((path, value) for value in found.ends)
    else:
        for key, branch in tree.items():
            yield from _mutants(branch, (*path, key))


def _algorithm(draft: Draft) -> type[AlgorithmConfig]:
    from rllib_biac.rllib.registry import config_class

    try:
        return config_class(draft.settings["run"])
    except ValueError as error:
        raise Mistake(draft.mistake(("run",), str(error))) from error


def _settings(draft: Draft) -> dict[str, Any]:
    """Returns all settings of the config. `env` may be written beside `config` or inside it."""
    config = draft.settings.get("config", {})
    env = {"env": draft.settings["env"]} if "env" in draft.settings else {}
    return {**env, **config} if isinstance(config, dict) else {}


def _place(draft: Draft, path: tuple[Any, ...]) -> tuple[Any, ...]:
    return path if path[0] == "env" and "env" in draft.settings else ("config", *path)


def _key_in(message: str, draft: Draft) -> tuple[Any, ...]:
    """Returns the path of the setting that a config's error names or quotes, so that the message can show its line."""
    paths = dict(_paths(_settings(draft)))
    named = [path for path in paths if re.search(rf"\b{re.escape(str(path[-1]))}\b", message)]
    if first := [path for path in named if message.startswith(f"{path[-1]}: ")]:
        named = [path for path in named if path[: len(first[0])] == first[0]]
    quoted = [path for path, value in paths.items() if isinstance(value, str) and repr(value) in message]
    found = named or quoted
    return _place(draft, max(found, key=len)) if found else ()


def _paths(tree: dict[str, Any], path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    for key, value in tree.items():
        yield (*path, key), value
        if isinstance(value, dict):
            yield from _paths(value, (*path, key))
