"""Runners, learners and trials that die; games that raise, return NaN or hang."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from survivors import (
    HARM_AT,
    ITERATIONS,
    Books,
    build,
    check_exact,
    check_run,
    command,
    experiment,
    judge,
    kill,
    last,
    pids,
    require,
    wrong,
)

from rllib_biac import BiAC
from rllib_biac.envs.errors import GameError


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
    command(experiment(folder, seed, max_failures=1, callbacks="survivors:KillLearner", **more))
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
    command(experiment(folder, seed, max_failures=1, callbacks="survivors:KillTrial"))
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
    require(len(errors) == 1 and errors[0].startswith("survivors:faulty: ") and told in errors[0], f"errors: {errors}")
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
    require("survivors:faulty: the game raised OSError" in trace.read_text(), "the error does not name the game")
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
