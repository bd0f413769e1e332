"""The training loop of centrally trained algorithms: play, join, replay, learn, synchronise."""

from __future__ import annotations

import contextlib
import copy
import functools
import logging
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pyarrow.fs
import ray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import (
    COMPONENT_EVAL_ENV_RUNNER,
    COMPONENT_LEARNER,
    COMPONENT_LEARNER_GROUP,
    COMPONENT_METRICS_LOGGER,
    COMPONENT_RL_MODULE,
)
from ray.rllib.env.env_runner_group import EnvRunnerGroup
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
    WEIGHTS_SEQ_NO,
)
from ray.tune.utils import UtilMonitor

from rllib_biac.envs.errors import GameError
from rllib_biac.evaluation.exact import regret
from rllib_biac.evaluation.trained import Trained
from rllib_biac.files import checkpoint as checkpoints
from rllib_biac.files.weights import load_weights
from rllib_biac.learning.generators import process_generators, set_process_generators
from rllib_biac.learning.replay import JointReplayBuffer
from rllib_biac.learning.team import Team, copy_weights
from rllib_biac.learning.transitions import JointTransitions
from rllib_biac.rllib.async_sampling import AsyncSampler
from rllib_biac.rllib.config import JointConfig
from rllib_biac.rllib.connector import JointTransitionsConnector
from rllib_biac.rllib.learner import as_multi_agent_batch, shares_of_minibatches
from rllib_biac.rllib.multi_agent_env import rllib_env_creator
from rllib_biac.rllib.reading import save_team
from rllib_biac.rllib.remote import ask

# Parts of a checkpoint beside RLlib's own.
REPLAY_BUFFER = "replay_buffer"
JOINT_ALGORITHM = "joint_algorithm"

logger = logging.getLogger(__name__)


