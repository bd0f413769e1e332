"""Runs experiments with Ray Tune, one after another, and says how they ended."""

from __future__ import annotations

import logging
import math
import os
import pickle
import re
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from rllib_biac.experiments import grid, sweeps
from rllib_biac.experiments.mistakes import Mistake
from rllib_biac.experiments.resolve import Experiment
from rllib_biac.experiments.resume import KeepRecord, mend

FAILED = 1
INTERRUPTED = 130


@dataclass(frozen=True)
class Cluster:
    """Where to run: a running cluster's address, or a new one on this machine with this many CPUs (None: all)."""

    address: str | None = None
    num_cpus: int | None = None


def run(
    experiments: list[Experiment], cluster: Cluster, again: str, *, resume: bool = False, verbose: bool = False
) -> int:
    """Trains all trials of all experiments.

    Args:
        experiments: run one after another; the trials of one experiment share the machine.
        cluster: where.
        again: the command that continues this run, shown when it is interrupted.
        resume: whether to continue what is in the experiments' folders.
        verbose: whether to show Ray's own messages too.

    Returns:
        The exit code: 0, `FAILED` if a trial failed, `INTERRUPTED` after Ctrl-C.

    Raises:
        Mistake: if there is nothing to resume.
    """
    if resume and not any(map(_begun, experiments)):
        raise Mistake(f"nothing to resume in {experiments[0].folder}: run it once without --resume.")
    code = 0
    with _ray(cluster, verbose):
        if not cluster.address:
            _check_resources(experiments)
        for experiment in experiments:
            # Of a file's experiments the later ones may not have begun when the run was interrupted.
            begun = resume and _begun(experiment)
            if begun and "://" not in experiment.folder:
                mend(Path(experiment.folder))
            trials, interrupted = _tune(experiment, begun, verbose)
            if interrupted:
                click.echo(
                    f"Interrupted. What is finished and the checkpoints so far are in {experiment.folder}", err=True
                )
                click.echo(f"Continue from the latest checkpoints with: {again}", err=True)
                return INTERRUPTED
            for trial in trials:
                code = max(code, _report(trial, experiment, len(trials) > 1))
            code = max(code, _report_best(trials, experiment.compared))
    return code


def _check_resources(experiments: list[Experiment]) -> None:
    """Tune would wait for ever for CPUs that this machine does not have; a cluster may still grow."""
    import ray

    there = ray.cluster_resources()
    for experiment in experiments:
        for trial in experiment.trials:
            algorithm: Any = trial.config.algo_class
            wanted = algorithm.default_resource_request(trial.config.to_dict()).required_resources
            for kind in ("CPU", "GPU"):
                if (wants := wanted.get(kind, 0)) > (has := there.get(kind, 0)):
                    remedy = "pass --ray-num-cpus to share the cores" if kind == "CPU" else "lower num_gpus_per_learner"
                    raise Mistake(
                        f"experiment {experiment.name!r}: a trial wants {wants:g} {kind}s and there are {has:g}; "
                        f"lower num_env_runners, or {remedy}."
                    )


def _begun(experiment: Experiment) -> bool:
    return "://" in experiment.folder or any(Path(experiment.folder).glob("experiment_state-*.json"))


def worker_env() -> dict[str, str] | None:
    """Returns the runtime environment in which Ray's workers start on this machine, None where Ray's own will do.

    Ray 2.60 hands Python's path to a shell unquoted. With a space in it, Tune's workers would never start.
    """
    quoted = shlex.quote(sys.executable)
    return None if quoted == sys.executable else {"py_executable": quoted}


