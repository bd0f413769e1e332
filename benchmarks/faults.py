"""This program shows: training survives what happens to it on shared machines, and no step that was reported is lost.

How to run:
    python benchmarks/faults.py                    # ten seeds of every fault; an hour and a half
    python benchmarks/faults.py --seeds 1 --only "a game" --out /tmp

Each case trains Bi-AC on Maintain, does harm in the middle of it, and lets training go on: by itself, or from the
latest checkpoint where the table says so. A case counts as survived if

- greedy play in the end is A-X, the exact Stackelberg equilibrium;
- steps and updates that were reported never go back, and replay holds at least the steps that were reported;
- every checkpoint found is whole;
- a run that went on from a checkpoint has come to the very networks, optimizers and replay of a run that nothing
  happened to, to the last bit, and no iteration was reported twice with different numbers ("exact" below; runners that
  play beside each other in place have no such order).

What is finished is kept in `faults.jsonl`, so that the same command goes on after Ctrl-C. Cases that want a disk of
their own need root, to mount one, and say so where they are left out. Code 1 if anything was not survived.

Results to expect: all seeds of all cases.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", RAY_worker_niceness="0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import argparse
import contextlib
import json
import logging
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import ray
import torch
import yaml
from click.testing import CliRunner
from pettingzoo.utils import BaseParallelWrapper
from ray.cluster_utils import Cluster
from ray.rllib.callbacks.callbacks import RLlibCallback
from resume import held, reported
from studies import RESULTS, markdown, versions

from rllib_biac import BiAC, BiACConfig
from rllib_biac.cli.evaluate import find
from rllib_biac.envs import make
from rllib_biac.envs.errors import GameError
from rllib_biac.experiments.cluster import worker_env
from rllib_biac.files.checkpoint import is_whole
from rllib_biac.rllib import config_keys
from rllib_biac.rllib.async_sampling import NUM_ENV_STEPS_DROPPED_LIFETIME

SEEDS = 10
ITERATIONS = 8  # of a run that is not told otherwise
HARM_AT = 3  # the iteration in whose course harm is done
PATIENCE = 240.0  # s until something that was harmed must be back, on a machine that has much else to do
AGENTS = ("player_0", "player_1")


def settings(seed: int, **more: Any) -> dict[str, Any]:
    """Returns what stands under `config` in an experiment file."""
    return {
        "env": "maintain_v0",
        "hierarchy": [["player_0"], ["player_1"]],
        "seed": seed,
        "min_sample_timesteps_per_iteration": 250,
        "evaluation_interval": 100,
        "evaluation_duration": 10,
        **more,
    }


def build(seed: int, **more: Any) -> BiAC:
    """Builds the algorithm of these settings."""
    return config_keys.build(BiACConfig, settings(seed, **more)).build_algo()


# Games that go wrong.


class Faulty(BaseParallelWrapper):
    """Maintain, of which one copy goes wrong once, wherever it is played.

    Args:
        fault: `raise`, `hang`, `reward` (NaN) or `observation` (NaN); "": none.
        once: a file that is made when it has gone wrong.
        step: of the copy at which it does.
    """

    def __init__(self, fault: str, once: str, step: int) -> None:
        super().__init__(make("maintain_v0"))
        self.fault, self.once, self.step_of_fault, self.count = fault, once, step, 0

    def step(self, actions: dict[str, Any]) -> Any:
        """Plays a step, or does not."""
        observations, rewards, *rest = super().step(actions)
        self.count += 1
        if self.fault and self.count == self.step_of_fault and self._first():
            if self.fault == "raise":
                raise OSError("the simulator is gone")
            if self.fault == "hang":
                time.sleep(3600)
            if self.fault == "reward":
                rewards = {**rewards, "player_1": np.nan}
            if self.fault == "observation":
                observations = {**observations, "player_1": np.full_like(observations["player_1"], np.nan)}
        return observations, rewards, *rest

    def _first(self) -> bool:
        try:
            Path(self.once).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


def faulty(fault: str = "", once: str = "", step: int = 30) -> Faulty:
    """Makes the game: `env: faults:faulty`."""
    return Faulty(fault, once, step)


def wrong(fault: str, folder: Path) -> dict[str, Any]:
    """Returns the settings with which the game goes wrong once."""
    return {"env": "faults:faulty", "env_config": {"fault": fault, "once": str(folder / "gone_wrong")}}


# Harm from inside of a trial, written under `callbacks`.


class KillTrial(RLlibCallback):
    """Kills the trial's process once, at the end of an iteration that is then never reported."""

    def on_train_result(self, *, algorithm: Any, result: dict[str, Any], **kwargs: Any) -> None:
        """Does so unless it has been restored."""
        if _comes_to_harm(algorithm, result):
            os.kill(os.getpid(), signal.SIGKILL)


