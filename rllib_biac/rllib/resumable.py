"""What an algorithm saves, restores and gives away."""

from __future__ import annotations

import contextlib
import copy
import functools
import logging
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.fs
import ray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import (
    COMPONENT_EVAL_ENV_RUNNER,
    COMPONENT_LEARNER,
    COMPONENT_LEARNER_GROUP,
    COMPONENT_METRICS_LOGGER,
    COMPONENT_RL_MODULE,
)
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.utils.annotations import override
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME, WEIGHTS_SEQ_NO

from rllib_biac.files import checkpoint as checkpoints
from rllib_biac.files.damage import DamagedFile
from rllib_biac.files.weights import load_weights
from rllib_biac.learning.diverged import check_weights
from rllib_biac.learning.games import name_of
from rllib_biac.learning.generators import process_generators, set_process_generators
from rllib_biac.learning.same_game import check_same_game
from rllib_biac.learning.team import Team
from rllib_biac.rllib import compat
from rllib_biac.rllib.config import JointConfig
from rllib_biac.rllib.reading import check_numbers, perceptrons, save_team, trained_spec
from rllib_biac.rllib.remote import ask

# Parts of a checkpoint beside RLlib's own.
REPLAY_BUFFER = "replay_buffer"
JOINT_ALGORITHM = "joint_algorithm"

logger = logging.getLogger(__name__)


