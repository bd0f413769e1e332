"""Plays a checkpoint, prints the results and draws the play."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import click

from rllib_biac.cli.folders import readable
from rllib_biac.cli.ticker import Ticker
from rllib_biac.experiments.mistakes import Mistake

if TYPE_CHECKING:
    from rllib_biac.evaluation import Played, Start, Trained

# Every RLlib checkpoint has this file at its top.
_MARK = "rllib_checkpoint.json"


def find(path: str, command: Callable[[str], str] = "rllib evaluate {}".format) -> Path:
    """Returns a checkpoint: the folder itself, or the latest checkpoint of the only trial inside it.

    Args:
        path: of the folder.
        command: checkpoint -> the command that was given, of it, for the choices among several trials.

    Raises:
        Mistake: if there is no checkpoint, or if there are several trials.
    """
    from rllib_biac.files.checkpoint import newest_whole
    from rllib_biac.files.folders import folders_in

    folder = readable(path).absolute()
    if os.path.isfile(folder / _MARK):
        return folder
    # A run that was killed while it saved may have left a part of a checkpoint.
    trials: dict[Path, list[Path]] = {}
    for checkpoint in sorted(at for at, _ in folders_in(folder) if re.fullmatch(r"checkpoint_\d+", at.name)):
        trials.setdefault(checkpoint.parent, []).append(checkpoint)
    latest = {}
    for trial, checkpoints in trials.items():
        whole, wrong = newest_whole(checkpoints)
        if whole is not None:
            latest[trial] = whole
        for text in wrong:
            click.echo(f"{text} {f'Taken instead: {whole}' if whole else ''}".rstrip(), err=True)
    if not latest:
        raise Mistake(f"{path}: no checkpoint here. Expected a folder with {_MARK}, or a trial's folder.")
    if len(latest) > 1:
        choices = "\n".join(f"  {command(str(checkpoint))}" for checkpoint in latest.values())
        raise Mistake(f"{path}: several trials here. Choose one:\n{choices}")
    return next(iter(latest.values()))


def read_starts(file: Path) -> list[Start]:
    """Reads the starts of episodes: a JSON list of objects with `seed`, `options` or both.

    Raises:
        Mistake: if the file does not hold that.
    """
    from rllib_biac.evaluation import Start

    shape = 'write a list such as [{"seed": 1}, {"options": {"main_speed": 35}}]'
    try:
        listed = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise Mistake(f"--starts {file}: cannot be read ({error}); {shape}.") from error
    if not isinstance(listed, list) or not listed:
        raise Mistake(f"--starts {file}: no list of starts; {shape}.")
    starts = []
    for number, one in enumerate(listed, start=1):
        seed, options = (one.get("seed"), one.get("options")) if isinstance(one, dict) else (None, None)
        known = isinstance(one, dict) and set(one) <= {"seed", "options"} and one
        is_seed = seed is None or (type(seed) is int and 0 <= seed < 2**32)
        if not known or not is_seed or not isinstance(options, dict | None):
            raise Mistake(f"--starts {file}: start {number} is {json.dumps(one)}; {shape}.")
        starts.append(Start(seed, options))
    return starts


@dataclass(frozen=True)
class Asked:
    """What to play.

    Attributes:
        episodes: how many.
        seed: of the games.
        starts: of the episodes; empty: the game draws them.
        env_config: replaces settings of the game that the checkpoint was trained in.
        render_to: a .gif or .mp4 to draw the play to.
        best_response: env steps in which each agent learns to deviate; 0: none does.
        on_observations: whether each agent sees only its own observation.
    """

    episodes: int = 10
    seed: int = 0
    starts: Sequence[Start] = ()
    env_config: Mapping[str, Any] = field(default_factory=dict)
    render_to: Path | None = None
    best_response: int = 0
    on_observations: bool = False


def evaluate(checkpoint: Path, asked: Asked) -> tuple[dict[str, Any], Played]:
    """Plays episodes greedily.

    Returns:
        The report, and the play that it is of, which `write_film` draws. The report has mean return per agent, mean
        length, share of each outcome, the 95% interval of each, every episode, notes on what is wrong with the play. If
        the game has tables: the largest regret of the follower and of the leader over all states; the same of the
        leader's whole policy as a commitment; and a comparison with the pure NE. With `best_response`: the regret of
        each agent, estimated by a response that learns for so many env steps.

    Raises:
        Mistake: if the checkpoint cannot be played, or if the game cannot draw and `render_to` is given.
    """
    from rllib_biac.evaluation import diagnosis

    trained, played = _played(checkpoint, asked)
    report = {"checkpoint": str(checkpoint), "seed": asked.seed, **_episodes(played), **_exact(played)}
    if played.learned_regret:
        report["best_response"] = {
            "env_steps": asked.best_response,
            "regret": {agent: asdict(found) for agent, found in played.learned_regret.items()},
        }
    # In another game than it was trained in, play may get less for good reasons.
    same = not asked.env_config and not asked.starts
    peers = len(trained.team.hierarchy.levels) == 1
    report["notes"] = diagnosis.of_play(played, _trained_returns(checkpoint) if same else None, peers=peers)
    return report, played


def _played(checkpoint: Path, asked: Asked) -> tuple[Trained, Played]:
    from rllib_biac.evaluation import play
    from rllib_biac.evaluation.pictures import NoPicture
    from rllib_biac.report import films
    from rllib_biac.rllib.reading import read_trained

    # RLlib's warnings address its callers. A person who plays a checkpoint can do nothing about them.
    logging.getLogger("ray.rllib").setLevel(logging.ERROR)
    ticker = Ticker("learning best responses", "env steps")
    try:
        if asked.render_to is not None and asked.render_to.suffix.lower() == ".mp4":
            films.need_ffmpeg()
        trained = read_trained(checkpoint)
        if asked.env_config:
            trained = replace(trained, env_config={**trained.env_config, **asked.env_config})
        return trained, play(
            trained,
            episodes=asked.episodes,
            seed=asked.seed,
            render=asked.render_to is not None,
            on_observations=asked.on_observations,
            best_response=asked.best_response,
            starts=asked.starts,
            progress=ticker,
        )
    except NoPicture as error:
        raise Mistake(f"--render-to: {error}, or leave --render-to out.") from error
    except ValueError as error:
        raise Mistake(str(error)) from error
    except TypeError as error:
        if not asked.env_config:
            raise
        raise Mistake(f"--env-config {json.dumps(asked.env_config)}: the game refuses it: {error}") from error
    finally:
        ticker.close()


def _episodes(played: Played) -> dict[str, Any]:
    """Returns the report's part on the episodes: means, shares, their 95% intervals, and each episode."""
    from rllib_biac.evaluation.statistics import mean_interval, share_interval

    count = len(played.lengths)
    means = {agent: mean_interval(returns) for agent, returns in played.returns.items()}
    return {
        "episodes": count,
        "episode_len_mean": fmean(played.lengths),
        "cut": played.cut,
        "deployable": played.deployable,
        "agent_episode_returns_mean": {agent: mean for agent, (mean, _, _) in means.items()},
        "agent_episode_returns_interval": {agent: [low, high] for agent, (_, low, high) in means.items()},
        "outcome_share": {name: times / count for name, times in played.outcomes.most_common()},
        "outcome_share_interval": {name: share_interval(n, count) for name, n in played.outcomes.most_common()},
        "each": [
            {
                "returns": {agent: returns[k] for agent, returns in played.returns.items()},
                "length": played.lengths[k],
                "outcome": played.ends[k] or None,
            }
            for k in range(count)
        ],
    }