class KillLearner(RLlibCallback):
    """Kills the last remote learner once."""

    def on_train_result(self, *, algorithm: Any, result: dict[str, Any], **kwargs: Any) -> None:
        """Does so unless it has been restored."""
        if _comes_to_harm(algorithm, result):
            kill(pids(algorithm.learner_group.foreach_learner)[-1])


def _comes_to_harm(algorithm: Any, result: dict[str, Any]) -> bool:
    return result["training_iteration"] == HARM_AT == algorithm._iterations_since_restore


def pids(foreach: Callable[..., Any], **options: Any) -> list[int]:
    """Returns the processes of remote runners or learners."""
    found = foreach(lambda _: os.getpid(), **options)
    return [each if isinstance(each, int) else each.get() for each in found]


def kill(pid: int) -> None:
    """Ends a process as the kernel does when memory runs out."""
    os.kill(pid, signal.SIGKILL)


# What is asked of a survivor.


def require(holds: bool, what: str) -> None:
    """Refuses what does not hold."""
    if not holds:
        raise AssertionError(what)


class Books:
    """Trains, and sees to it that what was reported as done stays done."""

    def __init__(self, algo: BiAC, steps: float = 0, updates: float = 0) -> None:
        self.algo, self.steps, self.updates = algo, steps, updates
        self.result: dict[str, Any] = {}

    def train(self, until: Callable[[], bool] = lambda: True) -> None:
        """Trains an iteration, and more until something holds, for `PATIENCE` at most."""
        begin = time.monotonic()
        while True:
            self._check(self.algo.train())
            if until():
                return
            require(time.monotonic() - begin < PATIENCE, "what was harmed did not come back")

    def _check(self, result: dict[str, Any]) -> None:
        steps = result["num_env_steps_sampled_lifetime"]
        updates = result.get("learners", {}).get("__all_modules__", {}).get("num_updates_lifetime", self.updates)
        require(steps >= self.steps, f"steps went back from {self.steps} to {steps}")
        require(updates >= self.updates, f"updates went back from {self.updates} to {updates}")
        kept = self.algo.local_replay_buffer.num_added + result.get(NUM_ENV_STEPS_DROPPED_LIFETIME, 0)
        require(kept >= steps, f"{steps} steps reported, and replay has seen {kept}")
        self.steps, self.updates, self.result = steps, updates, result


def judge(algo: BiAC) -> None:
    """Refuses what does not play the exact equilibrium in every game."""
    shares = algo.evaluate()["env_runners"]["outcome_share"]
    require(shares.get("A-X") == 1.0, f"greedy play is {shares}")


def last(algo: BiAC) -> int:
    """Returns how many iterations an algorithm has trained."""
    return int(algo.iteration)


_untouched: dict[str, dict[str, str]] = {}


def check_exact(algo: BiAC, seed: int, **more: Any) -> None:
    """Refuses an algorithm that is not what a run of equal length has come to that nothing happened to."""
    key = json.dumps([seed, last(algo), more], sort_keys=True)
    if key not in _untouched:
        other = build(seed, **more)
        for _ in range(last(algo)):
            other.train()
        _untouched[key] = core(other)
        other.stop()
    mine, other_ = core(algo), _untouched[key]
    unlike = [path for path in mine.keys() | other_.keys() if mine.get(path) != other_.get(path)]
    require(not unlike, f"not what an untouched run has come to: {', '.join(sorted(unlike)[:3])}")


def core(algo: BiAC) -> dict[str, str]:
    """Returns networks, optimizers, normalisers, replay and counters, as hashes."""
    parts = ("/learner_group/", "/replay_buffer/", "/joint_algorithm/env_steps", "/joint_algorithm/rows_to_train")
    return {path: value for path, value in held(algo).items() if path.startswith(parts)}


# The command.