class ResumableAlgorithm(Algorithm):
    """An algorithm that a checkpoint restores exactly: a resumed run goes on bit for bit.

    Attributes:
        config: the algorithm's config.
    """

    config: JointConfig
    _rows_to_train: float
    _env_steps: int
    _own_columns: Any
    _last_evaluation: dict[str, Any] | None

    def learner_team(self) -> Team:
        """Returns the team that learns; a copy of it where learners are remote."""
        (module, *_) = self.learner_group.foreach_learner(lambda learner: learner.module).ignore_errors()
        return module.get().team

    # Checkpoints.

    @override(Algorithm)
    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        """Returns everything that a restored run needs to go on exactly; the arrays in it are the caller's to keep."""
        with self._deaths_of_learners():
            state = super().get_state(components, not_components=not_components, **kwargs)
        if COMPONENT_LEARNER_GROUP in state:
            # RLlib's are the living networks and optimizers themselves, which go on changing.
            state[COMPONENT_LEARNER_GROUP] = copy.deepcopy(state[COMPONENT_LEARNER_GROUP])
        if compat.is_wanted(self, REPLAY_BUFFER, components, not_components):
            # What is asked for by itself is written to files at once: a million rows need not be there twice.
            state[REPLAY_BUFFER] = self.local_replay_buffer.get_state(
                rows=self.config.store_buffer_in_checkpoints, copy=components != REPLAY_BUFFER
            )
        if compat.is_wanted(self, JOINT_ALGORITHM, components, not_components):
            state[JOINT_ALGORITHM] = {
                "rows_to_train": self._rows_to_train,
                "env_steps": self._env_steps,
                "counters": dict(compat.counters(self)),
                "process": process_generators(),
                "own_columns": self._own_columns.get_state() if self._own_columns else None,
                "restart": self._games_restart(),
                "evaluation": copy.deepcopy(self._last_evaluation),
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
            self._last_evaluation = own["evaluation"]
            compat.counters(self).update(own["counters"])
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
            "time_total_s": compat.seconds_trained(self),
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

        Raises:
            Diverged: if the networks hold numbers that are not finite.
        """
        with self._deaths_of_learners():
            check_weights(self.learner_team())
        given = None if state is None else dict(state)  # RLlib takes out of it what it has written
        if not _is_local(path, filesystem):
            return super().save_to_path(path, state=given, filesystem=filesystem, use_msgpack=use_msgpack)
        folder = Path(path or Path(tempfile.gettempdir(), str(uuid.uuid4()))).absolute()
        with checkpoints.replacing(folder, compat.trial_of(self)) as written:
            super().save_to_path(written, state=given, use_msgpack=use_msgpack)
        return str(folder)

    @override(Algorithm)
    def restore_from_path(self, path: str | Path, *args: Any, **kwargs: Any) -> None:
        """Restores a checkpoint, older or newer than what is there. It is read by pickle: load only what you trust.

        Args:
            path: its folder.
            args, kwargs: RLlib's; `component` names the part of it that is in `path`.

        Raises:
            DamagedFile: if it is damaged. It is a ValueError.
            ValueError: if version 0.1.0, a newer version or another library made it; if the game is not the one it was
                trained in, as `check_same_game` says.
        """
        if _is_local(path, kwargs.get("filesystem")):
            path = Path(path).absolute()
            if kwargs.get("component") is None:
                checkpoints.check_current(path)
                # First, for RLlib puts networks in before anything else, and sizes alone stop it.
                spec = self.learner_team().spec
                check_same_game(trained_spec(path), spec, spec.state_space, name_of(self.config.game()))
                checkpoints.clear_unfinished(path.parent, path.name)
                if trial := compat.trial_of(self):  # whose saves Tune asks for in temporary folders
                    checkpoints.clear_unfinished(Path(tempfile.gettempdir()), trial)
        super().restore_from_path(path, *args, **kwargs)
        if kwargs.get("component") is None:
            check_numbers(Path(path), self.learner_team())
        self._hand_out_weights()

    @override(Algorithm)
    def restore(self, checkpoint_path: Any) -> None:
        """Restores what Tune names. If it is damaged, this takes the newest checkpoint before it that is whole.

        Raises:
            DamagedFile: if it is damaged, and so are those before it.
        """
        try:
            super().restore(checkpoint_path)
        except DamagedFile as error:
            wrong = [str(error)]
            for earlier in compat.earlier_checkpoints(checkpoint_path):
                with earlier.as_directory() as folder:
                    try:
                        about = checkpoints.check(Path(folder))
                    except ValueError as why:
                        wrong.append(str(why))
                        continue
                    logger.warning(" ".join([*wrong, f"Training goes on from {earlier.path}."]))
                    reported = {key: about.get(key, 0) for key in ("training_iteration", "time_total_s")}
                    super().restore(compat.training_result(Path(folder), reported))
                    return
            raise

    @classmethod
    @override(Algorithm)
    def from_checkpoint(cls, path: Any, filesystem: Any = None, **kwargs: Any) -> Any:
        """Builds an algorithm from a checkpoint. It is read by pickle: load only what you trust.

        Args:
            path: its folder.
            filesystem: where `path` is; default: here, or as its scheme says.
            kwargs: RLlib's other options.

        Raises:
            DamagedFile: if it is damaged. It is a ValueError.
            ValueError: as `restore_from_path`.
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
        save_team(path, self.learner_team(), self.config.algorithm.name)

    def load_weights(self, path: str | Path) -> None:
        """Lets all networks go on from those in a file that `save_weights` or `rllib export` wrote.

        Optimizers, replay and schedules stay as they are.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is damaged, or its networks are not like these.
        """
        team = self.learner_team()
        weights = load_weights(path, team.weights(), perceptrons(team))
        self.learner_group.set_state({COMPONENT_LEARNER: {COMPONENT_RL_MODULE: weights}})
        self._hand_out_weights()

    def _runner_groups(self) -> dict[str, EnvRunnerGroup]:
        # A build that failed half-way has not all of them.
        groups = {"env runners": "env_runner_group", "evaluation env runners": "eval_env_runner_group"}
        found = {name: getattr(self, attribute, None) for name, attribute in groups.items()}
        return {name: group for name, group in found.items() if group is not None}

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

    @contextlib.contextmanager
    def _deaths_of_learners(self) -> Iterator[None]:
        """Says so where a remote learner died: RLlib restarts none, and what only it knew is in checkpoints alone."""
        try:
            yield
        except Exception as error:
            # RLlib leaves the answers of the dead out, and stumbles over that in its own ways. Of several learners the
            # others fail too, waiting for its gradients.
            learners = compat.remote_learners(self.learner_group)
            dead = next((number for number, learner in enumerate(learners) if _is_dead(learner)), None)
            if dead is None:
                raise
            raise RuntimeError(
                f"remote learner {dead} of {self.config.num_learners} died: killed, out of memory, or its node is "
                "gone. Networks and optimizers were lost with it, and training goes on from the latest checkpoint: by "
                "itself with max_failures in the experiment file, or with --resume; in Python with from_checkpoint()."
            ) from error


def _take(runner: Any, known: dict[str, Any]) -> None:
    compat.set_weights_number(runner, 0)  # RLlib's own runner would keep weights of a higher number
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
