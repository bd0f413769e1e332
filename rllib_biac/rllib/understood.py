"""What a config is understood to say, before the first step: who plays, who leads, what it takes and how fast it is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from rllib_biac.envs.contract import Look
from rllib_biac.learning.actions import action_size
from rllib_biac.learning.games import make_games
from rllib_biac.learning.memory import Memory, memory_of
from rllib_biac.learning.replay import JointReplayBuffer
from rllib_biac.learning.sampler import Sampler
from rllib_biac.learning.team import Team, TeamSpec
from rllib_biac.learning.transitions import STATE

_STEPS_TRIED, _UPDATES_TRIED = 200, 5


@dataclass(frozen=True)
class Understood:
    """What a config is understood to say.

    Attributes:
        spec: of the team.
        team: its class.
        look: what a look at the game showed; None for a game of this package.
        numbers: agent -> how many numbers its networks hold.
        joint_actions: how many there are; None where an action is continuous.
        memory: what training takes.
        steps_per_second: (playing alone, playing and learning), on this machine, by one process.
        spreads: the smallest and the largest standard deviation of a number of the state, in those steps. Numbers that
            never differ, or are 0 or 1, do not count; None where no other is left.
    """

    spec: TeamSpec
    team: type[Team]
    look: Look | None
    numbers: dict[str, int]
    joint_actions: int | None
    memory: Memory
    steps_per_second: tuple[float, float]
    spreads: tuple[float, float] | None


def understand(config: Any) -> Understood:
    """Validates a config, and plays and learns a few steps to see how fast it is.

    Args:
        config: a `JointConfig`; it is not changed.

    Raises:
        ValueError, GameError: as `JointConfig.validate`.
    """
    config = config.copy(copy_frozen=False)
    config.validate()
    games = make_games(
        config.game(), config.num_envs_per_env_runner, np.random.default_rng(0), config.env_config, config.looked
    )
    threads = torch.get_num_threads()
    try:
        settings = config.settings()
        sampler = Sampler(games, settings, torch.Generator().manual_seed(0), 100)
        spec = sampler.state.team_spec(config.checked_hierarchy(), settings)
        team = sampler.team = config.algorithm.build_team(spec, seed=0)
        torch.set_num_threads(1)  # as in a trial's process
        speed, states = _speed(config, sampler, team)
    finally:
        torch.set_num_threads(threads)
        games.close()
    discrete = all(isinstance(space, gym.spaces.Discrete) for space in spec.action_spaces.values())
    sizes = [action_size(space) for space in spec.action_spaces.values()]
    return Understood(
        spec=spec,
        team=type(team),
        look=config.looked,
        numbers={
            name: sum(p.numel() for p in member.parameters() if p.requires_grad)
            for name, member in team.members().items()
        },
        joint_actions=int(np.prod(sizes, dtype=object)) if discrete else None,
        memory=memory_of(spec, type(team), config.steps_at_once()),
        steps_per_second=speed,
        spreads=spreads_of(states),
    )


def spreads_of(states: np.ndarray) -> tuple[float, float] | None:
    """Returns the smallest and the largest standard deviation of a number of (rows, *state shape).

    Numbers that never differ, or are 0 or 1, do not count; None where no other is left.
    """
    numbers = states.reshape(len(states), -1).astype(np.float64)
    found = numbers.std(0)[((numbers != 0.0) & (numbers != 1.0)).any(0)]
    found = found[found > 0.0]
    return (float(found.min()), float(found.max())) if len(found) else None


def _speed(config: Any, sampler: Sampler, team: Team) -> tuple[tuple[float, float], np.ndarray]:
    """Returns env steps per second: playing alone, and with the updates that they call for; and the states met."""
    size = config.train_batch_size_per_learner
    sampler.sample(sampler.num_games)  # the first call is slower than all others
    begin = time.perf_counter()
    rows = sampler.sample(_STEPS_TRIED)
    step = (time.perf_counter() - begin) / len(rows)
    trainer = config.algorithm.build_trainer(team, seed=0)
    replay = JointReplayBuffer(len(rows), 0)
    own_columns = config.algorithm.own_columns
    replay.add(own_columns(team.spec, 0)(rows) if own_columns else rows)
    batch = replay.sample(size).columns
    trainer.train(batch, minibatch_size=size, env_steps=0, report=False)
    many = replay.sample(size * _UPDATES_TRIED).columns
    begin = time.perf_counter()
    trainer.train(many, minibatch_size=size, env_steps=0, report=False)
    update = (time.perf_counter() - begin) / _UPDATES_TRIED
    updates_per_step = (config.training_intensity or size) / size
    return (1.0 / step, 1.0 / (step + updates_per_step * update)), rows.columns[STATE]
