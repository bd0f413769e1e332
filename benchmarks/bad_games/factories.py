"""Faults of agents, of spaces and of what makes the game."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces

from bad_games.kinds import AGENTS, ALLOWED, ANN, BOB, CAUGHT, HARMLESS, Case, Clean, made


def with_attributes(name: str, right: str, change: Callable[[Clean], Any], **more: Any) -> None:
    """Adds a kind that is a clean game, changed once it is made."""

    def factory(case: Case) -> Callable[[], Clean]:
        def make() -> Clean:
            game = Clean(case)
            change(game)
            return game

        return make

    made(name, right, factory, **more)


def renamed(game: Clean, names: tuple) -> None:
    game.possible_agents = list(names)
    for held in (game.observation_spaces, game.action_spaces):
        held.update({new: held.pop(old) for old, new in zip(AGENTS, names, strict=True)})


def shared(case: Case) -> Callable[[], Clean]:
    one = Clean(case)
    return lambda: one


def set_action_space(space: spaces.Space) -> Callable[[Clean], None]:
    return lambda game: game.action_spaces.update({game.case.agent: space})


def set_observation_space(space: Any) -> Callable[[Clean], None]:
    return lambda game: game.observation_spaces.update({game.case.agent: space})


made("one object for all copies", CAUGHT, shared, names=())
made("factory returns None", CAUGHT, lambda case: lambda: None, names=())
made("factory returns a class", CAUGHT, lambda case: lambda: Clean, names=())
made("factory raises", CAUGHT, lambda case: lambda: {}["rom"], names=())
with_attributes("no agents", CAUGHT, lambda game: setattr(game, "possible_agents", []), names=())
with_attributes("agents None", CAUGHT, lambda game: setattr(game, "possible_agents", None), names=())
with_attributes(
    "an agent twice", CAUGHT, lambda game: setattr(game, "possible_agents", [ANN, ANN, BOB]), names=("agent",)
)
with_attributes("agents in a tuple", HARMLESS, lambda game: setattr(game, "possible_agents", AGENTS))
with_attributes("agents with numbers for names", ALLOWED, lambda game: renamed(game, (0, 1)), names=())
with_attributes(
    "no observation space", CAUGHT, lambda game: game.observation_spaces.pop(game.case.agent), names=("agent",)
)
with_attributes("no action space", CAUGHT, lambda game: game.action_spaces.pop(game.case.agent), names=("agent",))
with_attributes("observation space None", CAUGHT, set_observation_space(None), names=("agent",))
with_attributes("observation space of text", CAUGHT, set_observation_space(spaces.Text(5)), names=("agent",))
with_attributes(
    "observation space of any length",
    CAUGHT,
    set_observation_space(spaces.Sequence(spaces.Discrete(2))),
    names=("agent",),
)
with_attributes("action space None", CAUGHT, set_action_space(None), names=("agent",))  # type: ignore[arg-type]
with_attributes(
    "action space without bounds", CAUGHT, set_action_space(spaces.Box(-np.inf, np.inf, (2,))), names=("agent",)
)
with_attributes("action space of one action", ALLOWED, set_action_space(spaces.Discrete(1)))
with_attributes("actions that start at 5", ALLOWED, set_action_space(spaces.Discrete(3, start=5)), names=("agent",))
with_attributes("actions in float64", ALLOWED, set_action_space(spaces.Box(0.1, 0.3, (2,), np.float64)))
with_attributes("actions in float16", ALLOWED, set_action_space(spaces.Box(0.1, 0.3, (2,), np.float16)))
with_attributes(
    "actions in whole numbers", ALLOWED, set_action_space(spaces.Box(0, 3, (2,), np.int64)), names=("agent",)
)
with_attributes("actions of two axes", ALLOWED, set_action_space(spaces.Box(-1.0, 1.0, (2, 2))), names=("agent",))
with_attributes("actions MultiDiscrete", ALLOWED, set_action_space(spaces.MultiDiscrete([2, 3])), names=("agent",))
with_attributes("actions MultiBinary", ALLOWED, set_action_space(spaces.MultiBinary(2)), names=("agent",))


class NewSpaces(Clean):
    """Makes its spaces anew whenever it is asked."""

    def observation_space(self, agent: Any) -> spaces.Space:
        return copy.deepcopy(super().observation_space(agent))

    def action_space(self, agent: Any) -> spaces.Space:
        return copy.deepcopy(super().action_space(agent))


class FewerActions(Clean):
    """From one step on there is one action less."""

    def action_space(self, agent: Any) -> spaces.Space:
        late = getattr(self, "time", 0) >= self.case.step and self.episode >= self.case.episode
        return spaces.Discrete(2) if late and agent == self.case.agent else super().action_space(agent)


class SpacesAfterReset(Clean):
    """Knows its spaces only after the first reset."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self.later = self.observation_spaces, self.action_spaces
        del self.observation_spaces, self.action_spaces

    def reset(self, seed: int | None = None, options: dict | None = None) -> Any:
        self.observation_spaces, self.action_spaces = self.later
        return super().reset(seed, options)


class Unseeded(Clean):
    """`reset` takes no seed."""

    def reset(self) -> Any:  # type: ignore[override]
        return super().reset()


made("spaces made anew", HARMLESS, lambda case: lambda: NewSpaces(case))
made("fewer actions later", CAUGHT, lambda case: lambda: FewerActions(case), first=1, last=4)
made("spaces after reset", HARMLESS, lambda case: lambda: SpacesAfterReset(case), names=())
made("reset takes no seed", ALLOWED, lambda case: lambda: Unseeded(case), names=("place",))
