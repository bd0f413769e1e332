"""What a game declares, and what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import gymnasium as gym

from rllib_biac.envs.actions import ActionReader
from rllib_biac.envs.errors import GameError
from rllib_biac.envs.reading import SpaceReader

STATE = "the state"  # among the agents, where what is seen is compared


@dataclass(frozen=True)
class Look:
    """What is known of a game.

    Attributes:
        absences: whether agents are absent at times: they leave early, come late, or act in turns.
        masks: whether actions are forbidden at times.
        cuts: whether agents are truncated while others go on.
        idle: whether there are steps at which nobody acts.
        unmasked: whether agents that act with an action mask act without one at other times.
        steps: how long it was looked at.
        episodes: that came to their end meanwhile.
        terminated: how many of these were, and not only truncated.
        seconds_per_step: how long one took.
        state_fault: what is wrong with its `state()`; empty where nothing is, or there is none.
        holds: agent -> whose observations are found in its own, of agents and `STATE`; None where nobody looked.
        paid: agent -> the smallest and the largest reward it earned in a step; None where nobody looked.
        unread: methods of a game without masks that seem to say what is allowed, by their names.
        actions: agent -> the action space that the game declares, of which a team may see another; None where nobody
            asked.
    """

    absences: bool = False
    masks: bool = False
    cuts: bool = False
    idle: bool = False
    unmasked: bool = False
    steps: int = 0
    episodes: int = 0
    terminated: int = 0
    seconds_per_step: float = 0.0
    state_fault: str = ""
    holds: Mapping[str, frozenset[str]] | None = None
    paid: Mapping[str, tuple[float, float]] | None = None
    unread: tuple[str, ...] = ()
    actions: Mapping[str, gym.Space] | None = None


@dataclass
class Contract:
    """What a game declares, and what is known of it.

    Attributes:
        agents: all of them, in the game's own order.
        spaces: agent -> (observation space, action space), copies of what the game declared at first.
        readers: of their observations.
        masked: agents whose observation holds an action mask.
        actions: what each agent's actions are to a team, and to the game.
        look: what is known of absences and masks.
        looking: whether that is still to be found out: anything goes, and is noted in `was_absent`, and so on.
        trusted: whether values are known to fit.
        left_open: what is wrong unless the look finds this elsewhere (`absences`, `idle`, `unmasked`); or `said`,
            unless it finds idle steps or absences are said to be.
        paid: agent -> its least and its largest reward, in the game's own numbers, while `looking`.
    """

    agents: list[str]
    spaces: dict[str, tuple[gym.Space, gym.Space]]
    readers: dict[str, SpaceReader]
    masked: set[str]
    actions: dict[str, ActionReader]
    look: Look
    looking: bool = False
    trusted: bool = False
    was_absent: bool = False
    was_masked: bool = False
    was_cut: bool = False
    was_idle: bool = False
    was_unmasked: bool = False
    left_open: dict[str, GameError] = field(default_factory=dict)
    paid: dict[str, tuple[float, float]] = field(default_factory=dict)
