"""What is harmed, how, and what is asked of a survivor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from click.testing import CliRunner
from pettingzoo.utils import BaseParallelWrapper
from ray.rllib.callbacks.callbacks import RLlibCallback

sys.path[:0] = [str(folder) for folder in Path(__file__).resolve().parents[1:3]]

from resume import written

from rllib_biac import BiAC, BiACConfig
from rllib_biac.cli.evaluate import find
from rllib_biac.envs import apart, make
from rllib_biac.envs.look import LOOK_SEED
from rllib_biac.files.checkpoint import is_whole
from rllib_biac.rllib import config_keys
from rllib_biac.rllib.async_sampling import NUM_ENV_STEPS_DROPPED_LIFETIME
from tests import exact as to_the_bit

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
    """Maintain, of which one copy goes wrong once, wherever it is played; not while it is looked at before training.

    Args:
        fault: `raise`, `hang`, `reward` (NaN) or `observation` (NaN); "": none.
        once: a file that is made when it has gone wrong.
        step: of the copy at which it does.
    """

    def __init__(self, fault: str, once: str, step: int) -> None:
        super().__init__(make("maintain_v0"))
        self.fault, self.once, self.step_of_fault, self.count = fault, once, step, 0

    def reset(self, seed: int | None = None, options: dict | None = None) -> Any:
        """Starts an episode; by its seed it knows the look."""
        if any(seed == np.random.default_rng(begin).integers(2**31, size=1)[0] for begin in (LOOK_SEED, *apart.SEEDS)):
            self.count = -(10**6)
        return super().reset(seed=seed, options=options)

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
    """Makes the game: `env: survivors:faulty`."""
    return Faulty(fault, once, step)


def wrong(fault: str, folder: Path) -> dict[str, Any]:
    """Returns the settings with which the game goes wrong once."""
    game = {"env": "survivors:faulty", "env_config": {"fault": fault, "once": str(folder / "gone_wrong")}}
    return game | {"information": "full"}  # else random play would show who knows what, before training


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


class HogMemory(RLlibCallback):
    """Takes more memory than Ray allows, once among all trials, until Ray kills the process."""

    def on_train_result(self, *, algorithm: Any, result: dict[str, Any], **kwargs: Any) -> None:
        """Does so if it is the first."""
        if not _comes_to_harm(algorithm, result):
            return
        try:
            Path(os.environ["FAULTS_ONCE"]).touch(exist_ok=False)
        except FileExistsError:
            return
        held = []
        while len(held) < 200:  # 20 GB
            held.append(np.ones(12_500_000))
            time.sleep(0.05)
        time.sleep(60)


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
    return {path: value for path, value in written(to_the_bit.state(algo)).items() if path.startswith(parts)}


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
        told = written(to_the_bit.numbers(row))
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
