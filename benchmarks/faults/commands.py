"""Commands that are stopped, killed or started twice, with a Ray of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import ray
from survivors import (
    HARM_AT,
    ITERATIONS,
    PATIENCE,
    Books,
    build,
    check_exact,
    check_run,
    command,
    experiment,
    judge,
    kill,
    last,
    require,
    wait_for,
    wrong,
)

from rllib_biac import BiAC
from rllib_biac.cli.evaluate import find
from rllib_biac.files.checkpoint import METADATA, is_whole


def start(arguments: list[str], cpus: int = 1) -> subprocess.Popen[str]:
    """Starts the command in a process group of its own, as a shell does."""
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    environment["PYTHONPATH"] = str(Path(__file__).parent)
    return subprocess.Popen(
        [sys.executable, "-c", "from rllib_biac.cli.main import main; main()", *arguments, "--ray-num-cpus", str(cpus)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # nohup may have had it ignored
    )


def descendants(pid: int) -> list[int]:
    """Returns the processes that a process has started, and those that they have."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    children: dict[int, list[int]] = {}
    for line in listed.splitlines():
        child, parent = map(int, line.split())
        children.setdefault(parent, []).append(child)
    found, waiting = [], [pid]
    while waiting:
        more = children.get(waiting.pop(), [])
        found += more
        waiting += more
    return found


def alive(pid: int) -> bool:
    """Tells whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def interrupted(seed: int, folder: Path) -> None:
    """Ctrl-C: a checkpoint is written, Ray is shut down, the exit code is 130, and `--resume` goes on exactly."""
    stopped_by(signal.SIGINT, 130, seed, folder, everybody=True)


def terminated(seed: int, folder: Path) -> None:
    """The same by SIGTERM, as a supervisor sends it."""
    stopped_by(signal.SIGTERM, 143, seed, folder)


def hung_up(seed: int, folder: Path) -> None:
    """The same by SIGHUP, as a terminal that closes sends it to all that it has started."""
    stopped_by(signal.SIGHUP, 129, seed, folder)


def stopped_by(number: int, code: int, seed: int, folder: Path, *, everybody: bool = False) -> None:
    """Sends a signal, to the command alone or to Ray's processes too, and resumes."""
    checkpoints = {"checkpoint_frequency": 0, "checkpoint_at_end": True}
    arguments = experiment(folder, seed, 4 * ITERATIONS, checkpoint_config=checkpoints)
    process = start(arguments)
    wait_for(lambda: any(map(_reports, folder.glob("results/mine/*/result.json"))), process)
    started = descendants(process.pid)
    require(len(started) > 3, "Ray's processes are not to be seen")
    begin = time.monotonic()
    (os.killpg if everybody else os.kill)(process.pid, number)
    output, _ = process.communicate(timeout=PATIENCE)
    require(process.returncode == code, f"exit code {process.returncode}: {output[-500:]}")
    require(number == signal.SIGINT or time.monotonic() - begin < 25, "it took longer than a supervisor waits")
    wait_for(lambda: not any(map(alive, started)))
    (checkpoint,) = folder.glob("results/mine/*/checkpoint_*")
    require(is_whole(checkpoint), "the checkpoint is not whole")
    said_how_to_go_on(output)
    command([*arguments, "--resume"])
    check_run(folder, seed, 4 * ITERATIONS)


def said_how_to_go_on(output: str) -> None:
    """Refuses what a command printed if it does not end with how to go on."""
    require(any(line.endswith("--resume") for line in output.splitlines()), f"nobody said how to go on: {output}")
    require("Traceback" not in output, f"a stack trace: {output[-2000:]}")


def terminated_in_vain(seed: int, folder: Path) -> None:
    """SIGTERM while a game hangs in the trial's process: the command ends in time all the same."""
    arguments = experiment(folder, seed, 2 * ITERATIONS, **wrong("hang", folder))
    process = start(arguments)
    wait_for((folder / "gone_wrong").exists, process)
    begin = time.monotonic()
    process.terminate()
    output, _ = process.communicate(timeout=PATIENCE)
    require(process.returncode == 143 and time.monotonic() - begin < 26, f"exit code {process.returncode}: {output}")
    said_how_to_go_on(output)
    command([*arguments, "--resume"])
    check_run(folder, seed, 2 * ITERATIONS, exact=False)


