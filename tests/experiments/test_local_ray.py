"""On a machine that others use too: whose the token and the folder of sessions are."""

import contextlib
import os
import resource
import stat
import subprocess
import sys

import pytest
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError

from rllib_biac.experiments import cluster
from rllib_biac.experiments.local_ray import (
    nothing_left_of_ray,
    options_within_limits,
    protect_token,
    temporary_folder,
)
from rllib_biac.experiments.mistakes import Mistake
from rllib_biac.experiments.stopping import Stopped
from rllib_biac.rllib import compat


@pytest.fixture
def alone(monkeypatch):
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_TMPDIR"):
        monkeypatch.delenv(name, raising=False)


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def test_a_token_is_its_owners(tmp_path, alone):
    before = os.umask(0o000)
    try:
        protect_token(tmp_path)
    finally:
        os.umask(before)
    path = tmp_path / ".ray" / "auth_token"
    token = path.read_text()
    assert mode(path) == 0o600 and mode(path.parent) == 0o700 and len(bytes.fromhex(token)) == 32
    path.chmod(0o644)  # as Ray leaves it
    protect_token(tmp_path)
    assert mode(path) == 0o600 and path.read_text() == token


def test_the_users_own_token_is_left_alone(tmp_path, alone, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "mine")
    protect_token(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_folder_of_sessions_is_its_owners(tmp_path, alone, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    given = temporary_folder()
    folder = os.path.dirname(given)
    assert given == temporary_folder() and folder == str(tmp_path / f"ray-{os.getuid()}") and mode(folder) == 0o700
    os.chmod(folder, 0o777)
    temporary_folder()
    assert mode(folder) == 0o700
    # Somebody was there first, and waits for what will be written.
    os.rmdir(folder)
    (tmp_path / "theirs").mkdir()
    os.symlink(tmp_path / "theirs", folder)
    other = os.path.dirname(temporary_folder())
    assert other != folder and mode(other) == 0o700
    os.rmdir(other)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert temporary_folder() is None


def test_a_trial_that_needed_too_much_memory_is_one_that_failed(monkeypatch):
    from ray.air.execution._internal.actor_manager import RayActorManager

    seen = []
    monkeypatch.setattr(RayActorManager, "_actor_task_failed", lambda self, task, exception: seen.append(exception))
    for _ in range(2):  # it is done once
        compat.retry_what_ray_killed()
    manager = RayActorManager.__new__(RayActorManager)
    others = [RayActorError(), RayTaskError("f", "trace", ValueError("x")), ValueError("no error of Ray's")]
    for error in [OutOfMemoryError("1 worker was killed\nby the node"), *others]:
        manager._actor_task_failed(None, error)
    killed, *rest = seen
    assert isinstance(killed, RayActorError) and str(killed) == "OutOfMemoryError: 1 worker was killed"
    assert rest == others


def test_ray_starts_ahead_only_where_rllib_is_yet_to_be_imported(monkeypatch):
    begun = []

    @contextlib.contextmanager
    def started(where, verbose):
        begun.append(where)
        yield

    monkeypatch.setattr(cluster, "started", started)
    monkeypatch.setattr(cluster.ray, "is_initialized", lambda: False)
    imported = []

    def importing(name):
        imported.append(name)
        raise ImportError(f"there is no {name}")

    monkeypatch.setattr(cluster.importlib, "import_module", importing)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setitem(sys.modules, "ray.rllib", object())
    with cluster.ahead(cluster.Cluster(), False):
        assert not begun
    monkeypatch.delitem(sys.modules, "ray.rllib")
    with cluster.ahead(cluster.Cluster("auto"), False):
        assert not begun
    with cluster.ahead(cluster.Cluster(num_cpus=2), False):
        assert begun == [cluster.Cluster(num_cpus=2)]
        # Whoever needs a library that cannot be imported says so; nothing of Ray is imported in two threads at once.
        assert "torch" in imported and not [name for name in imported if name.startswith(("ray", "rllib_biac"))]


def test_a_signal_while_ray_starts(monkeypatch):
    def interrupted(*_):
        sys.exit(15)  # as Ray's own handler of SIGTERM does

    monkeypatch.setattr(cluster, "start_here", interrupted)
    monkeypatch.setattr(cluster.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(cluster.ray, "shutdown", lambda: None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(Stopped) as raised, cluster.started(cluster.Cluster(), verbose=False):
        pytest.fail("Ray has started")
    assert raised.value.exit_code == 143


@pytest.mark.parametrize(
    ("limits", "store"),
    [
        ({}, None),
        ({"RLIMIT_FSIZE": 400_000_000}, 200_000_000),
        ({"RLIMIT_FSIZE": 10**12}, 2_000_000_000),
        ({"RLIMIT_FSIZE": 10**12, "RLIMIT_AS": 8_000_000_000}, 2_000_000_000),
        ({"RLIMIT_NOFILE": 256}, None),
    ],
)
def test_rays_store_keeps_to_the_limits_of_the_shell(monkeypatch, limits, store):
    limit_to(monkeypatch, limits)
    assert options_within_limits() == ({} if store is None else {"object_store_memory": store})


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (
            {"RLIMIT_FSIZE": 2_048_000},
            "2,048,000 bytes of a file and .* 200,000,000: write `ulimit -f 195313`",
        ),
        ({"RLIMIT_NOFILE": 64}, "64 open files"),
        ({"RLIMIT_AS": 10**9}, "bytes of memory of a process"),
    ],
)
def test_limits_under_which_ray_would_not_start_are_told(monkeypatch, limits, told):
    limit_to(monkeypatch, limits)
    with pytest.raises(Mistake, match=told):
        options_within_limits()


def limit_to(monkeypatch, limits):
    by_number = {getattr(resource, name): limit for name, limit in limits.items()}
    monkeypatch.setattr(resource, "getrlimit", lambda number: (by_number.get(number, resource.RLIM_INFINITY),) * 2)


def test_ray_that_does_not_start_is_told(monkeypatch):
    def fails(**_):
        raise RuntimeError("The node timed out\nand more")

    monkeypatch.setattr(cluster.ray, "init", fails)
    with pytest.raises(Mistake, match=r"Ray does not start on this machine \(The node timed out\). Its logs are in /"):
        cluster.start_here(1)


@pytest.mark.slow
def test_no_call_is_recorded():
    """What Ray records of calls it keeps, so that its memory would grow in runs of hours."""
    script = """
import ray, time
from rllib_biac.experiments.cluster import start_here
start_here(1)
for _ in range(5):
    ray.get(ray.remote(lambda: 0).remote())
time.sleep(3)  # records are handed over once a second
assert not ray.timeline(), ray.timeline()[:3]
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_nothing_that_ray_started_is_left(monkeypatch):
    """A Ray that is stopped while it starts knows none of its processes, and they may wait for each other for good."""
    monkeypatch.setattr("rllib_biac.experiments.local_ray.ray.shutdown", lambda: None)
    waiting = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; print(1, flush=True); "
    waiting += "time.sleep(1000)'])"
    sleeping = "import time; time.sleep(1000)"
    before = subprocess.Popen([sys.executable, "-c", sleeping, cluster.ray.__file__])  # of another Ray
    with nothing_left_of_ray():
        rays = subprocess.Popen([sys.executable, "-c", waiting, cluster.ray.__file__], stdout=subprocess.PIPE)
        other = subprocess.Popen([sys.executable, "-c", sleeping])
        assert rays.stdout.read(1) == b"1"
    try:
        assert rays.poll() is not None and rays.stdout.read() == b"\n"  # its child holds the pipe, and is gone too
        assert other.poll() is None and before.poll() is None
    finally:
        for each in (before, other):
            each.kill()
            each.wait()
