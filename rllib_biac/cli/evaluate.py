"""Plays a checkpoint, prints the results and draws the play."""

from __future__ import annotations

import json
import logging
import shlex
import time
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import click

from rllib_biac.experiments.mistakes import Mistake

# Every RLlib checkpoint has this file at its top.
_MARK = "rllib_checkpoint.json"


def find(path: str) -> Path:
    """Returns a checkpoint: the folder itself, or the latest checkpoint of the only trial inside it.

    Raises:
        Mistake: if there is no checkpoint, or if there are several trials.
    """
    from rllib_biac.files.checkpoint import is_whole, newest_whole

    folder = Path(path).expanduser().absolute()
    if not folder.is_dir():
        raise Mistake(f"{path}: no such folder. Every run prints the path of its checkpoint at its end.")
    if (folder / _MARK).is_file():
        return folder
    # A run that was killed while it saved may have left a part of a checkpoint.
    found = {mark.parent for mark in folder.glob(f"**/checkpoint_*/{_MARK}")}
    trials: dict[Path, list[Path]] = {}
    for checkpoint in sorted(path for path in found if is_whole(path, hashes=False)):
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
        choices = "\n".join(f"  rllib evaluate {shlex.quote(str(checkpoint))}" for checkpoint in latest.values())
        raise Mistake(f"{path}: several trials here. Choose one:\n{choices}")
    return next(iter(latest.values()))


def evaluate(
    checkpoint: Path,
    episodes: int,
    seed: int | None,
    render_to: Path | None,
    best_response: int = 0,
    on_observations: bool = False,
) -> dict[str, Any]:
    """Plays episodes greedily. With `on_observations` each agent sees only its own observation.

    Returns:
        Mean return per agent, mean length, share of each outcome, number of episodes. If the game has tables: the
        largest regret of the follower and of the leader over all states, and a comparison with the pure NE. With
        `best_response`: the regret of each agent, estimated by a response that learns for so many env steps.

    Raises:
        Mistake: if the checkpoint cannot be played, or if the game cannot draw and `render_to` is given.
    """
    from rllib_biac.evaluation import play
    from rllib_biac.rllib.reading import read_trained

    # RLlib's warnings address its callers. A person who plays a checkpoint can do nothing about them.
    logging.getLogger("ray.rllib").setLevel(logging.ERROR)
    try:
        played = play(
            read_trained(checkpoint),
            episodes=episodes,
            seed=seed,
            render=render_to is not None,
            on_observations=on_observations,
            best_response=best_response,
            progress=_Progress("learning best responses"),
        )
    except ValueError as error:
        raise Mistake(str(error)) from error
    if render_to is not None:
        _write_gif(played.frames, played.frames_per_second, render_to)
    regrets: dict[str, Any] = {}
    if played.regret is not None:
        regrets["response_regret"] = played.regret.worst_response_regret
        regrets["leader_regret"] = played.regret.worst_leader_regret
    if played.nash is not None:
        agents = list(played.returns)
        regrets["nash"] = {
            "play": dict(zip(agents, played.nash.play.tolist(), strict=True)),
            "equilibria": [dict(zip(agents, payoffs, strict=True)) for payoffs in played.nash.nash.tolist()],
            **{name: int(getattr(played.nash, name).sum()) for name in ("dominates", "dominated", "equal")},
        }
    if played.learned_regret:
        regrets["best_response"] = {
            "env_steps": best_response,
            "regret": {agent: asdict(found) for agent, found in played.learned_regret.items()},
        }
    return {
        "checkpoint": str(checkpoint),
        "episodes": len(played.lengths),
        "episode_len_mean": fmean(played.lengths),
        "agent_episode_returns_mean": {agent: fmean(returns) for agent, returns in played.returns.items()},
        "outcome_share": {name: count / len(played.lengths) for name, count in played.outcomes.most_common()},
        "deployable": played.deployable,
        **regrets,
    }


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
    save_team(file, team, algorithm)
    click.echo(f"weights of {checkpoint} written to {file}")


def show(report: dict[str, Any], as_json: bool) -> None:
    """Prints the results of `evaluate` for a person or as JSON."""
    if as_json:
        click.echo(json.dumps(report))
        return
    click.echo(f"{report['episodes']} episodes, mean length {report['episode_len_mean']:.1f}")
    for agent, value in report["agent_episode_returns_mean"].items():
        click.echo(f"  mean return of {agent}: {value:.3f}")
    click.echo(f"  {report['deployable']}")
    for name, share in report["outcome_share"].items():
        click.echo(f"  {name}: {share:.1%}")
    if "response_regret" in report:
        click.echo(
            f"  response regret: {report['response_regret']:.4g} (the follower's largest, over all leader actions)"
        )
        click.echo(f"  leader regret: {report['leader_regret']:.4g} (the gain of the best commitment)")
    if "nash" in report:
        _show_nash(report["nash"])
    if "best_response" in report:
        _show_learned(report["best_response"])


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


class _Progress:
    """Prints the progress of a task, at most once in `period` seconds."""

    def __init__(self, what: str, period: float = 3.0) -> None:
        self._what = what
        self._period = period
        self._last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if (now := time.monotonic()) - self._last >= self._period:
            self._last = now
            click.echo(f"{self._what}: {done:,} of {total:,} env steps", err=True)


def _write_gif(frames: list[Any], frames_per_second: float, path: Path) -> None:
    from PIL import Image

    if not frames:
        raise Mistake("this game draws nothing: its render() returned no frames. Leave --render-to out.")
    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(path, save_all=True, append_images=images[1:], duration=1000 / frames_per_second, loop=0)
    click.echo(f"drawn to {path}", err=True)
