"""This library's algorithms on `escape_v0`, through its own runner."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ray
import torch
from job import AGENTS, BATCH, CAPACITY, GAMMA, HIDDENS, STARTS, TAU, Job, Status

import rllib_biac


def train(job: Job) -> Iterator[Status]:
    """Trains as `rllib train` does, and yields before the first iteration and after each."""
    if not ray.is_initialized():
        ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    levels = [[agent] for agent in AGENTS] if job.method == "BiAC" else [list(AGENTS)]
    config = getattr(rllib_biac, f"{job.method}Config")().hierarchy(levels)
    config.environment("escape_v0", env_config={"horizon": job.horizon})
    if not job.defaults:
        config.env_runners(num_envs_per_env_runner=job.games, epsilon=[list(point) for point in job.explore])
        config.training(
            train_batch_size_per_learner=BATCH,
            training_intensity=float(BATCH),  # rows trained per env step: one update
            num_steps_sampled_before_learning_starts=STARTS,
            replay_buffer_config={"capacity": CAPACITY},
            gamma=GAMMA,
            tau=TAU,
            lr=job.lr,
        )
        config.rl_module(model_config={"fcnet_hiddens": HIDDENS})
    config.reporting(min_sample_timesteps_per_iteration=job.report).debugging(seed=job.seed, log_level="ERROR")
    algo = config.build_algo()
    rows, group, size = [0], algo.learner_group, config.train_batch_size_per_learner
    update, one = group.update, torch.ones(1, 1)

    def counted(**kwargs: Any) -> Any:
        rows[0] += kwargs["batch"].env_steps()
        return update(**kwargs)

    def greedy() -> list[int]:
        with torch.no_grad():
            actions = group._learner.module.act(one, observations=dict.fromkeys(AGENTS, one))
        return [int(actions[agent]) for agent in AGENTS]

    group.update = counted
    steps = 0
    try:
        while True:
            yield Status(steps, rows[0] // size, greedy)
            steps = int(algo.train()["env_runners"]["num_env_steps_sampled_lifetime"])
    finally:
        algo.stop()
