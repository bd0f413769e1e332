"""Settings of RLlib's that would silently do nothing here: one table, which validation and the tests go through."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.utils import force_list

from rllib_biac.learning.hierarchy import Hierarchy
from rllib_biac.learning.settings import check_number


@dataclass(frozen=True)
class Refused:
    """A setting of RLlib's that would silently do nothing.

    Attributes:
        key: the config's attribute.
        instead: what to write instead.
        joint_only: whether only the batched runner does not honour it.
    """

    key: str
    instead: str
    joint_only: bool = False


USE_STOCK = "write env_runner_cls: stock to use RLlib's own runner, which honours it (and is slower)"

# A setting stands here if changing it from RLlib's default would have no effect; `validate()` refuses the change.
REFUSED: tuple[Refused, ...] = (
    Refused("_env_to_module_connector", USE_STOCK, joint_only=True),
    Refused("_module_to_env_connector", USE_STOCK, joint_only=True),
    Refused("add_default_connectors_to_env_to_module_pipeline", USE_STOCK, joint_only=True),
    Refused("add_default_connectors_to_module_to_env_pipeline", USE_STOCK, joint_only=True),
    Refused(
        "gym_env_vectorize_mode",
        "games are stepped as arrays here; leave it out, or " + USE_STOCK,
        joint_only=True,
    ),
    Refused("batch_mode", "rows, not episodes, go into replay; leave it out, or " + USE_STOCK, joint_only=True),
    Refused("episodes_to_numpy", "there are no episode objects; leave it out, or " + USE_STOCK, joint_only=True),
    Refused("restart_failed_sub_environments", USE_STOCK, joint_only=True),
    Refused("use_env_runner_state_server", USE_STOCK, joint_only=True),
    Refused("count_steps_by", "steps are the game's, 'env_steps'; leave it out"),
    Refused("compress_observations", "replay holds plain arrays; leave it out"),
    Refused("_learner_connector", "agents are joined on the way into replay, not on the way out of it; leave it out"),
    Refused("add_default_connectors_to_learner_pipeline", "no learner pipeline is used; leave it out"),
    Refused("num_epochs", "write training_intensity: rows trained per row sampled"),
    Refused("minibatch_size", "write train_batch_size_per_learner: rows of one update"),
    Refused("shuffle_batch_per_epoch", "minibatches are drawn at random from replay; leave it out"),
    Refused("policies_to_train", "all agents learn together; leave it out"),
    Refused("algorithm_config_overrides_per_module", "write critic_lr or actor_lr as {agent: rate}"),
    Refused("torch_compile_learner", "the update is stacked by hand; leave it out"),
    Refused("torch_compile_worker", "leave it out"),
    Refused("input_", "offline data is not supported"),
    Refused("offline_data_class", "offline data is not supported"),
    Refused("_torch_grad_scaler_class", "mixed precision is not supported"),
    Refused("_torch_lr_scheduler_classes", "write lr as a schedule, [[step, rate], ...]"),
    Refused("observation_filter", "write normalize_observations: true"),
    Refused("train_batch_size", "write train_batch_size_per_learner: rows of one update"),
    Refused("_rl_module_spec", "write model_config, or leader_module_class and follower_module_class"),
    Refused("optimizer", "the optimizer is Adam; write lr, critic_lr, actor_lr, adam_epsilon"),
)
# Callbacks that hang on RLlib's episodes or environments, which the batched runner never makes.
RUNNER_CALLBACKS = (
    "on_episode_created",
    "on_episode_start",
    "on_episode_step",
    "on_episode_end",
    "on_environment_created",
    "on_sample_end",
)

# Numbers of RLlib's: key, lowest, highest, whether the lowest itself is out, whether it is a whole number.
NUMBERS: tuple[tuple[str, float, float, bool, bool], ...] = (
    ("num_envs_per_env_runner", 1, np.inf, False, True),
    ("min_sample_timesteps_per_iteration", 1, np.inf, False, True),
    ("max_sampling_lag", 0, np.inf, False, True),
    ("max_requests_in_flight_per_env_runner", 1, np.inf, False, True),
    ("num_learners", 0, np.inf, False, True),
    ("num_env_runners", 0, np.inf, False, True),
    ("evaluation_interval", 1, np.inf, False, True),
    ("evaluation_num_env_runners", 0, np.inf, False, True),
    ("metrics_num_episodes_for_smoothing", 1, np.inf, False, True),
    ("min_time_s_per_iteration", 0.0, np.inf, False, False),
    ("sample_timeout_s", 0.0, np.inf, True, False),
    ("seed", 0, 2**32 - 1, False, True),  # what numpy, torch and games all take
)
MAY_BE_NONE = ("max_sampling_lag", "evaluation_interval", "min_time_s_per_iteration", "sample_timeout_s", "seed")


def agent_is_module(agent_id: str, *args: Any, **kwargs: Any) -> str:
    """Maps agents to RLModules: each has its own, under its own name."""
    return agent_id


def check_numbers(config: Any) -> None:
    """Holds RLlib's own numbers against what they may be here.

    Raises:
        ValueError: naming the setting, its value and its bounds.
    """
    for key, low, high, above, whole in NUMBERS:
        value = getattr(config, key)
        if value is None and key in MAY_BE_NONE:
            continue
        check_number(key, value, low, high, above=above, whole=whole)
    for key in ("store_buffer_in_checkpoints", "compress_buffer_in_checkpoints"):
        if (value := getattr(config, key)) not in (True, False):
            raise ValueError(f"{key}: {value!r} is none of True, False.")
    if not isinstance(config.rollout_fragment_length, int) or config.rollout_fragment_length < 1:
        raise ValueError(
            f"rollout_fragment_length: {config.rollout_fragment_length!r}: write a whole number of steps per game and "
            "call, e.g. 1."
        )


def refuse_what_does_nothing(config: Any, *, joint: bool) -> None:
    """Refuses settings of RLlib's that would silently do nothing.

    Args:
        config: a `JointConfig`.
        joint: whether the batched runner plays, not RLlib's own.

    Raises:
        ValueError: naming the setting, and what to write instead.
    """
    plain = AlgorithmConfig()
    for refused in REFUSED:
        if refused.joint_only and not joint:
            continue
        if refused.key == "batch_mode" and config.in_evaluation:
            continue  # RLlib sets it for evaluation by itself, where whole episodes are counted here too
        value, default = getattr(config, refused.key, None), getattr(plain, refused.key, None)
        if value != default:
            raise ValueError(
                f"{refused.key.removeprefix('_')}: {value!r} would silently do nothing here: {refused.instead}."
            )
    if joint:
        for name in _runner_callbacks(config):
            raise ValueError(f"callback {name} would never be called: {USE_STOCK}.")
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
