"""Settings of RLlib's that would silently do nothing here: one table, which validation and the tests go through."""

from __future__ import annotations

from dataclasses import dataclass


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
