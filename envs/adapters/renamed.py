"""A `ParallelEnv` whose agents are named by integers or other objects, with text for names."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rllib_biac.envs.adapters.common import Adapter, Spaces, name_of


class RenamedEnv(Adapter):
    """A `ParallelEnv` whose agents are called by their `str`: 0 is "0".

    It also holds the agents and spaces of a game that tells them only after its first reset.

    Args:
        env: the game.
        spaces: its own agents -> (observation space, action space).

    Raises:
        ValueError: if two agents have the same `str`.
    """

    def __init__(self, env: Any, spaces: Spaces) -> None:
        twice = [name for name, count in Counter(map(str, spaces)).items() if count > 1]
        if twice:
            same = [agent for agent in spaces if str(agent) in twice]
            raise ValueError(f"{name_of(env)} has agents {same}, which are written alike; give each its own name.")
        super().__init__(env, {str(agent): pair for agent, pair in spaces.items()})
        self._own = {str(agent): agent for agent in spaces}

    @property
    def acting(self) -> set[str] | None:
        """Who acts at the coming step, where the game says so."""
        acting = getattr(self.env, "acting", None)
        return None if acting is None else {str(agent) for agent in acting}

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        observations, infos = self._reset(seed, options)
        self.agents = [str(agent) for agent in self.env.agents]
        return _by_name(observations), _by_name(infos)

    def step(self, actions: dict[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        result = self.env.step({self._own[name]: action for name, action in actions.items()})
        self.agents = [str(agent) for agent in self.env.agents]
        observations, rewards, terminated, truncated, infos = (_by_name(values) for values in result)
        return observations, rewards, terminated, truncated, infos


def _by_name(values: Any) -> Any:
    return {str(agent): value for agent, value in values.items()} if isinstance(values, dict) else values
