"""`rllib reproduce`: runs the paper's experiments and writes their tables and pictures."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

import click

from rllib_biac.cli.folders import writable
from rllib_biac.experiments.mistakes import Mistake
from rllib_biac.reproduce.registry import EXPERIMENTS
from rllib_biac.rllib.hints import did_you_mean

ALL = "all"
SHOWN_FAILURES = 3
_FAILED, _INTERRUPTED = 1, 130


def reproduce(names: Sequence[str], seeds: int | None, out: str, cpus: int | None) -> int:
    """Runs experiments one after another. Each continues where it was interrupted.

    Args:
        names: names of experiments; `all` for all of them.
        seeds: the number of seeds; None for each experiment's own number.
        out: the folder for results.
        cpus: how many runs at the same time; None for all CPUs.

    Returns:
        The exit code: 0, 1 if runs failed, 130 after Ctrl-C.

    Raises:
        Mistake: if there is no such experiment or the folder cannot be written.
        click.ClickException: if the disk is full.
    """
    for name in names:
        if name not in (*EXPERIMENTS, ALL):
            hint = did_you_mean(name, (*EXPERIMENTS, ALL))
            raise Mistake(f"no experiment {name!r}.{hint} There are: {', '.join(EXPERIMENTS)}, {ALL}.")
    chosen = list(EXPERIMENTS) if ALL in names else list(dict.fromkeys(names))
    folder = writable("--out", out)
    options = {"--seeds": seeds, "--out": out, "--cpus": cpus}
    given = [word for option, value in options.items() if value is not None for word in (option, str(value))]
    again = shlex.join(["rllib", "reproduce", *names, *given])
    try:
        return max([_reproduce(name, seeds, folder, cpus, ["rllib", "reproduce", name, *given]) for name in chosen])
    except KeyboardInterrupt:
        click.echo(f"Interrupted. Finished runs are in {folder}; continue with: {again}", err=True)
        return _INTERRUPTED


def _reproduce(name: str, seeds: int | None, folder: Path, cpus: int | None, command: list[str]) -> int:
    # Only now what takes seconds to import.
    from rllib_biac.reproduce.registry import experiment as find
    from rllib_biac.reproduce.runs import count_missing, run_all
    from rllib_biac.reproduce.write import write

    begin = time.monotonic()
    experiment = find(name)
    runs = experiment.runs(seeds or experiment.seeds)
    raw = folder / experiment.raw_name
    missing = count_missing(runs, raw)
    done = f", {len(runs) - missing:,} of them done before" if missing < len(runs) else ""
    click.echo(f"{name}: {experiment.title}, {len(runs):,} runs{done}", err=True)
    finished = run_all(experiment.run, runs, raw, cpus)
    for failure in finished.failures[:SHOWN_FAILURES]:
        click.echo(f"{name}: a run failed: {failure.reason}\n  its settings: {json.dumps(failure.settings)}", err=True)
    if finished.failures:
        click.echo(
            f"{name}: {len(finished.failures):,} of {len(runs):,} runs failed; the same command tries them again.",
            err=True,
        )
    if finished.rows:
        try:
            page = write(experiment, finished.rows, folder, shlex.join(command), finished.failures)
        except OSError as error:
            raise click.ClickException(
                f"cannot write to {error.filename or folder}: {error.strerror or error}. All runs are in {raw}. "
                "Correct this and run the same command again: it writes the tables."
            ) from error
        click.echo(f"{name}: {page} ({time.monotonic() - begin:.0f} s)")
    return _FAILED if finished.failures else 0