@contextmanager
def _ray(cluster: Cluster, verbose: bool) -> Iterator[None]:
    # Without these, Tune's tables and a warning of Ray's would stand between our lines.
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if ray.is_initialized():
        yield
        return
    try:
        try:
            ray.init(
                address=cluster.address,
                num_cpus=cluster.num_cpus,
                include_dashboard=None if cluster.address else False,
                log_to_driver=verbose,
                runtime_env=None if cluster.address else worker_env(),
                logging_level=logging.INFO if verbose else logging.ERROR,
            )
        except ConnectionError as error:
            where = f"no Ray cluster answers at {cluster.address!r}: start one with `ray start --head`"
            raise Mistake(f"{where}, or, if one is there, give this command its token: RAY_AUTH_MODE=token.") from error
        yield
    finally:
        ray.shutdown()


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Lets all trials save checkpoints, and Tune its state, on the first Ctrl-C; a second one stops at once.

    Tune does not tell its caller that it was interrupted, and leaves its handlers behind: so the signals come here,
    and Tune hears of them by SIGUSR1, its other signal for the same, once `SaveAndStop` has seen all trials saved.
    """
    interrupted = threading.Event()

    def interrupt(number: int, frame: Any) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()
        click.echo("\nStopping after this iteration (again to stop at once) ...", err=True)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGUSR1)}
    signal.signal(signal.SIGINT, interrupt)
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    try:
        yield interrupted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tune(experiment: Experiment, resume: bool, verbose: bool) -> tuple[list[Any], bool]:
    from ray import tune

    from rllib_biac.cli.progress import Comparison, Progress, SaveAndStop

    if not verbose:
        # Failures and interruptions are reported below, in a form a person can use.
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    # All trials are made at once, so that an interrupted sweep is resumed as a whole; a searcher's one by one, so that
    # it knows what came of those before.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = "1" if experiment.search else str(len(experiment.trials))
    click.echo(f"{experiment.name}: {len(experiment.trials)} trial(s), results in {experiment.folder}")
    if not experiment.stop and experiment.time_budget_s is None:
        click.echo("There is no `stop`: this trains until Ctrl-C, and keeps what --checkpoint-freq saves.")
    errored: Any = tune.ResumeConfig.ResumeType.RESUME
    continued = tune.ResumeConfig(errored=errored)
    scheduler = sweeps.make_scheduler(experiment.scheduler, experiment.stop) if experiment.scheduler else None
    made, searcher = _made(experiment)
    callbacks: list[Any] = [Progress(experiment.stop, several=len(experiment.trials) > 1)]
    if experiment.compared:
        # `Comparison` and `_report_best` say it in a line, where Tune would print a whole result.
        os.environ["TUNE_DISABLE_STRICT_METRIC_CHECKING"] = "1"
        callbacks.append(Comparison(experiment.compared.metric, scheduler))
    with _interruptible() as interrupted:
        callbacks.append(SaveAndStop(interrupted))
        if "://" not in experiment.folder:
            callbacks.append(KeepRecord(Path(experiment.folder)))
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
    return sorted(analysis.trials, key=lambda trial: trial.trial_id), interrupted.is_set()


def _reusable(experiment: Experiment) -> bool:
    """Tells whether a trial may take over the process of one that has ended, and save seconds of imports."""
    from ray.tune import Trainable

    algorithm: Any = experiment.trials[0].config.algo_class
    return algorithm.reset_config is not Trainable.reset_config


def _made(experiment: Experiment) -> tuple[list[Any], Any]:
    """Returns what Tune is to run, and the searcher that makes trials of it, None where they are made already.

    To Tune each trial is an experiment, in one folder and under one controller with the others.
    """
    if (search := experiment.search) is None:
        return [_tune_experiment(experiment, one.config.to_dict(), one.label) for one in experiment.trials], None
    labels: dict[str, str] = {}

    def config_of(trial_id: str, values: list[Any]) -> dict[str, Any]:
        suggested = search.trial(values)
        labels[trial_id] = suggested.label
        return suggested.config.to_dict()

    searcher = sweeps.make_searcher(search.options, [one for _, one in search.ranges], search.seed, config_of)
    one = _tune_experiment(experiment, {}, labels, num_samples=len(experiment.trials))
    return [one], searcher


def _tune_experiment(
    experiment: Experiment, config: dict[str, Any], labels: str | dict[str, str], num_samples: int = 1
) -> Any:
    """Returns one of Tune's experiments. Trials are labelled alike, or each by its id."""
    from ray import tune

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


def _report(trial: Any, experiment: Experiment, several: bool) -> int:
    """Prints how a trial ended. Returns its part of the exit code."""
    from rllib_biac.cli.progress import line, stopped_early
    from rllib_biac.core.play import can_draw

    name = f"{trial}: " if several else ""
    if trial.status == "ERROR":
        click.echo(f"{name}failed: {_reason(trial)}", err=True)
        kept = Path(trial.path, "error.txt")
        whole = kept if kept.is_file() and kept.stat().st_size else trial.error_file
        click.echo(f"  the whole trace: {shlex.quote(str(whole))}", err=True)
        if click.get_current_context().meta.get("traceback"):
            click.echo(trial.get_error(), err=True)
        return FAILED
    ended = "stopped early" if stopped_early(trial.last_result, experiment.stop) else "done"
    click.echo(f"{name}{ended}: {line(trial.last_result, {})}")
    if experiment.scheduler and sweeps.MUTATIONS in experiment.scheduler:
        mutated = {(key,): trial.config[key] for key in experiment.scheduler[sweeps.MUTATIONS]}
        click.echo(f"  ended with: {grid.label(mutated)}")
    if trial.checkpoint:
        path = trial.checkpoint.path
        click.echo(f"  checkpoint: {path}")
        drawn = " --render-to game.gif" if can_draw(trial.config["env"], dict(trial.config["env_config"])) else ""
        click.echo(f"  play it:    rllib evaluate {shlex.quote(path)}{drawn}")
    else:
        click.echo(f"  results: {trial.path} (no checkpoint)")
    return 0


def _report_best(trials: list[Any], compared: sweeps.Compared | None) -> int:
    """Prints which trial a scheduler or a searcher would call the best. Returns its part of the exit code."""
    if compared is None:
        return 0
    last = {trial: trial.metric_analysis.get(compared.metric, {}).get("last", math.nan) for trial in trials}
    numbers = {trial: value for trial, value in last.items() if math.isfinite(value)}
    if not numbers:
        click.echo(f"{compared.metric} was never reported: the trials were not compared by it.", err=True)
        return FAILED
    best = (max if compared.mode == "max" else min)(numbers, key=lambda trial: numbers[trial])
    click.echo(f"best at the end by {compared.metric}: {best}: {numbers[best]:.6g}")
    return 0


def _reason(trial: Any) -> str:
    """Returns a failure in a line: an error's own message, without the stack of workers it came through."""
    try:
        # As written by this process, before it is copied to where results go: that disk may be full.
        error = pickle.loads(Path(trial.pickled_error_file).read_bytes())
    except (OSError, EOFError, TypeError, pickle.UnpicklingError):
        error = None
    cause = getattr(error, "cause", None) or error
    text = str(cause if cause is not None else trial.get_error() or "no error was recorded").strip()
    if isinstance(cause, ValueError) and "Traceback" not in text and "\x1b" not in text:
        return text
    last = text.splitlines()[-1].strip() if text else ""
    kind = type(cause).__name__ if cause is not None else ""
    return last if last.startswith(kind) else f"{kind}: {last}"
