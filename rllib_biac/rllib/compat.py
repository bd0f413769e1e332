"""The one place that knows private and moving names of Ray.

The functions below call, read or set them. The table in `ray_names` lists them all, with those that this library
overrides. Below the supported range this module cannot be imported. Above it `check` compares Ray with the table.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import ray

from rllib_biac.rllib.ray_names import NEWEST, OLDEST, ROWS, Row

if TYPE_CHECKING:
    from ray.rllib.algorithms.algorithm import Algorithm
    from ray.rllib.core.learner.learner import Learner
    from ray.rllib.env.env_runner_group import EnvRunnerGroup
    from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner


def ray_version() -> tuple[int, int]:
    """Returns the installed Ray's major and minor version."""
    major, minor = ray.__version__.split(".")[:2]
    return int(major), int(minor)


def _text(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


_INSTALL = f'pip install "ray[rllib]>={_text(OLDEST)},<{NEWEST[0]}.{NEWEST[1] + 1}"'

if ray_version() < OLDEST:
    raise ImportError(
        f"rllib_biac needs Ray {_text(OLDEST)} to {_text(NEWEST)}, and Ray {ray.__version__} is installed: {_INSTALL}"
    )


# The check.


@functools.cache
def check() -> None:
    """Compares a Ray that is newer than the supported range with the table, once per process.

    Raises:
        ImportError: if a name is missing or has changed. The message names each.
    """
    if ray_version() <= NEWEST:
        return
    if found := differences():
        raise ImportError(
            f"rllib_biac does not work with Ray {ray.__version__}: {_INSTALL}. What differs:\n  " + "\n  ".join(found)
        )
    warnings.warn(
        f"rllib_biac is tested with Ray {_text(OLDEST)} to {_text(NEWEST)}, and Ray {ray.__version__} is installed. "
        "All names that rllib_biac uses are there.",
        stacklevel=2,
    )


def differences(rows: tuple[Row, ...] = ROWS) -> list[str]:
    """Returns a sentence for each row that does not hold in the installed Ray."""
    version = ray_version()
    return [sentence for row in rows if row.since <= version and (sentence := difference(row))]


def difference(row: Row) -> str | None:
    """Returns how the installed Ray differs from a row, None if it does not."""
    dotted = f"{row.where}.{row.name}"
    try:
        owner = _load(row.where)
    except (ImportError, AttributeError):
        return f"{dotted}: {row.where} is missing ({row.why})."
    if row.parameters is None:
        return None if _has_attribute(owner, row.name) else f"{dotted}: is missing ({row.why})."
    found = inspect.getattr_static(owner, row.name, None)
    if found is None:
        return f"{dotted}: is missing ({row.why})."
    actual = "property" if isinstance(found, property) else _parameters(getattr(found, "__func__", found))
    if actual == row.parameters or (
        row.parameters.endswith(", ...") and f"{actual}, ".startswith(row.parameters.removesuffix("..."))
    ):
        return None
    return f"{dotted}: expected ({row.parameters}), found ({actual}) ({row.why})."


@functools.cache
def _load(dotted: str) -> Any:
    """Returns a module, or a class in one."""
    try:
        return importlib.import_module(dotted)
    except ModuleNotFoundError:
        module, _, name = dotted.rpartition(".")
        return getattr(importlib.import_module(module), name)


def _parameters(function: Callable[..., Any]) -> str:
    """Returns a function's parameters without annotations and defaults, as `self, path, *, state, **kwargs`."""
    plain = []
    # Ray wraps the methods of a class that became an actor, and adds this parameter.
    for parameter in inspect.signature(inspect.unwrap(function)).parameters.values():
        if parameter.name != "_ray_trace_ctx":
            plain.append(parameter.replace(annotation=parameter.empty, default=parameter.empty))
    return str(inspect.Signature(plain)).strip("()").replace("/, ", "")


def _has_attribute(owner: Any, name: str) -> bool:
    """Tells whether objects of a class have an attribute: one of the class, or one that its source sets."""
    if hasattr(owner, name):
        return True
    sources = [_source(base) for base in inspect.getmro(owner) if base.__module__.startswith("ray.")]
    return any(f"self.{name} =" in source or f"self.{name}:" in source for source in sources)


@functools.cache
def _source(cls: type) -> str:
    return inspect.getsource(cls)


# Games.


def registered_env(name: str) -> Callable[..., Any] | None:
    """Returns what `ray.tune.register_env` was given under a name, None if nothing. Ray has no public question."""
    from ray.tune import registry

    if not registry._global_registry.contains(registry.ENV_CREATOR, name):
        return None
    return registry._global_registry.get(registry.ENV_CREATOR, name)


# Env runners.


def is_healthy(group: EnvRunnerGroup, index: int) -> bool:
    """Tells whether RLlib takes a remote runner for healthy. The group itself says only how many are."""
    return group._worker_manager.is_actor_healthy(index)


def kill_runner(group: EnvRunnerGroup, index: int) -> None:
    """Kills a remote runner, which Ray starts again. RLlib is told: else it would send requests to a dead actor."""
    ray.kill(group._worker_manager.actors()[index], no_restart=False)
    group._worker_manager.set_actor_state(index, healthy=False)


def stop_runners(group: EnvRunnerGroup, timeout_s: float) -> None:
    """Stops remote runners, and kills those that are busy or hang. RLlib's own `stop` waits for them without limit."""
    runners = list(group._worker_manager.actors().values())
    if runners:
        ray.wait([runner.stop.remote() for runner in runners], num_returns=len(runners), timeout=timeout_s)
    group._worker_manager.clear()


def dropped_answers(group: EnvRunnerGroup) -> int | None:
    """Returns how many answers came too late so far; None before Ray 2.57, which does not count them."""
    return group.num_env_runners_dropped_lifetime() if ray_version() >= (2, 57) else None


def finished_episodes(runner: MultiAgentEnvRunner) -> list[Any]:
    """Returns the episodes that finished since the last metrics. RLlib's callbacks get them one by one only."""
    return runner._done_episodes_for_metrics


# Learners.


def local_learner(learner_group: Any) -> Any:
    """Returns the learner in this process, None if learners are remote. RLlib hands out copies of weights only."""
    return learner_group._learner


def remote_learners(learner_group: Any) -> list[Any]:
    """Returns the actors of remote learners. RLlib does not tell which of them died."""
    return learner_group._workers or []


def weights_number(owner: Any) -> int:
    """Returns the number of the weights that a learner or an env runner has; RLlib drops weights of a lower one."""
    return owner._weights_seq_no


def set_weights_number(owner: Any, number: int) -> None:
    """Sets the number of a learner's or an env runner's weights; after 0 it takes weights of any number."""
    owner._weights_seq_no = number


def learner_index(learner: Learner) -> int:
    """Returns which of several learners this is, from 0. RLlib passes it to no method that we implement."""
    return learner._learner_index


# Algorithms.


def stop_monitor(algorithm: Algorithm) -> None:
    """Ends the thread that watches the machine. RLlib's own `stop` waits for it to wake up, up to 0.7 s."""
    from ray.tune.utils import UtilMonitor

    algorithm._monitor.stop()
    algorithm._monitor = UtilMonitor(start=False)


def begin_anew(algorithm: Algorithm, config: dict[str, Any]) -> None:
    """Makes an algorithm anew from another config, as the same Tune trial. RLlib has no `reset_config` of its own."""
    from ray.rllib.algorithms.algorithm import Algorithm

    trial = algorithm._trial_info
    Algorithm.__init__(algorithm, config=config, storage=algorithm._storage)
    algorithm._trial_info = trial


def trial_of(algorithm: Algorithm) -> str:
    """Returns the name of a Tune trial's folder, which is the same after a resume; empty where Tune does not train.

    RLlib's algorithms do not know their trial's id, though Tune has a question for it.
    """
    storage = algorithm._storage
    return storage.trial_dir_name or "" if storage else ""


def seconds_trained(algorithm: Algorithm) -> float:
    """Returns the seconds trained so far, over restores. Tune reports them with results only."""
    return algorithm._time_total


def counters(algorithm: Algorithm) -> dict[str, Any]:
    """Returns RLlib's counters. Its checkpoints of the new API stack leave them out."""
    return algorithm._counters


def is_wanted(owner: Any, part: str, components: Any, not_components: Any) -> bool:
    """Tells whether a part of a state was asked for, by RLlib's rules for names of components."""
    return owner._check_component(part, components, not_components)


# Configs.


def model_config(config: Any) -> Any:
    """Returns the model config as given. The public property adds what RLlib includes by itself."""
    return config._model_config


def validates(config: Any) -> bool:
    """Tells whether a config is to be validated: `experimental(_validate_config=False)` says no."""
    return config._validate_config


def leave_states_alone(config: Any, alone: bool) -> None:
    """Says whether runners' states are left alone. RLlib would wait 10 s in every iteration for a runner that is busy.

    Requests of asynchronous sampling carry all that a runner has to know.
    """
    config._dont_auto_sync_env_runner_states = alone


# Ray itself.


def asks_for_token() -> bool:
    """Tells whether a Ray that is started here asks for a token: it does unless `RAY_AUTH_MODE` says otherwise."""
    from ray._raylet import Config  # type: ignore[attr-defined]

    if "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        Config.initialize("")  # Ray has read the environment already
    return os.environ["RAY_AUTH_MODE"] == "token"


@contextlib.contextmanager
def listening_on_loopback() -> Iterator[None]:
    """Lets a Ray that is started meanwhile listen on this machine only. Ray does so by itself on macOS and Windows."""
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


# RLlib's seeding.


@contextlib.contextmanager
def seeding_without_compiler() -> Iterator[None]:
    """Lets RLlib seed torch without importing torch's compiler, which takes each process a second.

    With a seed RLlib calls `torch.use_deterministic_algorithms`, which imports the compiler to set an option of
    its own. Nothing here compiles. Whoever does has imported it before, or sets that option.
    """
    import torch

    if "torch._inductor" in sys.modules:
        yield
        return
    use = torch.use_deterministic_algorithms

    def quickly(mode: bool, *, warn_only: bool = False) -> None:
        torch.set_deterministic_debug_mode(("warn" if warn_only else "error") if mode else "default")

    torch.use_deterministic_algorithms = quickly
    try:
        yield
    finally:
        torch.use_deterministic_algorithms = use


# Tune.

# What Tune sets in the processes of trials. It is a copy, because the import takes a second; if Tune's changes, trials
# start a second or two later.
TRIAL_ENV = {"PL_DISABLE_FORK": "1"}


def start_trials_in_waiting_workers() -> None:
    """Lets trials begin in worker processes that wait already, if Ray was started with `TRIAL_ENV`.

    To set these variables, Ray would start another process for each trial.
    """
    from ray.tune.execution import class_cache

    tunes = class_cache.DEFAULT_ENV_VARS
    if all(os.environ.get(name) == value for name, value in tunes.items()):
        class_cache.DEFAULT_ENV_VARS = {}


def retry_what_ray_killed() -> None:
    """Lets Tune take a trial whose process Ray killed, for it needed too much memory, for a trial that failed.

    Tune knows only actors that died, and tasks that raised. At anything else it ends itself, and all trials with it.
    """
    from ray.air.execution._internal.actor_manager import RayActorManager
    from ray.exceptions import RayActorError, RayError, RayTaskError

    failed = RayActorManager._actor_task_failed
    if getattr(failed, "knows_all_errors", False):
        return

    @functools.wraps(failed)
    def task_failed(self: Any, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, RayError) and not isinstance(exception, RayActorError | RayTaskError):
            first = str(exception).strip().splitlines()[0]
            exception = RayActorError(error_msg=f"{type(exception).__name__}: {first}")
        failed(self, tracked_actor_task, exception)

    task_failed.knows_all_errors = True  # type: ignore[attr-defined]
    RayActorManager._actor_task_failed = task_failed


def read_record(text: str) -> Any:
    """Reads Tune's record of a run. It holds pickles, so read only what you trust."""
    from ray.tune.utils import serialization

    if ray_version() >= (2, 56):
        return serialization._loads_with_cloudpickle(text)
    return json.loads(text, cls=serialization.TuneFunctionDecoder)


def forget_checkpoints(manager: Any, keep: Callable[[Any], bool]) -> None:
    """Lets Tune's checkpoint manager forget a trial's latest checkpoint, and those that `keep` does not want."""
    manager._checkpoint_results = [result for result in manager._checkpoint_results if keep(result)]
    manager._latest_checkpoint_result = None


def add_checkpoint(manager: Any, checkpoint: Any, metrics: dict[str, Any]) -> None:
    """Tells Tune's checkpoint manager of a checkpoint, as its latest. Tune itself does so while a trial runs only."""
    from ray.train._internal.session import _TrainingResult

    manager.register_checkpoint(_TrainingResult(checkpoint, metrics))


def set_checkpoint_config(manager: Any, settings: dict[str, Any]) -> None:
    """Gives Tune's checkpoint manager of a trial another `CheckpointConfig`, by its arguments."""
    from ray.tune import CheckpointConfig

    manager._checkpoint_config = CheckpointConfig(**settings)


def saved_trial(trial: Any) -> tuple[str, str]:
    """Returns a trial as Tune saves it, after it was changed."""
    trial.stub = False  # it only let us read the trial without its algorithm
    trial.invalidate_json_state()
    trial.run_metadata.invalidate_cache()
    return trial.get_json_state()


def training_result(folder: Path, metrics: dict[str, Any]) -> Any:
    """Returns a checkpoint on this machine as Tune hands one to a trial."""
    from ray.train._internal.session import _TrainingResult
    from ray.tune import Checkpoint

    return _TrainingResult(Checkpoint(str(folder)), metrics)


def earlier_checkpoints(given: Any) -> list[Any]:
    """Returns Tune's checkpoints before one, the newest first, wherever they lie.

    Args:
        given: what `Trainable.restore` takes: a path, a checkpoint, or what Tune saved with one.
    """
    from pyarrow.fs import FileSelector, LocalFileSystem
    from ray.tune import Checkpoint

    checkpoint = getattr(given, "checkpoint", given)
    filesystem = getattr(checkpoint, "filesystem", LocalFileSystem())
    path = PurePosixPath(getattr(checkpoint, "path", checkpoint))
    beside = filesystem.get_file_info(FileSelector(str(path.parent), allow_not_found=True))
    kind = path.name.rpartition("_")[0]  # "checkpoint"
    found = sorted((info.path for info in beside if kind and info.base_name.startswith(f"{kind}_")), reverse=True)
    return [Checkpoint(each, filesystem) for each in found if PurePosixPath(each).name < path.name]


def asha_rungs(scheduler: Any) -> list[Any] | None:
    """Returns the scores by which ASHA stops trials, None for another scheduler. Tune saves no scheduler's state."""
    brackets = getattr(scheduler, "_brackets", None)
    return None if brackets is None else [bracket._rungs for bracket in brackets]


def set_asha_rungs(scheduler: Any, rungs: list[Any]) -> None:
    """Takes back what `asha_rungs` returned."""
    for bracket, own in zip(getattr(scheduler, "_brackets", ()), rungs, strict=False):
        bracket._rungs = own
