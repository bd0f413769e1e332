"""The training loop of centrally trained algorithms: play, join, replay, learn, synchronise."""

from __future__ import annotations

import copy
import logging
import time
from typing import Any, ClassVar

import numpy as np
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import (
    COMPONENT_LEARNER,
    COMPONENT_RL_MODULE,
)
from ray.rllib.utils.annotations import override
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    ENV_RUNNER_SAMPLING_TIMER,
    EVALUATION_RESULTS,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_ENV_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    REPLAY_BUFFER_ADD_DATA_TIMER,
    REPLAY_BUFFER_SAMPLE_TIMER,
    SYNCH_WORKER_WEIGHTS_TIMER,
    TIMERS,
)

from rllib_biac.envs.errors import GameError
from rllib_biac.evaluation.exact import exact_play
from rllib_biac.evaluation.trained import Trained
from rllib_biac.learning.games import make_games
from rllib_biac.learning.team import Team, copy_all, take_weights, weight_pairs
from rllib_biac.learning.transitions import JointTransitions
from rllib_biac.rllib import compat
from rllib_biac.rllib.async_sampling import AsyncSampler
from rllib_biac.rllib.config import JointConfig
from rllib_biac.rllib.connector import JointTransitionsConnector
from rllib_biac.rllib.learner import as_multi_agent_batch, shares_of_minibatches
from rllib_biac.rllib.multi_agent_env import rllib_env_creator
from rllib_biac.rllib.remote import ask
from rllib_biac.rllib.replay import SavedReplayBuffer
from rllib_biac.rllib.resumable import ResumableAlgorithm
from rllib_biac.rllib.runner import CPU_TIME, JointEnvRunner

FINISHED = "finished"  # metrics of what is done once, at the end of training
# How long a runner that is busy may take to hear that training stops, before it is killed.
STOP_TIMEOUT_S = 5.0

logger = logging.getLogger(__name__)


