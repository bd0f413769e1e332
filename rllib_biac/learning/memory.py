"""How much memory there is, and how much of it replay and networks take: so that too much is refused before it is used.

A replay's columns are allocated at once, but the operating system gives out their pages one by one as rows arrive. A
replay that is too large would be killed hours later.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from rllib_biac.learning.actions import action_size
from rllib_biac.learning.team import Team, TeamSpec

# Adam holds two moments of each parameter, and training one gradient.
_PER_TRAINED_PARAMETER = 3
_ROOT = Path("/")
# Replay may take so much of the memory that is free; the rest is for games, networks and Ray.
_SHARE_OF_MEMORY = 0.9


def available_bytes(root: Path = _ROOT) -> int | None:
    """Returns how many bytes this process can still use: free memory, or less where a container limits it.

    Pages of files that the kernel can drop count as free.

    Args:
        root: where `proc` and `sys` are.

    Returns:
        The bytes; None where the system does not tell.
    """
    known = [_free(root), _left_of_limit(), *_left_in_groups(root)]
    told = [bytes_left for bytes_left in known if bytes_left is not None]
    return max(min(told), 0) if told else None


def _free(root: Path) -> int | None:
    try:
        for line in (root / "proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    try:  # macOS tells what is built in, not what is free
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if root == _ROOT else None
    except (OSError, ValueError):
        return None


def _left_of_limit() -> int | None:
    """Returns what is left of the address space that `ulimit -v` allows this process."""
    if sys.platform == "win32":
        return None
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        taken = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    except (OSError, ValueError):
        return None
    return limit - taken


def _left_in_groups(root: Path) -> Iterator[int | None]:
    """Yields what is left in each control group that this process is in: a group's parents limit it too."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            base, limit, used = root / "sys/fs/cgroup", "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            base, limit, used = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        # Inside a container its own group often is the root, whatever the path says.
        own = base / path.strip("/")
        for group in (own, *own.parents):
            if not group.is_relative_to(base):
                break
            yield _left_in_group(group, limit, used)


