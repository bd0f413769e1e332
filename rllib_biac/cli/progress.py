"""Progress of running trials: one line every few seconds."""

from __future__ import annotations

import math
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


class Progress(Callback):
    """Prints a line at a trial's first report, then at most one in `period` seconds."""

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
