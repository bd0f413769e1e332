"""What a game was really asked to do, noted by the game itself: a second opinion on the library's reading of it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pettingzoo import AECEnv, ParallelEnv


@dataclass
class Audit:
    """What all copies of a game saw.

    Attributes:
        steps: how often any copy was stepped.
        paid: the sum of all rewards of all agents, where the game gives one per agent.
        paid_all: whether that is so.
        broken: actions outside of their spaces or masks, and steps after the end; the first few.
    """

    steps: int = 0
    paid: float = 0.0
    paid_all: bool = False
    broken: list[str] = field(default_factory=list)

    def complain(self, text: str) -> None:
        if len(self.broken) < 5:
            self.broken.append(text)

    def check(self, agent: Any, space: Any, action: Any, mask: Any) -> None:
        """Looks at one action of one agent."""
        if not space.contains(action):
            self.complain(f"{agent} was made to play {action!r} of {type(action).__name__}, outside of {space}")
        elif mask is not None and np.any(mask) and not mask[action]:
            self.complain(f"{agent} was made to play {action!r}, which its mask forbids")


def watch(audit: Audit) -> None:
    """Has every game that is made from a name report to `audit`, from now on in this process."""
    from rllib_biac.envs import registry

    real = registry.factory_of

    def factory_of(game: str) -> Callable[..., Any]:
        factory = real(game)

        @functools.wraps(factory)
        def made(**kwargs: Any) -> Any:
            return _watched(factory(**kwargs), audit)

        return made

    registry.factory_of = factory_of  # type: ignore[assignment]


def _watched(game: Any, audit: Audit) -> Any:
    """Gives one game a class that reports. A class, no attribute: copies of the game report for themselves."""
    kind = type(game)
    if getattr(kind, "watched", False):
        return game
    step = _turn if isinstance(game, AECEnv) else _step
    try:
        own = {"step": step(kind, audit), "watched": True, "__module__": kind.__module__, "__doc__": kind.__doc__}
        game.__class__ = type(kind.__name__, (kind,), own)
    except TypeError:
        return game  # a class of C's making, or with slots
    if not isinstance(game, AECEnv):
        type(game).reset = _reset(kind)
    return game


def _masks(observations: Any, infos: Any) -> dict[Any, Any]:
    found = {}
    for what in (observations, infos):
        for agent, own in what.items() if isinstance(what, dict) else ():
            if isinstance(own, dict) and "action_mask" in own:
                found[agent] = own["action_mask"]
    return found


def _reset(kind: type) -> Callable[..., Any]:
    def reset(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = kind.reset(self, *args, **kwargs)
        if isinstance(result, tuple) and len(result) == 2:
            self.__dict__["masks_now"] = _masks(*result)
        return result

    return reset


def _step(kind: type, audit: Audit) -> Callable[..., Any]:
    def step(self: Any, actions: Any) -> Any:
        audit.steps += 1
        masks = self.__dict__.get("masks_now", {})
        if isinstance(actions, dict) and callable(getattr(self, "action_space", None)):
            if isinstance(self, ParallelEnv) and not self.agents:
                audit.complain("the game was stepped after its end")
            for agent, action in actions.items():
                audit.check(agent, self.action_space(agent), action, masks.get(agent))
        elif isinstance(actions, dict) and hasattr(self, "get_action_space"):
            for agent, action in actions.items():
                audit.check(agent, self.get_action_space(agent), action, masks.get(agent))
        else:
            audit.check("the game", self.action_space, actions, None)
        result = kind.step(self, actions)
        if isinstance(result, tuple) and len(result) == 5:
            self.__dict__["masks_now"] = _masks(result[0], result[4])
            if isinstance(result[1], dict):
                audit.paid_all = True
                audit.paid += float(np.sum([np.sum(reward) for reward in result[1].values()]))
        return result

    return step


def _turn(kind: type, audit: Audit) -> Callable[..., Any]:
    def step(self: Any, action: Any) -> Any:
        audit.steps += 1
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            if action is not None:
                audit.complain(f"{agent} was made to play {action!r} after its end")
        else:
            observation, info = self.observe(agent), self.infos.get(agent, {})
            mask = _masks({agent: observation}, {agent: info}).get(agent)
            audit.check(agent, self.action_space(agent), action, mask)
        return kind.step(self, action)

    return step