def experiment(folder: Path, seed: int, iterations: int = ITERATIONS, **more: Any) -> list[str]:
    """Writes an experiment file; returns the arguments of `rllib` that train it."""
    keys = ("max_failures", "checkpoint_config")
    written = {
        "run": "BiAC",
        "stop": {"training_iteration": iterations},
        "checkpoint_config": {"checkpoint_frequency": 1, "checkpoint_at_end": False},
        "config": settings(seed, **{key: value for key, value in more.items() if key not in keys}),
        **{key: more[key] for key in keys if key in more},
    }
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump({"mine": written}), encoding="utf-8")
    return ["train", "file", str(path), "--storage-path", str(folder / "results")]


def command(arguments: list[str], code: int = 0) -> str:
    """Runs `rllib` with the Ray that is there; returns what it printed."""
    from rllib_biac.cli.main import main

    ended = CliRunner().invoke(main, [*arguments, "--traceback"])
    require(ended.exit_code == code, f"exit code {ended.exit_code}: {ended.output[-5000:]}")
    return ended.output


def check_run(folder: Path, seed: int, iterations: int = ITERATIONS, *, exact: bool = True, **more: Any) -> None:
    """Refuses a run that has not learned, has not come to its end, or lost what it had reported."""
    (results,) = folder.glob("results/mine/*/result.json")
    rows = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    by_iteration: dict[int, dict[str, str]] = {}
    for row in rows:
        row.pop("should_checkpoint", None)  # Tune's own, where it was interrupted
        told = reported(row)
        once = by_iteration.setdefault(row["training_iteration"], told)
        differ = [path for path in once.keys() & told.keys() if exact and once[path] != told[path]]
        require(not differ, f"iteration {row['training_iteration']} was reported twice, unlike in {differ[:3]}")
    require(sorted(by_iteration) == list(range(1, iterations + 1)), f"iterations reported: {sorted(by_iteration)}")
    torn = [path.name for path in folder.glob("results/mine/*/checkpoint_*") if not is_whole(path)]
    require(not torn, f"{torn} are not whole")
    algo = BiAC.from_checkpoint(find(str(folder / "results" / "mine")))
    require(last(algo) == iterations, f"the last checkpoint is of iteration {last(algo)}")
    if exact:
        check_exact(algo, seed, **more)
    judge(algo)
    algo.stop()


def wait_for(found: Callable[[], Any], process: subprocess.Popen[str] | None = None) -> Any:
    """Waits until something is there; returns it."""
    begin = time.monotonic()
    while not (there := found()):
        require(time.monotonic() - begin < PATIENCE, "waited in vain")
        require(process is None or process.poll() is None, "the command has ended")
        time.sleep(0.02)
    return there


# Cases. Each takes a seed and an empty folder.


def runner_killed(seed: int, folder: Path, **more: Any) -> None:
    """A training runner dies; the other one plays on, and Ray starts a new one."""
    algo = build(seed, num_env_runners=2, num_cpus_per_env_runner=0.5, **more)
    books = Books(algo)
    for _ in range(HARM_AT):
        books.train()
    group = algo.env_runner_group
    victim = pids(group.foreach_env_runner, local_env_runner=False)[seed % 2]
    kill(victim)
    books.train(lambda: group.num_remote_worker_restarts() > 0 and last(algo) >= ITERATIONS)
    require(victim not in pids(group.foreach_env_runner, local_env_runner=False), "the dead runner answers")
    judge(algo)
    algo.stop()


def async_runner_killed(seed: int, folder: Path) -> None:
    """The same with `max_sampling_lag`."""
    runner_killed(seed, folder, max_sampling_lag=1000)


def stock_runner_killed(seed: int, folder: Path) -> None:
    """The same with RLlib's own runner."""
    runner_killed(seed, folder, env_runner_cls="stock", num_envs_per_env_runner=10, rollout_fragment_length=2)


def evaluation_runner_killed(seed: int, folder: Path, **more: Any) -> None:
    """An evaluation runner dies; training goes on, evaluation as soon as there is a new one."""
    algo = build(seed, evaluation_num_env_runners=1, **more, evaluation_interval=1)
    books = Books(algo)
    for _ in range(HARM_AT):
        books.train()
    group = algo.eval_env_runner_group
    kill(*pids(group.foreach_env_runner, local_env_runner=False))

    def evaluates() -> bool:
        played = books.result.get("evaluation", {}).get("env_runners", {}).get("num_episodes", 0)
        return group.num_remote_worker_restarts() > 0 and played >= 10

    books.train(lambda: evaluates() and last(algo) >= ITERATIONS)
    judge(algo)
    algo.stop()


