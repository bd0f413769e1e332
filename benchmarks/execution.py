"""This program shows: what it costs that each car decides by itself, in microseconds, in crashes and in disagreement.

How to run:
    python benchmarks/execution.py
    python benchmarks/execution.py --seeds 2 --policies policies    # trained policies are kept there

It trains its own policies from tuned_examples/merge_biac.yaml, one per seed, unless the folder has them already.

Results to expect: a decision takes well under 100 µs on one core; 1,000 of 1,000 episodes driven by two processes, one
per car, are the joint policy's; the tables say how that fares with noise, delay and cars of different trainings.
See benchmarks/results/execution.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[threads] = "1"  # numpy reads them when it is imported
os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # no Ray cluster but a local one is started here

import numpy as np
import torch
from merge import tuned
from studies import RESULTS, markdown, share, versions

from rllib_biac.envs.merge import rules
from rllib_biac.envs.merge.batched import command, drive, start, state_features
from rllib_biac.evaluation import greedy
from rllib_biac.execution import StackelbergPolicy
from rllib_biac.reproduce.merge_study import starts_of
from rllib_biac.rllib.reading import load

CARS = rules.AGENTS
STEPS = 24_000
NOISES = (0.1, 0.5, 1.0, 2.0)  # m and m/s
UNITS = np.tile([50.0, 6.0, 15.0, 8.0], 2)  # m, m, m/s, m/s per unit of the state's eight features
CALLS = 20_000
BATCH = 100
LONGEST = 40  # decisions; more than any episode has

Plan = dict[str, np.ndarray]
# What a car means both to do: the car, the games' indices (m,), their states (m, 8), those of a second ago.
Planner = Callable[[str, np.ndarray, np.ndarray, np.ndarray], Plan]

CAR = """
import json, sys
from rllib_biac.execution import StackelbergPolicy
car = StackelbergPolicy.load(sys.argv[1]).agent(sys.argv[2])
for line in sys.stdin:
    print(car.act(json.loads(line)), flush=True)
"""


@dataclass
class Driven:
    """What became of n episodes.

    Attributes:
        outcomes: (n,) int, indices into `rules.OUTCOMES`.
        differ: share of decisions at which the cars' plans of the joint action would not drive alike (most of the five
            actions often come to the same).
        actions: (n, LONGEST, 2 cars), -1 after the end.
    """

    outcomes: np.ndarray
    differ: float
    actions: np.ndarray


def checkpoint(seed: int, folder: Path) -> Path:
    """Returns a trained checkpoint, training it if the folder does not have it."""
    path = folder / f"seed_{seed}"
    if path.is_dir():
        return path
    from rllib_biac import BiACConfig
    from rllib_biac.rllib.config_keys import build

    config = build(BiACConfig, tuned() | {"seed": seed})
    algo = config.environment("merge_v0").build_algo()
    try:
        while algo.train()["num_env_steps_sampled_lifetime"] < STEPS:
            pass
        algo.save_to_path(str(path))
    finally:
        algo.stop()
    return path


def drive_by(plan: Planner, starts: np.ndarray) -> Driven:
    """Drives from every start; each car carries out its own part of its own plan."""
    cars = start(starts)
    outcomes = np.full(len(cars), rules.ONGOING)
    going = np.arange(len(cars))
    before = state_features(cars)
    actions = np.full((len(cars), LONGEST, len(CARS)), -1)
    differ: list[np.ndarray] = []
    while going.size:
        state = state_features(cars)
        plans = {car: plan(car, going, state, before) for car in CARS}
        joint = np.stack([plans[car][car] for car in CARS])
        actions[going, len(differ)] = joint.T
        one, other = (command(cars, np.stack([plans[car][name] for name in CARS])) for car in CARS)
        differ.append(((one.target_speed != other.target_speed) | (one.lane != other.lane)).any(0))
        cars, outcome = drive(command(cars, joint))
        outcomes[going] = outcome
        on = outcome == rules.ONGOING
        cars, going, before = cars[on], going[on], state[on]
    return Driven(outcomes, float(np.concatenate(differ).mean()), actions)


@contextmanager
def processes(file: Path) -> Iterator[Callable[[np.ndarray], Plan]]:
    """Starts one process per car; yields what asks each for its action in every state (m, 8), one after the other."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    running = {car: subprocess.Popen([sys.executable, "-c", CAR, str(file), car], **pipes) for car in CARS}

    def ask(states: np.ndarray) -> Plan:
        said: dict[str, list[int]] = {car: [] for car in CARS}
        for state in states:
            for process in running.values():
                process.stdin.write(json.dumps(state.tolist()) + "\n")  # type: ignore[union-attr]
                process.stdin.flush()  # type: ignore[union-attr]
            for car, process in running.items():
                said[car].append(int(process.stdout.readline()))  # type: ignore[union-attr]
        return {car: np.array(actions) for car, actions in said.items()}

    try:
        yield ask
    finally:
        for process in running.values():
            process.stdin.close()  # type: ignore[union-attr]
            process.wait()


