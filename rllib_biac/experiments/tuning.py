"""Trains the trials of one experiment under Ray Tune."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune

from rllib_biac.experiments.callbacks import Comparison, SaveAndStop
from rllib_biac.experiments.remote import is_remote
from rllib_biac.experiments.resolve import Experiment
from rllib_biac.experiments.resume import KeepRecord, KeepReports
from rllib_biac.experiments.schedulers import make_scheduler
from rllib_biac.experiments.searchers import make_searcher
from rllib_biac.experiments.stopping import Stopping
from rllib_biac.rllib import compat


def train(
    experiment: Experiment,
    say: Callable[[str], None],
    callbacks: list[Any],
    stopping: Stopping,
    *,
    resume: bool,
    verbose: bool,
) -> list[Any]:
    """Trains all trials of an experiment. Ray runs already.

    Args:
        experiment: what to train.
        say: shows a line to a person.
        callbacks: more callbacks for Tune.
        stopping: takes signals. Tune does not tell its caller that it was interrupted, and does not remove its
            handlers. When all trials have saved, `SaveAndStop` calls
            Tune's handler of SIGUSR1, which interrupts Tune in the same way.
        resume: whether to continue what is in the experiment's folder. `make_ready` has mended it.
        verbose: whether to show Tune's own messages too.

    Returns:
        Tune's trials by their ids.

    Raises:
        Stopped: by a second signal.
    """
    if not verbose:
        # The caller reports failures and interruptions in a readable form.
        for name in ("ray.tune", "ray.train"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    compat.retry_what_ray_killed()
    compat.start_trials_in_waiting_workers()
    # All trials are created at once, so that --resume continues the whole sweep. A searcher creates its trials one by
    # one, because it uses the results of the earlier ones.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = "1" if experiment.search else str(len(experiment.trials))
    errored: Any = tune.ResumeConfig.ResumeType.RESUME
    continued = tune.ResumeConfig(errored=errored)
    scheduler = make_scheduler(experiment.scheduler, experiment.stop) if experiment.scheduler else None
    made, searcher = _made(experiment)
    callbacks = [*callbacks, *experiment.loggers]
    if experiment.compared:
        # `Comparison` warns in one line. Tune would print a whole result.
        os.environ["TUNE_DISABLE_STRICT_METRIC_CHECKING"] = "1"
        callbacks.append(Comparison(experiment.compared.metric, scheduler, say))
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    handler = signal.getsignal(signal.SIGUSR1)
    with stopping.training():
        callbacks.append(SaveAndStop(stopping, say))
        at = experiment.folder
        callbacks.append(KeepReports(at) if is_remote(at) else KeepRecord(Path(at)))
        analysis = tune.run(
            made,
            search_alg=searcher,
            scheduler=scheduler,
            callbacks=callbacks,
            resume_config=continued if resume else None,
            raise_on_failed_trial=False,
            reuse_actors=_reusable(experiment),
            verbose=0,
        )
    signal.signal(signal.SIGUSR1, handler)
    return sorted(analysis.trials, key=lambda trial: trial.trial_id)


def _reusable(experiment: Experiment) -> bool:
    """Tells whether a trial may reuse the process of an ended trial. This saves seconds of imports."""
    algorithm: Any = experiment.trials[0].config.algo_class
    return algorithm.reset_config is not tune.Trainable.reset_config


def _made(experiment: Experiment) -> tuple[list[Any], Any]:
    """Returns Tune's experiments and the searcher; the searcher is None if all trials are known already.

    For Tune each trial is an experiment of its own. All share one folder and one controller.
    """
    if (search := experiment.search) is None:
        return [_tune_experiment(experiment, one.config.to_dict(), one.label) for one in experiment.trials], None
    labels: dict[str, str] = {}

    def config_of(trial_id: str, values: list[Any]) -> dict[str, Any]:
        suggested = search.trial(values)
        labels[trial_id] = suggested.label
        return suggested.config.to_dict()

    searcher = make_searcher(search.options, [one for _, one in search.ranges], search.seed, config_of)
    one = _tune_experiment(experiment, {}, labels, num_samples=len(experiment.trials))
    return [one], searcher


def _tune_experiment(
    experiment: Experiment, config: dict[str, Any], labels: str | dict[str, str], num_samples: int = 1
) -> Any:
    """Returns one of Tune's experiments. `labels` is one label for all trials, or a label for each trial id."""
    algorithm = experiment.trials[0].config.algo_class
    assert algorithm is not None

    def label(made: Any) -> str:
        return labels if isinstance(labels, str) else labels[made.trial_id]

    def folder(made: Any) -> str:
        suffix = re.sub(r"[^\w.,=-]+", "", label(made))[:80]
        return "_".join(filter(None, (algorithm.__name__, made.trial_id, suffix)))

    return tune.Experiment(
        experiment.name,
        algorithm,
        stop=experiment.stop,
        config=config,
        num_samples=num_samples,
        storage_path=experiment.storage_path,
        checkpoint_config=tune.CheckpointConfig(**experiment.checkpoint_config),
        max_failures=experiment.max_failures,
        time_budget_s=experiment.time_budget_s,
        trial_name_creator=lambda made: label(made) or algorithm.__name__,
        trial_dirname_creator=folder,
    )


def as_recorded(config: Any) -> Any:
    """Returns a config's settings as Tune writes them to params.json, so that both can be compared."""
    from ray.tune.utils.util import SafeFallbackEncoder

    return json.loads(json.dumps(config.to_dict(), cls=SafeFallbackEncoder))
