"""Signals: the first lets trials save, the second ends the run at once, and no run outlives its time."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray.tune.experiment import Trial

from rllib_biac.experiments.callbacks import SaveAndStop
from rllib_biac.experiments.stopping import GRACE_S, SIGNALS, Stopped, Stopping

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGUSR1: 138}


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_lets_trials_save_the_second_ends_the_run(number):
    before = [signal.getsignal(each) for each in SIGNALS]
    said = []
    with pytest.raises(Stopped) as raised, Stopping(said.append) as stopping, stopping.training():
        signal.raise_signal(number)
        assert stopping.requested.is_set() and stopping.exit_code == CODES[number] and not stopping.overdue
        assert len(said) == 1 and "again to stop at once" in said[0]
        signal.raise_signal(signal.SIGTERM)
        pytest.fail("the second signal did nothing")
    assert raised.value.exit_code == CODES[number]
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_before_anything_trains_it_ends_at_once():
    with pytest.raises(Stopped) as raised, Stopping(print):
        signal.raise_signal(signal.SIGTERM)
    assert raised.value.exit_code == 143


def test_who_ignores_hangups_goes_on_ignoring_them():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    try:
        with Stopping(print) as stopping, stopping.training():
            signal.raise_signal(signal.SIGHUP)
            assert stopping.number is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_run_that_hangs_is_ended(monkeypatch):
    monkeypatch.setenv(GRACE_S, "1")
    ended = threading.Event()
    with Stopping(str, lambda code: ended.set()) as stopping, stopping.training():
        signal.raise_signal(signal.SIGTERM)
        assert ended.wait(30) and stopping.overdue
    ended.clear()
    with Stopping(str, lambda code: ended.set()) as stopping, stopping.training():
        signal.raise_signal(signal.SIGTERM)
    assert not ended.wait(1.2)  # what ended in time is left alone


def test_trials_that_do_not_save_are_not_waited_for_without_limit():
    heard, said = [], []
    stopping = SimpleNamespace(
        requested=threading.Event(), overdue=False, take_over=lambda number: lambda *_: heard.append(number)
    )
    callback = SaveAndStop(stopping, said.append)
    trial = SimpleNamespace(trial_id="a", status=Trial.RUNNING)
    callback.on_step_begin(1, [trial])
    callback.on_step_end(1, [trial])
    stopping.requested.set()
    callback.on_step_end(2, [trial])
    assert not heard and not said
    stopping.overdue = True
    callback.on_step_end(3, [trial])
    assert heard == [signal.SIGUSR1] and "1 trial(s) did not finish their iteration in time" in said[0]


def test_a_signal_that_somebody_else_had_in_the_meantime():
    def tunes(*_):
        pytest.fail("trials would end unsaved")

    with Stopping(lambda text: None) as stopping, stopping.training():
        signal.signal(signal.SIGUSR1, tunes)
        assert stopping.take_over(signal.SIGUSR1) is tunes
        signal.raise_signal(signal.SIGUSR1)
        assert stopping.requested.is_set() and stopping.exit_code == 138


TEXT = """
mine:
  run: BiAC
  env: escape_v0
  stop: {training_iteration: 3000}
  config: {hierarchy: [[player_0], [player_1]], seed: 0, min_sample_timesteps_per_iteration: 50}
"""


def listening(pids):
    """Addresses of the sockets on which processes wait for calls."""
    inodes = set()
    for pid in pids:
        for fd in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                inodes.add(os.readlink(fd).removeprefix("socket:[").rstrip("]"))
            except OSError:
                continue
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    return {line[1].split(":")[0] for line in lines if line[3] == "0A" and line[9] in inodes}


def descendants(pid):
    children = [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and (entry / "stat").exists() and _parent(entry) == pid
    ]
    return [pid, *(each for child in children for each in descendants(child))]


def _parent(entry):
    try:
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _is_there(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_supervisor_stops_the_command(tmp_path, number):
    """It saves and says how to go on; its Ray is its owner's alone, and gone afterwards."""
    (tmp_path / "game.yaml").write_text(TEXT)
    home, temporary = tmp_path / "home", Path(f"/tmp/ray-{os.getuid()}")
    home.mkdir()
    environment = {k: v for k, v in os.environ.items() if k not in ("RAY_AUTH_MODE", "RAY_TMPDIR", "RAY_ADDRESS")}
    arguments = ["train", "file", str(tmp_path / "game.yaml"), "--storage-path", str(tmp_path), "--ray-num-cpus", "1"]
    command = subprocess.Popen(
        [sys.executable, "-c", "from rllib_biac.cli.main import main; main()", *arguments],
        env=environment | {"HOME": str(home), "TMPDIR": "/tmp"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        umask=0o002,
    )
    try:
        while not any(path.stat().st_size for path in tmp_path.glob("mine/*/result.json")):
            assert command.poll() is None, command.communicate()
            time.sleep(0.1)
        processes = descendants(command.pid)
        assert len(processes) > 4
        loopback = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
        assert listening(processes) and listening(processes) <= loopback
        assert (home / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600
        assert temporary.stat().st_mode & 0o777 == 0o700
        command.send_signal(number)
        output, _ = command.communicate(timeout=60)
        assert "Not stopped in time" not in output
    finally:
        command.kill()
    assert command.returncode == CODES[number], output
    assert "rllib train file" in output and "--resume" in output and "Traceback" not in output, output
    (saved,) = tmp_path.glob("mine/*/checkpoint_*")
    assert saved.stat().st_mode & 0o777 == 0o775  # results are everybody's to read, as the umask says
    while any(map(_is_there, processes)):  # until the test's own time is over
        time.sleep(0.1)
