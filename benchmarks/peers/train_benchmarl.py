"""BenchMARL's IQL on a PettingZoo game, as its `Experiment` runs any."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from benchmarl.algorithms import IqlConfig
from benchmarl.environments.pettingzoo.common import PettingZooClass
from benchmarl.experiment import Callback, Experiment, ExperimentConfig
from benchmarl.models.mlp import MlpConfig
from job import AGENTS, BATCH, CAPACITY, GAMMA, HIDDENS, TAU, Job, Status
from pettingzoo import ParallelEnv
from torchrl.envs.libs.pettingzoo import PettingZooWrapper
from torchrl.envs.utils import ExplorationType, set_exploration_type


class Escape(ParallelEnv):
    """Escape."""

    metadata: dict[str, Any] = {"name": "escape", "render_modes": []}  # noqa: RUF012  (PettingZoo's own way)
    render_mode = None

    def __init__(self, job: Job) -> None:
        self.possible_agents, self.agents = list(AGENTS), []
        self._payoffs, self._horizon, self._time = job.payoffs, job.horizon, 0
        self._observe = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
        self._act = {agent: gym.spaces.Discrete(3) for agent in AGENTS}

    def observation_space(self, agent: str) -> gym.Space:
        return self._observe

    def action_space(self, agent: str) -> gym.Space:
        return self._act[agent]

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.agents, self._time = list(AGENTS), 0
        return self._observations(), {agent: {} for agent in AGENTS}

    def step(self, actions: Any) -> Any:
        self._time += 1
        if self._time == self._horizon:
            self.agents = []
        reward = self._payoffs[int(actions[AGENTS[0]])][int(actions[AGENTS[1]])]
        terminated = dict.fromkeys(AGENTS, self._horizon == 1)
        truncated = dict.fromkeys(AGENTS, 1 < self._time == self._horizon)
        infos: dict[str, dict] = {agent: {} for agent in AGENTS}
        return self._observations(), dict.fromkeys(AGENTS, reward), terminated, truncated, infos

    def _observations(self) -> dict[str, np.ndarray]:
        return {agent: np.ones(1, np.float32) for agent in AGENTS}


class Unsaved:
    """BenchMARL pickles what it trains with, for checkpoints. Here there are none."""

    def __reduce__(self) -> Any:
        return object, ()


class EscapeTask(Unsaved, PettingZooClass):
    """Escape as a task of BenchMARL's."""

    def get_env_fun(self, num_envs: int, continuous_actions: bool, seed: int | None, device: Any) -> Any:
        job = self.config["job"]
        return lambda: PettingZooWrapper(Escape(job), categorical_actions=True, seed=seed, device=device)

    def supports_continuous_actions(self) -> bool:
        return False

    def supports_discrete_actions(self) -> bool:
        return True

    def has_state(self) -> bool:
        return False

    def max_steps(self, env: Any) -> int:
        return self.config["job"].horizon


class Over(Exception):
    """Ends a run from inside."""


class Turns(Unsaved, Callback):
    """Lets an experiment, which runs in a thread of its own, go on by one iteration at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = self.updates = 0
        self._go, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._over = False
        self._failure: BaseException | None = None

    def on_train_end(self, training_td: Any, group: str) -> None:
        self.steps = self.experiment.total_frames
        self.updates += training_td.batch_size.numel()
        self._done.release()
        self._wait()

    def _wait(self) -> None:
        self._go.acquire()
        if self._over:
            raise Over

    def run(self, experiment: Experiment) -> None:
        """Runs the experiment; for the thread."""
        try:
            self._wait()
            experiment.run()
        except Over:
            pass
        except BaseException as error:
            self._failure = error
        self._done.release()

    def next(self) -> None:
        """Waits for one more iteration."""
        self._go.release()
        self._done.acquire()
        if self._failure:
            raise self._failure

    def end(self) -> None:
        """Ends the run."""
        self._over = True
        self._go.release()


def train(job: Job) -> Iterator[Status]:
    """Trains, and yields before the first iteration and after each."""
    config = ExperimentConfig.get_from_yaml()
    config.loggers, config.create_json, config.evaluation, config.render = [], False, False, False
    config.save_folder = os.getcwd()
    config.share_policy_params = False
    config.gamma, config.lr, config.polyak_tau = GAMMA, job.lr, TAU
    config.exploration_eps_init, config.exploration_eps_end = job.explore[0][1], job.explore[1][1]
    config.exploration_anneal_frames = job.explore[1][0]
    config.off_policy_n_envs_per_worker = job.games
    config.off_policy_collected_frames_per_batch = config.off_policy_n_optimizer_steps = job.games
    config.off_policy_train_batch_size = BATCH
    config.off_policy_memory_size = CAPACITY
    config.max_n_frames = 64 * 10**6
    turns = Turns()
    experiment = Experiment(
        task=EscapeTask("ESCAPE", {"job": job}),
        algorithm_config=IqlConfig.get_from_yaml(),
        model_config=MlpConfig(num_cells=HIDDENS, layer_class=torch.nn.Linear, activation_class=torch.nn.ReLU),
        seed=job.seed,
        config=config,
        callbacks=[turns],
    )

    def greedy() -> list[int]:
        with torch.no_grad(), set_exploration_type(ExplorationType.DETERMINISTIC):
            return experiment.policy(experiment.test_env.reset())["player", "action"].tolist()

    thread = threading.Thread(target=turns.run, args=(experiment,), daemon=True)
    thread.start()
    try:
        while True:
            yield Status(turns.steps, turns.updates, greedy)
            turns.next()
    finally:
        turns.end()
        thread.join()
