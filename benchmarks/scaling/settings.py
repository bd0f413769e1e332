"""An algorithm whose runners go on with another setting: starting processes takes long."""

from __future__ import annotations

import functools
import os
import time
from dataclasses import dataclass
from typing import Any

from ray.rllib.utils.actor_manager import FaultTolerantActorManager
from ray.thirdparty_files import psutil

from rllib_biac import BiACConfig
from rllib_biac.rllib.algorithm import JointAlgorithm
from rllib_biac.rllib.async_sampling import AsyncSampler
from rllib_biac.rllib.runner import JointEnvRunner

BATCH = 64
LAGS = {"sync": None, "async": 1_000_000}


@dataclass(frozen=True)
class Setting:
    """How many remote runners, games of each, steps of a fragment in each game, rows trained per row, which lag."""

    runners: int
    games: int
    fragment: int
    intensity: float
    lag: int | None = None

    @property
    def rows(self) -> int:
        """Env steps of one fragment, all games of a runner together."""
        return self.games * self.fragment


def build(setting: Setting, env: str = "merge_v0", learners: int = 0) -> JointAlgorithm:
    """Builds an algorithm of this setting."""
    config = BiACConfig().environment(env).hierarchy([["main_0"], ["auxiliary_0"]]).learners(num_learners=learners)
    config.training(train_batch_size_per_learner=BATCH).debugging(seed=0, log_level="ERROR")
    return changed(config, setting).build_algo()


def changed(config: BiACConfig, setting: Setting) -> BiACConfig:
    """Returns a copy of a config with this setting. An iteration is two fragments of each runner, or more."""
    config = config.copy(copy_frozen=False)
    config.env_runners(
        num_env_runners=setting.runners,
        num_envs_per_env_runner=setting.games,
        rollout_fragment_length=setting.fragment,
        max_sampling_lag=setting.lag,
        sample_timeout_s=None,  # else, on a busy machine, runners would be taken for hanging
    )
    config.training(training_intensity=setting.intensity)
    steps = max(2 * setting.runners * setting.rows, 4096)
    return config.reporting(min_sample_timesteps_per_iteration=steps, min_time_s_per_iteration=None)


def become(runner: JointEnvRunner, config: BiACConfig) -> None:
    """Lets a living runner play as another config says; runs on the runner."""
    runner.config, runner.num_envs = config, config.num_envs_per_env_runner
    runner.make_env()


def switch(algo: JointAlgorithm, setting: Setting, runners: list[Any]) -> None:
    """Lets a living algorithm go on with another setting and with these runners: starting processes takes long."""
    algo.config = changed(algo.config, setting)
    group = algo.env_runner_group
    group._worker_manager = FaultTolerantActorManager(runners, init_id=1)
    group.foreach_env_runner(functools.partial(become, config=algo.config), local_env_runner=False)
    algo._async_sampler = None if setting.lag is None else AsyncSampler(group, setting.lag)
    algo._sync_weights()
    algo.train()


def runners_of(algo: JointAlgorithm) -> list[Any]:
    """Returns the handles of all remote runners."""
    return list(algo.env_runner_group._worker_manager.actors().values())


def train_for(algo: JointAlgorithm, seconds: float, iterations: int = 1) -> tuple[int, int]:
    """Trains for some seconds, and some iterations; returns how many env steps and iterations that made."""
    before, first = algo.local_replay_buffer.num_added, algo.iteration
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds or algo.iteration < first + iterations:
        algo.train()
    return algo.local_replay_buffer.num_added - before, algo.iteration - first


class Window:
    """Seconds since it was opened: by the clock, and of CPU: the driver's, the runners', Ray's own processes'."""

    def __init__(self, algo: JointAlgorithm) -> None:
        pids = algo.env_runner_group.foreach_env_runner(lambda runner: os.getpid(), local_env_runner=False)
        children = psutil.Process().children(recursive=True)
        self._groups = {
            "runners": [psutil.Process(pid) for pid in set(pids)],
            "ray": [child for child in children if child.name() in ("raylet", "gcs_server")],
            "children": children,
        }
        self._begin = self._now()

    def _now(self) -> dict[str, float]:
        times = psutil.cpu_times()
        groups = {name: sum(sum(each.cpu_times()[:2]) for each in group) for name, group in self._groups.items()}
        machine = sum(times) - times.idle - getattr(times, "iowait", 0.0)
        return {"wall": time.perf_counter(), "machine": machine, "driver": time.process_time(), **groups}

    def spent(self) -> dict[str, float]:
        """Returns seconds; `others` is the number of cores that whoever else uses the machine kept busy."""
        spent = {name: now - self._begin[name] for name, now in self._now().items()}
        others = spent["machine"] - spent["driver"] - spent["children"]
        return spent | {"others": max(others, 0.0) / spent["wall"]}
