"""Compares trials of any algorithms, games and seeds: what each method gets, with 95% intervals over its seeds."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from rllib_biac.evaluation.diagnosis import LARGE
from rllib_biac.evaluation.statistics import mean_bands, mean_interval, probability_of_improvement
from rllib_biac.report import checkpoints, settings
from rllib_biac.report.charts import Band, Chart, Curve, band_chart, numbers_like
from rllib_biac.report.folders import STEPS, Trial, trials_in, with_absent_shares
from rllib_biac.report.training import clock, versions

RETURNS = "env_runners/agent_episode_returns_mean/"
SHARES = "env_runners/outcome_share/"
REGRETS = "evaluation/regret/"
SHOWN_OUTCOMES = 4
_POINTS = 100  # of a curve
_SETTLED = 0.1  # of a curve's range: nearer to its last value counts as settled
CPU_TIME = "cpu_time_this_iter_s"


@dataclass
class Method:
    """Trials that differ in nothing but the seed.

    Attributes:
        name: as it stands in tables and legends.
        trials: one per seed.
        finals: metric -> its value at the end, one per trial that has it. Metrics: `return AGENT`, `share OUTCOME`,
            `response regret`, `leader regret`, `learned regret of AGENT`, `at the answer` (1 or 0, by exact regrets),
            `steps to the answer`, `CPU seconds to the answer`; without exact regrets `settled at` and `CPU seconds to
            settle` instead; `env steps`, `CPU seconds`, `seconds`.
    """

    name: str
    trials: list[Trial]
    finals: dict[str, list[float]] = field(default_factory=dict)


@dataclass
class Game:
    """The methods that were trained in one game.

    Attributes:
        name: the game's.
        agents: of all methods, leaders of the first one first.
        outcomes: the most frequent ones.
        played: whether the finals are those of greedy play; else of training, exploration included.
    """

    name: str
    methods: list[Method]
    agents: list[str]
    outcomes: list[str]
    played: bool

    def metrics(self) -> list[str]:
        """Returns what the table shows of the finals, in its order."""
        known = {metric for method in self.methods for metric in method.finals}
        wanted = [
            *(f"return {agent}" for agent in self.agents),
            *(f"share {outcome}" for outcome in self.outcomes),
            "response regret",
            "leader regret",
            *(f"learned regret of {agent}" for agent in self.agents),
            "at the answer",
            "steps to the answer",
            "CPU seconds to the answer",
            "settled at",
            "CPU seconds to settle",
            "env steps",
            "CPU seconds",
            "seconds",
        ]
        return [metric for metric in wanted if metric in known]


@dataclass
class Comparison:
    """All games, what could not be read, and the command that made it."""

    games: list[Game]
    problems: list[str]
    command: str


def compare(
    folders: Sequence[Path],
    *,
    episodes: int = 20,
    seed: int = 0,
    best_response: int = 0,
    command: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Reads trials and plays their latest checkpoints.

    Args:
        folders: each holds trials at any depth.
        episodes: of greedy play of each checkpoint; 0: compare what training reported.
        seed: of these games.
        best_response: env steps in which each agent learns to deviate, for learned regrets; 0: none does.
        command: that made the comparison.
        progress: called with the trials played and those in all.

    Raises:
        ValueError: if a folder is missing or holds no trial.
    """
    found = {trial.folder.resolve(): trial for folder in folders for trial in trials_in(folder)}
    trials = list(found.values())
    problems = [f"{_place(t)}: {problem}." for t in trials for problem in t.problems]
    problems += [f"{_place(t)}: training failed: {t.failure}" for t in trials if t.failure]
    trials = [trial for trial in trials if trial.rows]
    if not trials:
        raise ValueError(
            f"{', '.join(map(str, folders))}: no trial there has reported anything yet: wait for a first report, or "
            "name other folders."
        )
    played = _play_all(trials, episodes, seed, best_response, problems, progress) if episodes else {}
    games = [_game(name, of_game, played, problems) for name, of_game in _games(trials)]
    return Comparison(games, problems, command)


