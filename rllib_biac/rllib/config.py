"""The config that every algorithm here shares. It is checked once, in `validate()`."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import gymnasium as gym
import numpy as np
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from ray.rllib.policy.policy import PolicySpec
from ray.rllib.utils.annotations import override
from ray.util.debug import log_once

from rllib_biac.envs.batched import BatchedGame
from rllib_biac.envs.contract import Look
from rllib_biac.envs.space_words import in_words
from rllib_biac.learning.algorithm import Algorithm
from rllib_biac.learning.games import Game, StateReader, as_seen, make_games, make_one, name_of, naming
from rllib_biac.learning.hierarchy import Hierarchy
from rllib_biac.learning.history import WithHistory
from rllib_biac.learning.information import TAKEN, tell_less
from rllib_biac.learning.memory import gigabytes, memory_of
from rllib_biac.learning.model_config import MODEL_DEFAULTS
from rllib_biac.learning.partners import GameWithPartners, WithPartners
from rllib_biac.learning.settings import Settings
from rllib_biac.learning.team import TeamSpec
from rllib_biac.rllib import compat
from rllib_biac.rllib.documented import documented
from rllib_biac.rllib.learner import JointLearner
from rllib_biac.rllib.module import MemberModule, module_spec
from rllib_biac.rllib.multi_agent_env import game_of, team_spec
from rllib_biac.rllib.partners import partners_of
from rllib_biac.rllib.refusals import (
    agent_is_module,
    check_given,
    check_numbers,
    check_pickles,
    refuse_what_does_nothing,
)
from rllib_biac.rllib.runner import JointEnvRunner
from rllib_biac.rllib.stock_runner import StockEnvRunner

LARGE_NETWORKS = 100_000_000  # bytes
logger = logging.getLogger(__name__)

RUNNERS: dict[str, type] = {"joint": JointEnvRunner, "stock": StockEnvRunner}


class JointConfig(AlgorithmConfig):
    """Config of an algorithm that learns centrally from joint transitions.

    Its attributes are the algorithm's `Settings`, and RLlib's own.

    Attributes:
        algorithm: settings, team and losses.
        levels: levels of agents, top first.
    """

    algorithm: ClassVar[Algorithm]

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class)
        for name, value in vars(self.algorithm.settings()).items():
            if name != "model_config":
                setattr(self, name, value)
        self.levels: list[list[str]] | None = None
        self.looked: Look | None = None  # what a look at the game has shown, from validation on
        self.env_runner_cls = JointEnvRunner
        self.num_envs_per_env_runner = 25
        self.rollout_fragment_length = 1
        self.normalize_actions = False  # our modules answer in the game's own units
        self.max_sampling_lag: int | None = None
        self.store_buffer_in_checkpoints = True  # a restored run goes on exactly
        self.compress_buffer_in_checkpoints = False
        self.min_sample_timesteps_per_iteration = 1000
        self.evaluation_config = AlgorithmConfig.overrides(explore=False)

    def settings(self) -> Settings:
        """Returns the algorithm's settings as this config says them."""
        names = [f.name for f in dataclasses.fields(self.algorithm.settings) if f.name != "model_config"]
        values = {name: getattr(self, name) for name in names}
        return self.algorithm.settings(**values, model_config=self._networks())

    def _networks(self) -> dict[str, Any]:
        given = compat.model_config(self)
        if given and not isinstance(given, Mapping):
            plain = vars(DefaultModelConfig())
            given = {key: value for key, value in vars(given).items() if key in MODEL_DEFAULTS or value != plain[key]}
        return dict(given or {})

    def hierarchy(self, levels: list[list[str]]) -> Self:
        """Sets who leads whom.

        Args:
            levels: levels of agents, top first, e.g. `[["main_0"], ["auxiliary_0"]]`. Swap them to swap roles.

        Returns:
            This config.
        """
        self.levels = levels
        # Each agent has an RLModule of its own; a dict keeps their order, as RLlib's default, a set, would not.
        if isinstance(levels, list | tuple) and all(isinstance(level, list | tuple) for level in levels):
            agents = [agent for level in levels for agent in level]
            self.multi_agent(policies={agent: PolicySpec() for agent in agents}, policy_mapping_fn=agent_is_module)
        return self

    @override(AlgorithmConfig)
    @documented(Settings, "environment")
    def environment(
        self,
        env: Any = NotProvided,
        *,
        state: Literal["env", "observations"] = NotProvided,
        history: int = NotProvided,
        absences: bool = NotProvided,
        masks: bool = NotProvided,
        partners: dict[str, Any] | None = NotProvided,
        max_episode_steps: int = NotProvided,
        **kwargs: Any,
    ) -> Self:
        """Sets the game.

        Args:
            env: a game's id such as `merge_v0`; anybody's as `package.module:factory`, a gymnasium id, or a name that
                `ray.tune.register_env` knows; in Python also a factory, or an RLlib `MultiAgentEnv` class.
            kwargs: RLlib's other settings; `env_config` is handed to the game.

        Returns:
            This config.
        """
        super().environment(env, **kwargs)
        return self._set_given(
            state=state,
            history=history,
            absences=absences,
            masks=masks,
            partners=partners,
            max_episode_steps=max_episode_steps,
        )

    @override(AlgorithmConfig)
    @documented(Settings, "multi_agent")
    def multi_agent(self, *, policies_to_train: list[str] | None = NotProvided, **kwargs: Any) -> Self:
        """Sets who learns. `hierarchy` says all else.

        Args:
            kwargs: RLlib's other settings.

        Returns:
            This config.
        """
        super().multi_agent(**kwargs)
        return self._set_given(policies_to_train=policies_to_train)

    @override(AlgorithmConfig)
    @documented(Settings, "env_runners")
    def env_runners(
        self,
        *,
        env_runner_cls: Literal["joint", "stock"] | type | None = NotProvided,
        epsilon: float | list[list[float]] = NotProvided,
        spread_epsilon: bool | None = NotProvided,
        exploration: Literal["per_agent", "joint"] = NotProvided,
        max_sampling_lag: int | None = NotProvided,
        num_cpus_per_env_runner: float = NotProvided,
        **kwargs: Any,
    ) -> Self:
        """Sets how games are played while learning.

        Args:
            env_runner_cls: `joint` (default), which steps `num_envs_per_env_runner` games as arrays, or `stock`,
                RLlib's own `MultiAgentEnvRunner`.
            max_sampling_lag: None: all runners play with the newest weights, and the slowest is waited for. A number:
                they play while others learn, and what was played with weights that are more than this many updates
                old is dropped. `max_requests_in_flight_per_env_runner` then says how many fragments each has to do.
            num_cpus_per_env_runner: may be a fraction, which RLlib takes but does not say.
            kwargs: RLlib's other settings.

        Returns:
            This config.
        """
        check_given(kwargs)  # before RLlib does, in other words
        super().env_runners(num_cpus_per_env_runner=num_cpus_per_env_runner, **kwargs)
        if env_runner_cls is not NotProvided:
            if isinstance(env_runner_cls, str) and env_runner_cls not in RUNNERS:
                raise ValueError(f"env_runner_cls {env_runner_cls!r}: write 'joint' or 'stock'.")
            if env_runner_cls is MultiAgentEnvRunner:
                env_runner_cls = "stock"
            self.env_runner_cls = RUNNERS[env_runner_cls] if isinstance(env_runner_cls, str) else env_runner_cls
        return self._set_given(
            epsilon=epsilon,
            spread_epsilon=spread_epsilon,
            exploration=exploration,
            max_sampling_lag=max_sampling_lag,
        )

    @override(AlgorithmConfig)
    @documented(Settings)
    def training(
        self,
        *,
        replay_buffer_config: dict[str, int] = NotProvided,
        num_steps_sampled_before_learning_starts: int = NotProvided,
        training_intensity: float | None = NotProvided,
        critic_lr: float | list[list[float]] | dict[str, Any] | None = NotProvided,
        actor_lr: float | list[list[float]] | dict[str, Any] | None = NotProvided,
        lr_fade: float | None = NotProvided,
        averaging: float = NotProvided,
        adam_epsilon: float = NotProvided,
        tau: float = NotProvided,
        target_network_update_freq: int = NotProvided,
        normalize_targets: bool = NotProvided,
        normalizer_horizon: float = NotProvided,
        bound_values: bool = NotProvided,
        normalize_observations: bool = NotProvided,
        losses_class: Any = NotProvided,
        **kwargs: Any,
    ) -> Self:
        """Sets how networks learn.

        Args:
            kwargs: RLlib's other settings.

        Returns:
            This config.
        """
        check_given(kwargs)
        super().training(**kwargs)
        return self._set_given(
            replay_buffer_config=replay_buffer_config,
            num_steps_sampled_before_learning_starts=num_steps_sampled_before_learning_starts,
            training_intensity=training_intensity,
            critic_lr=critic_lr,
            actor_lr=actor_lr,
            lr_fade=lr_fade,
            averaging=averaging,
            adam_epsilon=adam_epsilon,
            tau=tau,
            target_network_update_freq=target_network_update_freq,
            normalize_targets=normalize_targets,
            normalizer_horizon=normalizer_horizon,
            bound_values=bound_values,
            normalize_observations=normalize_observations,
            losses_class=losses_class,
        )

    @override(AlgorithmConfig)
    @documented(Settings, "rl_module")
    def rl_module(self, **kwargs: Any) -> Self:
        """Sets the networks.

        Args:
            kwargs: RLlib's other settings.

        Returns:
            This config.
        """
        return super().rl_module(**kwargs)

    @override(AlgorithmConfig)
    def checkpointing(
        self,
        *,
        store_buffer_in_checkpoints: bool = NotProvided,
        compress_buffer_in_checkpoints: bool = NotProvided,
        **kwargs: Any,
    ) -> Self:
        """Sets what checkpoints hold.

        Args:
            store_buffer_in_checkpoints: whether replay is in them. A run that is restored without it refills it, as at
                the start, before it goes on learning.
            compress_buffer_in_checkpoints: whether it is compressed there, which takes longer.
            kwargs: RLlib's other settings.

        Returns:
            This config.
        """
        super().checkpointing(**kwargs)
        return self._set_given(
            store_buffer_in_checkpoints=store_buffer_in_checkpoints,
            compress_buffer_in_checkpoints=compress_buffer_in_checkpoints,
        )

    def _set_given(self, **settings: Any) -> Self:
        """Sets what a fluent method was given."""
        for name, value in settings.items():
            if value is not NotProvided:
                setattr(self, name, value)
        return self

    @property
    @override(AlgorithmConfig)
    def _model_config_auto_includes(self) -> dict[str, Any]:
        return dict(MODEL_DEFAULTS)

    @override(AlgorithmConfig)
    def get_default_rl_module_spec(self) -> RLModuleSpec:
        # RLlib asks for it on its way to a learner connector; agents' modules come from `get_multi_rl_module_spec`.
        return RLModuleSpec(module_class=MemberModule)

    @override(AlgorithmConfig)
    def get_multi_rl_module_spec(
        self,
        *,
        env: Any = None,
        spaces: Mapping[str, tuple[gym.Space, gym.Space]] | None = None,
        inference_only: bool = False,
        **kwargs: Any,
    ) -> MultiRLModuleSpec:
        assert spaces is not None
        spec = team_spec(spaces, self.checked_hierarchy(), self.settings(), self.looked)
        return module_spec(self.algorithm, spec, spaces, inference_only=inference_only)

    @override(AlgorithmConfig)
    def get_default_learner_class(self) -> type[JointLearner]:
        return JointLearner

    def steps_at_once(self) -> int:
        """Returns the env steps that all runners together sample between two calls of the learner."""
        return int(self.rollout_fragment_length * self.num_envs_per_env_runner * max(self.num_env_runners, 1))

    def checked_hierarchy(self) -> Hierarchy:
        """Returns who leads whom.

        Raises:
            ValueError: if the config does not say it, or what it says is no hierarchy.
        """
        if self.levels is None:
            raise ValueError("no hierarchy: write e.g. hierarchy: [['player_0'], ['player_1']], top level first.")
        return Hierarchy(self.levels)

    @override(AlgorithmConfig)
    def validate(self) -> None:
        # RLlib advises once to switch its old API stack back on, on which nothing here runs: count that as said.
        log_once(f"{self.algo_class.__name__}_on_new_api_stack")
        if not compat.validates(self):
            super().validate()
            return
        compat.check()
        hierarchy = self.checked_hierarchy()
        # Before RLlib's own checks, whose words are about its own runners and stacks.
        refuse_what_does_nothing(self, joint=issubclass(self.env_runner_cls, JointEnvRunner))
        Settings.check_schedule("lr", self.lr, 0.0, np.inf)  # RLlib's own check fails on an empty point
        self.settings().check_who_learns(hierarchy)
        check_numbers(self)
        super().validate()
        compat.leave_states_alone(self, self.max_sampling_lag is not None)
        settings = self.settings()
        settings.check(hierarchy, max(self.num_learners, 1))
        if self.env is None:
            raise ValueError("no game: write env: a game's id, such as escape_v0, or 'package.module:factory'.")
        check_pickles(self)
        spec = self._game_spec(hierarchy, settings)
        team_class = self.algorithm.team_for(spec)
        self.algorithm.losses_for(spec)
        if self.evaluation_interval and not self.in_evaluation:
            self._check_evaluation_game()
        memory = memory_of(spec, team_class, self.steps_at_once())
        memory.check(settings.replay_buffer_config["capacity"])
        if memory.networks > LARGE_NETWORKS:
            logger.warning(
                "the networks of this game take %s while they are trained: `rllib check FILE` says how fast that is",
                gigabytes(memory.networks),
            )

    def game(self) -> Game:
        """Returns the game that is played, with the partners in it and the last observations side by side.

        Raises:
            ValueError: if `partners` says nothing that can be played.
        """
        game = game_of(self.env)
        if self.partners:
            game = GameWithPartners(game, partners_of(self.partners))
        return as_seen(game, self.history, self.state)

    def _game_spec(self, hierarchy: Hierarchy, settings: Settings) -> TeamSpec:
        """Makes the game once, to see what a team for it is built from."""
        expected = Look(settings.absences, settings.masks)
        with naming(self.env):
            games = make_games(self.game(), 1, np.random.default_rng(0), self.env_config, expected)
        try:
            with naming(self.env):
                spec = StateReader(games, self.state).team_spec(hierarchy, settings)
                played = games.games if isinstance(games, WithHistory) else games
                if isinstance(played, WithPartners):
                    played.try_partners()
            if getattr(settings, "information", "own") is None and log_once(f"information/{name_of(self.env)}"):
                self._say_who_knows_what(games)
        finally:
            games.close()
        self.looked = spec.look
        if (told := settings.without_end(spec.look)) and log_once(f"without_end/{name_of(self.env)}"):
            logger.warning("%s: %s", name_of(self.env), told)
        return spec

    def _check_evaluation_game(self) -> None:
        """Holds the game of evaluation, where it is another or has other settings, against that of training."""
        other: Any = self.get_evaluation_config_object()
        if (other.env, other.env_config) == (self.env, self.env_config):
            return
        declared = []
        for config in (self, other):
            with naming(config.env):
                game = make_one(config.game(), config.env_config)
            declared.append({a: (game.observation_space(a), game.action_space(a)) for a in game.possible_agents})
            game.close()
        if declared[0] != declared[1]:
            raise ValueError(
                "evaluation_config: its game has other agents or spaces than that of training, for which networks are "
                f"built: {_declared(declared[1])} and {_declared(declared[0])}; write settings that change neither."
            )

    def _say_who_knows_what(self, games: BatchedGame) -> None:
        try:
            less = tell_less(games, self.state)
        except Exception:  # a game that fails says so where it is played, with its name
            return
        if less:
            logger.warning("%s (%s: tells less.)", TAKEN, ", ".join(less))


def _declared(spaces: Mapping[str, tuple[gym.Space, gym.Space]]) -> str:
    own = {agent: f"sees {in_words(seen)} and does {in_words(done)}" for agent, (seen, done) in spaces.items()}
    return ", ".join(f"{agent} {text}" for agent, text in own.items())