def _exact(played: Played) -> dict[str, Any]:
    """Returns the report's part on exact answers, as far as the game has tables."""
    report: dict[str, Any] = {}
    if played.regret is not None:
        report["response_regret"] = played.regret.worst_response_regret
        report["leader_regret"] = played.regret.worst_leader_regret
    if (found := played.commitment) is not None:
        report["commitment"] = {
            "secured": found.secured,
            "played": found.played,
            "response_regret": found.response_regret,
            "leader_regret": found.leader_regret,
            "best": None if found.best is None else [found.best.lower, found.best.upper],
        }
    if played.nash is not None:
        agents = list(played.returns)
        report["nash"] = {
            "play": dict(zip(agents, played.nash.play.tolist(), strict=True)),
            "equilibria": [dict(zip(agents, payoffs, strict=True)) for payoffs in played.nash.nash.tolist()],
            **{name: int(getattr(played.nash, name).sum()) for name in ("dominates", "dominated", "equal")},
        }
    return report


def _trained_returns(checkpoint: Path) -> dict[str, float]:
    """Returns agent -> its mean return at the end of training; empty if the trial's reports are not there."""
    from rllib_biac.files.folders import opened

    last: dict[str, Any] = {}
    try:
        with opened(checkpoint.parent / "result.json") as file:
            for line in file:
                last = json.loads(line)
        found = last["env_runners"]["agent_episode_returns_mean"]
        return {str(agent): float(value) for agent, value in found.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}


def export(checkpoint: Path, file: Path) -> None:
    """Writes a checkpoint's networks to a safetensors file. The checkpoint may be one of version 0.1.0.

    Raises:
        Mistake: if the checkpoint cannot be read.
    """
    from rllib_biac.rllib.reading import load_networks, save_team

    logging.getLogger("ray.rllib").setLevel(logging.ERROR)
    try:
        algorithm, team = load_networks(checkpoint)
    except ValueError as error:
        raise Mistake(str(error)) from error
    try:
        save_team(file, team, algorithm)
    except OSError as error:
        raise Mistake(f"{file} cannot be written ({error.strerror or error}). Name another file.") from error


