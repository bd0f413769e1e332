"""Where trials run: a Ray on this machine, or a cluster that runs already."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray

from rllib_biac.experiments.local_ray import (
    close_session,
    did_not_start,
    nothing_left_of_ray,
    options_within_limits,
    protect_token,
    temporary_folder,
)
from rllib_biac.experiments.mistakes import Mistake
from rllib_biac.experiments.stopping import Stopped
from rllib_biac.rllib import compat

if TYPE_CHECKING:
    from rllib_biac.experiments.resolve import Experiment


@dataclass(frozen=True)
class Cluster:
    """Where to run.

    Attributes:
        address: of a running cluster; None starts Ray on this machine.
        num_cpus: CPUs of the Ray to start; None for all.
        prints: whether to show what trials' processes print, though Ray's messages are not shown.
    """

    address: str | None = None
    num_cpus: int | None = None
    prints: bool = False


def worker_env() -> dict[str, str] | None:
    """Returns the runtime environment for Ray's workers on this machine, None if Ray's default works.

    Ray 2.60 passes Python's path to a shell without quotes. If the path has a space, Tune's workers never start.
    """
    quoted = shlex.quote(sys.executable)
    return None if quoted == sys.executable else {"py_executable": quoted}


@contextmanager
def started(cluster: Cluster, verbose: bool) -> Iterator[None]:
    """Starts Ray, or connects to a cluster, while the context lasts. Uses a Ray that runs already and does not stop it.

    A Ray that is started here is its owner's alone: it listens on this machine only and asks for a token.

    Raises:
        Mistake: if there is no cluster at the address, or Ray does not start here.
    """
    # Without these settings, Tune prints tables and Ray prints a warning between our lines.
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if ray.is_initialized():
        yield
        return
    level = logging.INFO if verbose else logging.ERROR
    with nothing_left_of_ray():
        try:
            if cluster.address or not _starts_here():
                _connect(cluster.address, verbose or cluster.prints, level)
            else:
                os.environ.update(compat.TRIAL_ENV)  # workers have it from this process
                start_here(cluster.num_cpus, verbose or cluster.prints, level)
        except SystemExit as error:
            raise Stopped(signal.SIGTERM) from error  # Ray's own handler, which it installs while it starts
        yield


def _connect(address: str | None, verbose: bool, level: int) -> None:
    try:
        ray.init(address=address, log_to_driver=verbose, logging_level=level)
    except ConnectionError as error:
        where = f"cannot connect to a Ray cluster at {address!r}. Start one with `ray start --head`"
        raise Mistake(f"{where}. If it runs already, it may need its token: set RAY_AUTH_MODE=token.") from error


@contextmanager
def ahead(cluster: Cluster, verbose: bool) -> Iterator[None]:
    """Starts Ray before this process imports RLlib, and imports meanwhile what RLlib imports.

    Where RLlib is imported already, or Ray runs already, nothing is done: `started` comes later.
    """
    if cluster.address or not _starts_here() or "ray.rllib" in sys.modules or ray.is_initialized():
        yield
        return
    importing = threading.Thread(target=_import_libraries, daemon=True)
    importing.start()
    with started(cluster, verbose):
        importing.join()
        yield


def _import_libraries() -> None:
    """Imports slow libraries that Ray itself does not need: nothing of Ray's, which is imported at the same time."""
    for name in ("torch", "pandas", "gymnasium"):
        with contextlib.suppress(Exception):  # RLlib's own import says what is wrong
            importlib.import_module(name)


def _starts_here() -> bool:
    return os.environ.get("RAY_ADDRESS", "local") in ("", "local")


def start_here(num_cpus: int | None, verbose: bool = False, level: int = logging.ERROR) -> None:
    """Starts a Ray on this machine that is its owner's alone.

    Args:
        num_cpus: CPUs that it may use; None for all.
        verbose: whether to show what workers print.
        level: of Ray's own messages.

    Raises:
        Mistake: if it does not start.
    """
    options = options_within_limits()
    if compat.asks_for_token():
        protect_token()
    with compat.listening_on_loopback():
        try:
            context = ray.init(
                num_cpus=num_cpus,
                include_dashboard=False,
                log_to_driver=verbose,
                runtime_env=worker_env(),
                logging_level=level,
                _temp_dir=temporary_folder(),
                # Else Ray records every call for a dashboard that is not there, and its memory grows for hours.
                _system_config={"task_events_report_interval_ms": 0},
                **options,
            )
        except Exception as error:  # Ray raises many kinds
            raise did_not_start(error) from error
    close_session(context["session_dir"])


_UNITS = {"CPU": "CPUs", "GPU": "GPUs"}
_REMEDIES = {
    "CPU": "lower num_env_runners, or pass --ray-num-cpus to share the cores",
    "GPU": "lower num_env_runners, or lower num_gpus_per_learner",
}


def check_resources(experiments: list[Experiment]) -> None:
    """Checks that this machine has what each trial wants. Tune would wait for it forever.

    Raises:
        Mistake: if a trial wants more CPUs, GPUs or other resources than there are.
    """
    there = ray.cluster_resources()
    for experiment in experiments:
        for trial in experiment.trials:
            algorithm: Any = trial.config.algo_class
            wanted = algorithm.default_resource_request(trial.config.to_dict()).required_resources
            for kind, wants in wanted.items():
                if wants > (has := there.get(kind, 0)):
                    unit = _UNITS.get(kind, f"of {kind!r}")
                    remedy = _REMEDIES.get(kind, "leave custom_resources out, or name a cluster by --ray-address")
                    raise Mistake(
                        f"experiment {experiment.name!r}: a trial needs {wants:g} {unit} and there are {has:g}; "
                        f"{remedy}."
                    )
