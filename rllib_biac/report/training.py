"""Gathers the values of the page for a training run."""

from __future__ import annotations

import contextlib
import json
import math
import platform
import shlex
import statistics
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rllib_biac.files.folders import text_of
from rllib_biac.report import checkpoints, settings
from rllib_biac.report.charts import Chart, line_chart, number, numbers_like, share_chart
from rllib_biac.report.folders import STEPS, Run, Trial

_RETURNS = "env_runners/agent_episode_returns_mean/"
_SHARES = "env_runners/outcome_share/"
_SHOWN_OUTCOMES = 3
_SHOWN_COMMANDS = 10
_LEARNER = {
    "td_error_mean": ("TD error", "Mean absolute error of the critic, in the game's units of reward."),
    "qf_loss": (
        "Critic loss",
        "Mean squared error, in units of the spread of the targets; with `num_atoms` cross-entropy, in nats.",
    ),
    "qf_mean": ("Mean Q-value", "Of replayed joint actions, in the game's units of reward."),
    "actor_loss": ("Actor loss", ""),
    "entropy": ("Entropy of the policy", "In nats; it falls as the policy becomes certain."),
}


def context(run: Run) -> dict[str, Any]:
    """Returns the page's values. The page notes every trial or checkpoint that cannot be read."""
    problems = [f"{trial.label}: {problem}." for trial in run.trials for problem in trial.problems]
    problems += [f"{trial.label}: training failed: {trial.failure}" for trial in run.trials if trial.failure]
    plays, film = _played(run.trials, problems)
    varied = settings.varied(run.trials)
    groups = settings.groups(run.trials)
    charts = [(name, trials, _charts(trials, run.trials)) for name, trials in groups]
    parts = [("results", "Results")]
    parts += [("play", "What was learned")] if plays or film else []
    parts += [("curves", "Learning curves")] if any(shown for _, _, shown in charts) else []
    parts += [("settings", "Settings")] if any(trial.settings for trial in run.trials) else []
    return {
        "kind": "training",
        "eyebrow": "Training run",
        "title": run.folder.resolve().name,
        "facts": [*_facts(run), *_deployed(groups)],
        "problems": problems,
        "contents": [*parts, ("again", "Do it again")],
        "results": _results(run, groups),
        "changes": [(trial.label, *change) for trial in run.trials for change in settings.changes(trial)],
        "plays": plays,
        "shown": _shown(plays, groups),
        "film": film,
        "groups": charts,
        "varied": [(trial.label, [_setting(trial, key) for key in varied]) for trial in run.trials] if varied else [],
        "varied_names": varied,
        "chosen": _chosen(run.trials, varied),
        "all_settings": [
            (key, settings.text(value)) for key, value in settings.written(_settings_of(run.trials)).items()
        ],
        "commands": [("Train", settings.train_commands(run)), ("Play", _evaluate_commands(run.trials))],
        "untold": len([trial for trial in run.trials if trial.checkpoint]) - _SHOWN_COMMANDS,
        "report_command": shlex.join(["rllib", "report", str(run.folder)]),
        "trained_with": _trained_with(run.trials),
        "versions": versions(),
    }


