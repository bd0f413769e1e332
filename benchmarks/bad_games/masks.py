"""Faults of masks and of infos, in which they may lie."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces

from bad_games.kinds import ALLOWED, CAUGHT, HARMLESS, INFO, NOT_RLLIB, OBS, Case, Clean, Faulty, Parts, changes, made


def masks(name: str, right: str, value: Callable[[np.ndarray], Any], at: str = "now", **more: Any) -> None:
    """Adds a kind in which an agent's mask is wrong, once in infos and once beside the observation."""
    for masked in ("info", "dict"):

        def change(game: Faulty, parts: Parts, masked: str = masked) -> None:
            place = parts[INFO if masked == "info" else OBS][game.case.agent]
            place["action_mask"] = value(place["action_mask"])

        changes(f"{name} ({masked})", right, change, at, masked, **more)


masks("mask of another length", CAUGHT, lambda m: np.append(m, 1), last=5)
masks("mask of two axes", CAUGHT, lambda m: m[None], last=5)
masks("mask of 0 and -inf", CAUGHT, lambda m: np.where(m, 0.0, -np.inf), "always", last=5)
masks("mask of 0 and 2", CAUGHT, lambda m: m * 2, last=5)
masks("mask of NaN", CAUGHT, lambda m: np.where(m, 1.0, np.nan), last=5)
masks("mask of text", CAUGHT, lambda m: "101", last=5)
masks("mask of bools", HARMLESS, lambda m: m.astype(bool), "always")
masks("mask of floats", HARMLESS, lambda m: m.astype(np.float32), "always")
masks("mask a list", HARMLESS, lambda m: m.tolist(), "always")


class Masked(Clean):
    """Masks as its function says: `rule(game, agent, mask)` returns a mask, or None for none at this step."""

    def __init__(self, case: Case, masked: str, rule: Callable[[Masked, Any, np.ndarray], np.ndarray | None]) -> None:
        super().__init__(case, masked)
        self.rule = rule

    def observe(self) -> tuple[dict, dict]:
        observations, infos = super().observe()
        for agent, mask in list(self.masks.items()):
            given = self.rule(self, agent, mask)
            place = infos[agent] if self.masked == "info" else observations[agent]
            if given is None:
                del place["action_mask"], self.masks[agent]
            else:
                place["action_mask"] = self.masks[agent] = given
        return observations, infos


def masked_by(masked: str, rule: Callable[[Masked, Any, np.ndarray], np.ndarray | None]):
    """Returns what makes a game with these masks."""
    return lambda case: lambda: Masked(case, masked, rule)


ALL = np.ones(3, np.int8)
made(
    "first mask late",
    HARMLESS,
    masked_by("info", lambda g, a, m: m if g.time >= g.case.step else None),
    first=1,
    last=5,
    twin=masked_by("info", lambda g, a, m: m if g.time >= g.case.step else ALL),
)
made(
    "mask only at times",
    HARMLESS,
    masked_by("info", lambda g, a, m: m if g.time % 2 else None),
    twin=masked_by("info", lambda g, a, m: m if g.time % 2 else ALL),
)
made(
    "mask of one agent only",
    HARMLESS,
    masked_by("info", lambda g, a, m: m if a == g.case.agent else None),
    twin=masked_by("info", lambda g, a, m: m if a == g.case.agent else ALL),
)
for where in ("info", "dict"):
    made(
        f"nothing allowed ({where})",
        ALLOWED,
        masked_by(where, lambda g, a, m: m * 0 if a == g.case.agent and g.now else m),
        last=5,
    )


class MaskBesideGoal(Masked):
    """A Dict of observation, mask, and one entry more."""

    def __init__(self, case: Case) -> None:
        super().__init__(case, "dict", lambda g, a, m: m)
        for agent, space in self.observation_spaces.items():
            self.observation_spaces[agent] = spaces.Dict({**space, "goal": spaces.Discrete(3)})  # type: ignore[dict-item]

    def observe(self) -> tuple[dict, dict]:
        observations, infos = super().observe()
        for seen in observations.values():
            seen["goal"] = self.number % 3
        return observations, infos


made("mask beside another entry", ALLOWED, lambda case: lambda: MaskBesideGoal(case))

# Infos.

# Where nobody reads them, whatever they forbid.


def elsewhere(name: str, infos: Callable[[dict[Any, np.ndarray]], dict], runners: Any = NOT_RLLIB) -> None:
    """Adds a kind in which the masks of all agents are said, but not each in its agent's own info."""

    def change(game: Faulty, parts: Parts) -> None:
        parts[INFO] = infos({agent: game.permits(agent) for agent in game.possible_agents})

    changes(f"masks {name}", CAUGHT, change, "always", names=("place",), runners=runners)


elsewhere("beside the infos", lambda masks: {"action_mask": masks}, ("joint", "stock"))  # gymnasium has them there
elsewhere("for all under another name", lambda masks: {"avail_actions": list(masks.values())})
elsewhere("under __common__", lambda masks: {"__common__": {"action_mask": masks}})
elsewhere("in each info, of all", lambda masks: {a: {"legal_actions": masks} for a in masks})
elsewhere("deeper in each info", lambda masks: {a: {"game": {"action_mask": own}} for a, own in masks.items()})


changes("infos None", HARMLESS, lambda game, parts: parts.update({INFO: None}))
changes("infos empty", HARMLESS, lambda game, parts: parts.update({INFO: {}}))
changes("info None", HARMLESS, lambda game, parts: parts[INFO].update({game.case.agent: None}))
