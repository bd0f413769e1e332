"""Runs experiments with Ray Tune, one after another, and prints how they ended."""

from __future__ import annotations

import json
import math
import os
import pickle
import shlex
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from rllib_biac.cli.evaluate import show_notes
from rllib_biac.cli.progress import Progress, line, stopped_early
from rllib_biac.evaluation import diagnosis
from rllib_biac.evaluation.pictures import can_draw
from rllib_biac.experiments import changes, grid
from rllib_biac.experiments.cluster import Cluster, check_resources, started
from rllib_biac.experiments.locks import locked
from rllib_biac.experiments.metrics import flat
from rllib_biac.experiments.remote import address_of
from rllib_biac.experiments.resolve import Experiment
from rllib_biac.experiments.resume import foresee, make_ready
from rllib_biac.experiments.schedulers import MUTATIONS
from rllib_biac.experiments.stopping import Stopping
from rllib_biac.experiments.sweeps import Compared
from rllib_biac.experiments.tuning import as_recorded, train
from rllib_biac.experiments.watch import watching_the_head
from rllib_biac.report import settings

FAILED = 1


def run(
    experiments: list[Experiment], cluster: Cluster, again: str, *, resume: bool = False, verbose: bool = False
) -> int:
    """Trains all trials of all experiments.

    Args:
        experiments: they run one after another; the trials of one experiment share the machine.
        cluster: where to run.
        again: the command that continues this run, shown when it is interrupted.
        resume: whether to continue the trials in the experiments' folders.
        verbose: whether to show Ray's own messages too.

    Returns:
        The exit code: 0, `FAILED` if a trial failed, 128 and the number of the signal that stopped it: 130 after
        Ctrl-C, 143 after SIGTERM, 129 after SIGHUP.

    Raises:
        Stopped: by a second signal, or before anything trains.
        Mistake: if there is nothing to resume, a setting changed that may not, or another command works in a folder.
    """
    if resume:
        foresee(experiments)  # what may not be is told before Ray is waited for
    code = 0

    def end(exit_code: int) -> None:
        click.echo(f"Not stopped in time, ended. {_go_on(experiments, again)}", err=True)
        os._exit(exit_code)

    def lost() -> None:
        click.echo(
            f"The head of Ray (its GCS) is gone, and every trial with it. {_go_on(experiments, again)}", err=True
        )
        if not cluster.address:  # that of a cluster may come back, within the minute that Ray waits for it
            os._exit(FAILED)

    with (
        Stopping(_say, end) as stopping,
        ExitStack() as held,
        started(cluster, verbose),
        watching_the_head(lost),
    ):
        stopping.take()
        if not cluster.address:
            check_resources(experiments)
        for experiment in experiments:
            # Later experiments of a file may not have started before the interruption.
            held.enter_context(locked(experiment.folder, _say))
            begun_before = resume and make_ready(experiment, _say)
            changes.write(experiment)
            _announce(experiment)
            progress = Progress(experiment.stop, len(experiment.trials))
            try:
                trials = train(experiment, _say, [progress], stopping, resume=begun_before, verbose=verbose)
            except OSError as error:  # a store that is gone; of a trial's own errors Tune tells otherwise
                click.echo(f"{experiment.folder} fails ({error}). {_go_on([experiment], again)}", err=True)
                return FAILED
            finally:
                progress.close()
            if stopping.exit_code:
                click.echo(f"Interrupted. {_go_on([experiment], again)}", err=True)
                return stopping.exit_code
            for trial in trials:
                code = max(code, _report(trial, experiment, len(trials) > 1))
            code = max(code, _report_best(trials, experiment.compared))
    return code


def _go_on(experiments: list[Experiment], again: str) -> str:
    folders = ", ".join(experiment.folder for experiment in experiments)
    return f"Finished trials and all checkpoints are in {folders}\nContinue from the latest checkpoints with: {again}"


def _announce(experiment: Experiment) -> None:
    click.echo(f"{experiment.name}: {len(experiment.trials)} trial(s), results in {experiment.folder}")
    if not experiment.stop and experiment.time_budget_s is None:
        click.echo("There is no `stop`: this trains until Ctrl-C. --checkpoint-freq saves checkpoints on the way.")


def show(experiment: Experiment) -> None:
    """Prints what an experiment would train."""
    config: Any = experiment.trials[0].config
    trials = len(experiment.trials)
    told = config.env if isinstance(config.env, str) else getattr(config.env, "__name__", str(config.env))
    run = (config.algo_class or type(config)).__name__
    click.echo(f"{experiment.name}: {trials} trial(s) of {run} in {told}, results would go to {experiment.folder}")
    click.echo(f"  stop: {json.dumps(experiment.stop) if experiment.stop else 'never'}")
    written = settings.written(as_recorded(config))
    defaults = settings.written(as_recorded(type(config)()))
    for key, value in written.items():
        if value != defaults.get(key) and key != "env":
            click.echo(f"  {key}: {settings.text(value)}")
    for trial in experiment.trials:
        if trial.label:
            click.echo(f"  trial {trial.label}")


def _say(text: str) -> None:
    click.echo(text, err=True)


def _report(trial: Any, experiment: Experiment, several: bool) -> int:
    """Prints how a trial ended. Returns its part of the exit code."""
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
    if experiment.scheduler and MUTATIONS in experiment.scheduler:
        mutated = {(key,): trial.config[key] for key in experiment.scheduler[MUTATIONS]}
        click.echo(f"  ended with: {grid.label(mutated)}")
    if trial.checkpoint:
        path = address_of(experiment.folder, trial.checkpoint.path)
        click.echo(f"  checkpoint: {path}")
        drawn = " --render-to game.gif" if can_draw(trial.config["env"], dict(trial.config["env_config"])) else ""
        click.echo(f"  play it:    rllib evaluate {shlex.quote(path)}{drawn}")
    else:
        click.echo(f"  results: {trial.path} (no checkpoint)")
    _show_notes(trial, experiment)
    return 0


def _show_notes(trial: Any, experiment: Experiment) -> None:
    """Prints what looks wrong with a run, and how to learn more."""
    courses = {
        key: diagnosis.Course(found["min"], found["max"], found["last"])
        for key, found in trial.metric_analysis.items()
        if all(isinstance(found.get(at), int | float) for at in ("min", "max", "last"))
    }
    notes = diagnosis.of_training(dict(flat(trial.last_result)), courses)
    show_notes(notes)
    if notes and trial.checkpoint:
        path = address_of(experiment.folder, trial.checkpoint.path)
        click.echo(f"  measure it:  rllib evaluate {shlex.quote(path)} --best-response 20000")


def _report_best(trials: list[Any], compared: Compared | None) -> int:
    """Prints the best trial by the metric that compares trials. Returns its part of the exit code."""
    if compared is None:
        return 0
    last = {trial: trial.metric_analysis.get(compared.metric, {}).get("last", math.nan) for trial in trials}
    numbers = {trial: value for trial, value in last.items() if math.isfinite(value)}
    if not numbers:
        click.echo(f"{compared.metric} was never reported, so the trials were not compared.", err=True)
        return FAILED
    best = (max if compared.mode == "max" else min)(numbers, key=lambda trial: numbers[trial])
    click.echo(f"best at the end by {compared.metric}: {best}: {numbers[best]:.6g}")
    return 0


def _reason(trial: Any) -> str:
    """Returns a failure in one line: the error's message without the stack traces of workers."""
    try:
        # This process writes the error before Tune copies it to the results. The disk of the results may be full.
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