def head_killed(seed: int, folder: Path) -> None:
    """`kill -9` of Ray's GCS: the command says how to go on, and ends."""
    arguments = experiment(folder, seed, 400 * ITERATIONS)
    process = start(arguments)
    wait_for(lambda: len(list(folder.glob("results/mine/*/checkpoint_*"))) >= HARM_AT, process)
    (head,) = [pid for pid in descendants(process.pid) if "gcs_server" in Path(f"/proc/{pid}/comm").read_text()]
    kill(head)
    output, _ = process.communicate(timeout=PATIENCE)
    require(process.returncode == 1, f"exit code {process.returncode}: {output}")
    said_how_to_go_on(output)
    require("The head of Ray" in output, f"nobody said what happened: {output}")
    (results,) = folder.glob("results/mine/*/result.json")
    iterations = results.read_text(encoding="utf-8").count("\n") + HARM_AT
    command([*experiment(folder, seed, iterations), "--resume"])
    check_run(folder, seed, iterations)


def two_commands(seed: int, folder: Path) -> None:
    """A second command in a run's folder is refused while the first lives, and goes on once it was killed."""
    arguments = experiment(folder, seed, 4 * ITERATIONS)
    process = start(arguments)
    wait_for(lambda: len(list(folder.glob("results/mine/*/checkpoint_*"))) >= HARM_AT, process)
    require("another command" in command([*arguments, "--resume"], code=2), "nobody refused the second command")
    kill(process.pid)
    process.communicate()
    command([*arguments, "--resume"])
    check_run(folder, seed, 4 * ITERATIONS)


def newest_damaged(seed: int, folder: Path) -> None:
    """A bit of the newest checkpoint flips while the command is dead: `--resume` says so and takes the one before."""
    arguments = experiment(folder, seed, 4 * ITERATIONS)
    process = start(arguments)
    wait_for(lambda: len(list(folder.glob("results/mine/*/checkpoint_*"))) >= HARM_AT, process)
    started = descendants(process.pid)
    kill(process.pid)
    process.communicate()
    wait_for(lambda: not any(map(alive, started)))
    newest, rng = find(str(folder / "results" / "mine")), np.random.default_rng(seed)
    files = sorted(path for path in newest.rglob("*") if path.is_file() and path.stat().st_size)
    damaged = files[rng.integers(len(files))]
    data = bytearray(damaged.read_bytes())
    data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    damaged.write_bytes(bytes(data))
    output = command([*arguments, "--resume"])
    if damaged.relative_to(newest).as_posix() in json.loads((newest / METADATA).read_text())["rllib_biac"]["files"]:
        require(damaged.name in output, f"nobody named {damaged}: {output}")
    check_run(folder, seed, 4 * ITERATIONS)


def memory_runs_out(seed: int, folder: Path) -> None:
    """One of two trials takes too much memory, and Ray kills it: it is started again, and the other one goes on."""
    arguments = experiment(folder, seed, 2 * ITERATIONS, max_failures=5, callbacks="survivors:HogMemory")
    memory = dict(line.split()[:2] for line in Path("/proc/meminfo").read_text().splitlines())
    used = 1 - int(memory["MemAvailable:"]) / int(memory["MemTotal:"])
    limits = {"RAY_memory_usage_threshold": f"{used + 0.15:.3f}", "RAY_memory_monitor_refresh_ms": "100"}
    with mock.patch.dict(os.environ, limits | {"FAULTS_ONCE": str(folder / "once")}):
        process = start([*arguments, "--num-samples", "2"], cpus=2)
    output, _ = process.communicate(timeout=PATIENCE)
    require(process.returncode == 0, f"exit code {process.returncode}: {output}")
    errors = [path for path in folder.glob("results/mine/*/error.txt") if path.stat().st_size]
    require(len(errors) >= 1, "no trial ran out of memory")
    for trial in folder.glob("results/mine/BiAC_*"):
        rows = [json.loads(line) for line in (trial / "result.json").read_text().splitlines()]
        require({row["training_iteration"] for row in rows} == set(range(1, 2 * ITERATIONS + 1)), "iterations are lost")


def _reports(results: Path) -> bool:
    return results.read_text(encoding="utf-8").count("\n") >= HARM_AT