def learner_killed(seed: int, folder: Path, num_learners: int = 1) -> None:
    """A remote learner dies; the trial fails, and `max_failures` goes on from its latest checkpoint."""
    more = {"num_learners": num_learners, "num_cpus_per_learner": 0.5}
    command(experiment(folder, seed, max_failures=1, callbacks="faults:KillLearner", **more))
    (trace,) = folder.glob("results/mine/*/error.txt")
    told = f"remote learner {num_learners - 1} of {num_learners} died"
    require(told in trace.read_text(), f"the error does not say what died: {trace.read_text()[-500:]}")
    check_run(folder, seed, **more)


def one_of_two_learners_killed(seed: int, folder: Path) -> None:
    """One of two remote learners dies."""
    learner_killed(seed, folder, num_learners=2)


def learner_killed_in_python(seed: int, folder: Path) -> None:
    """A remote learner dies in a program of one's own, which restores its latest checkpoint."""
    more = {"num_learners": 1, "num_cpus_per_learner": 0.5}
    algo = build(seed, **more)
    books = Books(algo)
    for _ in range(HARM_AT):
        books.train()
    path = algo.save_to_path(folder / "saved")
    kill(*pids(algo.learner_group.foreach_learner))
    try:
        algo.train()
        raise AssertionError("nobody noticed")
    except RuntimeError as error:
        require("remote learner 0 of 1 died" in str(error), f"the error says {error}")
    algo.stop()
    algo = BiAC.from_checkpoint(path)
    books = Books(algo, books.steps, books.updates)
    books.train(lambda: last(algo) >= ITERATIONS)
    check_exact(algo, seed, **more)
    judge(algo)
    algo.stop()


def trial_killed(seed: int, folder: Path) -> None:
    """A trial's process dies; `max_failures` in the YAML file starts it again from its latest checkpoint."""
    command(experiment(folder, seed, max_failures=1, callbacks="faults:KillTrial"))
    require(bool(list(folder.glob("results/mine/*/error.txt"))), "nothing was killed")
    check_run(folder, seed)


def game_goes_on(seed: int, folder: Path, fault: str, told: str, **more: Any) -> None:
    """A game goes wrong once; the error names it, and the next call of `train()` goes on."""
    algo = build(seed, **wrong(fault, folder), **more)
    books, errors = Books(algo), []
    while last(algo) < ITERATIONS:
        try:
            books.train()
        except GameError as error:
            errors.append(str(error))
    require(len(errors) == 1 and errors[0].startswith("faults:faulty: ") and told in errors[0], f"errors: {errors}")
    require("in game" in errors[0] and "at step" in errors[0], f"the error does not say where: {errors}")
    judge(algo)
    algo.stop()


def game_raises(seed: int, folder: Path) -> None:
    """A game raises in the trial's own process."""
    game_goes_on(seed, folder, "raise", "OSError('the simulator is gone') in step()")


def game_raises_remotely(seed: int, folder: Path) -> None:
    """A game raises in one of two remote runners; what the other one played is kept."""
    remote = {"num_env_runners": 2, "num_cpus_per_env_runner": 0.5}
    game_goes_on(seed, folder, "raise", "OSError('the simulator is gone') in step()", **remote)


def game_raises_in_a_trial(seed: int, folder: Path) -> None:
    """A game raises under `rllib train file`; `max_failures` goes on from the latest checkpoint."""
    command(experiment(folder, seed, max_failures=1, **wrong("raise", folder)))
    (trace,) = folder.glob("results/mine/*/error.txt")
    require("faults:faulty: the game raised OSError" in trace.read_text(), "the error does not name the game")
    check_run(folder, seed, exact=False)  # games of one's own start anew


def reward_is_nan(seed: int, folder: Path) -> None:
    """A game returns NaN for a reward."""
    game_goes_on(seed, folder, "reward", "reward of agent 'player_1' is NaN")


def observation_is_nan(seed: int, folder: Path) -> None:
    """A game returns NaN in an observation, in one of two remote runners."""
    remote = {"num_env_runners": 2, "num_cpus_per_env_runner": 0.5}
    game_goes_on(seed, folder, "observation", "observation of agent 'player_1' is NaN", **remote)


