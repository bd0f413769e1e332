"""The config that every centrally trained algorithm here shares. Values are validated once, in `validate()`."""

from __future__ import annotations

import difflib
import importlib
import inspect
import itertools
import numbers
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import gymnasium as gym
import numpy as np
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from ray.rllib.policy.policy import PolicySpec
from ray.rllib.utils import force_list
from ray.rllib.utils.annotations import override
from ray.util.debug import log_once

from rllib_biac.core.env_runner import JointEnvRunner
from rllib_biac.core.games import StateReader, is_rllib_env, make_games
from rllib_biac.core.hierarchy import Hierarchy
from rllib_biac.core.networks import ACTIVATIONS
from rllib_biac.core.refused import REFUSED, RUNNER_CALLBACKS, USE_STOCK
from rllib_biac.core.rl_module import (
    MODEL_DEFAULTS,
    HierarchyModule,
    JointRLModule,
    action_size,
    kind_of,
    state_space_of,
)
from rllib_biac.core.stock_env_runner import StockEnvRunner
from rllib_biac.envs.batched import BatchedGame

Schedule = float | list[list[float]]
LearningRate = float | list[list[float]] | dict[str, Any]

RUNNERS: dict[str, type] = {"joint": JointEnvRunner, "stock": StockEnvRunner}


_WIDEST = 2**16  # of a layer; beyond that its weights are most likely a mistake, and more than the memory

_MAY_BE_NONE = (
    "training_intensity",
    "grad_clip",
    "max_sampling_lag",
    "evaluation_interval",
    "min_time_s_per_iteration",
    "sample_timeout_s",
    "seed",
)


def agent_is_module(agent_id: str, *args: Any, **kwargs: Any) -> str:
    """Maps agents to RLModules: each has its own, under its own name."""
    return agent_id


def load_object(name: str) -> Any:
    """Loads `package.module:name`.

    Raises:
        ValueError: if there is no such object.
    """
    module_name, colon, attribute = name.partition(":")
    if not colon:
        raise ValueError(f"{name!r} names no object; write 'package.module:name'.")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{name!r} cannot be loaded: {error}.") from error


