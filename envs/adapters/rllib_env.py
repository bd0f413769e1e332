"""An RLlib `MultiAgentEnv`, told by what it offers and not by its class, as a `ParallelEnv`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gymnasium import spaces

from rllib_biac.envs.adapters.common import (
    NO_AGENTS,
    RLLIB_HINT,
    Adapter,
    Spaces,
    check_names,
    check_none_back,
    five,
    flag,
    pair,
    read_spaces,
    spaces_by,
)
from rllib_biac.envs.errors import GameError


class RLlibEnv(Adapter):
    """An RLlib `MultiAgentEnv`: agents come, leave and act at times; the flags of `__all__` end the game for everybody.

    Who gets an observation acts at the next step, as RLlib has it; all others are absent. `agents` are all those who
    are not over, come or not. Who earns nothing by the game's words earns 0.

    Args:
        env: the game.

    Raises:
        ValueError: if it does not tell its agents and their spaces.
    """

    def __init__(self, env: Any) -> None:
        super().__init__(env, read_spaces(env, _spaces_of, RLLIB_HINT)[0])
        self._asked: list[Any] = []

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        result = pair(self.env, self._reset(seed, options))
        observations, infos = _of_agents(result[0]), result[1]
        self.agents = list(self.possible_agents)
        self._ask(observations)
        return observations, dict(infos or {})  # with "__common__": masks are looked for there

    def step(self, actions: dict[Any, Any]) -> tuple[dict, dict, dict, dict, dict]:
        result = five(self.env, self.env.step({agent: actions[agent] for agent in self._asked}))
        observations, rewards, terminated, truncated, infos = result
        all_over, all_cut = _flag(terminated, "__all__"), _flag(truncated, "__all__")
        for flags in (terminated, truncated):
            check_names(self.env, flags, self.possible_agents, "flags")
        present = self.agents
        seen = _of_agents(observations)
        if not (all_over or all_cut) and len(present) < len(self.possible_agents):
            gone = [a for a in seen if a in self.possible_agents and a not in present]
            check_none_back([a for a in gone if not _flag(terminated, a) and not _flag(truncated, a)])
        cut = {a: _flag(truncated, a) for a in present}
        over = {a: _flag(terminated, a) or (all_over and not cut[a]) for a in present}
        cut = {a: (cut[a] or all_cut) and not over[a] for a in present}
        self.agents = [a for a in present if not over[a] and not cut[a]]
        self._ask(seen)
        earned = dict.fromkeys(present, 0.0) | _of_agents(rewards)
        return seen, earned, over, cut, dict(infos or {})

    def _ask(self, observations: dict[Any, Any]) -> None:
        if unknown := [a for a in observations if a not in self.possible_agents]:
            raise GameError(f"agents {unknown} are none of the game's `possible_agents` {self.possible_agents}.")
        self._asked = [a for a in observations if a in self.agents]


def _flag(flags: Any, agent: Any) -> bool:
    if not isinstance(flags, Mapping):
        raise GameError(f"step() returned {flags!r} for flags; write agent -> True or False, '__all__' among them.")
    return flag(flags.get(agent, False), agent)


def _of_agents(values: Mapping[Any, Any] | None) -> dict[Any, Any]:
    return {agent: value for agent, value in (values or {}).items() if agent not in NO_AGENTS}


def _spaces_of(env: Any) -> Spaces:
    seen, done = (getattr(env, name, None) for name in ("observation_spaces", "action_spaces"))
    seen, done = seen or getattr(env, "observation_space", None), done or getattr(env, "action_space", None)
    agents = getattr(env, "possible_agents", None) or getattr(env, "agents", None)
    if not agents and _keys(seen) == _keys(done):  # else the keys may be parts of one agent's observation
        agents = _keys(seen)
    ids = getattr(env, "_agent_ids", None)
    if isinstance(ids, set) and ids and (not agents or set(agents) == ids):
        agents = sorted(ids, key=str)  # RLlib's own list of a set has another order in each process
    return spaces_by(
        agents,
        lambda agent: _own(env, "get_observation_space", seen, agent),
        lambda agent: _own(env, "get_action_space", done, agent),
    )


def _keys(found: Any) -> list[Any]:
    return list(found) if isinstance(found, Mapping | spaces.Dict) else []


def _own(env: Any, getter: str, found: Any, agent: Any) -> Any:
    if callable(get := getattr(env, getter, None)):
        return get(agent)
    return found[agent] if isinstance(found, Mapping | spaces.Dict) and agent in found else found
