"""Words of older RLlib files that nobody knows any more, and what to write instead.

What today's RLlib knows, and what would silently do nothing here, is in `refusals`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Section = Literal["experiment", "config", "stop"]


@dataclass(frozen=True)
class Trap:
    """One word that must not pass silently.

    Attributes:
        section: where in an experiment the word stands.
        key: the word.
        instead: what to write instead, a clause that completes "`key`: ...".
    """

    section: Section
    key: str
    instead: str


_RETURN = "env_runners/episode_return"
_CHECKPOINT = "write it inside `checkpoint_config:` as"
_MODEL = "the new API stack has no `model`; write `model_config: {...}`"
_HIERARCHY = "one module per agent is made from the hierarchy; write `hierarchy: [[leader], [follower]]`"
_STEPS = "write `num_env_steps_sampled_lifetime`"
_GPUS = "write `num_gpus_per_learner`"

TRAPS: tuple[Trap, ...] = (
    # Beside run, env, stop.
    Trap("experiment", "algo", "write `run`"),
    Trap("experiment", "local_dir", "write `storage_path`"),
    Trap("experiment", "upload_dir", "write `storage_path`, which may be a remote address"),
    Trap("experiment", "checkpoint_freq", f"{_CHECKPOINT} `checkpoint_frequency`"),
    Trap("experiment", "checkpoint_frequency", f"{_CHECKPOINT} `checkpoint_frequency`"),
    Trap("experiment", "checkpoint_at_end", f"{_CHECKPOINT} `checkpoint_at_end`"),
    Trap("experiment", "keep_checkpoints_num", f"{_CHECKPOINT} `num_to_keep`"),
    Trap("experiment", "checkpoint_score_attr", f"{_CHECKPOINT} `checkpoint_score_attribute`"),
    Trap(
        "experiment",
        "resources_per_trial",
        "the algorithm asks for what it needs; set `num_env_runners`, `num_gpus_per_learner`, ... in `config:`",
    ),
    # RLlib's config: keys that are stored and never read, or read only by the old API stack.
    Trap("config", "rl_module", "write `model_config:` (a mapping) directly under `config:`"),
    Trap("config", "rl_module_spec", "write `model_config:` (a mapping) directly under `config:`"),
    Trap("config", "model", _MODEL),
    Trap("config", "custom_model", _MODEL),
    Trap("config", "fcnet_hiddens", _MODEL),
    Trap("config", "fcnet_activation", _MODEL),
    Trap("config", "fcnet_rms_norm", _MODEL),
    Trap("config", "multiagent", _HIERARCHY),
    Trap("config", "multi_agent", _HIERARCHY),
    Trap("config", "policies", _HIERARCHY),
    Trap("config", "policy_mapping_fn", _HIERARCHY),
    Trap("config", "num_workers", "write `num_env_runners`"),
    Trap("config", "num_rollout_workers", "write `num_env_runners`"),
    Trap("config", "create_env_on_local_worker", "write `create_local_env_runner`"),
    Trap("config", "num_envs_per_worker", "write `num_envs_per_env_runner`"),
    Trap("config", "num_cpus_per_worker", "write `num_cpus_per_env_runner`"),
    Trap("config", "num_gpus_per_worker", "write `num_gpus_per_env_runner`"),
    Trap("config", "num_cpus_for_driver", "write `num_cpus_for_main_process`"),
    Trap("config", "evaluation_num_workers", "write `evaluation_num_env_runners`"),
    Trap("config", "evaluation_num_episodes", "write `evaluation_duration`"),
    Trap("config", "num_learner_workers", "write `num_learners`"),
    Trap("config", "num_gpus_per_learner_worker", _GPUS),
    Trap("config", "num_sgd_iter", "write `num_epochs`"),
    Trap("config", "sgd_minibatch_size", "write `minibatch_size`"),
    Trap("config", "exploration_config", "exploration belongs to the algorithm; write its own key, such as `epsilon`"),
    Trap("config", "optimizer", "write `lr` and the algorithm's own keys"),
    Trap("config", "learning_starts", "write `num_steps_sampled_before_learning_starts`"),
    Trap("config", "buffer_size", "write `replay_buffer_config: {capacity: ...}`"),
    Trap("config", "timesteps_per_iteration", "write `min_sample_timesteps_per_iteration`"),
    Trap("config", "min_iter_time_s", "write `min_time_s_per_iteration`"),
    Trap("config", "metrics_smoothing_episodes", "write `metrics_num_episodes_for_smoothing`"),
    Trap("config", "stop", "`stop:` stands beside `config:`, not inside it"),
    Trap("config", "run", "`run:` stands beside `config:`, not inside it"),
    # Stop criteria: names that RLlib no longer reports, so that a run with them would never end.
    Trap("stop", "episode_reward_mean", f"write `{_RETURN}_mean`"),
    Trap("stop", "episode_reward_max", f"write `{_RETURN}_max`"),
    Trap("stop", "episode_reward_min", f"write `{_RETURN}_min`"),
    Trap("stop", "episode_return_mean", f"write `{_RETURN}_mean`"),
    Trap("stop", "episode_len_mean", "write `env_runners/episode_len_mean`"),
    Trap("stop", "env_runners/episode_reward_mean", f"write `{_RETURN}_mean`"),
    Trap("stop", "sampler_results/episode_reward_mean", f"write `{_RETURN}_mean`"),
    Trap("stop", "evaluation/episode_reward_mean", f"write `evaluation/{_RETURN}_mean`"),
    Trap("stop", "timesteps_total", _STEPS),
    Trap("stop", "timesteps", _STEPS),
    Trap("stop", "num_env_steps_sampled", _STEPS),
    Trap("stop", "agent_timesteps_total", _STEPS),
    Trap("stop", "num_env_steps_trained", _STEPS),
    Trap("stop", "episodes_total", "write `env_runners/num_episodes_lifetime`"),
    Trap("stop", "iterations", "write `training_iteration`"),
    Trap("stop", "training_iterations", "write `training_iteration`"),
    Trap("stop", "time_s", "write `time_total_s`"),
)


def trap(section: Section, key: object) -> str | None:
    """Returns what to write instead of `key`, or None if it is no trap."""
    return next((row.instead for row in TRAPS if (row.section, row.key) == (section, key)), None)
