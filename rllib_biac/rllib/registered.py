"""Games that were registered under a name with `ray.tune.register_env`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.rllib.env.env_context import EnvContext
from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv
from ray.tune.registry import ENV_CREATOR, _global_registry


class Registered:
    """A factory of a registered game, to be handed to `config.environment`.

    It holds the creator and not its name: other processes, which registered nothing, make the game too.

    Args:
        name: of the game.
        creator: what was registered: takes an `EnvContext`, returns a PettingZoo `ParallelEnv`, alone or inside RLlib's
            `ParallelPettingZooEnv`.
    """

    def __init__(self, name: str, creator: Callable[[EnvContext], Any]) -> None:
        self.__name__ = self.__qualname__ = name
        self._creator = creator

    def __call__(self, **settings: Any) -> Any:
        game = self._creator(EnvContext(settings, worker_index=0))
        return game.par_env if isinstance(game, ParallelPettingZooEnv) else game

    def __repr__(self) -> str:
        return f"<registered game {self.__name__}>"


def registered(name: str) -> Registered | None:
    """Returns the factory of a game that this process registered under a name, None if there is none."""
    if not _global_registry.contains(ENV_CREATOR, name):
        return None
    return Registered(name, _global_registry.get(ENV_CREATOR, name))
