"""Training over several nodes: `rllib train file ... --ray-address auto` on clusters made on one machine.

This program shows
    that runners, evaluation runners and learners are spread over nodes, and that training counts and learns there as it
    does on one. Every node is a raylet of its own, with its own object store and its own worker processes; what a real
    cluster has and this has not is a network between them.
How to run
    python benchmarks/cluster.py --out benchmarks/results/cluster.md
    python benchmarks/cluster.py --only smallest
Results to expect
    Every row ends with "yes": everybody asked for is there, on as many nodes as it takes; each step that was played is
    in replay once and counted once; there are exactly as many updates as the steps call for; weights are never older
    than allowed. The last rows are the tuned example as it is, judged start by start against the exact Stackelberg
    equilibrium. Times say little: all nodes share this machine's cores, and starting processes is most of it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# All nodes share this machine: no more threads than it has cores, and no lower priority for worker processes.
os.environ.update(OMP_NUM_THREADS="1", RAY_worker_niceness="0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import numpy as np
import ray
import yaml
from ray.cluster_utils import Cluster
from ray.rllib.callbacks.callbacks import RLlibCallback
from studies import made_with

# Of the short runs; all others are as long as the tuned example.
STEPS, INTENSITY, GAMES, FRAGMENT, PER_ITERATION, BATCH = 4000, 4, 25, 4, 1000, 64


@dataclass(frozen=True)
class Case:
    """A run: how many CPUs each node has, how the algorithm is set, on how many nodes it then must lie."""

    nodes: tuple[int, ...]
    config: dict[str, Any]
    at_least: int
    run: str = "BiAC"
    levels: list[list[str]] = field(default_factory=lambda: [["main_0"], ["auxiliary_0"]])
    tuned: bool = False  # whether all else is as in the tuned example


EVALUATION = {
    "evaluation_interval": 1,
    "evaluation_num_env_runners": 1,
    "evaluation_duration": 16,
    "evaluation_parallel_to_training": True,
}
EQUALS = [["main_0", "auxiliary_0"]]
CASES: dict[str, Case] = {
    "smallest": Case((1, 1), {"num_env_runners": 2, "num_cpus_per_env_runner": 0.5}, 2),
    "1 runner": Case((1, 1), {"num_env_runners": 1}, 2),
    "2 runners": Case((1, 1, 1), {"num_env_runners": 2}, 3),
    "4 runners": Case((1, 2, 2), {"num_env_runners": 4}, 3),
    "8 runners": Case((1, 4, 4), {"num_env_runners": 8}, 3),
    "8 runners, a quarter of a CPU each": Case((1, 1, 1), {"num_env_runners": 8, "num_cpus_per_env_runner": 0.25}, 3),
    "2 runners and 1 for evaluation, half a CPU each": Case(
        (1, 1, 1), {"num_env_runners": 2, "num_cpus_per_env_runner": 0.5} | EVALUATION, 3
    ),
    "4 runners, 1 for evaluation": Case((1, 3, 2), {"num_env_runners": 4} | EVALUATION, 3),
    "4 runners, asynchronous": Case((1, 2, 2), {"num_env_runners": 4, "max_sampling_lag": 100}, 3),
    "4 runners, asynchronous, 1 for evaluation": Case(
        (1, 3, 2), {"num_env_runners": 4, "max_sampling_lag": 100} | EVALUATION, 3
    ),
    "1 learner, 2 runners": Case((1, 2, 1), {"num_env_runners": 2, "num_learners": 1}, 3),
    "2 learners, 2 runners": Case((1, 2, 2), {"num_env_runners": 2, "num_learners": 2}, 3),
    "2 learners, 2 runners, asynchronous": Case(
        (1, 2, 2), {"num_env_runners": 2, "num_learners": 2, "max_sampling_lag": 100}, 3
    ),
    "RLlib's own runner, 2 of them": Case(
        (1, 1, 1), {"num_env_runners": 2, "env_runner_cls": "stock", "num_envs_per_env_runner": 4}, 3
    ),
    "MATD3, 2 learners, 2 runners": Case((1, 2, 2), {"num_env_runners": 2, "num_learners": 2}, 3, "MATD3", EQUALS),
    "LenientDQN, 2 runners": Case((1, 1, 1), {"num_env_runners": 2}, 3, "LenientDQN", EQUALS),
    "tuned example, 2 runners": Case((1, 1, 1), {"num_env_runners": 2}, 3, tuned=True),
    "tuned example, 2 learners, 2 runners, asynchronous": Case(
        (1, 2, 2),
        # Each learner has half of the tuned example's minibatch.
        {"num_env_runners": 2, "num_learners": 2, "train_batch_size_per_learner": 32, "max_sampling_lag": 100},
        3,
        tuned=True,
    ),
}


class Nodes(RLlibCallback):
    """Puts the nodes on which everybody works among the results, node by node."""

    def on_train_result(self, *, algorithm: Any, result: dict[str, Any], **kwargs: Any) -> None:
        """Asks everybody where they are."""

        def here(*_: Any) -> str:
            return ray.get_runtime_context().get_node_id()

        where = {"trial": [here()]}
        for name, group in (("runners", algorithm.env_runner_group), ("evaluation", algorithm.eval_env_runner_group)):
            if group is not None and group.num_remote_env_runners():
                where[name] = group.foreach_env_runner(here, local_env_runner=False)
        if algorithm.learner_group.is_remote:
            where["learners"] = [each.get() for each in algorithm.learner_group.foreach_learner(here)]
        result["nodes"] = where
        result["rows_in_replay"] = algorithm.local_replay_buffer.num_added


def experiment(case: Case) -> dict[str, Any]:
    """Returns what stands in the case's experiment file."""
    if case.tuned:
        from rllib_biac import tuned_examples

        path = Path(next(iter(tuned_examples.__path__)), "merge_biac.yaml")
        given = yaml.safe_load(path.read_text(encoding="utf-8"))["merge_biac"]
    else:
        config = {
            "hierarchy": case.levels,
            "num_envs_per_env_runner": GAMES,
            "rollout_fragment_length": FRAGMENT,
            "training_intensity": INTENSITY,
            "num_steps_sampled_before_learning_starts": 0,
            "train_batch_size_per_learner": BATCH,
            "min_sample_timesteps_per_iteration": PER_ITERATION,
            "seed": 0,
        }
        stop = {"num_env_steps_sampled_lifetime": STEPS}
        given = {"run": case.run, "env": "merge_v0", "stop": stop, "config": config}
    return given | {"config": given["config"] | {"callbacks": "cluster:Nodes"} | case.config}


