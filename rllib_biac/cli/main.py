"""The `rllib` command. It imports Ray only when a command needs it, so help and simple mistakes are instant."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import textwrap
from contextlib import ExitStack, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rllib_biac.cli.folders import writable
from rllib_biac.cli.guard import guarded, stdout_for_the_answer
from rllib_biac.cli.mistaken import Commands, refuse
from rllib_biac.cli.options import (
    SEED,
    Settings,
    TrainGroup,
    as_given,
    complete_algorithms,
    complete_examples,
    complete_games,
    overridable,
    traceback_option,
    was_given,
)
from rllib_biac.experiments import checks, overrides, reading, remote
from rllib_biac.experiments.mistakes import Mistake
from rllib_biac.experiments.reading import Draft
from rllib_biac.rllib.hints import did_you_mean

if TYPE_CHECKING:
    from rllib_biac.experiments.cluster import Cluster


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(
    None, "--version", message=f"rllib_biac {version('rllib_biac')}, ray {version('ray')}", package_name="rllib_biac"
)
@traceback_option
def main() -> None:
    """Train and play leaders and followers with RLlib."""
    # As with `python -m`, a user's `package.module:name` may be in the current folder. Ray's workers look there anyway.
    try:
        here = os.getcwd()
    except FileNotFoundError as error:
        raise Mistake("the current folder has been removed: change to another one.") from error
    if here not in sys.path:
        sys.path.append(here)


@main.group(cls=TrainGroup, invoke_without_command=True)
@click.option("--algo", "run", metavar="NAME", help="The algorithm, such as BiAC.", shell_complete=complete_algorithms)
@click.option(
    "--env",
    metavar="GAME",
    help="The game, such as merge_v0, or package.module:factory.",
    shell_complete=complete_games,
)
@overridable
@click.pass_context
def train(ctx: click.Context, run: str, env: str, **flags: Any) -> None:
    """Train: `rllib train --algo BiAC --env merge_v0 ...`, or `rllib train file FILE`."""
    if ctx.invoked_subcommand is not None:
        given = [p.opts[0] for p in ctx.command.params if p.name and was_given(ctx, p.name)]
        if given:
            raise click.UsageError(f"write {', '.join(given)} after `file`: rllib train file FILE {given[0]} ...")
        return
    if not run or not env:
        raise click.UsageError("give --algo and --env, or a file: rllib train file FILE")
    _train([Draft(f"{run}_{env.replace(':', '-')}", {"run": run, "env": env, "config": {}}, "command line")], flags)


@train.command("file")
@click.argument("file", shell_complete=complete_examples)
@click.option("--env", metavar="GAME", help="Play this game instead of the file's.", shell_complete=complete_games)
@overridable
def train_file(file: str, **flags: Any) -> None:
    """Train the experiments of FILE: YAML, Python (defines `config`), or the name of a packaged example."""
    found = reading.find(file)
    with guarded(f"{found} or what it imports"):
        drafts = reading.read(found)
    _train(drafts, flags)


@main.command("check")
@click.argument("file", shell_complete=complete_examples)
@click.option("--env", metavar="GAME", help="Look at this game instead of the file's.", shell_complete=complete_games)
@traceback_option
def check_file(file: str, env: str | None) -> None:
    """Say what FILE means, without training: agents, who leads, what is seen, networks, memory, speed.

    The game is played for a few random steps. What cannot be trained is refused, with what to write instead.
    """
    drafts = [overrides.override(draft, {"env": env}) for draft in reading.read(reading.find(file))]
    for draft in drafts:
        checks.check(draft)
    from rllib_biac.cli.check import check
    from rllib_biac.experiments.resolve import resolve

    with guarded("the game, or a module or class that the experiment names,"):
        experiments = [resolve(draft) for draft in drafts]
    check(experiments)


@main.command("compare-roles")
@click.argument("file", shell_complete=complete_examples)
@click.option("--env", metavar="GAME", help="Play this game instead of the file's.", shell_complete=complete_games)
@click.option(
    "--steps", type=click.IntRange(min=1), help="Env steps of each run.  [default: those at which FILE stops]"
)
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Runs of each order.")
@click.option(
    "--episodes",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="Greedy episodes of each run, in games without tables.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per experiment.")
@traceback_option
def compare_roles(file: str, env: str | None, steps: int | None, seeds: int, episodes: int, as_json: bool) -> None:
    """Say what the two agents of FILE get if the one leads, and if the other does: exactly, and as learned.

    Each order is trained in this process, by the first trial's settings. Nothing is saved.
    """
    drafts = [overrides.override(draft, {"env": env}) for draft in reading.read(reading.find(file))]
    for draft in drafts:
        checks.check(draft)
    from rllib_biac.cli import roles
    from rllib_biac.experiments.resolve import resolve

    for experiment in [resolve(draft) for draft in drafts]:
        with stdout_for_the_answer(as_json), guarded(f"the game of {file}"):
            found = roles.compare_roles(experiment, steps, seeds, episodes)
        roles.show(found, as_json)


def _train(drafts: list[Draft], flags: dict[str, Any]) -> None:
    """Checks everything before anything trains, the fastest checks first."""
    if flags["ray_address"] and flags["ray_num_cpus"]:
        raise click.UsageError(
            "--ray-num-cpus is for a Ray that this command starts; leave it out beside --ray-address"
        )
    if flags["name"] and len(drafts) > 1:
        raise click.UsageError(f"--experiment-name names one experiment, and this file has {len(drafts)}: leave it out")
    flags = {**flags, "config": overrides.given_once(flags["config"]) or None}
    drafts = [overrides.override(draft, flags) for draft in drafts]
    for draft in drafts:
        checks.check(draft)
    click.echo(f"{', '.join(map(_about, drafts))}: loading Ray and RLlib ...", err=True)
    from rllib_biac.experiments.stopping import Stopping

    # A signal ends what comes before training, too, Ray included, with its own exit code.
    with Stopping(lambda text: click.echo(text, err=True)) as stopping:
        from rllib_biac.experiments.cluster import Cluster, ahead  # which imports Ray

        cluster = Cluster(flags["ray_address"], flags["ray_num_cpus"], prints=any(one.has_callbacks for one in drafts))
        with nullcontext() if flags["dry_run"] else ahead(cluster, flags["verbose"]):
            stopping.take()
            code = _resolve_and_run(drafts, cluster, flags)
    click.get_current_context().exit(code)


def _resolve_and_run(drafts: list[Draft], cluster: Cluster, flags: dict[str, Any]) -> int:
    from rllib_biac.experiments.resolve import resolve  # which takes seconds, for it imports RLlib

    try:
        with guarded("the game, or a module or class that the experiment names,"):
            experiments = [resolve(draft) for draft in drafts]
    except Mistake as mistake:
        refuse(mistake)  # now: a Ray that was started ahead takes its time to stop
    from rllib_biac.cli.run import run, show  # only now: mistakes are told sooner

    for experiment in experiments:
        if remote.is_remote(experiment.storage_path):
            remote.check_writable("--storage-path", experiment.storage_path)
        else:
            writable("--storage-path", experiment.storage_path, keep=not flags["dry_run"])
    if flags["dry_run"]:
        for experiment in experiments:
            show(experiment)
        if flags["resume"]:
            from rllib_biac.experiments.resume import foresee

            foresee(experiments, click.echo)
        click.echo("Nothing was started: leave --dry-run out to train.")
        return 0
    return run(experiments, cluster, _again(flags), resume=flags["resume"], verbose=flags["verbose"])


def _about(draft: Draft) -> str:
    """Returns an experiment in a few words, as far as they are known before it is resolved."""
    run, env = (draft.settings.get(key) for key in ("run", "env"))
    return f"{draft.name} ({run} in {env})" if isinstance(run, str) and isinstance(env, str) else draft.name


def _again(flags: dict[str, Any]) -> str:
    """Returns the command that continues this run. It leaves out flags that the run's folder keeps."""
    kept = {name for name in flags if name in overrides.OF_THE_RUN}
    return shlex.join([*as_given({"resume", *kept}), "--resume"])


