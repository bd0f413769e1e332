"""A stand-in for an algorithm: a real one's fluent config, and trials that report without playing a game."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any, Self

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.core.rl_module import RLModule
from ray.tune import PlacementGroupFactory


class StubConfig(AlgorithmConfig):
    """Settings of three kinds: RLlib's own, a group of one (`hierarchy`), new keywords in a known group."""

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class or StubAlgorithm)
        self.levels: list[list[str]] = []
        self.pause_s = 0.0
        self.fail_at: int | None = None
        self.die_at: int | None = None
        self.leader_module_class: type[RLModule] | None = None

    def hierarchy(self, levels: list[list[str]]) -> Self:
        """Sets the levels."""
        self.levels = [list(level) for level in levels]
        return self

    def training(
        self,
        *,
        pause_s: float = NotProvided,
        fail_at: int | None = NotProvided,
        die_at: int | None = NotProvided,
        **settings: Any,
    ) -> Self:
        """Sets how long an iteration takes, in which one it fails, and in which one its process is killed, once."""
        super().training(**settings)
        if pause_s is not NotProvided:
            self.pause_s = pause_s
        if fail_at is not NotProvided:
            self.fail_at = fail_at
        if die_at is not NotProvided:
            self.die_at = die_at
        return self

    def rl_module(self, *, leader_module_class: type[RLModule] | None = NotProvided, **settings: Any) -> Self:
        """Sets the leader's module beside RLlib's settings."""
        super().rl_module(**settings)
        if leader_module_class is not NotProvided:
            self.leader_module_class = leader_module_class
        return self

    def validate(self) -> None:
        """Refuses a discount that no game has, and what its game refuses."""
        if not 0 <= self.gamma <= 1:
            raise ValueError(f"gamma is {self.gamma}; write a number in [0, 1].")
        if self.env == "escape_v0" and "foo" in self.env_config:
            raise TypeError("parallel_env() got an unexpected keyword argument 'foo'")


class StubAlgorithm(Algorithm):
    """Reports an iteration every `pause_s`."""

    config_class = StubConfig

    @classmethod
    def get_default_config(cls) -> StubConfig:
        return StubConfig()

    @classmethod
    def default_resource_request(cls, config: Any) -> PlacementGroupFactory:
        return PlacementGroupFactory([{"CPU": 1}])

    def setup(self, config: Any) -> None:
        self.done = 0

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        trial = self._trial_info
        Algorithm.__init__(self, config=new_config, storage=self._storage)
        self._trial_info = trial
        return True

    def step(self) -> dict[str, Any]:
        time.sleep(self.config.pause_s)
        self.done += 1
        if self.done == self.config.fail_at:
            raise ValueError(f"stub failed in iteration {self.done}")
        if self.done == self.config.die_at and self._iterations_since_restore == self.done - 1:
            os.kill(os.getpid(), signal.SIGKILL)  # it has not been restored yet
        return {
            "num_env_steps_sampled_lifetime": 100 * self.done,
            "env_runners": {
                "episode_return_mean": 1.0 * self.done,
                "agent_episode_returns_mean": {"player_0": 2.0 * self.done, "player_1": self.config.lr},
                "outcome_share": {"merged": 0.75, "crashed": 0.25},
            },
        }

    def log_result(self, result: dict[str, Any]) -> None:
        super(Algorithm, self).log_result(result)

    def save_checkpoint(self, folder: str) -> None:
        for name, content in (("rllib_checkpoint.json", {}), ("stub.json", {"done": self.done})):
            with open(os.path.join(folder, name), "w") as file:
                json.dump(content, file)

    def load_checkpoint(self, folder: str) -> None:
        with open(os.path.join(folder, "stub.json")) as file:
            self.done = json.load(file)["done"]

    def cleanup(self) -> None:
        pass