def train(case: Case, folder: Path) -> dict[str, Any]:
    """Runs the command on the cluster that `RAY_ADDRESS` names; returns the last result, and how good play is."""
    from rllib_biac.cli.main import main as rllib

    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump({"cluster": experiment(case)}), encoding="utf-8")
    try:
        rllib.main(
            ["train", "file", str(path), "--ray-address", "auto", "--storage-path", str(folder)], standalone_mode=False
        )
    except SystemExit as end:
        if end.code:
            raise RuntimeError(f"rllib train file ended with {end.code}") from end
    (results,) = folder.glob("cluster/*/result.json")
    result = json.loads(results.read_text(encoding="utf-8").splitlines()[-1])
    return result | {"match": match(next(folder.glob("cluster/*/checkpoint_*"))) if case.tuned else None}


def match(checkpoint: Path) -> float:
    """Returns the share of 1,000 starts, in percent, from which greedy play ends as the exact equilibrium does."""
    from rllib_biac.envs.merge.exact import policy_outcomes
    from rllib_biac.execution import StackelbergPolicy
    from rllib_biac.reproduce.merge_study import exact, starts_of

    policy = StackelbergPolicy.load(checkpoint)
    outcomes = policy_outcomes(lambda state: policy.act(state), starts_of(30.0))
    return 100 * float(np.mean(outcomes == exact(30.0).outcome))


def used(result: dict[str, Any]) -> set[str]:
    """Returns the nodes on which anybody worked."""
    return {node for everybody in result["nodes"].values() for node in everybody}


