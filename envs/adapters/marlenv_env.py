"""A `MARLEnv` of the package multi-agent-rlenv (lle, overcooked), told by what it offers, as a `ParallelEnv`."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rllib_biac.envs.adapters.common import Adapter
from rllib_biac.envs.errors import GameError


class MARLEnvAdapter(Adapter):
    """A `MARLEnv`: all agents act at every step and share one reward.

    Agents are agent_0, agent_1, …. What they see is the game's `data`, and its `extras` where it has some, as a Dict of
    `data` and `extras`; so is the state. Available actions become action masks.

    Args:
        env: the game.
    """

    def __init__(self, env: Any) -> None:
        seen = _space(env.observation_shape, env.extras_shape)
        actions = _actions(env.action_space, env.n_agents)
        super().__init__(env, {f"agent_{i}": (seen, action) for i, action in enumerate(actions)})
        self.state_space = _space(env.state_shape, env.state_extras_shape)
        self._masked = isinstance(actions[0], spaces.Discrete)

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        observations, _ = self.env.reset(seed=seed)
        self.agents = list(self.possible_agents)
        return self._observations(observations), self._infos(observations, {})

    def step(self, actions: dict[Any, Any]) -> tuple[dict, dict, dict, dict, dict]:
        observations, _, reward, done, truncated, info = self.env.step([actions[a] for a in self.possible_agents])
        present = self.possible_agents
        if done or truncated:
            self.agents = []
        return (
            self._observations(observations),
            dict.fromkeys(present, np.squeeze(reward)),
            dict.fromkeys(present, bool(done)),
            dict.fromkeys(present, bool(truncated) and not done),
            self._infos(observations, info),
        )

    def state(self) -> Any:
        state = self.env.get_state()
        return _value(state.data, state.extras)

    def _observations(self, seen: Any) -> dict[Any, Any]:
        if len(seen.data) != len(self.possible_agents):
            raise GameError(f"the game has {len(self.possible_agents)} agents and gave {len(seen.data)} observations.")
        return {a: _value(seen.data[i], seen.extras[i]) for i, a in enumerate(self.possible_agents)}

    def _infos(self, seen: Any, info: dict[str, Any]) -> dict[Any, dict[str, Any]]:
        masks = seen.available_actions if self._masked else [None] * len(self.possible_agents)
        return {
            a: dict(info) | ({} if mask is None else {"action_mask": np.asarray(mask, np.int8)})
            for a, mask in zip(self.possible_agents, masks, strict=True)
        }


def _space(shape: tuple[int, ...], extras: tuple[int, ...]) -> gym.Space:
    box, more = (spaces.Box(-np.inf, np.inf, tuple(int(n) for n in s), np.float32) for s in (shape, extras))
    return spaces.Dict({"data": box, "extras": more}) if more.low.size else box


def _value(data: Any, extras: Any) -> Any:
    data, extras = np.asarray(data, np.float32), np.asarray(extras, np.float32)
    return {"data": data, "extras": extras} if extras.size else data


def _actions(space: Any, n_agents: int) -> list[gym.Space]:
    if not space.is_continuous:
        return [spaces.Discrete(int(own.size)) for own in getattr(space, "spaces", [space] * n_agents)]
    low, high = (np.broadcast_to(end, space.shape).reshape(n_agents, -1) for end in (space.low, space.high))
    return [spaces.Box(one.astype(np.float32), other.astype(np.float32)) for one, other in zip(low, high, strict=True)]