def game_hangs(seed: int, folder: Path, **more: Any) -> None:
    """A game hangs in one of two remote runners; after `sample_timeout_s` it is killed and started again."""
    remote = {"num_env_runners": 2, "num_cpus_per_env_runner": 0.5, "sample_timeout_s": 8.0}
    algo = build(seed, **wrong("hang", folder), **remote, **more)
    books, group = Books(algo), algo.env_runner_group
    books.train(lambda: group.num_remote_worker_restarts() > 0 and last(algo) >= ITERATIONS)
    require(group.num_healthy_remote_workers() == 2, "a runner is missing")
    judge(algo)
    algo.stop()


def game_hangs_async(seed: int, folder: Path) -> None:
    """The same with `max_sampling_lag`."""
    game_hangs(seed, folder, max_sampling_lag=1000)


def game_hangs_in_evaluation(seed: int, folder: Path) -> None:
    """A game hangs in an evaluation runner; after `evaluation_sample_timeout_s` the runner is started again."""
    hanging = wrong("hang", folder)
    hanging["env_config"]["step"] = 3
    algo = build(
        seed,
        env=hanging["env"],
        evaluation_config={"explore": False, "env_config": hanging["env_config"]},
        evaluation_num_env_runners=1,
        evaluation_sample_timeout_s=8.0,
        env_runner_health_probe_timeout_s=5.0,
        num_envs_per_env_runner=2,
        evaluation_interval=1,
    )
    books, group = Books(algo), algo.eval_env_runner_group

    def evaluates() -> bool:
        played = books.result.get("evaluation", {}).get("env_runners", {}).get("num_episodes", 0)
        return group.num_remote_worker_restarts() > 0 and played >= 10

    books.train(lambda: evaluates() and last(algo) >= ITERATIONS)
    require(Path(hanging["env_config"]["once"]).exists(), "nothing hung")
    judge(algo)
    algo.stop()


# A disk that refuses writes.


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mounts a disk of its own that is soon full."""
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(disk)], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


def can_mount() -> bool:
    """Tells whether this process may mount disks."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with small_disk(Path(folder), 1):
                return True
        except (subprocess.CalledProcessError, OSError):
            return False


def fill(disk: Path) -> Path:
    """Fills a disk to the last byte; returns the file that does."""
    filler = disk / "filler"
    with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler


def disk_full_for_a_checkpoint(seed: int, folder: Path) -> None:
    """A checkpoint does not fit on the disk; the earlier one stays, training goes on, and later there is room again."""
    with small_disk(folder, 4) as disk:
        algo = build(seed)
        books = Books(algo)
        for _ in range(HARM_AT):
            books.train()
        algo.save_to_path(disk / "saved")
        books.train()
        filler = fill(disk)
        try:
            algo.save_to_path(disk / "saved")
            raise AssertionError("there was room")
        except OSError as error:
            require("No space left" in str(error), f"the error says {error}")
        require(is_whole(disk / "saved"), "the earlier checkpoint is damaged")
        filler.unlink()
        books.train(lambda: last(algo) >= ITERATIONS)
        check_exact(algo, seed)
        algo.save_to_path(disk / "saved")
        left = [path.name for path in disk.iterdir()]
        require(left == ["saved"], f"there is {left}")
        algo.stop()
        algo = BiAC.from_checkpoint(disk / "saved")
        check_exact(algo, seed)
        judge(algo)
        algo.stop()


def disk_full_for_results(seed: int, folder: Path) -> None:
    """The results' disk fills under `rllib train file`, which says so; once there is room `--resume` goes on."""
    with small_disk(folder, 8) as disk:
        (folder / "results").symlink_to(disk)
        arguments = experiment(folder, seed)
        filled: list[Path] = []

        def fill_it() -> None:
            wait_for(lambda: len(list(disk.glob("mine/*/checkpoint_*"))) >= HARM_AT)
            filled.append(fill(disk))

        thread = threading.Thread(target=fill_it)
        thread.start()
        output = command(arguments, code=1)
        thread.join()
        require("No space left" in output, f"nobody said so: {output[-4000:]}")
        filled[0].unlink()
        command([*arguments, "--resume"])
        check_run(folder, seed)


# Interrupted and killed commands, which start a Ray of their own.