def _games(trials: list[Trial]) -> list[tuple[str, list[Trial]]]:
    """Groups trials by game. A game that was played with several settings is several games."""
    settings_of: dict[str, list[str]] = {}
    grouped: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        told = settings.written(trial.settings)
        env, config = settings.text(told.get("env") or "unknown game"), settings.text(told.get("env_config") or {})
        if config not in settings_of.setdefault(env, []):
            settings_of[env].append(config)
        grouped.setdefault((env, config), []).append(trial)
    return [
        (env if len(settings_of[env]) == 1 else f"{env} {config}", of_game)
        for (env, config), of_game in grouped.items()
    ]


def _methods(trials: list[Trial]) -> list[Method]:
    """Groups the trials of a game by algorithm and settings, and gives each group a short name."""
    methods = []
    for algorithm in dict.fromkeys(trial.algorithm for trial in trials):
        groups = settings.groups([trial for trial in trials if trial.algorithm == algorithm])
        name = algorithm or "unknown algorithm"
        folders = [{trial.folder.resolve().parent.name for trial in of_group} for _, of_group in groups]
        # Experiments that differ in many settings are told apart by their names.
        by_folder = all(len(names) == 1 for names in folders) and len(set.union(*folders)) == len(groups)
        for (told, of_group), names in zip(groups, folders, strict=True):
            if len(groups) == 1:
                methods.append(Method(name, of_group))
            elif by_folder:
                methods.append(Method(f"{name} ({next(iter(names))})", of_group))
            else:
                methods.append(Method(f"{name}, {told}", of_group))
    return methods


def _game(name: str, trials: list[Trial], played: dict[Path, dict[str, float]], problems: list[str]) -> Game:
    with_absent_shares(trials)
    methods = _methods(trials)
    everywhere = all(trial.folder in played for trial in trials)
    for method in methods:
        seeds = [repr(trial.settings.get("seed")) for trial in method.trials]  # whatever a damaged file says
        if repr(None) not in seeds and len(set(seeds)) < len(seeds):
            problems.append(
                f"{name}, {method.name}: {len(seeds)} trials, but {len(set(seeds))} different seeds. Trials of one "
                "seed are no independent evidence: the intervals are too narrow."
            )
        for trial in method.trials:
            for metric, value in _finals(trial, played[trial.folder] if everywhere else None).items():
                method.finals.setdefault(metric, []).append(value)
    shares = {metric for method in methods for metric in method.finals if metric.startswith("share ")}
    for method in methods:  # an outcome that never came about in a trial
        for metric in shares:
            known = method.finals.setdefault(metric, [])
            known += [0.0] * (len(method.trials) - len(known))
    frequent = sorted(shares, key=lambda metric: (-sum(fmean(method.finals[metric]) for method in methods), metric))
    return Game(
        name,
        methods,
        agents=_agents(methods),
        outcomes=[metric.removeprefix("share ") for metric in frequent[:SHOWN_OUTCOMES]],
        played=everywhere,
    )


def _agents(methods: list[Method]) -> list[str]:
    order = [
        agent for method in methods for t in method.trials for level in settings.levels(t.settings) for agent in level
    ]
    known = [m.removeprefix("return ") for method in methods for m in sorted(method.finals) if m.startswith("return ")]
    return [agent for agent in dict.fromkeys([*order, *known]) if agent in known]


def _finals(trial: Trial, played: dict[str, float] | None) -> dict[str, float]:
    """Returns the values of one trial: those of greedy play where it was played, else what training reported last."""
    reported = {key: value for key in trial.rows[-1] if (value := trial.last(key)) is not None}
    found: dict[str, float] = dict(played or {})
    for key, value in reported.items():
        group, _, name = key.rpartition("/")
        if played is None and f"{group}/" == RETURNS:
            found[f"return {name}"] = value
        elif played is None and f"{group}/" == SHARES:
            found[f"share {name}"] = value
        elif f"{group}/" == REGRETS:
            found.setdefault(name.replace("_", " "), value)
    for name, key in (("env steps", STEPS), ("seconds", "time_total_s")):
        if key in reported:
            found[name] = reported[key]
    if (spent := _cpu_seconds(trial)) is not None:
        found["CPU seconds"] = spent
    right = _is_the_answer(found)
    if right is not None:
        found["at the answer"] = float(right)
    settled = settled_at([trial.curve(key) for key in sorted(reported) if key.startswith((RETURNS, REGRETS))])
    ended = right is None and settled == found.get("env steps")  # a curve is at its last value at its end in any case
    if settled is not None and right is not False and not ended:
        found["steps to the answer" if right else "settled at"] = settled
        if (spent := _cpu_seconds(trial, settled)) is not None:
            found["CPU seconds to the answer" if right else "CPU seconds to settle"] = spent
    return found


