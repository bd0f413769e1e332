"""Callbacks of Tune: one watches the metric that compares trials, one saves all trials when a run is interrupted."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.result import SHOULD_CHECKPOINT

from rllib_biac.experiments.metrics import flat
from rllib_biac.experiments.stopping import Stopping
from rllib_biac.rllib.hints import did_you_mean


class Comparison(Callback):
    """Warns if the metric that compares trials is never reported, and saves the scores of ASHA with the run.

    Args:
        metric: the metric that compares trials.
        scheduler: Tune's scheduler; None if there is only a searcher.
        say: shows a line to a person.
        patience: the warning comes when a trial has reported this many times without the metric.
    """

    def __init__(self, metric: str, scheduler: Any, say: Callable[[str], None], patience: int = 3):
        self._metric = metric
        self._scheduler = scheduler
        self._say = say
        self._patience = patience
        self._settled = False

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Looks for the metric until a trial reports it or the warning was shown."""
        if self._settled:
            return
        reported = dict(flat(result))
        if self._metric in reported:
            self._settled = True
        elif result.get("training_iteration", 0) >= self._patience:
            self._settled = True
            hint = did_you_mean(self._metric, reported)
            self._say(f"{self._metric} is not reported, so trials cannot be compared by it.{hint}")

    # Tune saves and restores trials, searchers and callbacks, but not the scheduler.

    def get_state(self) -> dict[str, Any] | None:
        """Returns the scores by which ASHA stops trials."""
        from rllib_biac.rllib import compat

        rungs = compat.asha_rungs(self._scheduler)
        return None if rungs is None else {"rungs": rungs}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned."""
        from rllib_biac.rllib import compat

        compat.set_asha_rungs(self._scheduler, state["rungs"])


class SaveAndStop(Callback):
    """After an interruption, lets every running trial save a checkpoint and then ends the run.

    The trials save at once, whatever the checkpoint frequency is.

    Args:
        stopping: tells when the run is interrupted, and when trials are not waited for any longer.
        say: shows a line to a person.
    """

    def __init__(self, stopping: Stopping, say: Callable[[str], None]):
        self._stopping = stopping
        self._say = say
        self._unsaved: set[str] | None = None  # trials that were running when interrupted
        self._end_tune: Callable[..., Any] | None = None

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Takes SIGUSR1 back from Tune, which ends at it without saving: Slurm sends it before time is up."""
        if self._end_tune is None:
            self._end_tune = self._stopping.take_over(signal.SIGUSR1)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Requests a checkpoint of this iteration."""
        if self._stopping.requested.is_set():
            result[SHOULD_CHECKPOINT] = True

    def on_trial_save(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Notes that a trial has saved."""
        if self._unsaved is not None:
            self._unsaved.discard(trial.trial_id)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Tells Tune to end when all trials have saved, or when it is time."""
        if not self._stopping.requested.is_set():
            return
        running = {trial.trial_id for trial in trials if trial.status == Trial.RUNNING}
        self._unsaved = running & (running if self._unsaved is None else self._unsaved)
        if self._unsaved and self._stopping.overdue:
            self._say(f"{len(self._unsaved)} trial(s) did not finish their iteration in time: their last is lost.")
            self._unsaved = set()
        if not self._unsaved:
            assert self._end_tune is not None  # a step has begun
            self._end_tune(signal.SIGUSR1, None)