def start(arguments: list[str]) -> subprocess.Popen[str]:
    """Starts the command in a process group of its own, as a shell does."""
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    environment["PYTHONPATH"] = str(Path(__file__).parent)
    return subprocess.Popen(
        [sys.executable, "-c", "from rllib_biac.cli.main import main; main()", *arguments, "--ray-num-cpus", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,
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
    checkpoints = {"checkpoint_frequency": 0, "checkpoint_at_end": True}
    arguments = experiment(folder, seed, 4 * ITERATIONS, checkpoint_config=checkpoints)
    process = start(arguments)
    wait_for(lambda: any(map(_reports, folder.glob("results/mine/*/result.json"))), process)
    started = descendants(process.pid)
    require(len(started) > 3, "Ray's processes are not to be seen")
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=PATIENCE)
    require(process.returncode == 130, f"exit code {process.returncode}: {output[-500:]}")
    wait_for(lambda: not any(map(alive, started)))
    (checkpoint,) = folder.glob("results/mine/*/checkpoint_*")
    require(is_whole(checkpoint), "the checkpoint is not whole")
    (again,) = [line for line in output.splitlines() if line.endswith("--resume")]
    require("--resume" in again, "nobody said how to go on")
    command([*arguments, "--resume"])
    check_run(folder, seed, 4 * ITERATIONS)


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
            [sys.executable, __file__, "--save-for-ever", str(folder / "saved"), "--seed", str(seed)],
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


def save_for_ever(folder: Path, seed: int) -> None:
    """Trains and saves, in a process that is going to be killed."""
    ray.init(log_to_driver=False, logging_level="ERROR")
    algo = BiAC.from_checkpoint(folder) if folder.exists() else build(seed)
    while True:
        algo.train()
        algo.save_to_path(folder)
        print(last(algo), flush=True)


# Nodes, each a raylet of its own.

_cluster: list[Any] = []  # the cluster, and the node that comes and goes
# The kernel ends a raylet together with the thread that started it: this one lives as long as the program.
_caretaker = ThreadPoolExecutor(max_workers=1)


def node_replaced(seed: int, folder: Path) -> None:
    """The node of both runners is removed in mid-training, and another one added: runners are started again there."""
    algo = build(seed, num_env_runners=2)
    books, group = Books(algo), algo.env_runner_group
    for _ in range(HARM_AT):
        books.train()
    replace_node()
    books.train(lambda: group.num_healthy_remote_workers() == 2 and last(algo) >= ITERATIONS)
    require(group.num_remote_worker_restarts() >= 2, "the runners were not on that node")
    judge(algo)
    algo.stop()


def node_of_the_trial_replaced(seed: int, folder: Path) -> None:
    """The node of the trial itself is removed: `max_failures` starts it again on another, from its checkpoint."""
    # Until Ray knows that the node is gone, the trial may be started there again, in vain.
    arguments = experiment(folder, seed, 2 * ITERATIONS, max_failures=5)

    def replace() -> None:
        wait_for(lambda: len(list(folder.glob("results/mine/*/checkpoint_*"))) >= HARM_AT)
        replace_node()

    replaced = _caretaker.submit(replace)
    command(arguments)
    replaced.result()
    require(bool(list(folder.glob("results/mine/*/error.txt"))), "the trial was not on that node")
    check_run(folder, seed, 2 * ITERATIONS)


def replace_node() -> None:
    """Ends a node's raylet with all that runs on it, and adds another node."""
    cluster, node = _cluster
    cluster.remove_node(node, allow_graceful=False)
    wait_for(lambda: sum(each["Alive"] for each in ray.nodes()) == 1)
    # It would set a handler of signals, which only a main thread may.
    with mock.patch("ray._private.utils.set_sigterm_handler"):
        _cluster[1] = cluster.add_node(num_cpus=2)


# An object store that is full.


def store_full(seed: int, folder: Path) -> None:
    """Others fill the object store, with room to spill: training goes on beside them."""
    algo = build(seed, num_env_runners=1)
    books = Books(algo)
    for _ in range(HARM_AT):
        books.train()
    filled = [ray.put(np.full(10_000_000, i, np.uint8)) for i in range(15)]
    books.train(lambda: last(algo) >= ITERATIONS)
    require(all(int(ray.get(ref)[0]) == i for i, ref in enumerate(filled)), "somebody else's objects are lost")
    judge(algo)
    algo.stop()


def store_full_for_good(seed: int, folder: Path) -> None:
    """Others fill the object store and there is nowhere to spill: the error says so, and with room training goes on."""
    algo = build(seed, num_env_runners=1)
    books = Books(algo)
    for _ in range(HARM_AT):
        books.train()
    filled = []
    with contextlib.suppress(ray.exceptions.ObjectStoreFullError, ray.exceptions.OutOfDiskError):
        for size in (8_000_000, 1_000_000, 100_000):
            while True:
                filled.append(ray.put(np.zeros(size, np.uint8)))
    try:
        books.train(lambda: last(algo) >= ITERATIONS)
        print("it went on all the same")
    except (ray.exceptions.ObjectStoreFullError, ray.exceptions.OutOfDiskError) as error:
        require("full" in str(error).lower(), f"the error says {error}")
    filled.clear()
    books.train(lambda: last(algo) >= ITERATIONS)
    judge(algo)
    algo.stop()


@dataclass(frozen=True)
class Case:
    """A fault, how training goes on after it, and whether it needs a disk of its own."""

    fault: str
    does: Callable[[int, Path], None]
    goes_on: str
    needs_disk: bool = False


IN_PLACE, CAUGHT = "in place", "in place, by calling `train()` again"
MAX_FAILURES, RESUME = "exact, from the checkpoint, `max_failures`", "exact, from the checkpoint, `--resume`"
FROM_CHECKPOINT = "exact, from the checkpoint, `from_checkpoint()`"

# Which Ray they need -> cases.
GROUPS: dict[str, tuple[Case, ...]] = {
    "one machine": (
        Case("env runner killed", runner_killed, IN_PLACE),
        Case("env runner killed, asynchronous sampling", async_runner_killed, IN_PLACE),
        Case("env runner killed, RLlib's own runner", stock_runner_killed, IN_PLACE),
        Case("evaluation runner killed", evaluation_runner_killed, IN_PLACE),
        Case("remote learner killed", learner_killed, MAX_FAILURES),
        Case("one of two remote learners killed", one_of_two_learners_killed, MAX_FAILURES),
        Case("remote learner killed, in Python", learner_killed_in_python, FROM_CHECKPOINT),
        Case("a game raises", game_raises, CAUGHT),
        Case("a game raises in one of two remote runners", game_raises_remotely, CAUGHT),
        Case("a game raises in a trial", game_raises_in_a_trial, "from the checkpoint, `max_failures`"),
        Case("a game returns NaN as a reward", reward_is_nan, CAUGHT),
        Case("a game returns NaN in an observation, in a remote runner", observation_is_nan, CAUGHT),
        Case("a game hangs in one of two remote runners", game_hangs, IN_PLACE),
        Case("a game hangs, asynchronous sampling", game_hangs_async, IN_PLACE),
        Case("a game hangs in an evaluation runner", game_hangs_in_evaluation, IN_PLACE),
        Case("disk full for a checkpoint", disk_full_for_a_checkpoint, "exact, in place", needs_disk=True),
        Case("disk full for checkpoints and results", disk_full_for_results, RESUME, needs_disk=True),
        Case("Tune trial killed", trial_killed, MAX_FAILURES),
        Case("killed in the middle of a save", killed_while_saving, FROM_CHECKPOINT),
        Case("Ctrl-C", interrupted, RESUME),
        Case("the command killed", command_killed, RESUME),
    ),
    "several nodes": (
        Case("node removed and another added: of the runners", node_replaced, IN_PLACE),
        Case("node removed and another added: of the trial", node_of_the_trial_replaced, MAX_FAILURES),
    ),
    "small object store": (Case("object store full, with room to spill", store_full, IN_PLACE),),
    "small object store, no disk": (Case("object store full, nowhere to spill", store_full_for_good, CAUGHT),),
}


@contextlib.contextmanager
def ray_of(group: str) -> Iterator[None]:
    """Starts the Ray that the cases of a group share."""
    options: dict[str, Any] = {"include_dashboard": False}
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "CRITICAL", "runtime_env": worker_env()}
    if group == "several nodes":
        # A node that is gone is noticed at once, where Ray would wait for half a minute.
        fast = {"health_check_period_ms": 1000, "health_check_failure_threshold": 5}
        options |= {"num_cpus": 0, "_system_config": fast}
        cluster = Cluster(initialize_head=True, head_node_args=options)
        _cluster[:] = [cluster, cluster.add_node(num_cpus=2)]
        ray.init(address=cluster.address, **quiet)
        yield
        ray.shutdown()
        cluster.shutdown()
        return
    if group.startswith("small object store"):
        options["object_store_memory"] = 100_000_000
    if group == "small object store, no disk":
        options["_system_config"] = {"local_fs_capacity_threshold": 0.0}  # as if the disk were full
    ray.init(address="local", num_cpus=4, **options, **quiet)
    yield
    ray.shutdown()


