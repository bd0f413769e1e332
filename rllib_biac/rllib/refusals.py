"""What is refused: one table of settings that would silently do nothing, for Python and for experiment files alike."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ray import cloudpickle
from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.utils import force_list

from rllib_biac.learning.bounds import check_number
from rllib_biac.learning.hierarchy import Hierarchy


@dataclass(frozen=True)
class Refused:
    """A setting of RLlib's that would silently do nothing here, unless it has its default.

    Attributes:
        key: its name, in experiment files and as a keyword of a config's method.
        instead: what to write instead.
        joint_only: whether RLlib's own runner honours it.
        attribute: the config's attribute, where that is not the key.
    """

    key: str
    instead: str
    joint_only: bool = False
    attribute: str = ""

    def sentence(self, value: Any) -> str:
        """Returns the refusal of a value."""
        return f"{self.key}: {value!r} would silently do nothing here: {self.instead}."


_USE_STOCK = "write env_runner_cls: stock to use RLlib's own runner, which honours it (and is slower)"
_OFFLINE = "offline data is not supported; leave it out"
_OLD_STACK = "it belongs to RLlib's old API stack; leave it out"
_NEW_STACK_ONLY = "only the new API stack exists here; leave it out"
_COMPILE = "networks are stepped by torch as they are; leave it out"
_TABLE: dict[str, tuple[str, ...]] = {
    "networks are stepped by torch; leave it out": ("framework", "eager_tracing", "eager_max_retraces"),
    _NEW_STACK_ONLY: ("enable_rl_module_and_learner", "enable_env_runner_and_connector_v2"),
    _COMPILE: (
        "torch_compile_learner",
        "torch_compile_learner_what_to_compile",
        "torch_compile_learner_dynamo_mode",
        "torch_compile_learner_dynamo_backend",
        "torch_compile_worker",
        "torch_compile_worker_dynamo_backend",
        "torch_compile_worker_dynamo_mode",
    ),
    _OLD_STACK: (
        "extra_python_environs_for_driver",
        "extra_python_environs_for_worker",
        "tf_session_args",
        "local_tf_session_args",
        "sample_collector",
        "remote_worker_envs",
        "remote_env_batch_wait_ms",
        "preprocessor_pref",
        "enable_tf1_exec_eagerly",
        "sampler_perf_stats_ema_coef",
        "use_worker_filter_stats",
        "update_worker_filter_stats",
        "fake_sampler",
        "is_atari",
        "render_env",
        "observation_fn",
        "policy_map_capacity",
        "policy_states_are_swappable",
        "off_policy_estimation_methods",
        "ope_split_batch_by_episode",
        "keep_per_episode_custom_metrics",
        "metrics_episode_collection_timeout_s",
        "min_train_timesteps_per_iteration",
        "export_native_model_files",
        "checkpoint_trainable_policies_only",
    ),
    _OFFLINE: (
        "input_",
        "offline_data_class",
        "output",
        "input_read_method",
        "input_read_method_kwargs",
        "input_read_schema",
        "input_read_episodes",
        "input_read_sample_batches",
        "input_read_batch_size",
        "input_filesystem",
        "input_filesystem_kwargs",
        "input_compress_columns",
        "materialize_data",
        "materialize_mapped_data",
        "map_batches_kwargs",
        "iter_batches_kwargs",
        "ignore_final_observation",
        "prelearner_class",
        "prelearner_buffer_class",
        "prelearner_buffer_kwargs",
        "prelearner_module_synch_period",
        "prelearner_use_recorded_module_states",
        "dataset_num_iters_per_learner",
        "dataset_num_iters_per_offline_eval_runner",
        "input_config",
        "actions_in_input_normalized",
        "postprocess_inputs",
        "shuffle_buffer_size",
        "output_config",
        "output_compress_columns",
        "output_max_file_size",
        "output_max_rows_per_file",
        "output_write_remaining_data",
        "output_write_method",
        "output_write_method_kwargs",
        "output_filesystem",
        "output_filesystem_kwargs",
        "output_write_episodes",
        "offline_sampling",
        "offline_evaluation_interval",
        "num_offline_eval_runners",
        "offline_evaluation_type",
        "offline_eval_runner_class",
        "offline_loss_for_module_fn",
        "offline_eval_batch_size_per_runner",
        "offline_eval_rl_module_inference_only",
        "num_cpus_per_offline_eval_runner",
        "num_gpus_per_offline_eval_runner",
        "custom_resources_per_offline_eval_runner",
        "offline_evaluation_timeout_s",
        "max_requests_in_flight_per_offline_eval_runner",
        "broadcast_offline_eval_runner_states",
        "validate_offline_eval_runners_after_construction",
        "restart_failed_offline_eval_runners",
        "ignore_offline_eval_runner_failures",
        "max_num_offline_eval_runner_restarts",
        "offline_eval_runner_health_probe_timeout_s",
        "offline_eval_runner_restore_timeout_s",
    ),
    "write num_gpus_per_learner": ("num_gpus",),
    "steps are the game's, 'env_steps'; leave it out": ("count_steps_by",),
    "replay holds plain arrays; leave it out": ("compress_observations",),
    "agents are joined on the way into replay, not on the way out of it; leave it out": ("learner_connector",),
    "no learner pipeline is used; leave it out": ("add_default_connectors_to_learner_pipeline",),
    "write training_intensity: rows trained per row sampled": ("num_epochs",),
    "write train_batch_size_per_learner: rows of one update": ("minibatch_size", "train_batch_size"),
    "minibatches are drawn at random from replay; leave it out": ("shuffle_batch_per_epoch",),
    "write critic_lr or actor_lr as {agent: rate}": ("algorithm_config_overrides_per_module",),
    "mixed precision is not supported": ("torch_grad_scaler_class",),
    "write lr as a schedule, [[step, rate], ...]": ("torch_lr_scheduler_classes",),
    "write normalize_observations: true": ("observation_filter",),
    "write model_config; BiAC also takes leader_module_class and follower_module_class": ("rl_module_spec",),
    "the optimizer is Adam; write lr, critic_lr, actor_lr, adam_epsilon": ("optimizer",),
    "rewards are learned from as they are, in any unit; leave it out": ("clip_rewards",),
    "policies answer in the game's own units; leave it out": ("normalize_actions", "clip_actions"),
    "the game says what its spaces are; leave it out": ("observation_space", "action_space", "action_mask_key"),
    "trainers average gradients themselves; leave it out": ("torch_ddp_kwargs",),
    "a loss that is not finite is reported as it is; leave it out": ("torch_skip_nan_gradients",),
    "gradients are not logged; leave it out": ("log_gradients",),
    "write the settings of an algorithm of your own": ("learner_config_dict",),
    "one batch at a time is learned from; leave it out": (
        "num_aggregator_actors_per_learner",
        "max_requests_in_flight_per_aggregator_actor",
        "max_requests_in_flight_per_learner",
    ),
}
_JOINT_ONLY: dict[str, tuple[str, ...]] = {
    _USE_STOCK: (
        "env_to_module_connector",
        "module_to_env_connector",
        "add_default_connectors_to_env_to_module_pipeline",
        "add_default_connectors_to_module_to_env_pipeline",
        "restart_failed_sub_environments",
        "use_env_runner_state_server",
        "env_runner_state_server_max_concurrency",
        "episode_lookback_horizon",
        "merge_env_runner_states",
        "broadcast_env_runner_states",
        "disable_env_checking",
    ),
    "games are stepped as arrays here; leave it out, or " + _USE_STOCK: ("gym_env_vectorize_mode",),
    "rows, not episodes, go into replay; leave it out, or " + _USE_STOCK: ("batch_mode",),
    "there are no episode objects; leave it out, or " + _USE_STOCK: ("episodes_to_numpy",),
}
# Where a config's attribute has another name than the keyword that sets it.
_ATTRIBUTES = {
    "framework": "framework_str",
    "env_to_module_connector": "_env_to_module_connector",
    "module_to_env_connector": "_module_to_env_connector",
    "learner_connector": "_learner_connector",
    "torch_grad_scaler_class": "_torch_grad_scaler_class",
    "torch_lr_scheduler_classes": "_torch_lr_scheduler_classes",
    "rl_module_spec": "_rl_module_spec",
    "is_atari": "_is_atari",
    "dataset_num_iters_per_offline_eval_runner": "dataset_num_iters_per_eval_runner",
}
REFUSED: tuple[Refused, ...] = tuple(
    Refused(key, instead, joint_only, _ATTRIBUTES.get(key, key))
    for table, joint_only in ((_TABLE, False), (_JOINT_ONLY, True))
    for instead, keys in table.items()
    for key in keys
)
CALLBACKS = tuple(name for name in dir(RLlibCallback) if name.startswith("on_"))
# Callbacks that hang on RLlib's episodes or environments, which the batched runner never makes.
RUNNER_CALLBACKS = (
    "on_episode_created",
    "on_episode_start",
    "on_episode_step",
    "on_episode_end",
    "on_environment_created",
    "on_sample_end",
)


def refusal(config: Any, key: str, value: Any) -> str | None:
    """Returns why a value of a setting is refused, whichever runner plays; None if it is not."""
    row = next((row for row in REFUSED if row.key == key and not row.joint_only), None)
    if row is None or value == getattr(type(config)(), row.attribute, None):
        return None
    return row.sentence(value)


MOST_PROCESSES = 10_000
LONGEST_S = 1e7  # four months
# Numbers of RLlib's: key, lowest, highest, whether the lowest itself is out, whether it is a whole number.
NUMBERS: tuple[tuple[str, float, float, bool, bool], ...] = (
    ("num_envs_per_env_runner", 1, 2**16, False, True),
    ("min_sample_timesteps_per_iteration", 1, np.inf, False, True),
    ("max_sampling_lag", 0, np.inf, False, True),
    ("max_requests_in_flight_per_env_runner", 1, np.inf, False, True),
    ("num_learners", 0, MOST_PROCESSES, False, True),
    ("num_env_runners", 0, MOST_PROCESSES, False, True),
    ("evaluation_interval", 1, np.inf, False, True),
    ("evaluation_duration", 1, np.inf, False, True),
    ("evaluation_num_env_runners", 0, MOST_PROCESSES, False, True),
    ("metrics_num_episodes_for_smoothing", 1, np.inf, False, True),
    ("min_time_s_per_iteration", 0.0, LONGEST_S, False, False),
    ("sample_timeout_s", 0.0, LONGEST_S, True, False),
    ("seed", 0, 2**32 - 1, False, True),  # what numpy, torch and games all take
    ("num_cpus_for_main_process", 0, np.inf, False, False),
    ("num_cpus_per_env_runner", 0, np.inf, False, False),
    ("num_gpus_per_env_runner", 0, np.inf, False, False),
    ("num_cpus_per_learner", 0, np.inf, False, False),
    ("num_gpus_per_learner", 0, np.inf, False, False),
    ("local_gpu_idx", 0, np.inf, False, True),
    ("evaluation_sample_timeout_s", 0.0, LONGEST_S, True, False),
    ("evaluation_unhealthy_workers_timeout_s", 0.0, LONGEST_S, False, False),
    ("evaluation_auto_duration_min_env_steps_per_sample", 1, np.inf, False, True),
    ("evaluation_auto_duration_max_env_steps_per_sample", 1, np.inf, False, True),
    ("max_num_env_runner_restarts", -1, np.inf, False, True),
    ("num_consecutive_env_runner_failures_tolerance", 0, np.inf, False, True),
    ("delay_between_env_runner_restarts_s", 0.0, LONGEST_S, False, False),
    ("env_runner_health_probe_timeout_s", 0.0, LONGEST_S, False, False),
    ("env_runner_restore_timeout_s", 0.0, LONGEST_S, False, False),
)
AUTO = ("num_cpus_per_learner", "evaluation_duration")  # where RLlib takes `auto` as well
CHOICES: dict[str, tuple[Any, ...]] = {
    "grad_clip_by": ("value", "norm", "global_norm"),
    "store_buffer_in_checkpoints": (True, False),
    "compress_buffer_in_checkpoints": (True, False),
    "log_level": ("DEBUG", "INFO", "WARN", "ERROR"),
    "placement_strategy": ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"),
}
RESOURCES = ("custom_resources_for_main_process", "custom_resources_per_env_runner", "custom_resources_per_learner")
MOST_ROWS = 10_000_000  # of one call of a runner
MAY_BE_NONE = (
    "max_sampling_lag",
    "evaluation_interval",
    "min_time_s_per_iteration",
    "sample_timeout_s",
    "seed",
    "evaluation_unhealthy_workers_timeout_s",
    "env_runner_restore_timeout_s",
)


def agent_is_module(agent_id: str, *args: Any, **kwargs: Any) -> str:
    """Maps agents to RLModules: each has its own, under its own name."""
    return agent_id


_CHECKED = (*(key for key, *_ in NUMBERS), *CHOICES, "rollout_fragment_length")


def check_given(settings: Mapping[str, Any]) -> None:
    """Holds settings by their names, as a config's method is given them or a config has them, against what they may be.

    Raises:
        ValueError: naming the setting, its value and its bounds.
    """
    for key, low, high, above, whole in NUMBERS:
        value = settings.get(key, NotProvided)
        if value is NotProvided or (value is None and key in MAY_BE_NONE) or (value == "auto" and key in AUTO):
            continue
        check_number(key, value, low, high, above=above, whole=whole)
    for key, choices in CHOICES.items():
        if (value := settings.get(key, NotProvided)) is not NotProvided and value not in choices:
            raise ValueError(f"{key}: {value!r} is none of {', '.join(map(str, choices))}.")
    steps = settings.get("rollout_fragment_length", NotProvided)
    if steps is not NotProvided and (not isinstance(steps, int) or steps < 1):
        raise ValueError(
            f"rollout_fragment_length: {steps!r}: write a whole number of steps per game and call, e.g. 1."
        )


def check_numbers(config: Any) -> None:
    """Holds RLlib's own numbers against what they may be here.

    Raises:
        ValueError: naming the setting, its value and its bounds.
    """
    check_given({key: getattr(config, key) for key in _CHECKED if hasattr(config, key)})  # older Rays have fewer
    for key in RESOURCES:
        for name, amount in (getattr(config, key, None) or {}).items():  # older Rays have fewer
            check_number(f"{key}: {name}", amount, 0.0)
    if isinstance(config.lr, list | tuple) and len(config.lr) == 1:
        raise ValueError(f"lr: {config.lr!r} has a single point; write a second one, or the number alone.")
    if (rows := config.rollout_fragment_length * config.num_envs_per_env_runner) > MOST_ROWS:
        raise ValueError(
            f"rollout_fragment_length: {config.rollout_fragment_length:,} steps of {config.num_envs_per_env_runner:,} "
            f"games are {rows:,} rows in memory at once, and {MOST_ROWS:,} are the most: write fewer steps, e.g. 1."
        )
    if (unit := config.evaluation_duration_unit) not in ("episodes", "timesteps"):
        raise ValueError(f"evaluation_duration_unit: {unit!r} is none of 'episodes', 'timesteps'.")
    for callbacks in force_list(config.callbacks_class):
        made_by = callbacks.func if isinstance(callbacks, functools.partial) else callbacks
        if not (inspect.isclass(made_by) and issubclass(made_by, RLlibCallback)):
            raise ValueError(f"callbacks: {callbacks!r} is no subclass of RLlib's RLlibCallback; write one.")


# What Ray hands to processes as pickles: a config's attribute, how messages name it, and what to write instead.
_PICKLED: tuple[tuple[str, str, str], ...] = (
    (
        "env",
        "environment: the game's factory",
        "make what it refers to inside the function, or name it as package.module:factory",
    ),
    ("env_config", "env_config", "hand over what a game makes it from, and make it inside the game"),
    ("partners", "partners", "make what a function refers to inside of it, or name it as package.module:function"),
    ("callbacks_class", "callbacks", "make what they refer to inside of them"),
    *((f"callbacks_{name}", name, "make what it refers to inside of it") for name in CALLBACKS),
)


def check_pickles(config: Any) -> None:
    """Refuses what Ray cannot hand to a process, not even to the trial's own.

    Raises:
        ValueError: naming what cannot be pickled, why, and what to do instead.
    """
    for attribute, what, instead in _PICKLED:
        try:
            # Arrays are not copied into the pickle.
            cloudpickle.dumps(getattr(config, attribute, None), protocol=5, buffer_callback=lambda buffer: None)
        except Exception as error:  # what is pickled may raise anything
            raise ValueError(f"{what} cannot be pickled ({str(error).rstrip('.')}): {instead}.") from error


def refuse_what_does_nothing(config: Any, *, joint: bool) -> None:
    """Refuses settings of RLlib's that would silently do nothing.

    Args:
        config: a `JointConfig`.
        joint: whether the batched runner plays, not RLlib's own.

    Raises:
        ValueError: naming the setting, and what to write instead.
    """
    plain = type(config)()
    for row in REFUSED:
        if row.joint_only and not joint:
            continue
        if row.key == "batch_mode" and config.in_evaluation:
            continue  # RLlib sets it for evaluation by itself, where whole episodes are counted here too
        value, default = (getattr(each, row.attribute, None) for each in (config, plain))
        if value is not default and value != default:
            raise ValueError(row.sentence(value))
    if joint:
        for name in _runner_callbacks(config):
            raise ValueError(f"callback {name} would never be called: {_USE_STOCK}.")
    elif config.spread_epsilon:
        raise ValueError(
            "spread_epsilon: True: RLlib's own runner explores alike in all its games; leave it out, or write "
            "env_runner_cls: joint."
        )
    agents = list(Hierarchy(config.levels).agents)
    if config.policy_mapping_fn is not agent_is_module or list(config.policies) != agents:
        raise ValueError("multi_agent() would silently do nothing here: hierarchy says who plays; leave it out.")
    if config.in_evaluation:
        return
    if config.max_sampling_lag is None and (
        config.max_requests_in_flight_per_env_runner != plain.max_requests_in_flight_per_env_runner
    ):
        raise ValueError(
            f"max_requests_in_flight_per_env_runner: {config.max_requests_in_flight_per_env_runner} would do nothing "
            "where each runner is waited for: write max_sampling_lag as well, or leave it out."
        )
    if config.max_sampling_lag is not None and not config.num_env_runners:
        raise ValueError(
            f"max_sampling_lag: {config.max_sampling_lag} would do nothing where the trial's own process plays: write "
            "num_env_runners: 1 or more, or leave it out."
        )


def _runner_callbacks(config: Any) -> list[str]:
    overridden = [
        name
        for cls in force_list(config.callbacks_class)
        for name in RUNNER_CALLBACKS
        if inspect.isclass(cls) and getattr(cls, name, None) is not getattr(RLlibCallback, name)
    ]
    return overridden + [name for name in RUNNER_CALLBACKS if getattr(config, f"callbacks_{name}", None)]