def clock(seconds: float) -> str:
    """Returns a duration as 8 s, 3 min 05 s or 2 h 07 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def versions() -> dict[str, str]:
    """Returns the versions of the packages that made the page."""
    found = {"Python": platform.python_version()}
    for name in ("rllib_biac", "ray", "torch", "numpy", "gymnasium", "pettingzoo", "highway-env"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _facts(run: Run) -> list[tuple[str, str]]:
    trials = run.trials
    told = [trial.settings for trial in trials if trial.settings]
    games = {settings.text(one["env"]) for one in told if one.get("env")}
    leads = {" → ".join(" & ".join(level) for level in settings.levels(one)) for one in told}
    steps = number(sum(trial.last(STEPS) or 0.0 for trial in trials))
    ends = [end for trial in trials if 0 < (end := trial.last("timestamp") or 0.0) < 1e11]
    facts = [
        ("Algorithm", ", ".join(sorted({trial.algorithm for trial in trials}))),
        ("Game", ", ".join(sorted(games))),
        ("Who leads", " or ".join(sorted(leads))),
        ("Trials", str(len(trials))),
        ("Env steps", steps + (" in all" if len(trials) > 1 else "")),
        ("Finished", datetime.fromtimestamp(max(ends), UTC).strftime("%d %B %Y, %H:%M UTC") if ends else ""),
    ]
    return [(name, value) for name, value in facts if value]


def _results(run: Run, groups: list[tuple[str, list[Trial]]]) -> dict[str, Any]:
    trials = run.trials
    returns = _metrics(trials, _RETURNS) or _metrics(trials, "env_runners/episode_return_mean")
    shares = sorted(_metrics(trials, _SHARES), key=lambda metric: -_mean(trials, metric))[:_SHOWN_OUTCOMES]
    greedy = _metrics(trials, f"evaluation/{_RETURNS}")

    def like(metric: str) -> Callable[[float], str]:
        return numbers_like([value for trial in trials if (value := trial.last(metric)) is not None])

    columns: list[tuple[str, str, Callable[[float], str]]] = [
        ("Env steps", STEPS, "{:,.0f}".format),
        ("Time", "time_total_s", clock),
    ]
    columns += [
        (f"Return of {_name(metric)}" if "agent" in metric else "Return", metric, like(metric)) for metric in returns
    ]
    columns += [(f"Greedy return of {_name(metric)}", metric, like(metric)) for metric in greedy]
    columns += [(_name(metric), metric, "{:.0%}".format) for metric in shares]
    rows = [
        (trial.label, _state(trial, run.stop), [_cell(trial.last(metric), form) for _, metric, form in columns])
        for trial in trials
    ]
    means = [
        (name, [_spread(alike, metric, form) for _, metric, form in columns])
        for name, alike in groups
        if len(alike) > 1
    ]
    window = _settings_of(trials).get("metrics_num_episodes_for_smoothing")
    return {"columns": [title for title, _, _ in columns], "rows": rows, "means": means, "window": window}


def _state(trial: Trial, stop: dict[str, Any] | None) -> str:
    if trial.failure:
        return "failed"
    if not trial.last("done"):
        return "unfinished"
    goals = {metric: goal for metric, goal in (stop or {}).items() if isinstance(goal, int | float)}
    met = not goals or any((trial.last(metric) or -math.inf) >= goal for metric, goal in goals.items())
    return "finished" if met else "stopped early"


def _cell(value: float | None, form: Any) -> str:
    return "–" if value is None else form(value)


def _spread(trials: list[Trial], metric: str, form: Any) -> str:
    values = [value for trial in trials if (value := trial.last(metric)) is not None]
    if not values:
        return "–"
    mean = form(statistics.fmean(values))
    return mean if len(set(values)) == 1 else f"{mean} ± {form(statistics.stdev(values))}"


def _mean(trials: list[Trial], metric: str) -> float:
    return statistics.fmean(trial.last(metric) or 0.0 for trial in trials)


def _metrics(trials: list[Trial], prefix: str) -> list[str]:
    found = sorted({key for trial in trials for row in trial.rows for key in row if key.startswith(prefix)})
    # Leaders come first, so they have the same colour in every chart.
    order = [agent for level in settings.levels(_settings_of(trials)) for agent in level]
    return sorted(
        found, key=lambda key: next((order.index(part) for part in key.split("/") if part in order), len(order))
    )


def _name(metric: str) -> str:
    return metric.rpartition("/")[2]


def _charts(trials: list[Trial], everyone: list[Trial]) -> list[Chart]:
    """Draws the curves of trials with equal settings. All groups have the same axes, so they can be compared."""
    window = _settings_of(trials).get("metrics_num_episodes_for_smoothing")
    smoothed = f"Mean of the last {window} episodes, exploration included." if window else ""

    def lines(title: str, metrics: dict[str, str], note: str = "", error: bool = False) -> Chart | None:
        values = [y for trial in everyone for metric in metrics.values() for _, y in trial.curve(metric)]
        curves = {name: [trial.curve(metric) for trial in trials] for name, metric in metrics.items()}
        return line_chart(title, curves, note, [min(values), max(values)] if values else [], error)

    returns = _metrics(everyone, _RETURNS)
    named = {_name(metric): metric for metric in returns} or {"all agents": "env_runners/episode_return_mean"}
    shares = {_name(metric): [trial.curve(metric) for trial in trials] for metric in _metrics(everyone, _SHARES)}
    greedy = {_name(metric): metric for metric in _metrics(everyone, f"evaluation/{_RETURNS}")}
    regrets = {_name(metric).replace("_", " "): metric for metric in _metrics(everyone, "evaluation/regret/")}
    found = [
        lines("Return per episode", named, smoothed),
        lines("Return of greedy play", greedy, "Evaluated without exploration."),
        lines("Regret of greedy play", regrets, "Exact; both are 0 in a Stackelberg equilibrium."),
        share_chart("Outcomes", shares, smoothed),
    ]
    for name, metrics in _learner_metrics(everyone).items():
        title, note = _LEARNER.get(name, (name.replace("_", " ").capitalize(), ""))
        error = "td_error" in name or (name.endswith("loss") and not name.startswith("actor"))
        found.append(lines(title, metrics, note, error))
    found.append(lines("Exploration", {"epsilon": "env_runners/epsilon"}, "Probability of a random action."))
    return [chart for chart in found if chart is not None]


def _learner_metrics(trials: list[Trial]) -> dict[str, dict[str, str]]:
    """Returns name -> agent -> metric of the learners' reports, the best known names first."""
    found: dict[str, dict[str, str]] = {}
    metrics = [metric.split("/", 2) for metric in _metrics(trials, "learners/") if metric.count("/") >= 2]
    agents = dict.fromkeys(agent for _, agent, _ in metrics if agent != "__all_modules__")
    for _, agent, name in metrics:
        if agent in agents and not name.startswith("num_"):
            found.setdefault(name, {agent: f"learners/{agent}/{name}" for agent in agents})

    def changes(name: str) -> bool:
        curves = [trial.curve(metric) for metric in found[name].values() for trial in trials]
        return any(len({y for _, y in curve}) > 1 for curve in curves)

    known = list(_LEARNER)
    order = sorted(found, key=lambda name: (known.index(name) if name in known else len(known), name))
    # The settings already show a learning rate that never changes.
    return {name: found[name] for name in order if "learning_rate" not in name or changes(name)}