class JointAlgorithm(Algorithm):
    """An off-policy algorithm that learns all agents together from joint transitions."""

    config: JointConfig
    config_class: ClassVar[type[JointConfig]]
    _monitor: UtilMonitor

    @classmethod
    @override(Algorithm)
    def get_default_config(cls) -> JointConfig:
        return cls.config_class()

    @override(Algorithm)
    def setup(self, config: AlgorithmConfig) -> None:
        super().setup(config)
        self._rows_to_train = 0.0
        self._env_steps = 0
        self._calls_in_vain = 0
        lag = self.config.max_sampling_lag
        self._async_sampler = None if lag is None else AsyncSampler(self.env_runner_group, lag)
        spec = self._local_team.spec if self._local_team else self._learner_team().spec
        settings = spec.settings
        self._connector = JointTransitionsConnector(
            spec.agents, keep_observations=settings.uses_observations, keep_starts=settings.uses_starts
        )
        make = self.config.algorithm.own_columns
        self._own_columns = make(spec, self.config.seed) if make else None

    @override(Algorithm)
    def _create_local_replay_buffer_if_necessary(self, config: Any) -> JointReplayBuffer:
        return JointReplayBuffer(
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

    def _learner_team(self) -> Team:
        (module, *_) = self.learner_group.foreach_learner(lambda learner: learner.module).ignore_errors()
        return module.get().team

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

    @contextlib.contextmanager
    def _deaths_of_learners(self) -> Iterator[None]:
        """Says so where a remote learner died: RLlib restarts none, and what only it knew is in checkpoints alone."""
        try:
            yield
        except ray.exceptions.RayError as error:
            # Of several learners the others fail too, waiting for its gradients.
            learners = self.learner_group._workers or []
            dead = next((number for number, learner in enumerate(learners) if _is_dead(learner)), None)
            if dead is None:
                raise
            raise RuntimeError(
                f"remote learner {dead} of {self.config.num_learners} died: killed, out of memory, or its node is "
                "gone. Networks and optimizers were lost with it, and training goes on from the latest checkpoint: by "
                "itself with max_failures in the experiment file, or with --resume; in Python with from_checkpoint()."
            ) from error

    def _sync_weights(self) -> None:
        """Hands new weights to whoever plays: copied in place within one process, else by RLlib's own path."""
        local = self._local_team
        if self._async_sampler:
            weights = self.learner_group.get_state(f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}", inference_only=True)
            self._async_sampler.use(weights[COMPONENT_LEARNER], self._env_steps)
            if local is not None:
                self.env_runner.module.set_state(weights[COMPONENT_LEARNER][COMPONENT_RL_MODULE])
        elif self.learner_group.is_local and local is not None and not self.env_runner_group.num_remote_workers():
            copy_weights(self.learner_group._learner.module.team, local)
            self.env_runner._weights_seq_no = self.learner_group._learner._weights_seq_no
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

    @override(Algorithm)
    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Plays as RLlib does; where the game has tables the result also has `regret`, which is exact."""
        group = self.eval_env_runner_group
        late = group.num_env_runners_dropped_lifetime() if group else 0
        with self._deaths_of_learners():
            results = super().evaluate(*args, **kwargs)
        if group and group.num_env_runners_dropped_lifetime() > late:
            ask(group, lambda runner: None, self.config.env_runner_health_probe_timeout_s)
        team = self._local_team
        exact = regret(Trained(team, self.config.env, self.config.env_config)) if team else None
        if exact is None:
            return results
        measured = {"response_regret": exact.worst_response_regret, "leader_regret": exact.worst_leader_regret}
        return results | {"regret": measured}

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
        self._monitor.stop()
        self.cleanup()
        trial = self._trial_info  # type: ignore[has-type]
        Algorithm.__init__(self, config=new_config, storage=self._storage)
        self._trial_info = trial
        return True

    @override(Algorithm)
    def stop(self) -> None:
        """Releases everything, at once."""
        # RLlib would wait for its thread that watches the machine to wake up, up to 0.7 s; it then ends by itself.
        self._monitor.stop()
        self._monitor = UtilMonitor(start=False)
        super().stop()

    # Checkpoints.

    @override(Algorithm)
    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        """Returns everything that a restored run needs to go on exactly; the arrays in it are the caller's to keep."""
        with self._deaths_of_learners():
            state = super().get_state(components, not_components=not_components, **kwargs)
        if COMPONENT_LEARNER_GROUP in state:
            # RLlib's are the living networks and optimizers themselves, which go on changing.
            state[COMPONENT_LEARNER_GROUP] = copy.deepcopy(state[COMPONENT_LEARNER_GROUP])
        if self._check_component(REPLAY_BUFFER, components, not_components):
            # What is asked for by itself is written to files at once: a million rows need not be there twice.
            state[REPLAY_BUFFER] = self.local_replay_buffer.get_state(
                rows=self.config.store_buffer_in_checkpoints, copy=components != REPLAY_BUFFER
            )
        if self._check_component(JOINT_ALGORITHM, components, not_components):
            state[JOINT_ALGORITHM] = {
                "rows_to_train": self._rows_to_train,
                "env_steps": self._env_steps,
                "counters": dict(self._counters),
                "process": process_generators(),
                "own_columns": self._own_columns.get_state() if self._own_columns else None,
                "restart": self._games_restart(),
                "runners": {
                    name: _states_of(group, self.config.sample_timeout_s)
                    for name, group in self._runner_groups().items()
                },
            }
        return state

    @override(Algorithm)
    def set_state(self, state: dict[str, Any]) -> None:
        """Takes back what `get_state` returned, an older state as well as a newer one."""
        state = dict(state)
        evaluating = state.pop(COMPONENT_EVAL_ENV_RUNNER, None)
        if COMPONENT_METRICS_LOGGER in state:
            # First, for RLlib tells runners the steps that are counted in it.
            self.metrics.set_state(state[COMPONENT_METRICS_LOGGER])
        super().set_state(state)
        if evaluating is not None and self.eval_env_runner:
            self.eval_env_runner.set_state(evaluating)  # RLlib would hand it the training runner's
        if REPLAY_BUFFER in state:
            self.local_replay_buffer.set_state(state[REPLAY_BUFFER])
        if own := state.get(JOINT_ALGORITHM):
            self._rows_to_train = own["rows_to_train"]
            self._env_steps = own["env_steps"]
            self._counters.update(own["counters"])
            for name, group in self._runner_groups().items():
                _restore_runners(name, group, own["runners"].get(name, {}), self.config.sample_timeout_s)
            set_process_generators(own["process"])
            if self._own_columns and own["own_columns"]:
                self._own_columns.set_state(own["own_columns"])
            if own["restart"]:
                logger.warning("The games in flight start anew: where they stood only they themselves know.")
        if COMPONENT_LEARNER_GROUP in state:
            self._hand_out_weights()

    @override(Algorithm)
    def get_checkpointable_components(self) -> list[tuple[str, Any]]:
        return [*super().get_checkpointable_components(), (REPLAY_BUFFER, self.local_replay_buffer)]

    @override(Algorithm)
    def get_metadata(self) -> dict[str, Any]:
        about = {
            "training_iteration": self.iteration,
            "time_total_s": self._time_total,
            "replay_buffer": "saved" if self.config.store_buffer_in_checkpoints else "left out",
            "games_in_flight": "start anew" if self._games_restart() else "saved",
        }
        return super().get_metadata() | checkpoints.metadata(**about)

    @override(Algorithm)
    def save_to_path(
        self,
        path: str | Path | None = None,
        *,
        state: dict[str, Any] | None = None,
        filesystem: pyarrow.fs.FileSystem | None = None,
        use_msgpack: bool = False,
    ) -> str:
        """Saves a checkpoint: all of it, or, if killed on the way, nothing.

        Args:
            path: a folder. A checkpoint in it is replaced; default: a new temporary one.
            state: what to save; default: `get_state()`.
            filesystem: where `path` is; default: here, or as its scheme says.
            use_msgpack: whether to write RLlib's states with msgpack instead of pickle.

        Returns:
            The folder, absolute.
        """
        given = None if state is None else dict(state)  # RLlib takes out of it what it has written
        if not _is_local(path, filesystem):
            return super().save_to_path(path, state=given, filesystem=filesystem, use_msgpack=use_msgpack)
        folder = Path(path or Path(tempfile.gettempdir(), str(uuid.uuid4()))).absolute()
        with checkpoints.replacing(folder) as written:
            super().save_to_path(written, state=given, use_msgpack=use_msgpack)
        return str(folder)

    @override(Algorithm)
    def restore_from_path(self, path: str | Path, *args: Any, **kwargs: Any) -> None:
        """Restores a checkpoint, older or newer than what is there. It is read by pickle: load only what you trust.

        Args:
            path: its folder.
            args, kwargs: RLlib's; `component` names the part of it that is in `path`.

        Raises:
            ValueError: if it is damaged, or version 0.1.0, a newer version or another library made it.
        """
        if _is_local(path, kwargs.get("filesystem")):
            path = Path(path).absolute()
            if kwargs.get("component") is None:
                checkpoints.check_current(path)
        super().restore_from_path(path, *args, **kwargs)
        self._hand_out_weights()

    @classmethod
    @override(Algorithm)
    def from_checkpoint(cls, path: Any, filesystem: Any = None, **kwargs: Any) -> Any:
        """Builds an algorithm from a checkpoint. It is read by pickle: load only what you trust.

        Args:
            path: its folder.
            filesystem: where `path` is; default: here, or as its scheme says.
            kwargs: RLlib's other options.

        Raises:
            ValueError: if it is damaged, or version 0.1.0, a newer version or another library made it.
        """
        if isinstance(path, str | Path) and _is_local(path, filesystem):
            path = Path(path).absolute()
            checkpoints.check_current(path)
        return super().from_checkpoint(path, filesystem=filesystem, **kwargs)

    # Weights alone, to give away.

    def save_weights(self, path: str | Path) -> None:
        """Writes all networks to a safetensors file, which nobody needs to trust to open it.

        Args:
            path: of the file; `load_weights` and `StackelbergPolicy.load` read it. What else a run needs to
                go on exactly is in checkpoints only.
        """
        save_team(path, self._learner_team(), self.config.algorithm.name)

    def load_weights(self, path: str | Path) -> None:
        """Lets all networks go on from those in a file that `save_weights` or `rllib export` wrote.

        Optimizers, replay and schedules stay as they are.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is damaged, or its networks are not like these.
        """
        weights = load_weights(path, self._learner_team().weights())
        self.learner_group.set_state({COMPONENT_LEARNER: {COMPONENT_RL_MODULE: weights}})
        self._hand_out_weights()

    def _runner_groups(self) -> dict[str, EnvRunnerGroup]:
        groups = {"env runners": self.env_runner_group, "evaluation env runners": self.eval_env_runner_group}
        return {name: group for name, group in groups.items() if group is not None}

    def _games_restart(self) -> bool:
        # RLlib's own runner keeps no games.
        def keeps_games(runner: Any) -> bool:
            return getattr(runner, "keeps_games", False)

        kept, _ = ask(self.env_runner_group, keeps_games, self.config.sample_timeout_s)
        if self.env_runner is not None:
            kept.append(keeps_games(self.env_runner))
        return not all(kept)

    def _hand_out_weights(self) -> None:
        """Lets everybody who plays have the learner's weights at once, whether their own are newer or not."""
        state = self.learner_group.get_state(f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}", inference_only=True)
        weights = {key: state[COMPONENT_LEARNER][key] for key in (COMPONENT_RL_MODULE, WEIGHTS_SEQ_NO)}
        steps = (ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME)
        counted = {NUM_ENV_STEPS_SAMPLED_LIFETIME: int(self.metrics.peek(steps, default=0))}
        for group in self._runner_groups().values():
            known = weights | counted if group is self.env_runner_group else weights
            take = functools.partial(_take, known=known)
            if group.local_env_runner is not None:
                take(group.local_env_runner)
            ask(group, take, self.config.sample_timeout_s)


def _take(runner: Any, known: dict[str, Any]) -> None:
    runner._weights_seq_no = 0  # RLlib's own runner would keep weights of a higher number
    runner.set_state(known)


def _is_dead(actor: Any) -> bool:
    try:
        ray.get(actor.__ray_ready__.remote(), timeout=60.0)
    except ray.exceptions.RayActorError:
        return True
    except ray.exceptions.GetTimeoutError:
        return False
    return False


def _states_of(group: EnvRunnerGroup, timeout_s: float | None) -> dict[int, dict[str, Any]]:
    """Returns every remote runner's state by its index, weights aside, which are the learner's."""
    states, _ = ask(
        group,
        lambda runner: (runner.worker_index, runner.get_state(not_components=[COMPONENT_RL_MODULE])),
        timeout_s,
    )
    return dict(states)


def _restore_runners(
    name: str, group: EnvRunnerGroup, states: dict[int, dict[str, Any]], timeout_s: float | None
) -> None:
    """Gives every remote runner its own state."""

    def take_own(runner: Any) -> int | None:
        if runner.worker_index not in states:
            return None
        runner.set_state(states[runner.worker_index])
        return runner.worker_index

    indices, _ = ask(group, take_own, timeout_s)
    if len(states) != len(indices):
        fresh = sum(index is None for index in indices)
        logger.warning(
            f"The checkpoint has {len(states)} remote {name}, and {len(indices)} play now: {fresh} start afresh, "
            f"{len(states) - (len(indices) - fresh)} are left out."
        )


def _is_local(path: str | Path | None, filesystem: pyarrow.fs.FileSystem | None) -> bool:
    if filesystem is not None:
        return isinstance(filesystem, pyarrow.fs.LocalFileSystem)
    return "://" not in str(path)