def faults(case: Case, result: dict[str, Any]) -> list[str]:
    """Returns what is not as it should be."""
    given = experiment(case)
    config, stop = given["config"], given["stop"]["num_env_steps_sampled_lifetime"]
    found = []

    def expect(what: str, value: float, wanted: float) -> None:
        if value != wanted:
            found.append(f"{value:,.0f} {what} and not {wanted:,.0f}")

    nodes = result["nodes"]
    expect("runners", len(nodes.get("runners", [])), config["num_env_runners"])
    expect("evaluation runners", len(nodes.get("evaluation", [])), config.get("evaluation_num_env_runners", 0))
    expect("learners", len(nodes.get("learners", [])), config.get("num_learners", 0))
    if len(used(result)) < case.at_least:
        found.append(f"{len(used(result))} nodes at work, and not {case.at_least} or more")

    steps, rows = result["num_env_steps_sampled_lifetime"], result["rows_in_replay"]
    if "max_sampling_lag" in config:
        expect("steps in replay", rows, steps - result["num_env_steps_dropped_lifetime"])
        if result["sampling_lag"]["max"] > config["max_sampling_lag"]:
            found.append("weights too old")
        if not stop <= steps < 1.5 * stop:
            found.append(f"{steps:,.0f} steps")
    elif config.get("env_runner_cls") == "stock":  # which counts calls of reset() towards a fragment, but not as steps
        expect("steps in replay", rows, steps)
        if not stop <= steps < 1.5 * stop:
            found.append(f"{steps:,.0f} steps")
    else:
        per_round = config["num_env_runners"] * config["num_envs_per_env_runner"]
        per_round *= config.get("rollout_fragment_length", 1)
        per_iteration = per_round * -(-config["min_sample_timesteps_per_iteration"] // per_round)
        expect("steps", steps, per_iteration * -(-stop // per_iteration))
        expect("steps in replay", rows, steps)
    batch = config["train_batch_size_per_learner"] * max(config.get("num_learners", 0), 1)
    updates = result["learners"]["__all_modules__"]["num_updates_lifetime"]
    # Rows that come before there are enough to learn from call for no updates.
    least, most = (int((rows - late) * config["training_intensity"] // batch) for late in (100 * case.tuned, 0))
    if not least <= updates <= most:
        found.append(f"{updates:,.0f} updates and not {least:,} to {most:,}")
    if "evaluation_interval" in config and result["evaluation"]["env_runners"]["num_episodes"] < 16:
        found.append("too few games in evaluation")
    if case.tuned and result["match"] < 98.0:
        found.append(f"plays as the exact equilibrium on {result['match']:.1f}% of starts only")
    return found


def main() -> int:
    """Runs all cases, those of one layout of nodes on one cluster. Returns 1 if anything was not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES), metavar="CASE")
    parser.add_argument("--out", type=Path, help="where to write the table")
    args = parser.parse_args()
    if " " in sys.executable:
        parser.error(
            f"Ray starts no node's workers by {sys.executable!r}: call Python by a path without spaces, a link say"
        )

    lines = [
        "# Training over several nodes made on one machine",
        "",
        "| run | CPUs of the nodes | nodes at work | env steps | updates | seconds | lag of weights in updates, mean, "
        "max | starts played as in the exact equilibrium, % | as it should be |",
        "|---|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    wrong = 0
    # Else every `ray.init()` on this machine would take these clusters for its own.
    os.environ["RAY_TMPDIR"] = tempfile.mkdtemp(prefix="ray")
    for layout in dict.fromkeys(CASES[name].nodes for name in args.only):
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": layout[0], "include_dashboard": False})
        os.environ["RAY_ADDRESS"] = cluster.address
        for num_cpus in layout[1:]:
            cluster.add_node(num_cpus=num_cpus, wait=False)
        cluster.wait_for_nodes()
        for name in (name for name in args.only if CASES[name].nodes == layout):
            begin = time.monotonic()
            with tempfile.TemporaryDirectory() as folder:
                result = train(CASES[name], Path(folder))
            found = faults(CASES[name], result)
            wrong += bool(found)
            lag, share = result.get("sampling_lag"), result["match"]
            lines.append(
                f"| {name} | {', '.join(map(str, layout))} | {len(used(result))} "
                f"| {result['num_env_steps_sampled_lifetime']:,.0f} "
                f"| {result['learners']['__all_modules__']['num_updates_lifetime']:,.0f} "
                f"| {time.monotonic() - begin:.0f} | {'-' if lag is None else '{mean:.1f}, {max:.0f}'.format(**lag)} "
                f"| {'-' if share is None else f'{share:.1f}'} | {'; '.join(found) or 'yes'} |"
            )
            print(lines[-1], flush=True)
        cluster.shutdown()
    shutil.rmtree(os.environ["RAY_TMPDIR"], ignore_errors=True)
    lines += [
        "",
        f"Highway Merge by `rllib train file FILE --ray-address auto`: {STEPS:,} env steps, {GAMES} games per runner, "
        f"fragments of {FRAGMENT} steps, an update of {BATCH} rows every {BATCH // INTENSITY} steps; 2 learners: of "
        f"{BATCH} rows each every {2 * BATCH // INTENSITY} steps. The tuned example is merge_biac.yaml with these "
        "runners and learners, which share its minibatch; nothing else is changed. The trial itself takes one CPU. "
        'Seconds include the start of all processes. "As it should be": everybody is there, on as many nodes as the '
        "CPUs call for; each step is in replay once and counted once; there are as many updates as the steps call for.",
        *made_with("ray"),
    ]
    if args.out:
        args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
