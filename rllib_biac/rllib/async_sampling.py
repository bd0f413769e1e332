"""Playing goes on while learning does: no runner is waited for, and the age of the weights it plays with is bounded."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import ray
from ray.rllib.core import COMPONENT_RL_MODULE
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME, WEIGHTS_SEQ_NO
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from rllib_biac.envs.errors import GameError
from rllib_biac.rllib.faults import GameFault
from rllib_biac.rllib.remote import restart

SAMPLING_LAG = "sampling_lag"
NUM_ENV_STEPS_DROPPED_LIFETIME = "num_env_steps_dropped_lifetime"

_TAG = "sample"  # of requests, in RLlib's actor manager
_POLL_SECONDS = 0.001


def play(runner: EnvRunner, state: dict[str, Any]) -> tuple[int, list[Any], int, dict[str, Any]]:
    """Plays a fragment with the weights that come with the request; runs on the runner.

    Returns:
        The runner's index, what was played, the number of updates that had gone into its weights, and the metrics of
        these steps alone.
    """
    runner.set_state(state)
    return runner.worker_index, runner.sample(), state[WEIGHTS_SEQ_NO], runner.get_metrics()


class AsyncSampler:
    """Keeps every remote runner of a group busy and takes what they played as it arrives.

    Each request carries the newest weights, so that a slow runner leaves out those in between.

    Args:
        group: the runners.
        max_lag: updates by which the weights of what arrives may be behind the newest; older fragments are dropped.
    """

    def __init__(self, group: EnvRunnerGroup, max_lag: int) -> None:
        self._group = group
        self._max_lag = max_lag
        self._updates = 0  # that went into the newest weights
        self._state: ray.ObjectRef | None = None
        self._metrics: list[dict[str, Any]] = []
        self._lags: list[int] = []
        self._dropped = 0
        self._heard: dict[int, float] = {}  # when each healthy runner answered last, or was asked first

    def use(self, weights: dict[str, Any], env_steps: int) -> None:
        """Sends the newest weights with all later requests.

        Args:
            weights: a Learner's state: its modules, and the number of updates that went into them.
            env_steps: taken so far by all runners together, which their schedules go by.
        """
        self._updates = weights[WEIGHTS_SEQ_NO]
        # One object, which each node fetches once, however many of its runners play with it.
        self._state = ray.put(
            {
                COMPONENT_RL_MODULE: weights[COMPONENT_RL_MODULE],
                WEIGHTS_SEQ_NO: self._updates,
                NUM_ENV_STEPS_SAMPLED_LIFETIME: env_steps,
            }
        )

    def sample(self, timeout_s: float | None) -> tuple[list[Any], GameError | None]:
        """Takes all that has arrived, and asks those who sent it for more; waits only if nothing has.

        Args:
            timeout_s: how long to wait at most, and how long a runner may be silent before it is started again; None:
                for ever.

        Returns:
            Joint transitions, or episodes of RLlib's own runner; none if no runner is healthy, or none answers in time.
            And the first error of a game that arrived.
        """
        begin, wait = time.monotonic(), 0.0
        while True:
            arrived = self._group.foreach_env_runner_async_fetch_ready(
                play, kwargs={"state": self._state}, tag=_TAG, timeout_seconds=wait
            )
            faults = [each for each in arrived if isinstance(each, GameFault)]
            items = [item for each in arrived if not isinstance(each, GameFault) for item in self._taken(*each)]
            now = time.monotonic()
            self._heard = {index: self._heard.get(index, now) for index in self._group.healthy_worker_ids()}
            if timeout_s is not None:
                silent = [index for index, heard in self._heard.items() if now - heard > timeout_s]
                restart(self._group, silent, timeout_s)
            late = timeout_s is not None and now - begin > timeout_s
            if items or faults or late or not self._group.num_healthy_remote_workers():
                return items, faults[0].error if faults else None
            wait = _POLL_SECONDS

    def _taken(self, index: int, items: list[Any], updates: int, metrics: dict[str, Any]) -> list[Any]:
        self._heard[index] = time.monotonic()
        self._metrics.append(metrics)
        lag = self._updates - updates
        # Less than 0: an older checkpoint was restored while this was being played.
        if not 0 <= lag <= self._max_lag:
            self._dropped += sum(item.env_steps() for item in items)
            return []
        self._lags.append(lag)
        return items

    def collect_metrics(self, metrics: MetricsLogger) -> None:
        """Logs what runners reported since the last call, each step once, and how far their weights were behind."""
        metrics.aggregate(self._metrics, key=ENV_RUNNER_RESULTS)
        if self._lags:
            metrics.log_value((SAMPLING_LAG, "mean"), float(np.mean(self._lags)), window=1)
            metrics.log_value((SAMPLING_LAG, "max"), max(self._lags), window=1)
        metrics.log_value(NUM_ENV_STEPS_DROPPED_LIFETIME, self._dropped, reduce="lifetime_sum")
        self._metrics, self._lags, self._dropped = [], [], 0
