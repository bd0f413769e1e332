"""Training over several nodes: `rllib train file ... --ray-address auto` on clusters made on one machine.

This program shows
    that runners, evaluation runners and learners are spread over nodes, and that training counts and learns there as it
    does on one. Every node is a raylet of its own, with its own object store and its own worker processes; what a real
    cluster has and this has not is a network between them.
How to run
    python benchmarks/cluster.py --out benchmarks/results/cluster.md
    python benchmarks/cluster.py --only smallest
Results to expect
    Every row ends with "yes". Times say little: all nodes share this machine's cores, and starting processes is most
    of it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
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

import ray
import yaml
from ray.cluster_utils import Cluster
from ray.rllib.callbacks.callbacks import RLlibCallback

STEPS = 4000


@dataclass(frozen=True)
class Case:
    """A run: how many CPUs each node has, how the algorithm is set, on how many nodes it then must lie."""

    nodes: tuple[int, ...]
    config: dict[str, Any]
    at_least: int
    run: str = "BiAC"
    levels: list[list[str]] = field(default_factory=lambda: [["main_0"], ["auxiliary_0"]])


EVALUATION = {
    "evaluation_interval": 1,
    "evaluation_num_env_runners": 1,
    "evaluation_duration": 16,
    "evaluation_parallel_to_training": True,
}
EQUALS = [["main_0", "auxiliary_0"]]
CASES: dict[str, Case] = {
    "smallest": Case((1, 1, 1), {"num_env_runners": 2, "num_cpus_per_env_runner": 0.5} | EVALUATION, 3),
    "1 runner": Case((1, 1), {"num_env_runners": 1}, 2),
    "2 runners": Case((1, 1, 1), {"num_env_runners": 2}, 3),
    "4 runners": Case((1, 2, 2), {"num_env_runners": 4}, 3),
    "8 runners": Case((1, 4, 4), {"num_env_runners": 8}, 3),
    "8 runners, a quarter of a CPU each": Case((1, 1, 1), {"num_env_runners": 8, "num_cpus_per_env_runner": 0.25}, 3),
    "4 runners, 1 for evaluation": Case((1, 3, 2), {"num_env_runners": 4} | EVALUATION, 3),
    "4 runners, asynchronous": Case((1, 2, 2), {"num_env_runners": 4, "max_sampling_lag": 100}, 3),
    "4 runners, asynchronous, 1 for evaluation": Case(
        (1, 3, 2), {"num_env_runners": 4, "max_sampling_lag": 100} | EVALUATION, 3
    ),
    "2 learners, 2 runners": Case((1, 2, 2), {"num_env_runners": 2, "num_learners": 2}, 3),
    "2 learners, 2 runners, asynchronous": Case(
        (1, 2, 2), {"num_env_runners": 2, "num_learners": 2, "max_sampling_lag": 100}, 3
    ),
    "RLlib's own runner, 2 of them": Case(
        (1, 1, 1), {"num_env_runners": 2, "env_runner_cls": "stock", "num_envs_per_env_runner": 4}, 3
    ),
    "MATD3, 2 learners, 2 runners": Case((1, 2, 2), {"num_env_runners": 2, "num_learners": 2}, 3, "MATD3", EQUALS),
    "LenientDQN, 2 runners": Case((1, 1, 1), {"num_env_runners": 2}, 3, "LenientDQN", EQUALS),
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


def train(case: Case, folder: Path) -> dict[str, Any]:
    """Runs the command on the cluster that `RAY_ADDRESS` names; returns the last result."""
    from rllib_biac.cli.main import main as rllib

    experiment = {
        "run": case.run,
        "env": "merge_v0",
        "stop": {"num_env_steps_sampled_lifetime": STEPS},
        "config": {
            "hierarchy": case.levels,
            "num_envs_per_env_runner": 25,
            "rollout_fragment_length": 4,
            "training_intensity": 4,
            "callbacks": "cluster:Nodes",
        }
        | case.config,
    }
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump({"cluster": experiment}), encoding="utf-8")
    flags = ["--ray-address", "auto", "--storage-path", str(folder), "--seed", "0"]
    try:
        rllib.main(["train", "file", str(path), *flags], standalone_mode=False)
    except SystemExit as end:
        if end.code:
            raise RuntimeError(f"rllib train file ended with {end.code}") from end
    (results,) = folder.glob("cluster/*/result.json")
    return json.loads(results.read_text(encoding="utf-8").splitlines()[-1])


def faults(case: Case, result: dict[str, Any]) -> list[str]:
    """Returns what is not as it should be."""
    nodes = result["nodes"]
    used = {node for everybody in nodes.values() for node in everybody}
    expected = {
        "runners": case.config["num_env_runners"],
        "evaluation": case.config.get("evaluation_num_env_runners", 0),
        "learners": case.config.get("num_learners", 0),
    }
    found = [f"{len(nodes.get(who, []))} {who}" for who, count in expected.items() if len(nodes.get(who, [])) != count]
    if len(used) < case.at_least:
        found.append(f"only {len(used)} nodes")
    if not STEPS <= result["num_env_steps_sampled_lifetime"] < 2 * STEPS:
        found.append(f"{result['num_env_steps_sampled_lifetime']} steps")
    updates = result["learners"]["__all_modules__"].get("num_updates_lifetime", 0)
    if updates < 0.5 * STEPS * 4 / 64 / max(case.config.get("num_learners", 0), 1):
        found.append(f"{updates} updates")
    if "evaluation_interval" in case.config and result["evaluation"]["env_runners"]["num_episodes"] < 16:
        found.append("too few games in evaluation")
    if result.get("sampling_lag", {}).get("max", 0) > case.config.get("max_sampling_lag", 0):
        found.append("weights too old")
    return found


def main() -> int:
    """Runs all cases, those of one layout of nodes on one cluster. Returns 1 if anything was not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES), metavar="CASE")
    parser.add_argument("--out", type=Path, help="where to write the table")
    args = parser.parse_args()

    lines = [
        "# Training over several nodes made on one machine",
        "",
        "| run | CPUs of the nodes | nodes at work | env steps | seconds | lag of weights, mean, max | as it should be |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    wrong = 0
    # Else every `ray.init()` on this machine would take these clusters for its own. Sockets lie there: a short path.
    os.environ["RAY_TMPDIR"] = tempfile.mkdtemp(prefix="ray", dir="/tmp")
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
            used = {node for everybody in result["nodes"].values() for node in everybody}
            lag = result.get("sampling_lag")
            lines.append(
                f"| {name} | {', '.join(map(str, layout))} | {len(used)} "
                f"| {result['num_env_steps_sampled_lifetime']:,.0f} | {time.monotonic() - begin:.0f} "
                f"| {'-' if lag is None else '{mean:.1f}, {max:.0f}'.format(**lag)} | {'; '.join(found) or 'yes'} |"
            )
            print(lines[-1], flush=True)
        cluster.shutdown()
    shutil.rmtree(os.environ["RAY_TMPDIR"], ignore_errors=True)
    lines += [
        "",
        f"Highway Merge, {STEPS:,} env steps each by `rllib train file FILE --ray-address auto`; the trial itself takes one "
        "CPU. Seconds include the start of all processes.",
        f"Python {platform.python_version()}, ray {ray.__version__}, {os.cpu_count()} cores for all nodes together, "
        f"{platform.system()} {platform.machine()}.",
        "",
        f"    python {' '.join(sys.argv)}",
    ]
    if args.out:
        args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