def run(group: str, names: list[str], seeds: int, raw: Path) -> None:
    """Runs those cases of a group that have no row yet, and appends a row for each."""
    done = {(row["fault"], row["seed"]) for row in read(raw)}
    todo = [
        (case, seed)
        for seed in range(seeds)
        for case in GROUPS[group]
        if case.fault in names and (case.fault, seed) not in done
    ]
    if not todo:
        return
    mounts = can_mount()
    with ray_of(group), open(raw, "a", encoding="utf-8") as file:
        for case, seed in todo:
            if case.needs_disk and not mounts:
                print(f"{case.fault}: left out, for mounting a small disk needs root", flush=True)
                continue
            begin, why = time.monotonic(), ""
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                try:
                    case.does(seed, Path(folder))
                except Exception as error:
                    why = f"{type(error).__name__}: {error}"
                    traceback.print_exc()
            seconds = round(time.monotonic() - begin, 1)
            row = {"fault": case.fault, "seed": seed, "survived": not why, "why": why, "seconds": seconds}
            file.write(json.dumps(row) + "\n")
            file.flush()
            print(f"{case.fault}, seed {seed}: {why or 'survived'}, {seconds} s", flush=True)


def read(raw: Path) -> list[dict[str, Any]]:
    """Returns the rows so far."""
    return [json.loads(line) for line in raw.read_text(encoding="utf-8").splitlines()] if raw.exists() else []