def command_killed(seed: int, folder: Path) -> None:
    """`kill -9` of `rllib train file`, wherever it is; `--resume` goes on from the newest checkpoint that is whole."""
    arguments = experiment(folder, seed, 4 * ITERATIONS)
    process = start(arguments)
    wait_for(lambda: len(list(folder.glob("results/mine/*/checkpoint_*"))) >= HARM_AT, process)
    time.sleep(np.random.default_rng(seed).uniform(0.0, 0.3))
    started = descendants(process.pid)
    kill(process.pid)
    process.communicate()
    wait_for(lambda: not any(map(alive, started)))  # Ray ends by itself
    before = find(str(folder / "results" / "mine"))
    require(is_whole(before), "the checkpoint that is found is not whole")
    command([*arguments, "--resume"])
    check_run(folder, seed, 4 * ITERATIONS)


def killed_while_saving(seed: int, folder: Path) -> None:
    """`kill -9` at random moments of a program that saves over its checkpoint again and again."""
    rng, done = np.random.default_rng(seed), 0
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent), "--save-for-ever", str(folder / "saved"), "--seed", str(seed)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address},
        )
        assert process.stdout is not None
        for line in process.stdout:
            done = int(line)  # the iteration whose checkpoint was reported as saved
            break
        time.sleep(rng.uniform(0.0, 0.4))
        kill(process.pid)
        for line in process.stdout:
            done = int(line)
        process.wait()
        algo = BiAC.from_checkpoint(folder / "saved")
        require(last(algo) >= done > 0, f"the checkpoint of {done} was saved, and {last(algo)} is found")
        done = last(algo)
        algo.stop()
    algo = BiAC.from_checkpoint(folder / "saved")
    Books(algo).train(lambda: last(algo) >= ITERATIONS)
    check_exact(algo, seed)
    judge(algo)
    algo.stop()


# What changes names in a save: rename, replacement, removal, and rights.
_CHANGES = ("rename", "replace", "unlink", "remove", "rmdir", "chmod")


def killed_at_each_change(seed: int, folder: Path) -> None:
    """`kill -9` before each rename, replacement and removal of a save over a checkpoint, one after the other.

    Either checkpoint is found and whole, and the next save leaves nothing of the kill.
    """
    algo, saved = build(seed), folder / "saved"
    books = Books(algo)
    for _ in range(HARM_AT):
        books.train()
    algo.save_to_path(folder / "before")
    books.train()
    changes, found = 0, set()
    while True:
        shutil.copytree(folder / "before", saved)
        if not (child := os.fork()):
            _dies_at(changes)
            algo.save_to_path(saved)
            os._exit(0)
        if not os.WIFSIGNALED(os.waitpid(child, 0)[1]):
            break
        changes += 1
        again = BiAC.from_checkpoint(saved)
        found.add(last(again))
        again.save_to_path(saved)
        again.stop()
        require(is_whole(saved), f"killed at change {changes} of a save, the next save is not whole")
        left = [path.name for path in folder.iterdir() if path.name.endswith((".replaced", ".saving"))]
        require(not left, f"killed at change {changes} of a save, the next save leaves {left}")
        shutil.rmtree(saved)
    require(changes > 10 and found == {HARM_AT, HARM_AT + 1}, f"{changes} changes, checkpoints of {found} were found")
    algo.stop()
    algo = BiAC.from_checkpoint(saved)
    Books(algo).train(lambda: last(algo) >= ITERATIONS)
    check_exact(algo, seed)
    judge(algo)
    algo.stop()


def _dies_at(change: int) -> None:
    """Has this process be killed before its next but so many changes of names."""
    left = iter(range(change, -1, -1))

    def dying(function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if not next(left, 0):
                kill(os.getpid())
            return function(*args, **kwargs)

        return call

    for name in _CHANGES:
        setattr(os, name, dying(getattr(os, name)))


def save_for_ever(folder: Path, seed: int) -> None:
    """Trains and saves, in a process that is going to be killed."""
    ray.init(log_to_driver=False, logging_level="ERROR")
    algo = BiAC.from_checkpoint(folder) if folder.exists() else build(seed)
    while True:
        algo.train()
        algo.save_to_path(folder)
        print(last(algo), flush=True)