def _played(trials: list[Trial], problems: list[str]) -> tuple[list[tuple[Trial, Any]], Any]:
    """Returns what checkpoints learned in a matrix game, and the first animation of a game that can draw."""
    plays: list[tuple[Trial, Any]] = []
    film = None
    for trial in trials:
        if trial.checkpoint is None:
            problems.append(f"{trial.label}: there is no checkpoint, so what it learned cannot be shown.")
            continue
        try:
            if (play := checkpoints.matrix_play(trial.checkpoint)) is not None:
                plays.append((trial, play))
            elif film is None and (made := checkpoints.film(trial.checkpoint)) is not None:
                film = {"trial": trial.label if len(trials) > 1 else "", "film": made}
        except checkpoints.Unreadable as error:
            problems.append(f"{trial.label}: its checkpoint cannot be played: {error}")
    return plays, film


def _deployed(groups: list[tuple[str, list[Trial]]]) -> list[tuple[str, str]]:
    """Returns what agents need where they are deployed, by a checkpoint of each group; unreadable ones are told of."""
    told = set()
    for _, trials in groups:
        if checkpoint := next((trial.checkpoint for trial in trials if trial.checkpoint), None):
            with contextlib.suppress(checkpoints.Unreadable):
                told.add(checkpoints.deployed(checkpoint))
    return [("In use", text.capitalize()) for text in sorted(told)]


def _shown(plays: list[tuple[Trial, Any]], groups: list[tuple[str, list[Trial]]]) -> list[tuple[str, Trial, Any]]:
    """Returns the first trial with tables of each group. Seeds differ little, and more would make the page long."""
    shown = []
    for name, trials in groups:
        of_group = [(trial, play) for trial, play in plays if trial in trials and play.tables]
        shown += [(name, *of_group[0])] if of_group else []
    return shown


def _settings_of(trials: list[Trial]) -> dict[str, Any]:
    return next((trial.settings for trial in trials if trial.settings), {})


def _setting(trial: Trial, key: str) -> str:
    told = settings.written(trial.settings)
    return settings.text(told[key]) if key in told else "–"


def _chosen(trials: list[Trial], varied: list[str]) -> list[tuple[str, str]]:
    for trial in trials:
        if trial.settings:
            return [(key, settings.text(v)) for key, v in settings.chosen(trial).items() if key not in varied]
    return []


def _evaluate_commands(trials: list[Trial]) -> list[str]:
    paths = [str(trial.checkpoint) for trial in trials if trial.checkpoint]
    return [shlex.join(["rllib", "evaluate", path]) for path in paths[:_SHOWN_COMMANDS]]


def _trained_with(trials: list[Trial]) -> str:
    """Returns the Ray version that a checkpoint names."""
    for trial in trials:
        if trial.checkpoint:
            try:
                mark = json.loads(text_of(Path(trial.checkpoint, "rllib_checkpoint.json")))
                return f"Ray {mark['ray_version']}"
            except (OSError, ValueError, LookupError, TypeError):
                continue
    return ""