@main.command()
@click.argument("checkpoint")
@click.option("--episodes", type=click.IntRange(min=1), default=10, show_default=True, help="Episodes to play.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="The seed of the games.")
@click.option(
    "--env-config",
    type=Settings(("size=9", "config.duration=20"), '{"size": 9}'),
    multiple=True,
    metavar="KEY=VALUE|JSON",
    help="Other settings of the game, such as size=9; may be given several times.",
)
@click.option(
    "--starts",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="FILE",
    help='Play an episode from each start in a JSON list, such as [{"seed": 1}, {"options": {...}}], handed to reset.',
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--render-to",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="GIF|MP4",
    help="Draw the play here. Where ffmpeg is installed, an .mp4 is written beside a .gif.",
)
@click.option("--on-observations", is_flag=True, help="Each agent acts on its own observation (approximators).")
@click.option(
    "--best-response",
    type=click.IntRange(min=1000),
    metavar="STEPS",
    help="Also estimate each agent's regret: train a response to the others for this many env steps, such as 20000.",
)
@traceback_option
@click.pass_context
def evaluate(
    ctx: click.Context,
    checkpoint: str,
    episodes: int,
    seed: int,
    env_config: tuple[dict[str, Any], ...],
    starts: Path | None,
    as_json: bool,
    render_to: Path | None,
    on_observations: bool,
    best_response: int | None,
) -> None:
    """Play CHECKPOINT greedily. For a trial's folder this is its latest checkpoint."""
    from rllib_biac.cli import evaluate as evaluation

    if render_to is not None and render_to.suffix.lower() not in (".gif", ".mp4"):
        raise Mistake(f"--render-to {render_to}: the file's name must end in .gif or .mp4.")
    if render_to is not None and not render_to.absolute().parent.is_dir():
        raise Mistake(f"--render-to {render_to}: there is no folder {render_to.absolute().parent}.")
    if on_observations and best_response:
        raise Mistake("--best-response needs play that sees the state: leave --on-observations out.")
    if starts is not None and was_given(ctx, "episodes"):
        raise Mistake("--starts plays one episode from each start: leave --episodes out.")
    changed = overrides.given_once(env_config)
    with remote.here(checkpoint) as here:
        folder = evaluation.find(here, lambda one: shlex.join(as_given(checkpoint=one)))
        named = remote.named(folder, here, checkpoint)
        if not as_json:
            click.echo(f"playing {named}", err=True)
        listed = evaluation.read_starts(starts) if starts is not None else []
        asked = evaluation.Asked(
            len(listed) or episodes,
            seed,
            listed,
            changed,
            render_to,
            best_response or 0,
            on_observations,
        )
        with stdout_for_the_answer(as_json), guarded(f"the game of {checkpoint}"):
            found, played = evaluation.evaluate(folder, asked)
    evaluation.show(found | {"checkpoint": named}, as_json)
    if render_to is not None:
        evaluation.write_film(played, render_to)


@main.command()
@click.argument("checkpoint")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.safetensors")
@traceback_option
def export(checkpoint: str, file: Path) -> None:
    """Write all networks of CHECKPOINT to a file that others can open safely.

    `algo.load_weights(FILE)` continues training from it, `StackelbergPolicy.load(FILE)` plays it. This command reads
    CHECKPOINT with pickle: export only checkpoints that you trust.
    """
    from rllib_biac.cli import evaluate as evaluation

    if file.suffix != ".safetensors":
        raise Mistake(f"{file}: the file's name must end in .safetensors.")
    if not file.absolute().parent.is_dir():
        raise Mistake(f"{file}: there is no folder {file.absolute().parent}.")
    with remote.here(checkpoint) as here:
        folder = evaluation.find(here, lambda one: shlex.join(as_given(checkpoint=one)))
        evaluation.export(folder, file)
        click.echo(f"weights of {remote.named(folder, here, checkpoint)} written to {file}")


@main.command()
@click.argument("experiments", nargs=-1, required=True, metavar="EXPERIMENT...")
@click.option("--seeds", type=click.IntRange(min=1), help="Seeds of each experiment.  [default: its own number]")
@click.option("--out", default="reproduction", show_default=True, metavar="DIR", help="Where results go.")
@click.option("--cpus", type=click.IntRange(min=1), help="Runs at once.  [default: all CPUs]")
@traceback_option
def reproduce(experiments: tuple[str, ...], seeds: int | None, out: str, cpus: int | None) -> None:
    """Run the paper's experiments again: table2, table3, table4, fig2, fig4, fig5, fig7, figs8-12, or all.

    Writes rows, a table and a picture of each to DIR. Finished runs in DIR are not run again. After Ctrl-C the same
    command continues.
    """
    from rllib_biac.cli import reproduce as reproduction

    click.get_current_context().exit(reproduction.reproduce(experiments, seeds, out, cpus))


@main.command()
@click.argument("folder", metavar="DIR")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE.html",
    help="[default: DIR/report.html]",
)
@traceback_option
def report(folder: str, out: Path | None) -> None:
    """Turn DIR, the results of `train` or `reproduce`, into one HTML page that needs no network."""
    from rllib_biac.cli import report as reporting

    if remote.is_remote(folder) and out is None:
        out = Path("report.html")
    with remote.here(folder) as here:
        reporting.report(here, out)
        if out is not None and here != folder:  # the page names the copy
            out.write_text(remote.named(out.read_text(encoding="utf-8"), here, folder), encoding="utf-8")


