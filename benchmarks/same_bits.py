"""This program shows: two revisions of this library learn the same, to the last bit.

How to run:
    python benchmarks/same_bits.py HEAD                    # a revision against the working tree
    python benchmarks/same_bits.py HEAD~3 HEAD             # two revisions
    python benchmarks/same_bits.py HEAD --cases BiAC IDQN  # some cases only
    python benchmarks/same_bits.py HEAD --table            # also writes benchmarks/results/same_bits.md
    python benchmarks/same_bits.py --write tests/fixtures/same_bits.json   # records the working tree, for the tests

Each revision trains every case in a process of its own: a tiny game, tiny networks, some hundred updates. The process
takes `rllib_biac`, `rllib_biac.envs` and `rllib_biac.tuned_examples` from that revision alone. Three things are
compared: all weights, target networks and normalisers among them; all numbers that training reports, times aside; and
greedy play, in `evaluate()` and by `StackelbergPolicy`. The program uses public names only, so that it runs with any
revision from 0.1.0 on. It ends with code 1 if anything differs.

Results to expect: "equal" everywhere, if the revisions differ by moves only. One revision takes one to two minutes of
CPU time.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # no Ray cluster but a local one is started here

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from revisions import check_imported_from, import_from, revision_in
from same_bits_cases import CASES, Case

TABLE = Path(__file__).parent / "results" / "same_bits.md"
PARTS = ("weights", "metrics", "play")
ITERATIONS = 2
STEPS = 160  # env steps, and about as many updates, per iteration

# part -> name -> number or hash
Measured = dict[str, dict[str, str]]


def build(case: Case) -> Any:
    """Builds the algorithm of a case."""
    import rllib_biac

    # One update per env step; tables have settings of their own for that.
    updates = {} if case.run == "BiLevelQ" else {"train_batch_size_per_learner": 16, "training_intensity": None}
    plain = getattr(rllib_biac, f"{case.run}Config")()
    if case.run != "BiLevelQ" and hasattr(plain, "averaging"):  # as before there were these settings
        updates |= {"averaging": 0.0, "lr_fade": None}
    config = (
        plain.environment(case.game, state=case.state)
        .hierarchy(case.hierarchy)
        .training(
            **{"num_steps_sampled_before_learning_starts": 40, "replay_buffer_config": {"capacity": 200}}
            | updates
            | dict(case.training)
        )
        .env_runners(
            **{"num_env_runners": 0, "num_envs_per_env_runner": 4, "epsilon": [[0, 1.0], [200, 0.2]]}
            | dict(case.runners)
        )
        .learners(num_learners=0)
        .evaluation(evaluation_duration=12)
        .reporting(min_sample_timesteps_per_iteration=STEPS)
        .debugging(seed=3, log_level="ERROR")
    )
    if hasattr(plain, "spread_epsilon"):  # as before there was this setting
        config.env_runners(spread_epsilon=False)
    if hasattr(plain, "bound_values") and case.run != "BiLevelQ":
        config.training(bound_values=False)
    if case.run != "BiLevelQ":
        # As before there was this key.
        plain_layers = {"fcnet_rms_norm": False} if "fcnet_rms_norm" in config.model_config else {}
        model = {"fcnet_hiddens": [16, 8], "fcnet_activation": "relu"} | plain_layers | dict(case.model)
        config.rl_module(model_config=model)
    return config.build_algo()


def measure(case: Case) -> Measured:
    """Trains a case and returns what it came to."""
    from safetensors.numpy import load_file

    from rllib_biac.execution import StackelbergPolicy

    algo = build(case)
    metrics: dict[str, str] = {}
    for i in range(ITERATIONS):
        metrics |= {f"{i}/{name}": number for name, number in numbers(algo.train()).items()}
    play = {f"evaluate/{name}": number for name, number in numbers(algo.evaluate()).items()}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "weights.safetensors"
        algo.save_weights(file)
        tensors = load_file(file)
        policy = None if case.run == "BiLevelQ" else StackelbergPolicy.load(file)  # tables are none
    algo.stop()
    if policy is not None:
        for name, own in {"policy": policy, "approximators": policy.on_observations}.items():
            if own is not None:
                play |= {f"{name}/{agent}": hashed(action) for agent, action in played(own).items()}
    # What a policy file holds twice goes by a name of its own, which says nothing new.
    weights = {name: hashed(array) for name, array in tensors.items() if not name.startswith("policy/")}
    return {"weights": weights, "metrics": metrics, "play": play}


def played(policy: Any) -> dict[str, Any]:
    """Returns what a policy does with inputs drawn at random."""
    rng = np.random.default_rng(0)
    inputs = {name: rng.normal(scale=2.0, size=(64, *shape)) for name, shape in policy.description.inputs.items()}
    return policy.act(observations=inputs) if policy.description.play == "local" else policy.act(inputs["state"])


def numbers(result: Mapping[str, Any]) -> dict[str, str]:
    """Returns what a result reports of play and learning, path -> number; times aside."""
    found: dict[str, str] = {}

    def walk(node: Mapping[str, Any], path: str) -> None:
        for key, value in node.items():
            if is_time(str(key)):
                continue
            if isinstance(value, Mapping):
                walk(value, f"{path}/{key}")
            elif isinstance(value, int | float | np.number):
                found[f"{path}/{key}"] = repr(float(value))

    for part in ("env_runners", "learners", "regret"):
        walk(result.get(part, {}), part)
    return found


def is_time(key: str) -> bool:
    """Tells whether a metric, or a group of them, measures seconds."""
    return key == "sample" or any(word in key for word in ("time", "throughput", "per_second", "duration", "connector"))


def hashed(array: Any) -> str:
    """Returns dtype, shape and the hash of all bits."""
    array = np.ascontiguousarray(array)
    return f"{array.dtype} {array.shape} {sha256(array.tobytes()).hexdigest()[:16]}"


def digest(measured: Measured) -> dict[str, str]:
    """Returns one hash per part."""
    return {part: sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:16] for part, own in measured.items()}


def setting() -> str:
    """Returns what decides about the last bits beside the code."""
    import ray
    import torch

    libraries = ", ".join(f"{each.__name__} {each.__version__}" for each in (torch, np, ray))
    return f"{libraries}, CPU {torch.backends.cpu.get_cpu_capability()}"


def measure_tree(tree: Path, names: list[str], file: Path) -> None:
    """Measures cases with the library of a tree, in this process, and writes them to a file."""
    import_from(tree)
    import ray
    import torch

    torch.set_num_threads(1)
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    found: dict[str, Measured] = {}
    begin = time.process_time()
    for name in names:
        try:
            found[name] = measure(CASES[name])
        except Exception as error:  # the other cases count, too
            found[name] = {part: {"failed": f"{type(error).__name__}: {error}"} for part in PARTS}
    check_imported_from(tree)
    print(f"    {len(names)} cases in {time.process_time() - begin:.0f} s of CPU time", flush=True)
    file.write_text(json.dumps({"setting": setting(), "cases": found}), encoding="utf-8")
    ray.shutdown()


def measure_apart(revision: str | None, names: list[str]) -> dict[str, Any]:
    """Measures cases with a revision, None for the working tree, in a new process."""
    with revision_in(revision) as tree, tempfile.TemporaryDirectory() as folder:
        print(f"{revision or 'the working tree'}:", flush=True)
        file = Path(folder) / "measured.json"
        command = [sys.executable, __file__, "--tree", str(tree), "--out", str(file), "--cases", *names]
        environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
        subprocess.run(command, env=environment | {"PYTHONPATH": str(tree)}, check=True)
        return json.loads(file.read_text(encoding="utf-8"))


def difference(one: dict[str, str], other: dict[str, str]) -> str:
    """Returns "equal", or how many numbers differ and which is the first."""
    if failed := one.get("failed") or other.get("failed"):
        return f"failed: {failed}"
    unlike = [name for name in sorted({**one, **other}) if one.get(name) != other.get(name)]
    if not unlike:
        return "equal"
    first = unlike[0]
    return f"{len(unlike)} of {len({**one, **other})} differ: {first}: {one.get(first)} and {other.get(first)}"


def record(measured: dict[str, Any], file: Path) -> None:
    """Writes the hashes of a revision into a file, beside those of other settings."""
    known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    hashes = {name: digest(own) for name, own in measured["cases"].items()}
    known[measured["setting"]] = known.get(measured["setting"], {}) | hashes
    file.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def write_table(revisions: list[str], rows: list[list[Any]], numbers_compared: int) -> None:
    """Writes the results as a page."""
    from studies import made_with, markdown

    equal = sum(row[1:] == ["equal"] * len(PARTS) for row in rows)
    lines = [
        "# Same bits",
        "",
        f"{revisions[0]} and {revisions[1]}: {equal} of {len(rows)} cases equal, {numbers_compared:,} numbers and "
        f"arrays compared. Each case: {ITERATIONS} iterations of {STEPS} env steps, seed 3.",
        "",
        markdown(["case", *PARTS], rows),
        "",
        *made_with("ray", "torch", "numpy"),
        "",
    ]
    TABLE.write_text("\n".join(lines), encoding="utf-8")


def main() -> int:
    """Compares two revisions, or records one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revisions", nargs="*", metavar="REV", help="one or two; the second is the working tree")
    parser.add_argument("--cases", nargs="+", metavar="NAME", choices=CASES, default=list(CASES))
    parser.add_argument("--write", type=Path, metavar="FILE", help="record the hashes of the last revision here")
    parser.add_argument("--table", action="store_true", help=f"write {TABLE.name}")
    parser.add_argument("--tree", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.tree:
        measure_tree(arguments.tree, arguments.cases, arguments.out)
        return 0
    if len(arguments.revisions) > 2 or not (arguments.revisions or arguments.write):
        parser.error("name one or two revisions, or none and --write FILE.")
    if arguments.table and not arguments.revisions:
        parser.error("--table compares two revisions: name one.")
    revisions: list[str | None] = [*arguments.revisions, None][:2] if arguments.revisions else [None]
    measured = [measure_apart(revision, arguments.cases) for revision in revisions]
    if arguments.write:
        failed = [name for name, own in measured[-1]["cases"].items() if "failed" in own["weights"]]
        if failed:
            print("nothing is recorded, for these cases failed:")
            print(*(f"    {name}: {measured[-1]['cases'][name]['weights']['failed']}" for name in failed), sep="\n")
            return 1
        record(measured[-1], arguments.write)
    if len(measured) == 1:
        return 0
    one, other = (each["cases"] for each in measured)
    rows = [[name, *(difference(one[name][part], other[name][part]) for part in PARTS)] for name in arguments.cases]
    for name, *found in rows:
        alike = set(found) == {"equal"}
        print(f"{name}: {'equal' if alike else ''}")
        if not alike:
            print(*(f"    {part}: {each}" for part, each in zip(PARTS, found, strict=True)), sep="\n")
    if arguments.table:
        compared = sum(len(part) for case in one.values() for part in case.values())
        write_table([revision or "the working tree" for revision in revisions], rows, compared)
    return int(any(each != "equal" for row in rows for each in row[1:]))


if __name__ == "__main__":
    sys.exit(main())