def _is_the_answer(found: dict[str, float]) -> bool | None:
    """Tells whether exact regrets are small at the end; None where they are not known."""
    regrets = [found[name] for name in ("response regret", "leader regret") if name in found]
    returns = [abs(value) for name, value in found.items() if name.startswith("return ")]
    return max(regrets) <= LARGE * max(returns, default=0.0) if regrets else None


def _cpu_seconds(trial: Trial, until: float = math.inf) -> float | None:
    """Returns the CPU time of all reports up to so many env steps; None where one does not tell it."""
    spent = [row.get(CPU_TIME, math.nan) for row in trial.rows if row.get(STEPS, 0) <= until]
    return None if not spent or math.isnan(total := sum(spent)) else total


def settled_at(curves: Iterable[Curve]) -> float | None:
    """Returns the env steps from which on every curve stays within 10% of its range of its last value.

    That is the answer only if regrets say so: bad play settles too.
    """
    found: float | None = None
    for curve in curves:
        if not curve:
            continue
        ys = np.array([y for _, y in curve])
        away = np.flatnonzero(np.abs(ys - ys[-1]) > _SETTLED * np.ptp(ys))
        found = max(found or 0.0, curve[int(away[-1]) + 1 if away.size else 0][0])
    return found


def _play_all(
    trials: list[Trial],
    episodes: int,
    seed: int,
    best_response: int,
    problems: list[str],
    progress: Callable[[int, int], None] | None,
) -> dict[Path, dict[str, float]]:
    played = {}
    for number, trial in enumerate(trials):
        if progress is not None:
            progress(number, len(trials))
        if trial.checkpoint is None:
            problems.append(f"{_place(trial)}: there is no checkpoint, so it was not played.")
            continue
        try:
            result = checkpoints.greedy_play(trial.checkpoint, episodes, seed, best_response)
        except checkpoints.Unreadable as error:
            problems.append(f"{_place(trial)}: its checkpoint cannot be played: {error}")
            continue
        count = len(result.lengths)
        played[trial.folder] = {
            **{f"return {agent}": fmean(returns) for agent, returns in result.returns.items()},
            **{f"share {name}": times / count for name, times in result.outcomes.items()},
            **{f"learned regret of {agent}": one.worst.value for agent, one in result.learned_regret.items()},
        }
        if result.regrets is not None:
            played[trial.folder]["response regret"], played[trial.folder]["leader regret"] = result.regrets
    return played


def _place(trial: Trial) -> str:
    return f"{trial.folder.resolve().parent.name}/{trial.folder.name}"


# What a reader sees of it.


def title_of(metric: str) -> str:
    """Returns a metric's heading."""
    if metric.startswith("share "):
        return metric.removeprefix("share ")
    if metric.startswith("return "):
        return f"Return of {metric.removeprefix('return ')}"
    return "Time" if metric == "seconds" else metric[0].upper() + metric[1:]


def format_of(metric: str, game: Game) -> Callable[[float], str]:
    """Returns how the numbers of a metric are written: all of a column alike."""
    if metric.startswith("share ") or metric == "at the answer":
        return "{:.0%}".format
    if metric in ("env steps", "settled at", "steps to the answer"):
        return "{:,.0f}".format
    if metric.startswith("CPU seconds"):
        return "{:,.1f}".format
    if metric == "seconds":
        return clock
    known = [values for method in game.methods if (values := method.finals.get(metric))]
    return numbers_like([end for values in known for end in mean_interval(values)])


def cells(game: Game) -> list[tuple[str, int, list[tuple[str, str]]]]:
    """Returns a row per method: its name, its number of seeds, and for each metric the mean and its interval."""
    rows = []
    for method in game.methods:
        row = []
        for metric in game.metrics():
            values, form = method.finals.get(metric, []), format_of(metric, game)
            if not values:
                row.append(("–", ""))
                continue
            mean, low, high = mean_interval(values)
            # What it cost is the same for all, or depends on the machine: no interval of it.
            cost = metric in ("env steps", "seconds", "CPU seconds")
            row.append((form(mean), f"[{form(low)}, {form(high)}]" if len(values) > 1 and not cost else ""))
        rows.append((method.name, len(method.trials), row))
    return rows