@main.command()
@click.argument("folders", nargs=-1, required=True, metavar="DIR...")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("comparison"),
    show_default=True,
    metavar="DIR",
    help="Where the page, figures and tables go.",
)
@click.option(
    "--episodes",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="Greedy episodes of each trial's latest checkpoint; 0: compare what training reported.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="The seed of these games.")
@click.option(
    "--best-response",
    type=click.IntRange(min=1000),
    metavar="STEPS",
    help="Also estimate each agent's regret, in every trial: train a response for this many env steps.",
)
@traceback_option
def compare(folders: tuple[str, ...], out: Path, episodes: int, seed: int, best_response: int | None) -> None:
    """Set all trials in DIR... beside each other: any algorithms, games and seeds.

    Trials that differ in nothing but the seed are one method. Writes an HTML page, for a paper a figure of each game as
    SVG and PDF, and tables as CSV. It reads checkpoints with pickle: compare only results that you trust.
    """
    from rllib_biac.cli import compare as comparing

    if best_response and not episodes:
        raise Mistake("--best-response plays checkpoints: leave --episodes 0 out.")
    options = {"--out": str(out), "--episodes": str(episodes), "--seed": str(seed)}
    given = [
        w
        for option, value in options.items()
        if was_given(click.get_current_context(), option[2:])
        for w in (option, value)
    ]
    given += ["--best-response", str(best_response)] if best_response else []
    command = shlex.join(["rllib", "compare", *folders, *given])
    click.echo(f"reading {', '.join(folders)}", err=True)
    with ExitStack() as stack:
        here = [stack.enter_context(remote.here(folder)) for folder in folders]
        comparing.compare(here, out, episodes, seed, best_response, command)


@main.group()
def example() -> None:
    """Experiments that come with the package."""


@example.command("list")
def example_list() -> None:
    """List their names and the first sentence of each description."""
    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns
    for name, path in reading.examples().items():
        about = reading.about(path)
        if terminal and width >= 70:
            lines = textwrap.wrap(about, width - 28) or [""]
            about = f"\n{'':<28}".join(lines)
        click.echo(f"{name:<28}{about}".rstrip())


@example.command("get")
@click.argument("name", shell_complete=complete_examples)
def example_get(name: str) -> None:
    """Print the file of NAME: `rllib example get NAME > mine.yaml`."""
    click.echo(_example(name).read_text(encoding="utf-8"), nl=False)


@example.command("run")
@click.argument("example", metavar="NAME", shell_complete=complete_examples)
@click.option("--env", metavar="GAME", help="Play this game instead of the file's.", shell_complete=complete_games)
@overridable
def example_run(example: str, **flags: Any) -> None:
    """Train NAME, as `rllib train file NAME` does."""
    _train(reading.read(_example(example)), flags)


def _example(name: str) -> Path:
    packaged = reading.examples()
    if (stem := name.removesuffix(".yaml")) in packaged:
        return packaged[stem]
    raise Mistake(f"no packaged example {name!r}.{did_you_mean(stem, packaged)} There are: {', '.join(packaged)}.")