class JointAlgorithm(ResumableAlgorithm):
    """An off-policy algorithm that learns all agents together from joint transitions."""

    config: JointConfig
    config_class: ClassVar[type[JointConfig]]
    _pairs: tuple[Team, Team, tuple[list[torch.Tensor], list[torch.Tensor]]] | None = None  # who is copied to whom

    @classmethod
    @override(Algorithm)
    def get_default_config(cls) -> JointConfig:
        return cls.config_class()

    @override(Algorithm)
    def setup(self, config: AlgorithmConfig) -> None:
        with compat.seeding_without_compiler():
            super().setup(config)
        self._rows_to_train = 0.0
        self._env_steps = 0
        self._calls_in_vain = 0
        self._last_evaluation = None
        lag = self.config.max_sampling_lag
        self._async_sampler = None if lag is None else AsyncSampler(self.env_runner_group, lag)
        spec = self._local_team.spec if self._local_team else self.learner_team().spec
        settings = spec.settings
        self._connector = JointTransitionsConnector(
            spec.agents, keep_observations=settings.uses_observations, keep_starts=settings.uses_starts
        )
        make = self.config.algorithm.own_columns
        self._own_columns = make(spec, self.config.seed) if make else None

    @override(Algorithm)
    def _create_local_replay_buffer_if_necessary(self, config: Any) -> SavedReplayBuffer:
        return SavedReplayBuffer(
            config["replay_buffer_config"]["capacity"],
            seed=config["seed"],
            compressed=config["compress_buffer_in_checkpoints"],
        )

    @staticmethod
    @override(Algorithm)
    def _get_env_id_and_creator(env_specifier: Any, config: AlgorithmConfig) -> tuple[Any, Any]:
        state = getattr(config, "state", None) or config["state"]
        name = env_specifier if isinstance(env_specifier, str) else getattr(env_specifier, "__name__", "game")
        return (env_specifier if env_specifier is None else name), rllib_env_creator(env_specifier, state)

    @property
    def _local_team(self) -> Team | None:
        module = getattr(self.env_runner, "module", None)
        return module.team if module else None

    @override(Algorithm)
    def step(self) -> dict[str, Any]:
        """Trains an iteration, and evaluates if it is time.

        Returns:
            RLlib's results, in Python's own numbers. Between two evaluations `evaluation` is that of the last one:
            RLlib itself would report NaN, which a scheduler or a stop criterion would take for a value.
            `cpu_time_this_iter_s` is the CPU time of this process and of runners in other processes; it is left out
            where learners have processes of their own, or runners are RLlib's.
        """
        begin = time.process_time()
        results = _plain(super().step())
        own, remote = time.process_time() - begin, bool(self.config.num_env_runners)
        if not self.config.num_learners and not (remote and self.config.env_runner_cls is not JointEnvRunner):
            results["cpu_time_this_iter_s"] = own + results.get(ENV_RUNNER_RESULTS, {}).pop(CPU_TIME, 0.0)
        every = self.config.evaluation_interval
        if every and (self.iteration + 1) % every == 0:  # RLlib counts on afterwards
            self._last_evaluation = copy.deepcopy(results.get(EVALUATION_RESULTS))
        elif self._last_evaluation is not None:
            results[EVALUATION_RESULTS] = copy.deepcopy(self._last_evaluation)
        else:
            results.pop(EVALUATION_RESULTS, None)
        return results

    @override(Algorithm)
    def training_step(self) -> None:
        """Runs until `min_sample_timesteps_per_iteration` env steps are sampled, then reports once."""
        sampled = 0
        if self._async_sampler:
            with self._deaths_of_learners():
                self._sync_weights()  # they may have been restored, or set, since
        while sampled < self.config.min_sample_timesteps_per_iteration:
            with self.metrics.log_time((TIMERS, ENV_RUNNER_SAMPLING_TIMER)):
                rows, fault = self._sample()
            if rows is not None:
                with self.metrics.log_time((TIMERS, REPLAY_BUFFER_ADD_DATA_TIMER)):
                    self.local_replay_buffer.add(self._own_columns(rows) if self._own_columns else rows)
                sampled += len(rows)
                self._env_steps += len(rows)
            if fault is not None:
                raise fault  # only now: what others played counts
            self._check_calls_in_vain(rows is None)
            if rows is None:
                return  # RLlib brings runners back before it calls this again
            self._learn(len(rows), missing=max(self.config.min_sample_timesteps_per_iteration - sampled, 0))
            sampled += self._finish()
        self._collect_metrics()

    def _sample(self) -> tuple[JointTransitions | None, GameError | None]:
        """Returns new rows, None if no runner has any, and the error of a game that came beside or instead of them."""
        fault = None
        if self._async_sampler:
            parts, fault = self._async_sampler.sample(self.config.sample_timeout_s)
        elif self.env_runner_group.num_remote_workers():
            fragments, fault = ask(
                self.env_runner_group, lambda runner: runner.sample(), timeout_s=self.config.sample_timeout_s
            )
            parts = [item for fragment in fragments for item in fragment]
        else:
            parts = self.env_runner.sample()
        if parts and not isinstance(parts[0], JointTransitions):
            joined = self._connector(episodes=parts).get("joint")  # none if no game took a step yet
            parts = [] if joined is None else [joined]
        return JointTransitions.concatenate(parts) if parts else None, fault

    def _check_calls_in_vain(self, in_vain: bool) -> None:
        # RLlib counts failures that raise, and would call a step that only returns for ever.
        self._calls_in_vain = self._calls_in_vain + 1 if in_vain else 0
        if self._calls_in_vain > self.config.num_consecutive_env_runner_failures_tolerance:
            raise RuntimeError(
                f"no env runner has played anything in {self._calls_in_vain} calls, more than "
                "num_consecutive_env_runner_failures_tolerance: they died, or took longer than sample_timeout_s "
                f"({self.config.sample_timeout_s} s) for {self.config.get_rollout_fragment_length()} steps in each of "
                f"{self.config.num_envs_per_env_runner} games."
            )

    def _learn(self, num_rows: int, *, missing: int) -> None:
        """Trains as many rows as `num_rows` new ones call for, whole minibatches only; the rest waits.

        Learners report if the rows that this iteration still misses, in calls like this one, call for no more updates.
        """
        size = self.config.total_train_batch_size  # of one update, all learners together
        # Steps in replay, not steps ever sampled: a run restored without its buffer refills it first.
        if self.local_replay_buffer.num_added < self.config.num_steps_sampled_before_learning_starts:
            return
        intensity = self.config.training_intensity or size
        self._rows_to_train += num_rows * intensity
        updates = int(self._rows_to_train // size)
        if not updates:
            return
        self._rows_to_train -= updates * size
        last = self._rows_to_train + -(-missing // num_rows) * num_rows * intensity < size
        with self.metrics.log_time((TIMERS, REPLAY_BUFFER_SAMPLE_TIMER)):
            rows = self.local_replay_buffer.sample(updates * size)
            shares = shares_of_minibatches(rows, updates, max(self.config.num_learners, 1))
            batches = [as_multi_agent_batch(share, tuple(self.config.policies)) for share in shares]
        with self.metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER)), self._deaths_of_learners():
            results = self.learner_group.update(
                **({"batch": batches[0]} if len(batches) == 1 else {"batches": batches}),
                timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: self._env_steps},
                minibatch_size=self.config.train_batch_size_per_learner,
                report=last,
            )
        if last:
            self.metrics.aggregate(results, key=LEARNER_RESULTS)
        with self.metrics.log_time((TIMERS, SYNCH_WORKER_WEIGHTS_TIMER)), self._deaths_of_learners():
            self._sync_weights()

    def _finish(self) -> int:
        """Lets the team do what is done once, by play, at the end of its training; returns the env steps of that."""
        finish = self.config.algorithm.finish
        if finish is None or not (self._local_team or self.learner_team()).is_due(self._env_steps):
            return 0
        team = self.learner_team()  # a copy where learners are remote
        rng = np.random.default_rng([self.config.seed or 0, self._env_steps])
        games = make_games(self.config.game(), team.games_to_finish, rng, self.config.env_config, team.spec.look)
        try:
            found = finish(team, games, torch.Generator().manual_seed(int(rng.integers(2**62))))
        finally:
            games.close()
        weights = team.weights()
        with self._deaths_of_learners():
            self.learner_group.foreach_learner(lambda learner: take_weights(learner.module.team, weights))
        self._sync_weights()
        steps = int(found["env_steps"])
        self._env_steps += steps
        self.metrics.log_value((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED), steps, reduce="sum")
        self.metrics.log_value((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), steps, reduce="lifetime_sum")
        for name, value in found.items():
            self.metrics.log_value((FINISHED, name), value, window=1)
        return steps

    def _sync_weights(self) -> None:
        """Hands new weights to whoever plays: copied in place within one process, else by RLlib's own path."""
        local = self._local_team
        if self._async_sampler:
            weights = self.learner_group.get_state(f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}", inference_only=True)
            self._async_sampler.use(weights[COMPONENT_LEARNER], self._env_steps)
            if local is not None:
                self.env_runner.module.set_state(weights[COMPONENT_LEARNER][COMPONENT_RL_MODULE])
        elif self.learner_group.is_local and local is not None and not self.env_runner_group.num_remote_workers():
            learner = compat.local_learner(self.learner_group)
            learned = learner.module.team
            if self._pairs is None or self._pairs[:2] != (learned, local):  # naming them takes longer than the copy
                self._pairs = (learned, local, weight_pairs(learned, local))
            copy_all(*self._pairs[2])
            compat.set_weights_number(self.env_runner, compat.weights_number(learner))
        else:
            self.env_runner_group.sync_weights(from_worker_or_learner_group=self.learner_group, inference_only=True)

    @override(Algorithm)
    def _evaluate_on_local_env_runner(self, env_runner: Any) -> Any:
        if env_runner.env is None:  # Ray 2.55 comes here when all remote evaluation runners are dead
            return {}, 0, 0, []
        # Where no evaluation runner was asked for, RLlib evaluates on the training runner, and lets it explore.
        explore = env_runner.config.explore
        env_runner.config.explore = self.evaluation_config.explore
        try:
            return super()._evaluate_on_local_env_runner(env_runner)
        finally:
            env_runner.config.explore = explore

    @override(Algorithm)
    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Plays as RLlib does; where the game has tables the result also has `regret`, which is exact.

        It is of one action at a time; where the leader commits to a whole policy, of that (Eq. 5).
        """
        group = self.eval_env_runner_group
        late = compat.dropped_answers(group) if group else 0
        with self._deaths_of_learners():
            results = _plain(super().evaluate(*args, **kwargs))
        if group and (late is None or compat.dropped_answers(group) != late):
            ask(group, lambda runner: None, self.config.env_runner_health_probe_timeout_s)
        team = self._local_team
        exact = exact_play(Trained(team, self.config.game(), self.config.env_config)) if team else None
        found = exact.regrets() if exact else None
        if found is None:
            return results
        return results | {"regret": {"response_regret": found[0], "leader_regret": found[1]}}

    def _collect_metrics(self) -> None:
        if self._async_sampler:
            self._async_sampler.collect_metrics(self.metrics)
            return
        if self.env_runner_group.num_remote_workers():
            results, _ = ask(
                self.env_runner_group, lambda runner: runner.get_metrics(), timeout_s=self.config.sample_timeout_s
            )
        else:
            results = [self.env_runner.get_metrics()]
        self.metrics.aggregate(results, key=ENV_RUNNER_RESULTS)

    @override(Algorithm)
    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Becomes the algorithm of another config, so that Tune's next trial need not start a process of its own."""
        compat.stop_monitor(self)
        self.cleanup()
        compat.begin_anew(self, new_config)
        return True

    @override(Algorithm)
    def stop(self) -> None:
        """Releases everything, at once."""
        compat.stop_monitor(self)
        super().stop()

    @override(Algorithm)
    def cleanup(self) -> None:
        for group in self._runner_groups().values():
            compat.stop_runners(group, STOP_TIMEOUT_S)
        super().cleanup()


def _plain(results: Any) -> Any:
    """Returns nested results with Python's own numbers in place of numpy's."""
    if isinstance(results, dict):
        return {key: _plain(value) for key, value in results.items()}
    return results.item() if isinstance(results, np.generic) else results