def improvements(game: Game) -> list[tuple[str, list[tuple[str, str]]]]:
    """Returns for each method but the first: how probably a run of the first gets more than one of it, per agent.

    Nothing where each method has one run: what got more is in the table, and says nothing of other runs.
    """
    first, *others = game.methods
    if all(len(method.trials) == 1 for method in game.methods):
        return []
    rows = []
    for method in others:
        row = []
        for agent in game.agents:
            ours, theirs = (one.finals.get(f"return {agent}", []) for one in (first, method))
            if not ours or not theirs:
                row.append(("–", ""))
                continue
            share, low, high = probability_of_improvement(ours, theirs)
            row.append((f"{share:.0%}", f"[{low:.0%}, {high:.0%}]" if math.isfinite(low) else ""))
        rows.append((method.name, row))
    return rows


def panels(game: Game) -> list[tuple[str, dict[str, Band | None], bool]]:
    """Returns the curves to draw: title, method -> its band, whether it is a share."""
    found = []
    for agent in game.agents:
        found.append((f"Return of {agent}", RETURNS + agent, False))
    known = {key for method in game.methods for trial in method.trials for row in trial.rows for key in row}
    shares = [key for key in known if key.startswith(SHARES)]
    mean = {key: fmean(t.last(key) or 0.0 for m in game.methods for t in m.trials) for key in shares}
    for key in sorted(shares, key=lambda key: (-mean[key], key))[:SHOWN_OUTCOMES]:
        found.append((f"Share of {key.removeprefix(SHARES)}", key, True))
    for key in sorted(key for key in known if key.startswith(REGRETS)):
        found.append((key.removeprefix(REGRETS).replace("_", " ").capitalize(), key, False))
    return [
        (title, {m.name: _band([trial.curve(key) for trial in m.trials]) for m in game.methods}, share)
        for title, key, share in found
    ]


def _band(curves: list[Curve]) -> Band | None:
    """Returns the mean of curves where all of them are defined, on a common grid, with its interval."""
    curves = [curve for curve in curves if curve]
    if not curves:
        return None
    low, high = max(curve[0][0] for curve in curves), min(curve[-1][0] for curve in curves)
    if high < low:
        return None
    every = np.unique([x for curve in curves for x, _ in curve if low <= x <= high])
    xs = every if every.size <= _POINTS else np.linspace(low, high, _POINTS)
    values = np.array([np.interp(xs, *np.array(curve).T) for curve in curves])
    return Band(xs, *mean_bands(values))


def context(found: Comparison, downloads: Sequence[str]) -> dict[str, Any]:
    """Returns the page's values."""
    games = []
    for index, game in enumerate(found.games):
        charts: list[Chart] = [
            c for title, bands, share in panels(game) if (c := band_chart(title, bands, percent=share))
        ]
        games.append(
            {
                "id": f"game-{index + 1}",
                "name": game.name,
                "charts": charts,
                "columns": [title_of(metric) for metric in game.metrics()],
                "rows": cells(game),
                "agents": game.agents,
                "first": game.methods[0].name,
                "improvements": improvements(game) if len(game.methods) > 1 else [],
                "played": game.played,
                "single": any(len(method.trials) == 1 for method in game.methods),
                "learned": any("learned regret" in m for m in game.metrics()),
            }
        )
    methods = {method.name for game in found.games for method in game.methods}
    trials = [trial for game in found.games for method in game.methods for trial in method.trials]
    return {
        "kind": "comparison",
        "eyebrow": "Comparison",
        "title": " and ".join(game.name for game in found.games)
        if len(found.games) < 4
        else f"{len(found.games)} games",
        "facts": [("Games", str(len(found.games))), ("Methods", str(len(methods))), ("Trials", str(len(trials)))],
        "problems": found.problems,
        "contents": [*((one["id"], one["name"]) for one in games), ("again", "Do it again")],
        "games": games,
        "downloads": list(downloads),
        "commands": [],
        "report_command": found.command or shlex.join(["rllib", "compare"]),
        "versions": versions(),
    }
