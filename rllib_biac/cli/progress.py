"""Progress of running trials: a bar in a terminal, one line every few seconds elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from typing import Any

import click
from ray.tune import Callback

from rllib_biac.experiments.clock import clock
from rllib_biac.experiments.metrics import flat

# Criteria that only grow. They give an estimate of the time left.
COUNTERS = ("training_iteration", "time_total_s", "num_env_steps_sampled_lifetime", "num_episodes_lifetime")
SHOWN_OUTCOMES = 3
_REDRAWN = 0.25  # seconds between two pictures of the bar


class Progress(Callback):
    """Shows how far trials are: a bar in a terminal, else a line now and then, and one where nothing is heard for long.

    Args:
        stop: when a trial ends: metric -> goal.
        total: the number of trials.
        period: seconds between two lines of a trial.
        patience: seconds of silence after which a line says that trials still run.
    """

    def __init__(self, stop: Mapping[str, Any], total: int, period: float = 3.0, patience: float = 30.0):
        self._stop = stop
        self._total = total
        self._period = period
        self._patience = patience
        self._last: dict[str, float] = {}
        self._results: dict[str, Mapping[str, Any]] = {}
        self._begin = self._heard = time.monotonic()
        self._bar = _bar() if sys.stdout.isatty() and sys.stderr.isatty() else None

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Prints the trial's line if it is due."""
        now = time.monotonic()
        self._results[trial.trial_id] = result
        if self._bar is None and now - self._last.get(trial.trial_id, -math.inf) >= self._period:
            self._last[trial.trial_id] = self._heard = now
            prefix = f"{trial}: " if self._total > 1 else ""
            click.echo(prefix + line(result, self._stop))

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Redraws the bar, or prints a line after a long silence. Tune calls this several times a second."""
        now = time.monotonic()
        if self._bar is not None:
            if now - self._heard >= _REDRAWN:
                self._heard = now
                self._bar.n = min(1.0, self._fraction(trials))
                self._bar.set_description_str(self._status(trials, now))
        elif now - self._heard >= self._patience:
            self._heard = now
            click.echo(f"still running, {self._status(trials, now)}")

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Removes the bar."""
        self.close()

    def close(self) -> None:
        """Removes the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _fraction(self, trials: list[Any]) -> float:
        """Returns how much of all is done, 0 to 1, as far as the stop criteria tell."""
        done = sum(
            1.0 if trial.is_finished() else fraction(self._results.get(trial.trial_id, {}), self._stop)
            for trial in trials
        )
        return done / max(1, self._total, len(trials))

    def _status(self, trials: list[Any], now: float) -> str:
        elapsed = clock(now - self._begin)
        if not self._results:
            return f"{elapsed}: workers start, no report yet"
        if self._total == 1:
            result = next(iter(self._results.values()))
            since = now - max(self._last.values()) if self._last else 0.0
            silent = f" | {clock(since)} since its last report" if since >= self._patience else ""
            return line(result, self._stop) + silent
        ended = sum(trial.is_finished() for trial in trials)
        part = self._fraction(trials)
        left = f" | about {clock((now - self._begin) * (1 / part - 1))} left" if 0.02 < part < 1 else ""
        return f"{ended} of {self._total} trials ended, {elapsed}{left}"


def _bar() -> Any:
    from tqdm import tqdm

    return tqdm(total=1.0, bar_format="{percentage:3.0f}% |{bar:20}| {desc}", dynamic_ncols=True, leave=False)


def fraction(result: Mapping[str, Any], stop: Mapping[str, Any]) -> float:
    """Returns how much of a trial is done, 0 to 1, by the criterion of `COUNTERS` that is nearest to its goal."""
    reported = dict(flat(result))
    parts = [
        reported[key] / goal for key, goal in stop.items() if key.rpartition("/")[2] in COUNTERS and reported.get(key)
    ]
    return min(1.0, max(parts, default=0.0))


def stopped_early(result: Mapping[str, Any], stop: Mapping[str, Any]) -> bool:
    """Tells whether an ended trial met none of its criteria: a scheduler or the time budget ended it."""
    reported = dict(flat(result))
    return bool(stop) and not any(reported.get(key, -math.inf) >= goal for key, goal in stop.items())


def line(result: Mapping[str, Any], stop: Mapping[str, Any]) -> str:
    """Returns a report as one line: iteration, steps, returns, outcomes, time so far and time left."""
    parts = [f"iter {result.get('training_iteration', 0)}"]
    parts += [f"{steps:,.0f} steps" for steps in [result.get("num_env_steps_sampled_lifetime")] if steps is not None]
    parts += metrics(result)
    elapsed = float(result.get("time_total_s", 0.0))
    left = seconds_left(result, stop)
    parts.append(clock(elapsed) + (f" (about {clock(left)} left)" if left else ""))
    return " | ".join(parts)


def metrics(result: Mapping[str, Any]) -> list[str]:
    """Returns short texts for the return of each agent and the most frequent outcomes."""
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
    """Estimates the seconds until the first criterion of `COUNTERS` is met; None if there is no such criterion."""
    elapsed = float(result.get("time_total_s", 0.0))
    reported = dict(flat(result))
    estimates = [
        elapsed * max(0.0, goal / reported[key] - 1)
        for key, goal in stop.items()
        if key.rpartition("/")[2] in COUNTERS and reported.get(key)
    ]
    return min(estimates, default=None)
