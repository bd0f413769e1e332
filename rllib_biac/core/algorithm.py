"""The training loop of centrally trained algorithms: play, join, replay, learn, synchronise."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.execution.rollout_ops import synchronous_parallel_sample
from ray.rllib.utils.annotations import override
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    ENV_RUNNER_SAMPLING_TIMER,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    REPLAY_BUFFER_ADD_DATA_TIMER,
    REPLAY_BUFFER_SAMPLE_TIMER,
    SYNCH_WORKER_WEIGHTS_TIMER,
    TIMERS,
)

from rllib_biac.core.config import JointConfig
from rllib_biac.core.connector import JointTransitionsConnector
from rllib_biac.core.games import rllib_env_creator
from rllib_biac.core.learner import as_multi_agent_batch
from rllib_biac.core.replay_buffer import JointReplayBuffer
from rllib_biac.core.rl_module import HierarchyModule
from rllib_biac.core.transitions import JointTransitions

REPLAY_BUFFER = "joint_replay_buffer"


class JointAlgorithm(Algorithm):
    """An off-policy algorithm that learns all agents together from joint transitions."""

    config: JointConfig

    @override(Algorithm)
    def setup(self, config: AlgorithmConfig) -> None:
        super().setup(config)
        self._rows_to_train = 0.0
        self._env_steps = 0
        module = self._local_module
        agents = module.model_config["agents"] if module else list(self.config.policies)
        self._connector = JointTransitionsConnector(agents, keep_observations=self.config.uses_observations)

    @override(Algorithm)
    def _create_local_replay_buffer_if_necessary(self, config: Any) -> JointReplayBuffer:
        return JointReplayBuffer(config["replay_buffer_config"]["capacity"], seed=config["seed"])

    @staticmethod
    @override(Algorithm)
    def _get_env_id_and_creator(env_specifier: Any, config: AlgorithmConfig) -> tuple[Any, Any]:
        state = getattr(config, "state", None) or config["state"]
        name = env_specifier if isinstance(env_specifier, str) else getattr(env_specifier, "__name__", "game")
        return (env_specifier if env_specifier is None else name), rllib_env_creator(env_specifier, state)

    @property
    def _local_module(self) -> HierarchyModule | None:
        return getattr(self.env_runner, "module", None)

    @override(Algorithm)
    def training_step(self) -> None:
        """Runs until `min_sample_timesteps_per_iteration` env steps are sampled, then reports once."""
        sampled = 0
        while sampled < self.config.min_sample_timesteps_per_iteration:
            with self.metrics.log_time((TIMERS, ENV_RUNNER_SAMPLING_TIMER)):
                rows = self._sample()
            if rows is None:
                return  # no healthy runner right now; RLlib restarts them between iterations
            with self.metrics.log_time((TIMERS, REPLAY_BUFFER_ADD_DATA_TIMER)):
                self.local_replay_buffer.add(self.with_own_columns(rows))
            sampled += len(rows)
            self._env_steps += len(rows)
            self._learn(len(rows), last=sampled >= self.config.min_sample_timesteps_per_iteration)
        self._collect_metrics()

    def with_own_columns(self, rows: JointTransitions) -> JointTransitions:
        """Returns new rows on their way into replay with the columns that an algorithm adds; here as they are."""
        return rows

    def _sample(self) -> JointTransitions | None:
        results = synchronous_parallel_sample(
            worker_set=self.env_runner_group,
            concat=False,
            sample_timeout_s=self.config.sample_timeout_s,
            _uses_new_env_runners=True,
        )
        parts = [item for result in results for item in result]
        if parts and not isinstance(parts[0], JointTransitions):
            joined = self._connector(episodes=parts).get("joint")  # none if no game took a step yet
            parts = [] if joined is None else [joined]
        return JointTransitions.concatenate(parts) if parts else None

    def _learn(self, num_rows: int, *, last: bool) -> None:
        """Trains as many rows as `num_rows` new ones call for, whole minibatches only; the rest waits."""
        size = self.config.train_batch_size_per_learner
        if self._env_steps < self.config.num_steps_sampled_before_learning_starts:
            return
        self._rows_to_train += num_rows * (self.config.training_intensity or size)
        updates = int(self._rows_to_train // size)
        if not updates:
            return
        self._rows_to_train -= updates * size
        with self.metrics.log_time((TIMERS, REPLAY_BUFFER_SAMPLE_TIMER)):
            rows = self.local_replay_buffer.sample(updates * size)
            batch = as_multi_agent_batch(rows, tuple(self.config.policies))
        with self.metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER)):
            results = self.learner_group.update(
                batch=batch,
                timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: self._env_steps},
                minibatch_size=size,
                report=last,
            )
        if last:
            self.metrics.aggregate(results, key=LEARNER_RESULTS)
        with self.metrics.log_time((TIMERS, SYNCH_WORKER_WEIGHTS_TIMER)):
            self._sync_weights()

    def _sync_weights(self) -> None:
        """Hands new weights to whoever plays: copied in place within one process, else by RLlib's own path."""
        local = self._local_module
        if self.learner_group.is_local and local is not None and not self.env_runner_group.num_remote_workers():
            copy_weights(self.learner_group._learner.module, local)
        else:
            self.env_runner_group.sync_weights(from_worker_or_learner_group=self.learner_group, inference_only=True)

    @override(Algorithm)
    def _evaluate_on_local_env_runner(self, env_runner: Any) -> Any:
        # Where no evaluation runner was asked for, RLlib evaluates on the training runner, and lets it explore.
        explore = env_runner.config.explore
        env_runner.config.explore = self.evaluation_config.explore
        try:
            return super()._evaluate_on_local_env_runner(env_runner)
        finally:
            env_runner.config.explore = explore

    def _collect_metrics(self) -> None:
        results = self.env_runner_group.foreach_env_runner(
            lambda runner: runner.get_metrics(), local_env_runner=not self.env_runner_group.num_remote_workers()
        )
        self.metrics.aggregate(results, key=ENV_RUNNER_RESULTS)

    @override(Algorithm)
    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Becomes the algorithm of another config, so that Tune's next trial need not start a process of its own."""
        self.cleanup()
        trial = self._trial_info  # type: ignore[has-type]
        Algorithm.__init__(self, config=new_config, storage=self._storage)
        self._trial_info = trial
        return True

    @override(Algorithm)
    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        state = super().get_state(components, not_components=not_components, **kwargs)
        if self._check_component(REPLAY_BUFFER, components, not_components):
            state[REPLAY_BUFFER] = {
                "buffer": self.local_replay_buffer.get_state(),
                "rows_to_train": self._rows_to_train,
                "env_steps": self._env_steps,
            }
        return state

    @override(Algorithm)
    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        if REPLAY_BUFFER in state:
            own = state[REPLAY_BUFFER]
            self.local_replay_buffer.set_state(own["buffer"])
            self._rows_to_train = own["rows_to_train"]
            self._env_steps = own["env_steps"]


def copy_weights(source: HierarchyModule, target: HierarchyModule) -> None:
    """Copies what `target` holds from `source`, in place. Both are on their final device."""
    pairs = target.weight_pairs
    if pairs is None or pairs[0] is not source:
        theirs, own = [], []
        for agent in target.keys():  # noqa: SIM118  (a MultiRLModule cannot be iterated over)
            values = source[agent].unwrapped().state_dict()
            for name, tensor in target[agent].unwrapped().state_dict().items():
                own.append(tensor)
                theirs.append(values[name])
        pairs = target.weight_pairs = (source, theirs, own)
    with torch.no_grad():
        torch._foreach_copy_(pairs[2], pairs[1])