def table(rows: list[dict[str, Any]], words: str) -> str:
    """Returns the table of all rows."""
    cells = []
    for case in (case for cases in GROUPS.values() for case in cases):
        own = [row for row in rows if row["fault"] == case.fault]
        if own:
            survived = sum(row["survived"] for row in own)
            seconds = np.median([row["seconds"] for row in own])
            cells.append([case.fault, f"{survived} of {len(own)}", case.goes_on, f"{seconds:.0f}"])
    return f"""# Faults

Training in which harm is done; survived, with what is asked of a survivor, is defined at the head of
`benchmarks/faults.py`. Every row of every seed is in `faults.jsonl`.

{markdown(["fault", "survived, of seeds", "goes on", "median seconds"], cells)}

Bi-AC on Maintain, default settings; seconds of a whole case, including starts of processes, on a machine shared with
other programs. {versions()}.

    {words}
"""


def main() -> int:
    """Runs all cases, those of one Ray in one process. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--only", nargs="+", default=[""], metavar="WORDS", help="cases whose names begin so")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--group", choices=list(GROUPS), help=argparse.SUPPRESS)
    parser.add_argument("--save-for-ever", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.CRITICAL)
    if arguments.save_for_ever:
        save_for_ever(arguments.save_for_ever, arguments.seed)
    raw = arguments.out / "faults.jsonl"
    names = [
        case.fault
        for cases in GROUPS.values()
        for case in cases
        if any(case.fault.startswith(words) for words in arguments.only)
    ]
    if arguments.group:
        run(arguments.group, names, arguments.seeds, raw)
        return 0
    for group in GROUPS:
        # Sockets lie there: a short path. No other `ray.init()` on this machine finds what is there.
        scratch = tempfile.mkdtemp(prefix="ray", dir="/tmp")
        argv = [
            sys.executable,
            __file__,
            "--group",
            group,
            "--seeds",
            str(arguments.seeds),
            "--out",
            str(arguments.out),
        ]
        subprocess.run([*argv, "--only", *arguments.only], env=os.environ | {"RAY_TMPDIR": scratch}, check=True)
        shutil.rmtree(scratch, ignore_errors=True)
    rows = read(raw)
    (arguments.out / "faults.md").write_text(table(rows, f"python {' '.join(sys.argv)}"), encoding="utf-8")
    print((arguments.out / "faults.md").read_text(encoding="utf-8"))
    return int(not all(row["survived"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
