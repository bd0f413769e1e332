"""A gymnasium environment of several agents, with Tuple or Dict spaces, as a `ParallelEnv`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rllib_biac.envs.actions import null_action
from rllib_biac.envs.adapters.common import (
    GYMNASIUM_HINT,
    Adapter,
    Spaces,
    check_names,
    check_none_back,
    five,
    flag,
    is_one,
    name_of,
    pair,
    read_spaces,
)
from rllib_biac.envs.errors import GameError
from rllib_biac.envs.space_words import in_words


class GymnasiumAgentsEnv(Adapter):
    """A `gymnasium.Env` whose observations and actions are a Tuple or a Dict with one entry per agent.

    Agents are the keys of a Dict, or agent_0, agent_1, … of a Tuple. Rewards and flags may be one per agent (a dict, or
    a list or an array where spaces are a Tuple), or one for all. Where a game gives one for all and its infos have
    `agents_rewards` or `agents_terminated`, as highway-env's do, those count: who is over earns nothing more. The game
    still wants its action; it gets the first of a Discrete, the middle of a Box.

    Args:
        env: the game.

    Raises:
        ValueError: if the spaces are not of several agents.
    """

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env, read_spaces(env, _spaces_of, GYMNASIUM_HINT)[0])
        self._by_key = isinstance(env.action_space, spaces.Dict)

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        observations, infos = pair(self.env, self._reset(seed, options))
        self.agents = list(self.possible_agents)
        infos = infos if isinstance(infos, Mapping) else self._each(infos, "infos")
        return self._each(observations, "observations"), self._infos(infos)

    def step(self, actions: dict[Any, Any]) -> tuple[dict, dict, dict, dict, dict]:
        present = list(self.agents)
        full = {a: actions[a] if a in present else self._action_when_over(a) for a in self.possible_agents}
        played = full if self._by_key else tuple(full.values())
        observations, rewards, terminated, truncated, infos = five(self.env, self.env.step(played))
        infos = infos if isinstance(infos, Mapping) else self._each(infos, "infos")
        seen = self._each(observations, "observations")
        earned = self._each(infos.get("agents_rewards", rewards) if is_one(rewards) else rewards, "rewards")
        over, cut = self._flags(terminated, infos.get("agents_terminated", False)), self._flags(truncated, False)
        flagged = {} if is_one(terminated) else self._each(terminated, "flags")
        self._check_none_back([a for a in flagged if a not in present and not over[a] and not cut[a]])
        self.agents = [a for a in present if not over[a] and not cut[a]]
        cut = {a: cut[a] and not over[a] for a in present}
        seen, paid, over, cut = ({a: own[a] for a in present if a in own} for own in (seen, earned, over, cut))
        # What a game pays somebody whom it itself says to be over is an error, which the reader finds.
        if not is_one(rewards) and "agents_terminated" not in infos:
            paid.update((a, r) for a, r in earned.items() if a not in present and np.any(r))
        return seen, paid, over, cut, self._infos(infos)

    def _action_when_over(self, agent: Any) -> Any:
        return null_action(self.action_space(agent))

    def _check_none_back(self, back: list[Any]) -> None:
        check_none_back(back)

    def _each(self, values: Any, what: str) -> dict[Any, Any]:
        if isinstance(values, Mapping):
            check_names(self.env, values, self.possible_agents, what)
            return {a: values[a] for a in self.possible_agents if a in values}
        if is_one(values):
            return dict.fromkeys(self.possible_agents, values)
        if self._by_key:
            raise GameError(
                f"{name_of(self.env)} gave {what} as a list, and has Dict spaces, whose keys gymnasium sorts: write "
                f"agent -> value, by {', '.join(map(repr, self.possible_agents))}."
            )
        if len(values) != len(self.possible_agents):
            raise GameError(
                f"{name_of(self.env)} has {len(self.possible_agents)} agents and gave {len(values)} {what}."
            )
        return dict(zip(self.possible_agents, values, strict=True))

    def _flags(self, flags: Any, of_each: Any) -> dict[Any, bool]:
        for_all = isinstance(flags, Mapping) and flag(flags.get("__all__", False), "__all__")
        given, own = self._each(flags, "flags"), self._each(of_each, "flags")
        return {a: for_all or flag(given.get(a, False), a) or flag(own.get(a, False), a) for a in self.possible_agents}

    def _infos(self, infos: Mapping[Any, Any]) -> dict[Any, dict[str, Any]]:
        if any(isinstance(infos.get(a), Mapping) for a in self.possible_agents):
            return dict(infos)
        each = self._each(infos["action_mask"], "action masks") if "action_mask" in infos else {}
        masks = {a: {"action_mask": mask} for a, mask in each.items()}
        return {a: {**infos, **masks.get(a, {})} for a in self.possible_agents}


def _spaces_of(env: gym.Env) -> Spaces:
    seen, done = env.observation_space, env.action_space
    if isinstance(seen, spaces.Tuple) and isinstance(done, spaces.Tuple) and len(seen) == len(done):
        return {f"agent_{i}": pair for i, pair in enumerate(zip(seen, done, strict=True))}
    if isinstance(seen, spaces.Dict) and isinstance(done, spaces.Dict) and set(seen) == set(done):
        return {agent: (seen[agent], done[agent]) for agent in seen}
    raise LookupError(f"its observations, {in_words(seen)}, and actions, {in_words(done)}, are not one entry per agent")
