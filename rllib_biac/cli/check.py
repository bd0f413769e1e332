"""`rllib check`: what an experiment file is understood to say, without training."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from rllib_biac.cli.guard import guarded
from rllib_biac.envs.contract import Look
from rllib_biac.envs.space_words import in_words
from rllib_biac.experiments.resolve import Experiment
from rllib_biac.learning.memory import gigabytes
from rllib_biac.rllib.understood import Understood, understand


def check(experiments: list[Experiment]) -> None:
    """Prints what each experiment is understood to say, by its first trial."""
    for experiment in experiments:
        config = experiment.trials[0].config
        with guarded("the game"):
            found = understand(config)
        click.echo(f"{experiment.name}: {len(experiment.trials)} trial(s)")
        for name, text in lines(config, found):
            click.echo(f"  {name + ':':<18}{text}")


def lines(config: Any, found: Understood) -> list[tuple[str, str]]:
    """Returns what there is to say, (name, text) line by line."""
    spec, look = found.spec, found.look
    said = [("algorithm", f"{config.algorithm.name} ({found.team.__name__})"), ("game", _game(config.env))]
    for agent in spec.agents:
        seen, done = spec.observation_spaces[agent], spec.action_spaces[agent]
        said.append(("agent", f"{agent}, sees {in_words(seen)}, does {in_words(done)}"))
    levels = [" and ".join(level) for level in spec.hierarchy.levels]
    said.append(("who leads", ", who leads ".join(levels) if len(levels) > 1 else f"nobody: {levels[0]} are peers"))
    for agent, partner in (spec.settings.partners or {}).items():
        said.append(("partner", f"{agent}, played by {partner}"))
    said.append(("state", f"{_shape(spec.state_space)} numbers, {_STATES[config.state]}"))
    if config.history > 1:
        said.append(("history", f"the last {config.history} observations and states side by side, counted above"))
    if told := _scales(config, found):
        said.append(("scales", told))
    if told := spec.settings.without_end(look):
        said.append(("values", told))
    forbidden = spec.masked if look is None else look.masks
    allowed = "some actions are forbidden at times" if forbidden else "all actions always are allowed"
    if look is not None and look.unread:
        allowed += f"; not read: the game's own {', '.join(look.unread)} (masks come in infos[agent]['action_mask'])"
    said.append(("masks", allowed))
    if look is not None:
        said.append(("come and go", _absences(look)))
        for agent, (low, high) in (look.paid or {}).items():
            said.append(("rewards", f"{agent}: {f'{low:g} to {high:g}' if low < high else f'always {low:g}'} a step"))
        said.append(
            (
                "looked at",
                f"{look.steps} random steps, {look.episodes} episodes, {1e3 * look.seconds_per_step:.3g} ms a step",
            )
        )
    joint = "some are continuous" if found.joint_actions is None else f"{found.joint_actions:,}"
    said.append(("joint actions", joint))
    for name, count in found.numbers.items():
        said.append(("networks", f"{name}: {count:,} numbers"))
    memory = found.memory
    free = "" if memory.free is None else f"; {gigabytes(memory.free)} are free"
    capacity = spec.settings.replay_buffer_config["capacity"]
    taken = f"replay of {capacity:,} steps {gigabytes(memory.replay)}, networks {gigabytes(memory.networks)}"
    said.append(("memory", taken + free))
    play, learn = found.steps_per_second
    said.append(("speed", f"about {play:,.0f} steps per second of play, {learn:,.0f} with learning, in one process"))
    return said


# Of numbers that vary by less than a third, or by more than three times, of 1 networks see too little, or too much.
_LOW, _HIGH = 1 / 3, 3.0


def _scales(config: Any, found: Understood) -> str:
    if found.spreads is None or config.normalize_observations or len(found.spec.state_space.shape or ()) > 1:
        return ""
    low, high = found.spreads
    if low >= _LOW and high <= _HIGH:
        return ""
    try:
        dataclasses.replace(found.spec.settings, normalize_observations=True).check(found.spec.hierarchy)
    except ValueError:  # tables hold states as they are
        return ""
    return (
        f"numbers of the state vary by {low:.2g} to {high:.2g} in random play (standard deviations); with "
        "normalize_observations: true all of them vary by 1, which often learns faster"
    )


_STATES = {"env": "the game's own state()", "observations": "all agents' observations side by side"}


def _game(env: Any) -> str:
    return env if isinstance(env, str) else getattr(env, "__qualname__", str(env))


def _shape(space: Any) -> str:
    return " × ".join(map(str, space.shape))


def _absences(look: Look) -> str:
    if look.cuts:
        return "agents are absent at times, and some are truncated while others go on"
    if look.absences:
        return "agents are absent at times (they leave, come late, or act in turns)"
    return "all agents act throughout"
