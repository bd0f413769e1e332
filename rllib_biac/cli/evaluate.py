"""Plays a checkpoint, prints how it went, draws it."""

from __future__ import annotations

import json
import logging
import shlex
from pathlib import Path
from statistics import fmean
from typing import Any

import click

from rllib_biac.cli.mistakes import Mistake

# Every RLlib checkpoint has this file at its root.
_MARK = "rllib_checkpoint.json"


def find(path: str) -> Path:
    """Returns a checkpoint: the folder itself, or the latest one of the single trial below it.

    Raises:
        Mistake: if there is no checkpoint, or several trials to choose from.
    """
    folder = Path(path).expanduser().absolute()
    if not folder.is_dir():
        raise Mistake(f"{path}: no such folder. A run prints the path of its checkpoint when it ends.")
    if (folder / _MARK).is_file():
        return folder
    found = sorted({mark.parent for mark in folder.glob(f"**/checkpoint_*/{_MARK}")})
    latest = {checkpoint.parent: checkpoint for checkpoint in found}
    if not latest:
        raise Mistake(f"{path}: no checkpoint here. Expected a folder with {_MARK}, or a trial's folder.")
    if len(latest) > 1:
        choices = "\n".join(f"  rllib evaluate {shlex.quote(str(checkpoint))}" for checkpoint in latest.values())
        raise Mistake(f"{path}: holds several trials. Choose one:\n{choices}")
    return next(iter(latest.values()))


def evaluate(checkpoint: Path, episodes: int, seed: int | None, render_to: Path | None) -> dict[str, Any]:
    """Plays episodes greedily.

    Returns:
        Mean return per agent, mean length, share of each outcome, number of episodes; where the game has tables, the
        largest regrets of follower and leader over all states.

    Raises:
        Mistake: if the checkpoint cannot be played, or the game draws nothing and should.
    """
    from rllib_biac.core.play import play

    # What RLlib would like its own callers to change is nothing a person who plays a checkpoint can act on.
    logging.getLogger("ray.rllib").setLevel(logging.ERROR)
    try:
        played = play(str(checkpoint), episodes=episodes, seed=seed, render=render_to is not None)
    except ValueError as error:
        raise Mistake(str(error)) from error
    if render_to is not None:
        _write_gif(played.frames, played.frames_per_second, render_to)
    regrets = {}
    if played.regret is not None:
        regrets["response_regret"] = played.regret.worst_response_regret
        regrets["leader_regret"] = float(played.regret.leader_regret.max())
    return {
        "checkpoint": str(checkpoint),
        "episodes": len(played.lengths),
        "episode_len_mean": fmean(played.lengths),
        "agent_episode_returns_mean": {agent: fmean(returns) for agent, returns in played.returns.items()},
        "outcome_share": {name: count / len(played.lengths) for name, count in played.outcomes.most_common()},
        **regrets,
    }


def show(report: dict[str, Any], as_json: bool) -> None:
    """Prints what `evaluate` returned, for a person or for a program."""
    if as_json:
        click.echo(json.dumps(report))
        return
    click.echo(f"{report['episodes']} episodes, mean length {report['episode_len_mean']:.1f}")
    for agent, value in report["agent_episode_returns_mean"].items():
        click.echo(f"  mean return of {agent}: {value:.3f}")
    for name, share in report["outcome_share"].items():
        click.echo(f"  {name}: {share:.1%}")
    if "response_regret" in report:
        click.echo(
            f"  response regret: {report['response_regret']:.4g} (the follower's, at worst, over all leader actions)"
        )
        click.echo(f"  leader regret: {report['leader_regret']:.4g} (what the best commitment would gain)")


def _write_gif(frames: list[Any], frames_per_second: float, path: Path) -> None:
    from PIL import Image

    if not frames:
        raise Mistake("this game draws nothing (its render() returned no frames), so there is no GIF to write.")
    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(path, save_all=True, append_images=images[1:], duration=1000 / frames_per_second, loop=0)
    click.echo(f"drawn to {path}", err=True)