def _left_in_group(group: Path, limit: str, used: str) -> int | None:
    try:
        allowed = int((group / limit).read_text(encoding="ascii"))  # `max` where there is no limit
        taken = int((group / used).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return allowed - taken + _droppable(group)


def _droppable(group: Path) -> int:
    try:
        for line in (group / "memory.stat").read_text(encoding="ascii").splitlines():
            if line.startswith(("inactive_file ", "total_inactive_file ")):
                return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return 0


def replay_bytes(spec: TeamSpec, capacity: int) -> int:
    """Returns the bytes of a replay of joint transitions, of the columns that `transitions.join` makes.

    Args:
        spec: of the team that learns from it.
        capacity: rows.
    """
    settings = spec.settings
    row = 2 * _bytes_of(spec.state_space) + 2  # STATE, NEXT_STATE; TERMINATED, TRUNCATED
    row += bool(settings.uses_starts)
    for agent in spec.agents:
        action = spec.action_spaces[agent]
        row += _bytes_of(action) + 4  # REWARDS are float32
        if spec.masked:
            row += 2 * (action_size(action) if isinstance(action, gym.spaces.Discrete) else 1)
        row += spec.look is not None  # ENDED
        if spec.look is not None and spec.look.cuts:
            row += action_size(action) if isinstance(action, gym.spaces.Discrete) else 1  # CUT
        if settings.uses_observations:
            row += 2 * _bytes_of(spec.observation_spaces[agent])
    return row * int(capacity)


def _bytes_of(space: Any) -> int:
    return int(np.prod(space.shape or (), dtype=np.int64)) * np.dtype(space.dtype).itemsize


def networks_bytes(team: Team) -> int:
    """Returns the bytes that a team takes while it is trained: networks, targets, gradients and Adam's moments.

    Args:
        team: its networks and target networks are among its parameters and buffers.
    """
    held = sum(tensor.numel() * tensor.element_size() for tensor in (*team.parameters(), *team.buffers()))
    trained = sum(p.numel() * p.element_size() for p in team.parameters() if p.requires_grad)
    copies = 2 if team.settings.averaging else 1  # who plays, and who learns
    return copies * held + _PER_TRAINED_PARAMETER * trained


@dataclass(frozen=True)
class Memory:
    """What training takes, in bytes.

    Attributes:
        replay: of all rows, when it is full.
        networks: networks, targets, gradients and moments.
        update: of one minibatch in which actions are tried one by one.
        call: of the rows of all minibatches that one call of the learner trains.
        free: what there is; None where the system does not tell.
    """

    replay: int
    networks: int
    update: int
    call: float
    free: int | None

    def check(self, capacity: int) -> None:
        """Refuses what does not fit.

        Args:
            capacity: rows of the replay.

        Raises:
            ValueError: naming what is needed and what is free.
        """
        taken = self.replay + self.networks + self.update + self.call
        if self.free is None or taken <= _SHARE_OF_MEMORY * self.free:
            return
        if self.call > _SHARE_OF_MEMORY * self.free - self.networks - self.update - self.replay > 0:
            raise ValueError(
                f"training_intensity: the rows that one call of the learner trains take {gigabytes(self.call)} at "
                f"once, and {gigabytes(self.free)} of memory are free: write a smaller one, fewer games at once "
                "(num_envs_per_env_runner), or fewer steps of a call (rollout_fragment_length)."
            )
        if self.networks + self.update > _SHARE_OF_MEMORY * self.free >= self.networks:
            raise ValueError(
                f"train_batch_size_per_learner: one update tries all actions of an agent in every row, which takes "
                f"{gigabytes(self.update)} (and networks {gigabytes(self.networks)}), and {gigabytes(self.free)} of "
                "memory are free: write a smaller batch, or a game with fewer actions."
            )
        if self.networks > _SHARE_OF_MEMORY * self.free:
            raise ValueError(
                f"model_config: the networks take {gigabytes(self.networks)} while they are trained, and "
                f"{gigabytes(self.free)} of memory are free: write fewer or smaller layers, or a game with fewer "
                "joint actions."
            )
        fits = int(capacity * max(_SHARE_OF_MEMORY * self.free - self.networks - self.update, 0) / self.replay)
        raise ValueError(
            f"replay_buffer_config: a capacity of {capacity:,} steps takes {gigabytes(self.replay)} (and networks "
            f"{gigabytes(self.networks)}), and {gigabytes(self.free)} of memory are free: write a capacity of at most "
            f"{fits:,}."
        )


def memory_of(spec: TeamSpec, team_class: type[Team], steps_at_once: int) -> Memory:
    """Returns what training a team takes, without making it.

    Args:
        spec: of the team.
        team_class: its class.
        steps_at_once: env steps that are sampled between two calls of the learner.
    """
    with torch.device("meta"):
        team = team_class(spec)
    capacity, rows = spec.settings.replay_buffer_config["capacity"], spec.settings.train_batch_size_per_learner
    return Memory(
        replay_bytes(spec, capacity),
        networks_bytes(team),
        update_bytes(team, rows),
        replay_bytes(spec, 1) * steps_at_once * (spec.settings.training_intensity or rows),
        available_bytes(),
    )


def update_bytes(team: Team, rows: int) -> int:
    """Returns the bytes of one minibatch in which all actions of an agent are tried, about; 0 where none are.

    Args:
        team: on any device.
        rows: of the minibatch.
    """
    if not team.tries:
        return 0
    critic = max(math.prod(team[agent].input_shape("critic")) for agent in team.agents)
    tried = max(team.sizes[agent] for agent in team.agents)
    return 4 * rows * tried * (critic + sum(team.sizes.values()))


def gigabytes(count: float) -> str:
    """Returns a number of bytes as people read it."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