def equal_episodes(policy: StackelbergPolicy, path: Path, starts: np.ndarray) -> list[str]:
    """Returns how many episodes of two processes are those of the joint policy, and of the RLModules it came from."""
    _, team = load(path)
    answers: list[Plan] = []
    with tempfile.TemporaryDirectory() as folder:
        policy.save(file := Path(folder) / "merge.policy")
        with processes(file) as ask:

            def plan(car: str, going: np.ndarray, state: np.ndarray, before: np.ndarray) -> Plan:
                if car == CARS[0]:  # both are asked at once
                    answers.append(ask(state))
                return answers[-1]

            driven = drive_by(plan, starts)
    hits = []
    for joint in (policy.act, lambda state: greedy(team, state)):
        expected = drive_by(lambda car, going, state, before, joint=joint: joint(state), starts)  # type: ignore[misc]
        equal = (driven.actions == expected.actions).all((1, 2)) & (driven.outcomes == expected.outcomes)
        hits.append(share(int(equal.sum()), len(starts)))
    return hits


def latency(call: Callable[[np.ndarray], Any], states: np.ndarray, each: int = 1) -> list[str]:
    """Returns the median of the wall time of a call, then median and 99th percentile of its CPU time, in µs.

    A busy machine takes the core away now and then, which the tail of the wall time would tell of and nothing else.
    """
    for state in states[: len(states) // 20]:
        call(state)
    wall, cpu = np.empty(len(states)), np.empty(len(states))
    for i, state in enumerate(states):
        begin = time.perf_counter_ns(), time.thread_time_ns()
        call(state)
        cpu[i], wall[i] = time.thread_time_ns() - begin[1], time.perf_counter_ns() - begin[0]
    figures = (np.median(wall), np.median(cpu), np.percentile(cpu, 99))
    return [f"{figure / 1e3 / each:.1f}" for figure in figures]


def latencies(policy: StackelbergPolicy, path: Path) -> str:
    """Returns the table of how long one decision takes."""
    states = np.random.default_rng(0).normal(size=(CALLS, 8)).astype(np.float32)
    _, team = load(path)
    rows = [
        ["`policy.act(state)`", *latency(policy.act, states)],
        *([f'`policy.agent("{car}").act(state)`', *latency(policy.agent(car).act, states)] for car in CARS),
        ["PyTorch, `evaluation.greedy(team, state[None])`", *latency(lambda s: greedy(team, s[None]), states)],
    ]
    timed = {}
    with tempfile.TemporaryDirectory() as folder:
        policy.export_torch(file := Path(folder) / "merge.pt2")
        program = torch.export.load(str(file)).module()
        timed["PyTorch"] = lambda state: program({"state": torch.from_numpy(state[None])})
        try:
            import onnxruntime

            policy.export_onnx(file := Path(folder) / "merge.onnx")
        except ImportError:
            print('export_onnx is not timed: pip install -e ".[onnx]"', file=sys.stderr)
        else:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
            timed["ONNX Runtime"] = lambda state: session.run(None, {"state": state[None]})
    with torch.no_grad():
        rows += [[f"exported, run by {name}", *latency(call, states)] for name, call in timed.items()]
    batches = states.reshape(-1, BATCH, 8)
    rows.append([f"`policy.act(states)`, each of {BATCH:,} at once", *latency(policy.act, batches, BATCH)])
    return markdown(["decision", "wall time, median", "CPU time, median", "CPU time, 99th percentile"], rows)


def disturbances(policies: list[StackelbergPolicy]) -> Iterator[tuple[str, list[tuple[int, Planner]]]]:
    """Yields what goes wrong, and for it, several times over, whose joint play would be right and the planner."""
    every = list(enumerate(policies))

    def together(policy: StackelbergPolicy) -> Planner:
        return lambda car, going, state, before: policy.act(state)  # type: ignore[return-value]

    def noisy(policy: StackelbergPolicy, std: float, shared: bool) -> Planner:
        rngs = {car: np.random.default_rng([7, 0 if shared else i]) for i, car in enumerate(CARS)}

        def plan(car: str, going: np.ndarray, state: np.ndarray, before: np.ndarray) -> Plan:
            noise = std * rngs[car].normal(size=state.shape) / UNITS
            return policy.act(state + noise)  # type: ignore[return-value]

        return plan

    def late(policy: StackelbergPolicy, who: str) -> Planner:
        return lambda car, going, state, before: policy.act(before if car == who else state)  # type: ignore[return-value]

    def crossed(main: StackelbergPolicy, auxiliary: StackelbergPolicy) -> Planner:
        own = dict(zip(CARS, (main, auxiliary), strict=True))
        return lambda car, going, state, before: own[car].act(state)  # type: ignore[return-value]

    yield "nothing", [(i, together(policy)) for i, policy in every]
    for std in NOISES:
        yield f"noise {std:g}, each car its own", [(i, noisy(policy, std, shared=False)) for i, policy in every]
        yield f"noise {std:g}, the same for both", [(i, noisy(policy, std, shared=True)) for i, policy in every]
    for who in CARS:
        yield f"{who} sees the state of 1 s ago", [(i, late(policy, who)) for i, policy in every]
    pairs = [(i, crossed(a, b)) for i, a in every for j, b in every if i != j]
    if pairs:
        yield "the cars come from two trainings", pairs


def robustness(policies: list[StackelbergPolicy], starts: np.ndarray) -> str:
    """Returns the table of what disturbances cost, the mean and the worst over policies or pairs of them."""
    rows, undisturbed = [], []
    for name, plans in disturbances(policies):
        found = [(i, drive_by(plan, starts)) for i, plan in plans]
        if not undisturbed:
            undisturbed = [driven.outcomes for _, driven in found]
        rewards = [rules.REWARDS[driven.outcomes].mean(0) for _, driven in found]
        rows.append(
            [
                name,
                _mean_worst([100 * driven.differ for _, driven in found]),
                _mean_worst([100 * float((driven.outcomes == rules.CRASH).mean()) for _, driven in found]),
                _mean_worst([100 * float((driven.outcomes != undisturbed[i]).mean()) for i, driven in found]),
                *(f"{mean:.1f}" for mean in np.mean(rewards, axis=0)),
            ]
        )
        print(" | ".join(rows[-1]), file=sys.stderr)
    columns = ["what goes wrong", "plans differ, % of decisions", "crashes, %", "other outcome, %"]
    return markdown([*columns, *(f"return of {car}" for car in CARS)], rows)


def _mean_worst(values: list[float]) -> str:
    return f"{np.mean(values):.2f} ({max(values):.2f})"


def main() -> None:
    """Measures, prints the tables, and writes them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="policies trained (default: %(default)s)")
    parser.add_argument("--policies", type=Path, help="folder in which trained policies are kept (default: a new one)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results (default: %(default)s)")
    args = parser.parse_args()

    torch.set_num_threads(1)
    folder = (args.policies or Path(tempfile.mkdtemp())).absolute()
    paths = [checkpoint(seed, folder) for seed in range(args.seeds)]
    policies = [StackelbergPolicy.load(path) for path in paths]
    starts = starts_of(30.0)
    timed = latencies(policies[0], paths[0])
    hits = [
        [str(seed), *equal_episodes(policy, path, starts)]
        for seed, (policy, path) in enumerate(zip(policies, paths, strict=True))
    ]
    text = "\n".join(
        [
            "# Execution: each car by itself",
            "",
            "Policies of Highway Merge, trained as `tuned_examples/merge_biac.yaml` says (hidden layers 64-64), "
            f"seeds 0 to {args.seeds - 1}, {STEPS:,} env steps; {len(starts):,} starts used for nothing else. Made by "
            f"`python benchmarks/execution.py --seeds {args.seeds}` ({versions()}).",
            "",
            "## Latency of one decision",
            "",
            f"Microseconds of a call, {CALLS:,} calls in a row with a new random state each, one thread.",
            "",
            timed,
            "",
            "## Two processes that share nothing but the state",
            "",
            "Episodes in which all actions and the outcome are those of joint play.",
            "",
            markdown(["seed", "as `policy.act`", "as the RLModules"], hits),
            "",
            "## What comes of it when they do not see the same",
            "",
            "Noise is Gaussian, drawn anew for every decision and every feature; its standard deviation is in m for "
            "positions and m/s for speeds. With the same noise for both, they err but agree: the difference is the "
            "price of deciding apart. Plans differ where they would drive differently; some of the five actions "
            "do the same. Another outcome than in undisturbed joint play need not be a worse one. Mean over the "
            "policies (or all ordered pairs of them), in brackets the worst; returns are undiscounted means.",
            "",
            robustness(policies, starts),
            "",
        ]
    )
    (args.out / "execution.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