def show(report: dict[str, Any], as_json: bool) -> None:
    """Prints the results of `evaluate` for a person or as JSON."""
    if as_json:
        click.echo(json.dumps(report))
        return
    count = report["episodes"]
    episodes, brackets = ("episodes", "; in brackets 95% intervals") if count > 1 else ("episode", "")
    click.echo(f"{count} {episodes}, seed {report['seed']}, mean length {report['episode_len_mean']:.1f}{brackets}")
    for agent, value in report["agent_episode_returns_mean"].items():
        low, high = report["agent_episode_returns_interval"][agent]
        click.echo(f"  mean return of {agent}: {value:.3f}" + (f" [{low:.3f}, {high:.3f}]" if count > 1 else ""))
    click.echo(f"  {report['deployable']}")
    if report["cut"]:
        click.echo(f"  {report['cut']} of them did not end by themselves and were cut at max_episode_steps")
    for name, share in report["outcome_share"].items():
        low, high = report["outcome_share_interval"][name]
        click.echo(f"  {name}: {share:.1%}" + (f" [{low:.1%}, {high:.1%}]" if count > 1 else ""))
    if "response_regret" in report:
        click.echo(
            f"  response regret: {report['response_regret']:.4g} (the follower's largest, over all leader actions)"
        )
        click.echo(f"  leader regret: {report['leader_regret']:.4g} (the gain of the best commitment)")
    if "commitment" in report:
        _show_commitment(report["commitment"])
    elif "response_regret" not in report and "best_response" not in report:
        click.echo("  regrets: not known in this game; --best-response 20000 estimates them")
    if "nash" in report:
        _show_nash(report["nash"])
    if "best_response" in report:
        _show_learned(report["best_response"])
    show_notes(report["notes"])


def show_notes(notes: Sequence[str]) -> None:
    """Prints what is wrong with play or training, and where to read on."""
    from rllib_biac.evaluation.diagnosis import PAGE

    for note in notes:
        click.echo(f"  note: {note}")
    if notes:
        click.echo(f"  more to try: {PAGE}")


def _show_commitment(found: Mapping[str, Any]) -> None:
    click.echo(
        f"  as a commitment to the leader's whole policy: it secures {found['secured']:.4g} (discounted), and gets "
        f"{found['played']:.4g} of this follower"
    )
    click.echo(f"    response regret: {found['response_regret']:.4g} (of the follower, who knows the whole policy)")
    if found["best"] is not None:
        low, high = (f"{value:.4g}" for value in found["best"])
        best = low if low == high else f"{low} to {high}"
        click.echo(f"    leader regret: {found['leader_regret']:.4g} (the best stationary commitment secures {best})")


def _show_nash(nash: dict[str, Any]) -> None:
    if count := len(nash["equilibria"]):
        click.echo(
            f"  pure Nash equilibria: {count}; this play dominates {nash['dominates']} of them (nobody gets less, "
            f"somebody more), equals {nash['equal']}, is dominated by {nash['dominated']}"
        )
    else:
        click.echo("  pure Nash equilibria: none")


def _show_learned(learned: dict[str, Any]) -> None:
    click.echo(f"  regrets against responses learned in {learned['env_steps']:,} env steps; true ones may be larger:")
    for agent, found in learned["regret"].items():
        played, worst = (f"{found[at]['value']:.4g} ± {found[at]['standard_error']:.2g}" for at in ("played", "worst"))
        text = f"{worst} at worst over what others commit to, {played} as they play" if found["responds"] else played
        click.echo(f"    {agent}, {'response' if found['responds'] else 'leader'} regret: {text}")


def write_film(played: Played, path: Path) -> None:
    """Writes a GIF, or an MP4 if its name says so; beside a GIF an MP4 too where ffmpeg is there.

    Raises:
        click.ClickException: if the film is not whole. The results, which are printed before, are.
    """
    from rllib_biac.report import films

    written = []
    try:
        images, speed = films.captioned(played), played.frames_per_second
        if path.suffix.lower() == ".gif":
            films.write_gif(images, speed, path)
            written.append(path)
        if path.suffix.lower() == ".mp4" or films.has_ffmpeg():
            try:
                films.write_mp4(images, speed, path.with_suffix(".mp4"))
                written.append(path.with_suffix(".mp4"))
            except ValueError as error:
                if not written:
                    raise
                click.echo(str(error), err=True)
    except Exception as error:  # pictures of any size, a full disk: nothing of it takes the results away
        why = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise click.ClickException(f"the results are whole, the film is not: --render-to {path}: {why}") from error
    click.echo(f"drawn to {' and '.join(map(str, written))}", err=True)
    if played.film_fault:
        raise click.ClickException(f"the results are whole, the film is not: {played.film_fault}.")
