"""What a person sees while trials run: one line every few seconds."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import click
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.result import SHOULD_CHECKPOINT

from rllib_biac.experiments.mistakes import did_you_mean

# Criteria that only grow, so that what is left of them tells the time left.
COUNTERS = ("training_iteration", "time_total_s", "num_env_steps_sampled_lifetime", "num_episodes_lifetime")
SHOWN_OUTCOMES = 3


class Progress(Callback):
    """Prints a line for a trial when it first reports, then at most every `period` seconds."""

    def __init__(self, stop: Mapping[str, Any], several: bool, period: float = 3.0):
        self._stop = stop
        self._several = several
        self._period = period
        self._last: dict[str, float] = {}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Prints the trial's line if it is due."""
        now = time.monotonic()
        if now - self._last.get(trial.trial_id, -math.inf) >= self._period:
            self._last[trial.trial_id] = now
            prefix = f"{trial}: " if self._several else ""
            click.echo(prefix + line(result, self._stop))


class Comparison(Callback):
    """Says when what trials are compared by is not reported, and keeps what ASHA has compared over an interruption.

    Args:
        metric: what they are compared by.
        scheduler: Tune's, None for a searcher alone.
        patience: reports of a trial without the metric before that is said.
    """

    def __init__(self, metric: str, scheduler: Any, patience: int = 3):
        self._metric = metric
        self._scheduler = scheduler
        self._patience = patience
        self._settled = False

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Looks for the metric until it is there or its absence has been told."""
        if self._settled:
            return
        reported = dict(_flat(result))
        if self._metric in reported:
            self._settled = True
        elif result.get("training_iteration", 0) >= self._patience:
            self._settled = True
            hint = did_you_mean(self._metric, reported)
            click.echo(f"{self._metric} is not reported, so that trials are not compared by it.{hint}", err=True)

    # Tune saves and restores trials, searchers and callbacks, but no scheduler.

    def get_state(self) -> dict[str, Any] | None:
        """Returns the scores by which ASHA stops trials."""
        brackets = getattr(self._scheduler, "_brackets", None)
        return None if brackets is None else {"rungs": [bracket._rungs for bracket in brackets]}

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes back what `get_state` returned."""
        for bracket, rungs in zip(getattr(self._scheduler, "_brackets", ()), state["rungs"], strict=False):
            bracket._rungs = rungs


class SaveAndStop(Callback):
    """Once interrupted, lets every trial that runs save a checkpoint, whatever their frequency, and then ends the run.

    Args:
        interrupted: set to interrupt.
    """

    def __init__(self, interrupted: threading.Event):
        self._interrupted = interrupted
        self._unsaved: set[str] | None = None  # trials that were running when interrupted

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Asks for a checkpoint of this very iteration."""
        if self._interrupted.is_set():
            result[SHOULD_CHECKPOINT] = True

    def on_trial_save(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Takes note of a trial that has saved."""
        if self._unsaved is not None:
            self._unsaved.discard(trial.trial_id)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Tells Tune to end once nobody is left who has something to save."""
        if not self._interrupted.is_set():
            return
        running = {trial.trial_id for trial in trials if trial.status == Trial.RUNNING}
        self._unsaved = running & (running if self._unsaved is None else self._unsaved)
        if not self._unsaved:
            signal.raise_signal(signal.SIGUSR1)


def stopped_early(result: Mapping[str, Any], stop: Mapping[str, Any]) -> bool:
    """Tells whether a trial that has ended met none of its criteria: a scheduler or the time budget ended it."""
    flat = dict(_flat(result))
    return bool(stop) and not any(flat.get(key, -math.inf) >= goal for key, goal in stop.items())


def line(result: Mapping[str, Any], stop: Mapping[str, Any]) -> str:
    """Returns one report of a trial in one line: iteration, steps, returns, outcomes, time gone and left."""
    parts = [f"iter {result.get('training_iteration', 0)}"]
    parts += [f"{steps:,.0f} steps" for steps in [result.get("num_env_steps_sampled_lifetime")] if steps is not None]
    parts += metrics(result)
    elapsed = float(result.get("time_total_s", 0.0))
    left = seconds_left(result, stop)
    parts.append(clock(elapsed) + (f" (about {clock(left)} left)" if left else ""))
    return " | ".join(parts)


def metrics(result: Mapping[str, Any]) -> list[str]:
    """Returns the returns per agent and the most frequent outcomes of a report, as texts."""
    runners = result.get("env_runners", {})
    agents = runners.get("agent_episode_returns_mean") or {}
    mean = runners.get("episode_return_mean")
    outcomes = sorted((runners.get("outcome_share") or {}).items(), key=lambda item: -item[1])[:SHOWN_OUTCOMES]
    parts = []
    if agents:
        parts.append("return " + ", ".join(f"{agent} {value:.2f}" for agent, value in sorted(agents.items())))
    elif mean is not None:
        parts.append(f"return {mean:.2f}")
    if outcomes:
        parts.append(", ".join(f"{name} {share:.0%}" for name, share in outcomes))
    return parts


def seconds_left(result: Mapping[str, Any], stop: Mapping[str, Any]) -> float | None:
    """Estimates the seconds until the first counting stop criterion is met; None if there is none to count by."""
    elapsed = float(result.get("time_total_s", 0.0))
    flat = dict(_flat(result))
    estimates = [
        elapsed * max(0.0, goal / flat[key] - 1)
        for key, goal in stop.items()
        if key.rpartition("/")[2] in COUNTERS and flat.get(key)
    ]
    return min(estimates, default=None)


def clock(seconds: float) -> str:
    """Returns a duration as 8s, 3m05s or 2h07m."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    return f"{whole // 60}m{whole % 60:02d}s" if whole < 3600 else f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", value
