"""Games of other make as PettingZoo `ParallelEnv`s: turns, gymnasium, RLlib, multi-agent-rlenv.

Who is absent at a step: an agent without an entry in the observations; where an adapted game has an attribute `acting`
(a set of agents), all agents that are not in it, although they have observations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
from pettingzoo import AECEnv, ParallelEnv

from rllib_biac.envs.adapters.common import (
    PETTINGZOO_HINT,
    Adapter,
    name_of,
    pettingzoo_spaces,
    read_spaces,
)
from rllib_biac.envs.adapters.gymnasium_agents import GymnasiumAgentsEnv
from rllib_biac.envs.adapters.highway import HighwayEnv
from rllib_biac.envs.adapters.marlenv_env import MARLEnvAdapter
from rllib_biac.envs.adapters.renamed import RenamedEnv
from rllib_biac.envs.adapters.rllib_env import RLlibEnv
from rllib_biac.envs.adapters.turns import CONVERTED, TurnsEnv, from_turns

__all__ = [
    "Adapter",
    "GymnasiumAgentsEnv",
    "HighwayEnv",
    "MARLEnvAdapter",
    "RLlibEnv",
    "RenamedEnv",
    "TurnsEnv",
    "adapt",
]


def adapt(env: Any) -> ParallelEnv:
    """Returns a game as a PettingZoo `ParallelEnv` whose agents are named by text and whose spaces are known.

    Args:
        env: a `ParallelEnv` (returned as it is, if nothing is to do), an `AECEnv`, a `gymnasium.Env` with a Tuple or
            Dict of spaces, an RLlib `MultiAgentEnv`, or a `MARLEnv`; or what offers the same methods without being of
            that class.

    Raises:
        ValueError: if it is none of these, or does not say who plays and what they see and do.
    """
    if isinstance(env, type):
        raise ValueError(f"{env.__module__}.{env.__qualname__} is a class and no game; hand over what it makes.")
    _check_answers(env)
    if _offers(env, "build") and not _offers(env, "reset"):  # a builder, such as lle.level(1)
        env = env.build()
    if type(env).__module__ == "ray.rllib.env.wrappers.pettingzoo_env":  # what is inside tells more
        env = env.par_env if hasattr(env, "par_env") else env.env
    parallel = _as_parallel(env)
    if isinstance(parallel, Adapter):
        spaces, late = pettingzoo_spaces(parallel), False
    else:
        spaces, late = read_spaces(parallel, pettingzoo_spaces, PETTINGZOO_HINT)
    if late or not all(type(agent) is str for agent in spaces):
        return RenamedEnv(parallel, spaces)
    return parallel


def _check_answers(env: Any) -> None:
    """Refuses objects that cannot be asked what they have: `getattr`, `copy` and `pickle` would fail."""
    try:
        getattr(env, "no_game_has_this", None)
    except Exception as error:
        raise ValueError(
            f"{type(env).__module__}.{type(env).__qualname__} raises {error!r} when it is asked for an attribute that "
            "it has not; let its __getattr__ raise AttributeError."
        ) from error


def _as_parallel(env: Any) -> Any:
    if isinstance(env, ParallelEnv) and type(env) not in CONVERTED:
        return env
    if (
        type(env) in CONVERTED
        or isinstance(env, AECEnv)
        or _offers(env, "agent_iter", "observe", "last", "step", "reset")
    ):
        return from_turns(env)
    if _offers(env, "reset", "step"):
        by_agent = isinstance(getattr(env, "observation_spaces", None), Mapping)
        if (isinstance(env, gym.Env) and _offers(env, "get_observation_space", "get_action_space")) or (
            by_agent and not _offers(env, "observation_space")
        ):
            return RLlibEnv(env)
        if isinstance(env, gym.Env):
            cars = getattr(env.unwrapped, "controlled_vehicles", None)
            return GymnasiumAgentsEnv(env) if cars is None else HighwayEnv(env)
        if _offers(env, "get_observation", "get_state", "available_actions") and hasattr(env, "observation_shape"):
            return MARLEnvAdapter(env)
        if _offers(env, "observation_space", "action_space"):
            return env
    kind = f"an object of {name_of(env)}"
    if any(base.__module__.split(".")[0] == "gym" for base in type(env).__mro__):
        kind = f"{name_of(env)}, an environment of the old `gym`"
    raise ValueError(
        f"{kind} is no game of a make that is known here; hand over a PettingZoo ParallelEnv or AECEnv, a gymnasium "
        "environment with a Tuple or Dict of spaces (one entry per agent), an RLlib MultiAgentEnv or a MARLEnv; many "
        "packages have a wrapper that makes one of these."
    )


def _offers(env: Any, *methods: str) -> bool:
    return all(callable(getattr(env, method, None)) for method in methods)
