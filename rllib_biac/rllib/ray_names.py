"""The table of Ray's names that this library overrides, sets or uses although they are private or may move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

OLDEST, NEWEST = (2, 55), (2, 60)

Run = Literal["train", "stock", "remote", "tune", "never"]


@dataclass(frozen=True, slots=True)
class Row:
    """One name of Ray's. Every row was tried with each minor version of Ray from `since` to `NEWEST`.

    Attributes:
        where: the module or class that has it.
        name: the name itself.
        parameters: what it takes, without annotations and defaults; `", ..."` at the end allows more; `"property"`;
            None for an attribute that the class sets on its objects.
        why: what it is for here.
        ours: the class of this library that overrides it; empty where it is only used or set.
        run: the run in which RLlib calls the override: `train` (training, evaluation, checkpoint, all in one process),
            `stock` (the same with RLlib's own env runner), `remote` (in other processes), `tune` (Tune's trials), or
            `never`, where the override refuses, or only this library calls it.
        since: the first Ray that has it.
    """

    where: str
    name: str
    parameters: str | None
    why: str
    ours: str = ""
    run: Run = "train"
    since: tuple[int, int] = OLDEST


# Ray's.
ALGORITHM = "ray.rllib.algorithms.algorithm.Algorithm"
CONFIG = "ray.rllib.algorithms.algorithm_config.AlgorithmConfig"
CONNECTOR = "ray.rllib.connectors.connector_v2.ConnectorV2"
LEARNER = "ray.rllib.core.learner.torch.torch_learner.TorchLearner"
LEARNER_GROUP = "ray.rllib.core.learner.learner_group.LearnerGroup"
MODULE = "ray.rllib.core.rl_module.torch.TorchRLModule"
MODULES = "ray.rllib.core.rl_module.multi_rl_module.MultiRLModule"
ENV = "ray.rllib.env.multi_agent_env.MultiAgentEnv"
RUNNER = "ray.rllib.env.env_runner.EnvRunner"
RUNNER_GROUP = "ray.rllib.env.env_runner_group.EnvRunnerGroup"
STOCK_RUNNER = "ray.rllib.env.multi_agent_env_runner.MultiAgentEnvRunner"
ACTORS = "ray.rllib.utils.actor_manager.FaultTolerantActorManager"
APPLY = "ray.rllib.utils.actor_manager.FaultAwareApply"
PARTS = "ray.rllib.utils.checkpoints.Checkpointable"
METRICS = "ray.rllib.utils.metrics.metrics_logger.MetricsLogger"
CHECKPOINTS = "ray.train._internal.checkpoint_manager._CheckpointManager"
CALLBACK = "ray.tune.Callback"
TRIAL = "ray.tune.experiment.Trial"
ASHA = "ray.tune.schedulers.async_hyperband"

# Ours. The tests import them by these paths.
OUR_ALGORITHM = "rllib_biac.rllib.algorithm.JointAlgorithm"
OUR_RESUMABLE = "rllib_biac.rllib.resumable.ResumableAlgorithm"
OUR_CONFIG = "rllib_biac.rllib.config.JointConfig"
OUR_BIAC_CONFIG = "rllib_biac.rllib.biac.BiACConfig"
OUR_CONNECTOR = "rllib_biac.rllib.connector.JointTransitionsConnector"
OUR_LEARNER = "rllib_biac.rllib.learner.JointLearner"
OUR_MODULE = "rllib_biac.rllib.module.MemberModule"
OUR_MODULES = "rllib_biac.rllib.module.TeamModule"
OUR_ENV = "rllib_biac.rllib.multi_agent_env.PettingZooMultiAgentEnv"
OUR_RUNNER = "rllib_biac.rllib.runner.JointEnvRunner"
OUR_STOCK_RUNNER = "rllib_biac.rllib.stock_runner.StockEnvRunner"
OUR_APPLY = "rllib_biac.rllib.faults.HandsOverGameErrors"
SAVE_AND_STOP = "rllib_biac.experiments.callbacks.SaveAndStop"
COMPARISON = "rllib_biac.experiments.callbacks.Comparison"

_STATE = "self, components, *, not_components, **kwargs"

OVERRIDDEN: tuple[Row, ...] = (
    Row(ALGORITHM, "setup", "self, config", "makes what joint training needs", OUR_ALGORITHM),
    Row(ALGORITHM, "step", "self", "evaluation lasts until the next one", OUR_ALGORITHM),
    Row(ALGORITHM, "training_step", "self", "the training loop", OUR_ALGORITHM),
    Row(ALGORITHM, "evaluate", "self, parallel_train_future", "adds exact regrets", OUR_ALGORITHM),
    Row(ALGORITHM, "_evaluate_on_local_env_runner", "self, env_runner", "plays greedily", OUR_ALGORITHM),
    Row(ALGORITHM, "_create_local_replay_buffer_if_necessary", "self, config", "the replay of columns", OUR_ALGORITHM),
    Row(ALGORITHM, "_get_env_id_and_creator", "env_specifier, config", "games by id", OUR_ALGORITHM),
    Row(ALGORITHM, "get_default_config", "cls", "the config class", OUR_ALGORITHM, run="tune"),
    Row(ALGORITHM, "reset_config", "self, new_config", "lets Tune reuse the process", OUR_ALGORITHM, run="tune"),
    Row(ALGORITHM, "stop", "self", "stops at once", OUR_ALGORITHM),
    Row(ALGORITHM, "cleanup", "self", "does not wait for runners that hang", OUR_ALGORITHM),
    Row(ALGORITHM, "get_state", _STATE, "exact resume", OUR_RESUMABLE),
    Row(ALGORITHM, "set_state", "self, state", "exact resume", OUR_RESUMABLE),
    Row(ALGORITHM, "get_checkpointable_components", "self", "replay has files of its own", OUR_RESUMABLE),
    Row(ALGORITHM, "get_metadata", "self", "a checkpoint says what it is", OUR_RESUMABLE),
    Row(
        ALGORITHM,
        "save_to_path",
        "self, path, *, state, filesystem, use_msgpack",
        "a checkpoint is whole or not there",
        OUR_RESUMABLE,
    ),
    Row(ALGORITHM, "restore_from_path", "self, path, *args, **kwargs", "checks before it reads", OUR_RESUMABLE),
    Row(ALGORITHM, "restore", "self, checkpoint_path", "takes an earlier checkpoint", OUR_RESUMABLE, run="never"),
    Row(ALGORITHM, "from_checkpoint", "cls, path, filesystem, ...", "checks before it reads", OUR_RESUMABLE),
    Row(CONFIG, "environment", "self, env, *, ...", "`state` and games by id", OUR_CONFIG),
    Row(CONFIG, "env_runners", "self, *, env_runner_cls, ...", "our runners, epsilon", OUR_CONFIG),
    Row(CONFIG, "multi_agent", "self, *, policies, ...", "who learns", OUR_CONFIG),
    Row(CONFIG, "training", "self, *, gamma, lr, ...", "our settings", OUR_CONFIG),
    Row(CONFIG, "checkpointing", "self, ...", "our settings", OUR_CONFIG),
    Row(CONFIG, "rl_module", "self, *, ...", "module classes by level", OUR_BIAC_CONFIG),
    Row(CONFIG, "validate", "self", "refuses what would do nothing", OUR_CONFIG),
    Row(CONFIG, "_model_config_auto_includes", "property", "our defaults", OUR_CONFIG, run="never"),
    Row(CONFIG, "get_default_rl_module_spec", "self", "RLlib asks for one module's spec", OUR_CONFIG, run="stock"),
    Row(CONFIG, "get_default_learner_class", "self", "the learner class", OUR_CONFIG),
    Row(
        CONFIG,
        "get_multi_rl_module_spec",
        "self, *, env, spaces, inference_only, ...",
        "modules know the joint action",
        OUR_CONFIG,
    ),
    Row(
        CONNECTOR,
        "__call__",
        "self, *, rl_module, batch, episodes, explore, shared_data, metrics, **kwargs",
        "joins agents",
        OUR_CONNECTOR,
        run="stock",
    ),
    Row(LEARNER, "build", "self", "makes the trainer", OUR_LEARNER),
    Row(LEARNER, "_make_modules_ddp_if_necessary", "self", "gradients are averaged by hand", OUR_LEARNER),
    Row(LEARNER, "_log_trainable_parameters", "self", "logged with the other metrics", OUR_LEARNER),
    Row(LEARNER, "rl_module_is_compatible", "self, module", "our modules", OUR_LEARNER, run="never"),
    Row(LEARNER, "configure_optimizers", "self", "optimizers are the trainer's", OUR_LEARNER),
    Row(
        LEARNER,
        "compute_loss_for_module",
        "self, *, module_id, config, batch, fwd_out",
        "agents' losses belong together",
        OUR_LEARNER,
        run="never",
    ),
    Row(
        LEARNER,
        "update",
        "self, batch, batches, batch_refs, episodes, episodes_refs, data_iterators, training_data, *, timesteps, "
        "num_total_minibatches, num_epochs, minibatch_size, shuffle_batch_per_epoch, _no_metrics_reduce, **kwargs",
        "K minibatches per call",
        OUR_LEARNER,
    ),
    Row(LEARNER, "get_state", _STATE, "exact resume", OUR_LEARNER),
    Row(LEARNER, "set_state", "self, state", "exact resume", OUR_LEARNER),
    Row(MODULE, "get_state", "self, components, *, not_components, inference_only, **kwargs", "float64", OUR_MODULE),
    Row(MODULE, "set_state", "self, state", "keeps float64", OUR_MODULE),
    Row(MODULES, "setup", "self", "hands `inference_only` down", OUR_MODULES),
    Row(MODULES, "_forward_inference", "self, batch, **kwargs", "walks the hierarchy", OUR_MODULES, run="stock"),
    Row(MODULES, "_forward_exploration", "self, batch, **kwargs", "walks the hierarchy", OUR_MODULES, run="stock"),
    Row(ENV, "reset", "self, *, seed, options", "a game for RLlib's own runner", OUR_ENV, run="stock"),
    Row(ENV, "step", "self, action_dict", "a game for RLlib's own runner", OUR_ENV, run="stock"),
    Row(RUNNER, "__init__", "self, *, config, **kwargs", "plays N games as arrays", OUR_RUNNER),
    Row(RUNNER, "make_env", "self", "plays N games as arrays", OUR_RUNNER),
    Row(RUNNER, "make_module", "self", "plays with the team", OUR_RUNNER),
    Row(RUNNER, "get_spaces", "self", "what modules see and do", OUR_RUNNER),
    Row(RUNNER, "sample", "self, **kwargs", "returns joint transitions", OUR_RUNNER),
    Row(RUNNER, "get_metrics", "self", "smoothed as arrays", OUR_RUNNER),
    Row(RUNNER, "assert_healthy", "self", "RLlib asks new runners", OUR_RUNNER, run="remote"),
    Row(RUNNER, "stop", "self", "closes games", OUR_RUNNER),
    Row(PARTS, "get_state", _STATE, "exact resume", OUR_RUNNER),
    Row(PARTS, "set_state", "self, state", "exact resume", OUR_RUNNER),
    Row(PARTS, "get_ctor_args_and_kwargs", "self", "RLlib asks all parts", OUR_RUNNER),
    Row(PARTS, "get_checkpointable_components", "self", "networks are a part", OUR_RUNNER),
    Row(STOCK_RUNNER, "__init__", "self, config, **kwargs", "remembers outcomes", OUR_STOCK_RUNNER, run="stock"),
    Row(STOCK_RUNNER, "make_env", "self", "games by id", OUR_STOCK_RUNNER, run="stock"),
    Row(STOCK_RUNNER, "make_module", "self", "exploration has a seed", OUR_STOCK_RUNNER, run="stock"),
    Row(STOCK_RUNNER, "get_spaces", "self", "agents in the game's own order", OUR_STOCK_RUNNER, run="stock"),
    Row(STOCK_RUNNER, "_try_env_reset", "self, *, seed, options", "names games' errors", OUR_STOCK_RUNNER, run="stock"),
    Row(STOCK_RUNNER, "_try_env_step", "self, actions", "names games' errors", OUR_STOCK_RUNNER, run="stock"),
    Row(STOCK_RUNNER, "get_metrics", "self", "reports outcomes", OUR_STOCK_RUNNER, run="stock"),
    Row(STOCK_RUNNER, "get_state", _STATE, "exact resume", OUR_STOCK_RUNNER, run="stock"),
    Row(STOCK_RUNNER, "set_state", "self, state", "exact resume", OUR_STOCK_RUNNER, run="stock"),
    Row(APPLY, "apply", "self, func, *args, **kwargs", "hands games' errors over", OUR_APPLY, run="remote"),
    Row(CALLBACK, "on_trial_result", "self, iteration, trials, trial, result, **info", "a line", SAVE_AND_STOP, "tune"),
    Row(CALLBACK, "on_trial_save", "self, iteration, trials, trial, **info", "Ctrl-C saves", SAVE_AND_STOP, "tune"),
    Row(CALLBACK, "on_step_end", "self, iteration, trials, **info", "Ctrl-C saves", SAVE_AND_STOP, "tune"),
    Row(CALLBACK, "get_state", "self", "ASHA's scores last", COMPARISON, "tune"),
    Row(CALLBACK, "set_state", "self, state", "ASHA's scores last", COMPARISON, "tune"),
)

USED: tuple[Row, ...] = (
    Row(ALGORITHM, "_counters", None, "exact resume"),
    Row(ALGORITHM, "_monitor", None, "stops at once"),
    Row(ALGORITHM, "_storage", None, "a reused process keeps its trial, whose saves are known by it"),
    Row(ALGORITHM, "_time_total", None, "a checkpoint says how long it was trained"),
    Row(ALGORITHM, "_trial_info", None, "a reused process keeps its trial"),
    Row("ray.tune.registry", "_global_registry", None, "games that `register_env` knows"),
    Row("ray.tune.utils", "UtilMonitor", "start, delay", "stops at once"),
    Row(CONFIG, "_model_config", None, "the model config as given"),
    Row(CONFIG, "_dont_auto_sync_env_runner_states", None, "does not wait for busy runners"),
    Row(CONFIG, "_validate_config", None, "validation may be switched off"),
    Row(CONFIG, "_env_to_module_connector", None, "refused: it would do nothing"),
    Row(CONFIG, "_module_to_env_connector", None, "refused: it would do nothing"),
    Row(CONFIG, "_learner_connector", None, "refused: it would do nothing"),
    Row(CONFIG, "_rl_module_spec", None, "refused: it would do nothing"),
    Row(CONFIG, "_torch_grad_scaler_class", None, "refused: it would do nothing"),
    Row(CONFIG, "_torch_lr_scheduler_classes", None, "refused: it would do nothing"),
    Row(LEARNER, "_device", None, "where tensors lie"),
    Row(LEARNER, "_learner_index", None, "several learners draw each by itself"),
    Row(LEARNER, "_weights_seq_no", None, "the age of weights in updates"),
    Row(LEARNER_GROUP, "_learner", None, "weights are copied in place within one process"),
    Row(LEARNER_GROUP, "_workers", None, "names the learner that died"),
    Row(RUNNER, "_seed", None, "the seed of this runner"),
    Row(STOCK_RUNNER, "_device", None, "where tensors lie"),
    Row(STOCK_RUNNER, "_done_episodes_for_metrics", None, "outcomes of finished episodes"),
    Row(STOCK_RUNNER, "_weights_seq_no", None, "a restored runner takes older weights"),
    Row(RUNNER_GROUP, "_worker_manager", None, "kills silent runners"),
    Row(RUNNER_GROUP, "num_env_runners_dropped_lifetime", "self", "finds silent evaluation runners", since=(2, 57)),
    Row(
        RUNNER_GROUP,
        "foreach_env_runner",
        "self, func, *, kwargs, local_env_runner, healthy_only, remote_worker_ids, timeout_seconds, ...",
        "asks runners",
    ),
    Row(
        RUNNER_GROUP,
        "foreach_env_runner_async_fetch_ready",
        "self, func, kwargs, tag, timeout_seconds, ...",
        "samples while it learns",
    ),
    Row(ACTORS, "actors", "self", "kills silent runners"),
    Row(ACTORS, "clear", "self", "stops runners that hang"),
    Row(ACTORS, "is_actor_healthy", "self, actor_id", "kills silent runners"),
    Row(ACTORS, "set_actor_state", "self, actor_id, healthy", "kills silent runners"),
    Row(PARTS, "_check_component", "self, name, components, not_components", "which parts of a state are wanted"),
    Row(METRICS, "log_value", "self, key, value, *, reduce, window, ...", "metrics"),
    Row(METRICS, "aggregate", "self, stats_dicts, *, key", "metrics"),
    Row("ray._raylet", "Config", None, "Ray asks for a token"),
    Row("ray._private.ray_constants", "ENABLE_RAY_CLUSTER", None, "Ray listens on this machine only"),
    Row(
        "ray.air.execution._internal.actor_manager.RayActorManager",
        "_actor_task_failed",
        "self, tracked_actor_task, exception",
        "retries trials that Ray killed",
    ),
    Row("ray.tune.execution.class_cache", "DEFAULT_ENV_VARS", None, "starts trials in workers that wait"),
    Row("ray.exceptions.RayActorError", "__init__", "self, actor_id, error_msg, ...", "retries trials that Ray killed"),
    Row("ray.train._internal.session", "_TrainingResult", "checkpoint, metrics", "mends a killed run's record"),
    Row(CHECKPOINTS, "_checkpoint_results", None, "mends a killed run's record"),
    Row(CHECKPOINTS, "_checkpoint_config", None, "a resumed run's changed settings"),
    Row(CHECKPOINTS, "_latest_checkpoint_result", None, "mends a killed run's record"),
    Row(CHECKPOINTS, "register_checkpoint", "self, checkpoint_result", "mends a killed run's record"),
    Row("ray.tune.utils.serialization", "_loads_with_cloudpickle", "s", "reads a run's record", since=(2, 56)),
    Row("ray.tune.utils.serialization", "TuneFunctionDecoder", "*args, ...", "reads a run's record"),
    Row("ray.tune.utils.serialization", "TuneFunctionEncoder", "*, ...", "writes a run's record"),
    Row("ray.tune.utils.util", "SafeFallbackEncoder", "nan_str, **kwargs", "settings as Tune writes them"),
    Row(TRIAL, "from_json_state", "cls, json_state, stub", "mends a killed run's record"),
    Row(TRIAL, "get_json_state", "self", "mends a killed run's record"),
    Row(TRIAL, "restore_run_metadata", "self, run_metadata", "mends a killed run's record"),
    Row(TRIAL, "invalidate_json_state", "self", "mends a killed run's record"),
    Row(TRIAL, "update_resources", "self, resources", "a resumed run's changed settings"),
    Row(TRIAL, "stopping_criterion", None, "a resumed run's changed settings"),
    Row(TRIAL, "run_metadata", None, "mends a killed run's record"),
    Row(TRIAL, "pickled_error_file", "property", "says why a trial failed"),
    Row(f"{ASHA}.AsyncHyperBandScheduler", "_brackets", None, "ASHA's scores last"),
    Row(f"{ASHA}._Bracket", "_rungs", None, "ASHA's scores last"),
)

ROWS: tuple[Row, ...] = OVERRIDDEN + USED
