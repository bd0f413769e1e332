"""Faults of what agents see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from bad_games.kinds import (
    CAUGHT,
    EVERYWHERE,
    FLAT,
    FLOATS,
    HARMLESS,
    OBS,
    SPACES,
    WHOLE,
    Clean,
    Faulty,
    Parts,
    changes,
    made,
    without,
)


def sees(name: str, right: str, value: Callable[[Any, spaces.Space], Any], **more: Any) -> None:
    """Adds a kind in which an agent's observation is wrong: `value(observation, space)`."""

    def change(game: Faulty, parts: Parts) -> None:
        agent = game.case.agent
        parts[OBS][agent] = value(parts[OBS][agent], SPACES[game.case.space])

    changes(name, right, change, runners=EVERYWHERE, **more)


def first_part(observation: Any, change: Callable[[Any], Any]) -> Any:
    """Changes the vector in an observation, whatever it lies in."""
    if isinstance(observation, dict):
        return observation | {"x": change(observation["x"])}
    if isinstance(observation, tuple):
        return (change(observation[0]), *observation[1:])
    return change(observation)


def with_entry(value: Any) -> Callable[[Any, spaces.Space], Any]:
    """Puts a value into the first entry of an observation, in whatever dtype holds it."""

    def put(observation: Any, space: spaces.Space) -> Any:
        def change(part: Any) -> Any:
            if np.ndim(part) == 0:
                return value
            kind = np.result_type(np.asarray(part).dtype, np.asarray(value).dtype)
            changed = np.asarray(part).astype(kind)
            changed[0] = value
            return changed

        return first_part(observation, change)

    return put


sees("NaN", CAUGHT, with_entry(np.nan), spaces=(*FLOATS, "Dict", "Tuple"))
sees("infinity", CAUGHT, with_entry(-np.inf), spaces=(*FLOATS, "Dict", "Tuple"))
sees("NaN in whole numbers", CAUGHT, with_entry(np.nan), spaces=WHOLE)
sees("above its bounds", CAUGHT, with_entry(201), spaces=tuple(SPACES))
sees("far above its bounds", CAUGHT, with_entry(300))
sees("below its bounds", CAUGHT, with_entry(-3))
sees("half a number", CAUGHT, with_entry(0.5), spaces=WHOLE)
sees("text", CAUGHT, lambda o, s: "far")
sees("text of a number", CAUGHT, lambda o, s: first_part(o, lambda x: np.asarray(x).astype(str)))
sees("complex numbers", CAUGHT, lambda o, s: first_part(o, lambda x: np.asarray(x) + 1j))
sees("no observation but None", CAUGHT, lambda o, s: None)
sees("an object array", CAUGHT, lambda o, s: first_part(o, lambda x: np.array([None, {}, 3], object)))
sees(
    "one entry too many",
    CAUGHT,
    lambda o, s: first_part(o, lambda x: np.append(x, x)),
    spaces=(*FLOATS, "uint8", "Dict"),
)
sees(
    "no entries", CAUGHT, lambda o, s: first_part(o, lambda x: np.asarray(x)[..., :0]), spaces=(*FLOATS, "MultiBinary")
)
sees("one axis too many", CAUGHT, lambda o, s: first_part(o, lambda x: np.asarray(x)[None]), spaces=(*FLOATS, "uint8"))
sees(
    "one number for a vector",
    CAUGHT,
    lambda o, s: np.float32(1),
    spaces=(*FLOATS, "uint8", "MultiBinary", "MultiDiscrete"),
)
sees("ragged lists", CAUGHT, lambda o, s: [[1, 2], [0]], spaces=(*FLOATS, "uint8", "MultiDiscrete"))
sees("a Dict for another space", CAUGHT, lambda o, s: {"observation": o}, spaces=FLAT)
sees("a key is missing", CAUGHT, lambda o, s: {"x": o["x"]}, spaces=("Dict",))
sees("a key too many", HARMLESS, lambda o, s: o | {"y": np.zeros(2, np.float32)}, spaces=("Dict",))
sees("a part is missing", CAUGHT, lambda o, s: o[:1], spaces=("Tuple",))
sees("another dtype of the same numbers", HARMLESS, lambda o, s: np.asarray(o, np.float64), spaces=("float32",))
sees("whole numbers in a wider dtype", HARMLESS, lambda o, s: np.asarray(o, np.int64), spaces=WHOLE)
sees("a list for an array", HARMLESS, lambda o, s: np.asarray(o).tolist(), spaces=FLAT)
sees("a tensor for an array", HARMLESS, lambda o, s: torch.as_tensor(np.asarray(o)), spaces=FLAT)
sees(
    "backwards strides",
    HARMLESS,
    lambda o, s: first_part(o, lambda x: np.asarray(x)[..., ::-1].copy()[..., ::-1]),
    spaces=(*FLOATS, "uint8"),
)
sees(
    "big-endian numbers",
    HARMLESS,
    lambda o, s: first_part(o, lambda x: np.asarray(x).astype(x.dtype.newbyteorder(">"))),
    spaces=(*FLOATS, "Dict", "Tuple"),
)


class OneBuffer(Clean):
    """Returns the same array every time and writes into it: copies of what was seen must be taken."""

    def seen(self, agent: Any) -> Any:
        fresh = super().seen(agent)
        kept = self.__dict__.setdefault("kept", {}).setdefault(agent, np.empty_like(fresh))
        kept[...] = fresh
        return kept


made("one buffer for all steps", HARMLESS, lambda case: lambda: OneBuffer(case), spaces=(*FLOATS, "uint8"))
changes("agent missing in observations", CAUGHT, without(OBS), last=5)
changes(
    "observation under another name",
    CAUGHT,
    lambda game, parts: parts[OBS].update(eve=parts[OBS].pop(game.case.agent)),
    last=5,
)
changes("observations of a stranger", HARMLESS, lambda game, parts: parts[OBS].update(eve=np.zeros(3, np.float32)))
changes(
    "another order of agents", HARMLESS, lambda game, parts: parts.update({OBS: dict(reversed(parts[OBS].items()))})
)
changes("observations None", CAUGHT, lambda game, parts: parts.update({OBS: None}), names=("place",), last=5)
changes(
    "observations a list", CAUGHT, lambda game, parts: parts.update({OBS: list(parts[OBS].values())}), names=("place",)
)
