"""Each setting of RLlib's is honoured or refused, with the same words in Python and in experiment files."""

import dataclasses
import os
import threading

import pytest

from rllib_biac import BiACConfig
from rllib_biac.rllib.config_keys import BadSettings, build, keys_of
from rllib_biac.rllib.refusals import REFUSED, RUNNER_CALLBACKS
from tests.foreign import Foreign

# What RLlib itself honours around our runners, learners and modules, checked against its code for Ray 2.55-2.60.
HONOURED = {
    *("num_cpus_for_main_process", "custom_resources_for_main_process", "placement_strategy"),
    *("env", "env_config", "env_runner_cls", "num_env_runners", "create_local_env_runner", "num_envs_per_env_runner"),
    *("num_cpus_per_env_runner", "num_gpus_per_env_runner", "custom_resources_per_env_runner"),
    *("validate_env_runners_after_construction", "sample_timeout_s", "max_requests_in_flight_per_env_runner"),
    *("rollout_fragment_length", "explore", "max_sampling_lag"),
    *("num_learners", "num_cpus_per_learner", "num_gpus_per_learner", "custom_resources_per_learner", "local_gpu_idx"),
    *("learner_class", "callbacks", "hierarchy"),
    *("on_algorithm_init", "on_train_result", "on_evaluate_start", "on_evaluate_end", "on_env_runners_recreated"),
    *("on_checkpoint_loaded", "on_evaluate_offline_start", "on_evaluate_offline_end"),
    "on_offline_eval_runners_recreated",
    *("evaluation_interval", "evaluation_duration", "evaluation_duration_unit", "evaluation_sample_timeout_s"),
    *("evaluation_auto_duration_min_env_steps_per_sample", "evaluation_auto_duration_max_env_steps_per_sample"),
    *("evaluation_parallel_to_training", "evaluation_unhealthy_workers_timeout_s", "evaluation_config"),
    *("evaluation_error_after_n_consecutive_skips", "evaluation_force_reset_envs_before_iteration"),
    *("evaluation_num_env_runners", "custom_evaluation_function"),
    *("metrics_num_episodes_for_smoothing", "min_time_s_per_iteration", "min_sample_timesteps_per_iteration"),
    *("custom_stats_cls_lookup", "store_buffer_in_checkpoints", "compress_buffer_in_checkpoints"),
    *("log_level", "log_sys_usage", "seed"),
    *("restart_failed_env_runners", "ignore_env_runner_failures", "max_num_env_runner_restarts"),
    *("delay_between_env_runner_restarts_s", "num_consecutive_env_runner_failures_tolerance"),
    *("env_runner_health_probe_timeout_s", "env_runner_restore_timeout_s"),
}
OTHER = {bool: lambda old: not old, int: lambda old: old + 1, float: lambda old: old + 1.0, str: lambda old: old + "x"}


def config():
    return BiACConfig().environment("escape_v0").hierarchy([["player_0"], ["player_1"]])


def another(value):
    """Returns a value unlike the given one."""
    return OTHER.get(type(value), lambda old: {"another": 1})(value)


def test_every_setting_is_honoured_or_refused():
    ours = {f.name for f in dataclasses.fields(BiACConfig.algorithm.settings)}
    refused = {row.key for row in REFUSED}
    assert not HONOURED & refused
    unknown = set(keys_of(BiACConfig)) - ours - refused - HONOURED - set(RUNNER_CALLBACKS)
    assert not unknown, "a new Ray has new settings: does anything read them here?"


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.key)
def test_python_and_files_refuse_with_the_same_words(row):
    changed = config()
    default = getattr(changed, row.attribute, None)
    value = another(default)
    setattr(changed, row.attribute, value)
    with pytest.raises(ValueError) as in_python:
        changed.validate()
    assert row.sentence(value) in str(in_python.value)
    if row.joint_only or row.key not in keys_of(BiACConfig):
        return  # a file's config meets them when it validates itself, as in Python
    try:
        build(BiACConfig, {row.key: value})
    except BadSettings as error:
        ((path, text),) = error.found
        assert path == (row.key,)
        said = f"{row.key}: {text}"
        # A whole number may have become a float, as the setting is annotated.
        assert said in (row.sentence(value), row.sentence(value).replace(f"{value!r}", f"{value!r}.0", 1)) or (
            text.startswith("expected")
        )
    else:
        pytest.fail("accepted")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.training(soft_q_temperature=0.5), "write continuous_leader: soft_q as well"),
        (lambda c: c.training(num_leader_actions=8), "write continuous_leader: soft_q as well"),
        (lambda c: c.training(updates_per_round=50), "write num_hypotheses: 2 or more as well"),
        (lambda c: c.rl_module(model_config={"conv_filters": [[4, 2, 1]]}), "networks see vectors"),
        (lambda c: c.api_stack(enable_rl_module_and_learner=False), "only the new API stack"),
        (lambda c: c.resources(num_gpus=1), "write num_gpus_per_learner"),
        (lambda c: c.environment(clip_rewards=True), "leave it out"),
        (lambda c: c.environment(normalize_actions=True), "in the game's own units"),
        (lambda c: c.env_runners(env_runner_cls="stock").environment(normalize_actions=True), "game's own units"),
        (
            lambda c: c.env_runners(env_runner_cls="stock", spread_epsilon=True),
            "spread_epsilon: True: .*; leave it out",
        ),
    ],
)
def test_what_would_do_nothing_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        change(config()).validate()


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.key)
def test_what_is_refused_is_held_against_its_own_default(row):
    assert hasattr(BiACConfig(), row.attribute)  # else a value of None would pass for the default


def test_defaults_pass():
    config().validate()
    config().env_runners(env_runner_cls="stock").validate()


@pytest.mark.parametrize(
    ("group", "settings", "message"),
    [
        ("evaluation", {"evaluation_duration_unit": "minutes"}, "'minutes' is none of 'episodes', 'timesteps'"),
        ("callbacks", {"callbacks_class": os.system}, "is no subclass of RLlib's RLlibCallback"),
        ("env_runners", {"num_envs_per_env_runner": 10**8}, "num_envs_per_env_runner: 100000000 must be"),
        ("env_runners", {"rollout_fragment_length": 10**6}, "25,000,000 rows in memory at once"),
    ],
)
def test_what_would_fail_late(group, settings, message):
    config = BiACConfig().environment("escape_v0").hierarchy([["player_0"], ["player_1"]])
    with pytest.raises(ValueError, match=message):
        getattr(config, group)(**settings).validate()


REASON = r"cannot be pickled \(cannot pickle '_thread.lock' object\): "
LOCK = threading.Lock()


def holds_a_lock():
    lock = LOCK  # a global of a module would be pickled by its name
    return lambda *args, **settings: Foreign() if lock else None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c.environment(holds_a_lock()),
            f"environment: the game's factory {REASON}.*package.module:fact",
        ),
        (lambda c: c.environment(env_config={"lock": LOCK}), f"env_config {REASON}.*make it inside the game"),
        (
            lambda c: c.update_from_dict({"partners": {"b": holds_a_lock()}}).hierarchy([["a"]]),
            f"partners {REASON}.*module:function",
        ),
        (lambda c: c.callbacks(on_train_result=holds_a_lock()), f"on_train_result {REASON}make what it refers to"),
    ],
    ids=["env", "env_config", "partners", "callbacks"],
)
def test_what_ray_cannot_hand_to_a_process(change, message):
    config = BiACConfig().environment(Foreign, env_config={}).hierarchy([["a"], ["b"]])
    with pytest.raises(ValueError, match=message):
        change(config).validate()
