"""RLlib's own multi-agent runner, on any game of ours: slower than the joint one, and open to all of RLlib's hooks."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from ray.rllib.utils.annotations import override
from ray.tune.registry import register_env

from rllib_biac.learning.games import game_errors, naming
from rllib_biac.rllib import compat
from rllib_biac.rllib.faults import HandsOverGameErrors
from rllib_biac.rllib.multi_agent_env import rllib_env_creator
from rllib_biac.rllib.runner import EPSILON, OUTCOME_SHARE


class StockEnvRunner(HandsOverGameErrors, MultiAgentEnvRunner):
    """`MultiAgentEnvRunner` that knows our games by name and reports their outcomes."""

    @override(EnvRunner)
    def __init__(self, config: Any, **kwargs: Any) -> None:
        self._outcomes: deque[str] = deque(maxlen=config.metrics_num_episodes_for_smoothing)
        with compat.seeding_without_compiler():
            super().__init__(config=config, **kwargs)

    @override(EnvRunner)
    def make_env(self) -> None:
        env, state = self.config.env, self.config.state
        if not str(env).startswith("rllib_biac/"):
            # Registered in this very process, under all that decides what is made.
            name = f"rllib_biac/{env if isinstance(env, str) else env.__qualname__}/{state}"
            register_env(name, rllib_env_creator(self.config.game(), state, self.config.looked))
            self.config.env = name
            # RLlib's check plays random actions, forbidden ones too; games are checked where they are read.
            self.config.disable_env_checking = True
        super().make_env()

    @override(EnvRunner)
    def get_spaces(self) -> dict[str, Any]:
        spaces = super().get_spaces()
        if self.env is None:
            return spaces
        # gymnasium's Dict sorts agents by name; the joint state has them in the game's own order.
        own = {agent: spaces.pop(agent) for agent in self.env.envs[0].unwrapped.possible_agents}
        return spaces | own

    @override(EnvRunner)
    def _try_env_reset(self, **kwargs: Any) -> Any:
        with naming(self.config.env):
            return _as_game_error(super()._try_env_reset, "reset()", **kwargs)

    @override(EnvRunner)
    def _try_env_step(self, actions: Any) -> Any:
        with naming(self.config.env):
            result = _as_game_error(super()._try_env_step, "step()", actions)
        _, rewards, terminated, *_ = result
        ended = np.array([own.get("__all__", False) for own in terminated])
        for own in rewards:
            paid = {agent: np.array([reward]) for agent, reward in own.items()}
            self.module.exploration.see(self.num_env_steps_sampled_lifetime, paid, ended)
        return result

    @override(EnvRunner)
    def make_module(self) -> None:
        super().make_module()
        if self._seed is not None:
            self.module.generator = torch.Generator(self._device).manual_seed(self._seed)

    @override(MultiAgentEnvRunner)
    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        state = super().get_state(*args, **kwargs)
        if self.module.generator is not None:
            own = (self.config.in_evaluation, self.worker_index)
            state["generator"] = (own, self.module.generator.get_state().cpu().numpy())
        state["exploration"] = self.module.exploration.get_state()
        return state

    @override(MultiAgentEnvRunner)
    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        if "exploration" in state:
            self.module.exploration.set_state(state["exploration"])
        whose, generator = state.get("generator", (None, None))
        # RLlib hands states on to other runners, who are not to draw the same.
        if whose == (self.config.in_evaluation, self.worker_index):
            self.module.generator.set_state(torch.as_tensor(generator))

    @override(EnvRunner)
    def get_metrics(self) -> dict[str, Any]:
        for episode in compat.finished_episodes(self):
            for own in episode.agent_episodes.values():
                if outcome := own.get_infos(-1).get("outcome"):
                    self._outcomes.append(outcome)
                    break
        for name, count in Counter(self._outcomes).items():
            self.metrics.log_value((OUTCOME_SHARE, name), count / len(self._outcomes), window=1)
        epsilon, t = 0.0, self.num_env_steps_sampled_lifetime
        if self.config.explore:
            epsilon = self.module.exploration.epsilon(self.config.epsilon, t)
        self.metrics.log_value(EPSILON, epsilon, window=1)
        return super().get_metrics()


def _as_game_error(attempt: Callable[..., Any], doing: str, *args: Any, **kwargs: Any) -> Any:
    # RLlib raises an empty RuntimeError from what the game raised, which would tell the user nothing.
    try:
        return attempt(*args, **kwargs)
    except RuntimeError as error:
        if error.__cause__ is None:
            raise
        with game_errors(doing):
            raise error.__cause__  # noqa: B904