class JointConfig(AlgorithmConfig):
    """Config of an algorithm that learns centrally from joint transitions.

    What an algorithm can do, to be asked before anything is built:

    Attributes:
        continuous_actions: whether it takes continuous (Box) actions as well as discrete ones.
    """

    continuous_actions: ClassVar[bool] = False

    @property
    def uses_observations(self) -> bool:
        """Whether it learns from each agent's own observations beside the state."""
        return False

    @property
    def uses_starts(self) -> bool:
        """Whether it needs to know with which steps games begin."""
        return False

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class)
        # Who plays what.
        self.levels: list[list[str]] | None = None
        self.state: str = "env"
        # Sampling.
        self.env_runner_cls = JointEnvRunner
        self.num_envs_per_env_runner = 25
        self.rollout_fragment_length = 1
        self.normalize_actions = False  # our modules answer in the game's own units
        self.max_sampling_lag: int | None = None
        self.epsilon: Schedule = [[0, 1.0], [2000, 0.1]]
        self.exploration: str = "per_agent"
        # Replay and updates.
        self.replay_buffer_config = {"capacity": 50_000}
        self.num_steps_sampled_before_learning_starts = 100
        self.train_batch_size_per_learner = 64
        self.training_intensity: float | None = 16.0  # one update of 64 rows every 4 env steps
        # Networks.
        self.lr = 1e-3
        self.critic_lr: LearningRate | None = None
        self.actor_lr: LearningRate | None = None
        self.adam_epsilon = 1e-8
        self.tau = 0.01
        self.target_network_update_freq = 1
        self.normalize_targets = True
        self.normalizer_horizon = 100_000
        self.normalize_observations = False
        # Checkpoints.
        self.store_buffer_in_checkpoints = True  # a restored run goes on exactly
        self.compress_buffer_in_checkpoints = False
        # Reporting.
        self.min_sample_timesteps_per_iteration = 1000
        self.evaluation_config = AlgorithmConfig.overrides(explore=False)

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
    def environment(
        self, env: Any = NotProvided, *, state: Literal["env", "observations"] = NotProvided, **kwargs: Any
    ) -> Self:
        """Sets the game.

        Args:
            env: a game's id such as `merge_v0`; anybody's as `package.module:factory`; in Python also a factory of
                PettingZoo `ParallelEnv`s or, with the stock runner, an RLlib `MultiAgentEnv` class.
            state: what critics see: `env`, the game's own `state()`, or `observations`, all agents' side by side.
            kwargs: RLlib's other settings; `env_config` is handed to the game.

        Returns:
            This config.
        """
        super().environment(env, **kwargs)
        return self._set_given(state=state)

    @override(AlgorithmConfig)
    def env_runners(
        self,
        *,
        env_runner_cls: Literal["joint", "stock"] | type | None = NotProvided,
        epsilon: float | list[list[float]] = NotProvided,
        exploration: Literal["per_agent", "joint"] = NotProvided,
        max_sampling_lag: int | None = NotProvided,
        num_cpus_per_env_runner: float = NotProvided,
        **kwargs: Any,
    ) -> Self:
        """Sets how games are played while learning.

        Args:
            env_runner_cls: `joint` (default), which steps `num_envs_per_env_runner` games as arrays, or `stock`,
                RLlib's own `MultiAgentEnvRunner`.
            epsilon: probability of a random action, in [0, 1], or its schedule [[env step, value], ...]; hold 1.0 for a
                while to explore fully first.
            exploration: `per_agent`, each agent by itself, lower levels answering the explored action; or `joint`, all
                or none.
            max_sampling_lag: None: all runners play with the newest weights, and the slowest is waited for. A number:
                they play while others learn, and what was played with weights that are more than this many updates
                old is dropped. `max_requests_in_flight_per_env_runner` then says how many fragments each has to do.
            num_cpus_per_env_runner: may be a fraction, which RLlib takes but does not say.
            kwargs: RLlib's other settings.

        Returns:
            This config.
        """
        super().env_runners(num_cpus_per_env_runner=num_cpus_per_env_runner, **kwargs)
        if env_runner_cls is not NotProvided:
            if isinstance(env_runner_cls, str) and env_runner_cls not in RUNNERS:
                raise ValueError(f"env_runner_cls {env_runner_cls!r}: write 'joint' or 'stock'.")
            if env_runner_cls is MultiAgentEnvRunner:
                env_runner_cls = "stock"
            self.env_runner_cls = RUNNERS[env_runner_cls] if isinstance(env_runner_cls, str) else env_runner_cls
        return self._set_given(epsilon=epsilon, exploration=exploration, max_sampling_lag=max_sampling_lag)

    @override(AlgorithmConfig)
    def training(
        self,
        *,
        replay_buffer_config: dict[str, int] = NotProvided,
        num_steps_sampled_before_learning_starts: int = NotProvided,
        training_intensity: float | None = NotProvided,
        critic_lr: float | list[list[float]] | dict[str, Any] | None = NotProvided,
        actor_lr: float | list[list[float]] | dict[str, Any] | None = NotProvided,
        adam_epsilon: float = NotProvided,
        tau: float = NotProvided,
        target_network_update_freq: int = NotProvided,
        normalize_targets: bool = NotProvided,
        normalizer_horizon: int = NotProvided,
        normalize_observations: bool = NotProvided,
        **kwargs: Any,
    ) -> Self:
        """Sets how networks learn.

        Args:
            replay_buffer_config: `{"capacity": rows}`.
            num_steps_sampled_before_learning_starts: env steps before the first update.
            training_intensity: rows trained per row sampled; None: one update per env step, that is
                `train_batch_size_per_learner`.
            critic_lr: learning rate of critics where it differs from `lr`: a number, a schedule, or {agent: either}.
            actor_lr: the same for actors.
            adam_epsilon: Adam's epsilon.
            tau: share by which target networks move towards the online ones, in (0, 1].
            target_network_update_freq: updates between such moves.
            normalize_targets: whether critics learn targets of mean 0 and spread 1, which makes learning independent
                of the unit of reward; Q-values are reported in the game's own unit either way.
            normalizer_horizon: targets after which older ones fade from that mean and spread.
            normalize_observations: whether states are shifted and scaled to mean 0 and spread 1.
            kwargs: RLlib's other settings, such as `lr`, `gamma`, `grad_clip`, `train_batch_size_per_learner`.

        Returns:
            This config.
        """
        super().training(**kwargs)
        return self._set_given(
            replay_buffer_config=replay_buffer_config,
            num_steps_sampled_before_learning_starts=num_steps_sampled_before_learning_starts,
            training_intensity=training_intensity,
            critic_lr=critic_lr,
            actor_lr=actor_lr,
            adam_epsilon=adam_epsilon,
            tau=tau,
            target_network_update_freq=target_network_update_freq,
            normalize_targets=normalize_targets,
            normalizer_horizon=normalizer_horizon,
            normalize_observations=normalize_observations,
        )

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

    # What an algorithm says about itself.

    def module_classes(self) -> dict[str, type[JointRLModule]]:
        """Returns the RLModule class of every agent."""
        raise NotImplementedError

    def hierarchy_module_class(self) -> type[HierarchyModule]:
        """Returns the class that walks the hierarchy."""
        raise NotImplementedError

    def module_settings(self) -> dict[str, Any]:
        """Returns what modules need to know of this config beside spaces, hierarchy and model config."""
        return {"epsilon": self.epsilon, "exploration": self.exploration}

    def network_lr(self, agent: str, network: str) -> Schedule:
        """Returns the learning rate (or its schedule) of an agent's network, e.g. `"critic"` or `"actor"`."""
        own = self.critic_lr if kind_of(network) == "critic" else self.actor_lr
        if isinstance(own, dict):
            own = own.get(agent)
        return self.lr if own is None else own

    def num_games_on_observations(self) -> int:
        """Returns in how many of a runner's games, the last ones, agents act by their own observations alone."""
        return 0

    def update_period(self, kind: str) -> int:
        """Returns how many updates pass from one that moves the networks of a kind to the next."""
        return 1

    @property
    @override(AlgorithmConfig)
    def _model_config_auto_includes(self) -> dict[str, Any]:
        return dict(MODEL_DEFAULTS)

    @override(AlgorithmConfig)
    def get_default_rl_module_spec(self) -> RLModuleSpec:
        # RLlib asks for it on its way to a learner connector; agents' modules come from `get_multi_rl_module_spec`.
        return RLModuleSpec(module_class=JointRLModule)

    @override(AlgorithmConfig)
    def get_multi_rl_module_spec(
        self,
        *,
        env: Any = None,
        spaces: Mapping[str, tuple[gym.Space, gym.Space]] | None = None,
        inference_only: bool = False,
        **kwargs: Any,
    ) -> MultiRLModuleSpec:
        assert spaces is not None and self.levels is not None
        hierarchy = Hierarchy(self.levels)
        # Of an RLlib MultiAgentEnv the spaces are known only now.
        self._validate_action_spaces({agent: spaces[agent][1] for agent in hierarchy.agents})
        agents = [agent for agent in spaces if agent in hierarchy.agents]  # in the game's own order
        state = state_space_of({agent: spaces[agent][0] for agent in agents}, agents)
        model_config = {
            **MODEL_DEFAULTS,
            **self._given_model_config(),
            **self.module_settings(),
            "hierarchy": [list(level) for level in hierarchy.levels],
            "agents": agents,
            "num_actions": [action_size(spaces[agent][1]) for agent in hierarchy.agents],
            "uses_observations": self.uses_observations,
            "state_shape": list(state.shape or ()),
        }
        specs = {
            agent: RLModuleSpec(
                module_class=self.module_classes()[agent],
                observation_space=spaces[agent][0],
                action_space=spaces[agent][1],
                inference_only=inference_only,
                model_config=model_config | {"agent": agent},
            )
            for agent in hierarchy.agents
        }
        return MultiRLModuleSpec(
            multi_rl_module_class=self.hierarchy_module_class(),
            rl_module_specs=specs,
            model_config=model_config,
            inference_only=inference_only,
        )

    def _given_model_config(self) -> dict[str, Any]:
        given = self._model_config
        return dict(given if isinstance(given, Mapping) else vars(given)) if given else {}

    # Validation.

    @override(AlgorithmConfig)
    def validate(self) -> None:
        # RLlib advises once to switch its old API stack back on, on which nothing here runs: count that as said.
        log_once(f"{self.algo_class.__name__}_on_new_api_stack")
        if self._validate_config:
            self._validate_schedule("lr", self.lr, 0.0, np.inf)  # RLlib's own check fails on an empty point
        super().validate()
        if not self._validate_config:
            return
        if self.levels is None:
            self._value_error("no hierarchy: write e.g. hierarchy: [['player_0'], ['player_1']], top level first.")
        assert self.levels is not None
        hierarchy = Hierarchy(self.levels)
        self._refuse_what_does_nothing()
        self._validate_numbers()
        self._validate_model_config()
        if self.env is None:
            self._value_error("no game: write env: a game's id, such as escape_v0, or 'package.module:factory'.")
        if is_rllib_env(self.env):
            if issubclass(self.env_runner_cls, JointEnvRunner):
                self._value_error(f"{self.env.__name__} is an RLlib MultiAgentEnv: write env_runner_cls: stock.")
            if self.state == "env":
                self._value_error(f"{self.env.__name__} is an RLlib MultiAgentEnv: write state: observations.")
            return
        games = make_games(self.env, 1, np.random.default_rng(0), self._game_settings())
        try:
            self._validate_game(games, hierarchy)
        finally:
            games.close()

    def _game_settings(self) -> dict[str, Any]:
        return dict(self.env_config)

    def _validate_game(self, games: BatchedGame, hierarchy: Hierarchy) -> None:
        hierarchy.check_against(games.possible_agents)
        StateReader(games, self.state)
        self._validate_action_spaces(games.action_spaces)

    def _validate_action_spaces(self, spaces: Mapping[str, gym.Space]) -> None:
        name = type(self).__name__.removesuffix("Config")
        for agent, space in spaces.items():
            has = f"agent {agent!r} has action space {space}"
            if isinstance(space, gym.spaces.Discrete):
                if space.start != 0:
                    self._value_error(f"{has}: its actions must start at 0.")
            elif not self.continuous_actions:
                self._value_error(f"{has}: {name} supports discrete actions (gymnasium.spaces.Discrete) only.")
            elif not (
                isinstance(space, gym.spaces.Box) and len(space.shape) == 1 and np.issubdtype(space.dtype, np.floating)
            ):
                self._value_error(
                    f"{has}: {name} supports discrete actions (gymnasium.spaces.Discrete) and vectors of numbers "
                    "(one-dimensional Box of floats)."
                )
            elif not space.shape[0]:
                self._value_error(f"{has}, in which there is nothing to choose: it needs at least one number.")
            elif not (space.is_bounded() and (space.low < space.high).all()):
                self._value_error(f"{has}: it needs finite bounds, low < high.")

    def _refuse_what_does_nothing(self) -> None:
        joint = issubclass(self.env_runner_cls, JointEnvRunner)
        plain = AlgorithmConfig()
        for refused in REFUSED:
            if refused.joint_only and not joint:
                continue
            if refused.key == "batch_mode" and self.in_evaluation:
                continue  # RLlib sets it for evaluation by itself, where whole episodes are counted here too
            value, default = getattr(self, refused.key, None), getattr(plain, refused.key, None)
            if value != default:
                self._value_error(
                    f"{refused.key.removeprefix('_')}: {value!r} would silently do nothing here: {refused.instead}."
                )
        if joint:
            for name in self._runner_callbacks():
                self._value_error(f"callback {name} would never be called: {USE_STOCK}.")
        assert self.levels is not None
        if self.policy_mapping_fn is not agent_is_module or list(self.policies) != list(Hierarchy(self.levels).agents):
            self._value_error("multi_agent() would silently do nothing here: hierarchy says who plays; leave it out.")
        if self.in_evaluation:
            return
        if self.max_sampling_lag is None and (
            self.max_requests_in_flight_per_env_runner != plain.max_requests_in_flight_per_env_runner
        ):
            self._value_error(
                f"max_requests_in_flight_per_env_runner: {self.max_requests_in_flight_per_env_runner} would do nothing "
                "where each runner is waited for: write max_sampling_lag as well, or leave it out."
            )
        if self.max_sampling_lag is not None and not self.num_env_runners:
            self._value_error(
                f"max_sampling_lag: {self.max_sampling_lag} would do nothing where the trial's own process plays: "
                "write num_env_runners: 1 or more, or leave it out."
            )

    def _runner_callbacks(self) -> list[str]:
        overridden = [
            name
            for cls in force_list(self.callbacks_class)
            for name in RUNNER_CALLBACKS
            if inspect.isclass(cls) and getattr(cls, name, None) is not getattr(RLlibCallback, name)
        ]
        return overridden + [name for name in RUNNER_CALLBACKS if getattr(self, f"callbacks_{name}", None)]

    def _validate_numbers(self) -> None:
        for key, low, high, open_low in (
            ("tau", 0.0, 1.0, True),
            ("gamma", 0.0, 1.0, False),
            ("training_intensity", 0.0, np.inf, True),
            ("num_envs_per_env_runner", 1, np.inf, False),
            ("train_batch_size_per_learner", 1, np.inf, False),
            ("num_steps_sampled_before_learning_starts", 0, np.inf, False),
            ("target_network_update_freq", 1, np.inf, False),
            ("normalizer_horizon", 1, np.inf, False),
            ("adam_epsilon", 0.0, np.inf, True),
            ("grad_clip", 0.0, np.inf, True),
            ("min_sample_timesteps_per_iteration", 1, np.inf, False),
            ("max_sampling_lag", 0, np.inf, False),
            ("max_requests_in_flight_per_env_runner", 1, np.inf, False),
            ("num_learners", 0, np.inf, False),
            ("num_env_runners", 0, np.inf, False),
            ("evaluation_interval", 1, np.inf, False),
            ("evaluation_num_env_runners", 0, np.inf, False),
            ("metrics_num_episodes_for_smoothing", 1, np.inf, False),
            ("min_time_s_per_iteration", 0.0, np.inf, False),
            ("sample_timeout_s", 0.0, np.inf, True),
            ("seed", 0, 2**32 - 1, False),  # what numpy, torch and games all take
        ):
            if getattr(self, key) is None and key in _MAY_BE_NONE:
                continue
            counted = key in ("max_sampling_lag", "num_learners", "seed") or key.endswith("num_env_runners")
            whole = counted or (low == 1 and key != "normalizer_horizon")  # counts of things
            self.validate_number(key, low, high, open_low=open_low, whole=whole)
        self._validate_schedule("epsilon", self.epsilon, 0.0, 1.0)
        for agent in [agent for level in self.levels or [] for agent in level]:
            for network in ("critic", "actor"):
                key = "lr" if getattr(self, f"{network}_lr") is None else f"{network}_lr"
                self._validate_schedule(key, self.network_lr(agent, network), 0.0, 10.0)
        for key in ("critic_lr", "actor_lr"):
            given = getattr(self, key)
            agents = [agent for level in self.levels or [] for agent in level]
            if isinstance(given, dict) and (unknown := [agent for agent in given if agent not in agents]):
                self._value_error(f"{key} names {', '.join(map(str, unknown))}; the agents are {', '.join(agents)}.")
        for key, options in (
            ("state", ("env", "observations")),
            ("exploration", ("per_agent", "joint")),
            ("grad_clip_by", ("value", "norm", "global_norm")),
            ("store_buffer_in_checkpoints", (True, False)),
            ("compress_buffer_in_checkpoints", (True, False)),
        ):
            self.validate_choice(key, options)
        buffer = self.replay_buffer_config
        if not isinstance(buffer, Mapping) or set(buffer) != {"capacity"} or not _is_count(buffer["capacity"]):
            self._value_error(f"replay_buffer_config: {buffer!r}: write {{capacity: rows}}, with rows a whole number.")
        if buffer["capacity"] < self.total_train_batch_size:
            self._value_error(
                f"replay_buffer_config: a capacity of {buffer['capacity']} holds less than one update's "
                f"{self.total_train_batch_size} rows (train_batch_size_per_learner, of each learner)."
            )
        if not isinstance(self.rollout_fragment_length, int) or self.rollout_fragment_length < 1:
            self._value_error(
                f"rollout_fragment_length: {self.rollout_fragment_length!r}: write a whole number of steps per game "
                "and call, e.g. 1."
            )

    def validate_number(
        self, key: str, low: float, high: float, *, open_low: bool = False, whole: bool = False
    ) -> None:
        """Refuses a setting that is no number from `low` (itself excluded where `open_low`) to `high`."""
        value = getattr(self, key)
        number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if not (number and (low < value if open_low else low <= value) and value <= high):
            bounds = f"{'greater than' if open_low else 'at least'} {low}" + (
                "" if high == np.inf else f" and at most {high}"
            )
            self._value_error(f"{key}: {value!r} must be a {'whole ' if whole else ''}number {bounds}.")

    def validate_choice(self, key: str, options: tuple[Any, ...]) -> None:
        """Refuses a setting that is none of the options."""
        if (value := getattr(self, key)) not in options:
            self._value_error(f"{key}: {value!r} is none of {', '.join(map(str, options))}.")

    def _validate_schedule(self, key: str, schedule: Any, low: float, high: float) -> None:
        points = [[0, schedule]] if isinstance(schedule, int | float) else schedule
        try:
            steps, values = [step for step, _ in points], [value for _, value in points]
            known = all(isinstance(x, numbers.Real) and not isinstance(x, bool) for x in [*steps, *values])
        except (TypeError, ValueError):
            known = False
        if not known:
            self._value_error(f"{key}: {schedule!r} is neither a number nor a schedule [[env step, value], ...].")
        if not points or steps[0] != 0 or any(a >= b for a, b in itertools.pairwise(steps)):
            self._value_error(f"{key}: the steps of {schedule!r} must rise from 0.")
        if not all(low <= value <= high for value in values):
            self._value_error(f"{key}: {schedule!r} must stay within [{low}, {high}].")

    def _validate_model_config(self) -> None:
        given = self._given_model_config()
        for key, value in given.items():
            if key in MODEL_DEFAULTS:
                continue
            if not isinstance(self._model_config, Mapping):
                from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

                if value == getattr(DefaultModelConfig(), key, None):
                    continue
            near = difflib.get_close_matches(key, MODEL_DEFAULTS, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            self._value_error(f"model_config: {key} is unknown here: {hint}Known: {', '.join(MODEL_DEFAULTS)}.")
        model = {**MODEL_DEFAULTS, **given}
        hiddens = model["fcnet_hiddens"]
        if not isinstance(hiddens, list | tuple) or not all(_is_count(size) for size in hiddens):
            self._value_error(f"model_config: fcnet_hiddens: {hiddens!r}: write a list of widths, e.g. [64, 64].")
        if max(hiddens, default=0) > _WIDEST:
            self._value_error(f"model_config: fcnet_hiddens: {hiddens!r}: write widths of at most {_WIDEST:,}.")
        if model["fcnet_activation"] not in ACTIVATIONS:
            self._value_error(
                f"model_config: fcnet_activation: {model['fcnet_activation']!r} is none of {', '.join(ACTIVATIONS)}."
            )


def _holds_floats(space: gym.Space) -> bool:
    return np.issubdtype(space.dtype or object, np.floating)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
