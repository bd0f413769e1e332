"""This program shows: two revisions of this library are equally fast, in training and in sampling.

How to run, on a quiet machine:
    python benchmarks/same_speed.py 0.1.0-revision            # against the working tree; about 15 minutes
    python benchmarks/same_speed.py REV REV2 --pairs 20 --cases "training, 64-64"

The revisions take turns, each in a fresh process that takes the library from that revision alone: A B, B A, A B, ...
Each process first runs every case for a while uncounted. CPU time of `algo.train()` counts, of this process, which
plays and learns by itself. The table holds the ratio of the second revision to the first, pair by pair: its geometric
mean and the 95% interval of Student's t. It is written to benchmarks/results/same_speed.md.

Results to expect: intervals that hold 1.0, or end below 1.05.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_AUTH_MODE", "disabled")

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from revisions import check_imported_from, import_from, revision_in
from scipy import stats

TABLE = Path(__file__).parent / "results" / "same_speed.md"
PAIR = [["player_0"], ["player_1"]]
PEERS = [["player_0", "player_1"]]


def as_before(config: Any) -> Any:
    """Sets what has another default since 0.1.0 to what it was: the same work is compared."""
    if hasattr(config, "spread_epsilon"):
        config.env_runners(spread_epsilon=False)
        if config.algo_class.__name__ != "BiLevelQ":
            config.training(averaging=0.0, lr_fade=None, train_batch_size_per_learner=64)
            if hasattr(config, "bound_values"):
                config.training(bound_values=False)
    if hasattr(config, "actor_tries"):
        config.training(actor_tries=0)
    return with_networks(config)


def with_networks(config: Any, **own: Any) -> Any:
    """Sets how networks are built to what it was by default, but for `own`."""
    if config.algo_class.__name__ == "BiLevelQ":
        return config  # it has none
    before = {"fcnet_activation": "relu", "fcnet_rms_norm": False} if "fcnet_rms_norm" in config.model_config else {}
    return config.rl_module(model_config=before | own)


def learn(name: str, env: str, levels: list[list[str]], steps: int, **training: Any) -> Any:
    """Returns an algorithm that spends its time on updates: one per env step."""
    import rllib_biac

    config = as_before(getattr(rllib_biac, f"{name}Config")()).environment(env).hierarchy(levels).debugging(seed=0)
    model = training.pop("model_config", None)
    config.training(training_intensity=None, **training).reporting(min_sample_timesteps_per_iteration=steps)
    return with_networks(config, **(model or {})).build_algo()


def sample(env: str, levels: list[list[str]], games: int, steps: int, **kwargs: Any) -> Any:
    """Returns an algorithm that spends its time on play: it never learns."""
    import rllib_biac

    config = as_before(rllib_biac.BiACConfig()).environment(env, env_config=kwargs).hierarchy(levels).debugging(seed=0)
    config.env_runners(num_envs_per_env_runner=games).training(num_steps_sampled_before_learning_starts=10**9)
    return config.reporting(min_sample_timesteps_per_iteration=steps).build_algo()


CASES: dict[str, Callable[[], Any]] = {
    "training, 30-30": lambda: learn("BiAC", "escape_v0", PAIR, 2000, model_config={"fcnet_hiddens": [30, 30]}),
    "training, 64-64": lambda: learn("BiAC", "escape_v0", PAIR, 1500),
    "training, returning states": lambda: learn("BiAC", "two_state_v0", PAIR, 1000),
    "training, enumerated": lambda: learn("BiAC", "two_state_v0", PAIR, 1000, response="enumerated"),
    "training, continuous pair": lambda: learn("BiAC", "stackelberg_duopoly_v0", [["firm_0"], ["firm_1"]], 500),
    "training, IDQN": lambda: learn("IDQN", "escape_v0", PEERS, 1500),
    "training, MADDPG": lambda: learn("MADDPG", "escape_v0", PEERS, 600),
    "training, BiLevelQ": lambda: learn("BiLevelQ", "two_state_v0", PAIR, 500),
    "sampling, 1,024 games of one step": lambda: sample("escape_v0", PAIR, 1024, 300_000),
    "sampling, 1,024 games of Merge": lambda: sample("merge_v0", [["main_0"], ["auxiliary_0"]], 1024, 60_000),
    "sampling, 25 games of one step": lambda: sample("escape_v0", PAIR, 25, 20_000),
}


def spent(tree: Path, names: list[str]) -> dict[str, float]:
    """Returns CPU seconds of each case, in this process, with the library of a tree."""
    import_from(tree)
    import ray
    import torch

    torch.set_num_threads(1)
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    seconds = {}
    for name in names:
        algo = CASES[name]()
        algo.train()
        begin = time.process_time()
        algo.train()
        algo.train()
        seconds[name] = time.process_time() - begin
        algo.stop()
    check_imported_from(tree)
    ray.shutdown()
    return seconds


def spent_apart(tree: Path, names: list[str], place: Path) -> dict[str, float]:
    """Returns what `spent` does, of a fresh process."""
    out = place / "spent.json"
    command = [sys.executable, __file__, "--tree", str(tree), "--out", str(out), "--cases", *names]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return json.loads(out.read_text(encoding="utf-8"))


def interval(ratios: np.ndarray) -> tuple[float, float, float]:
    """Returns the geometric mean of ratios and its 95% interval."""
    logs = np.log(ratios)
    half = stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
    return tuple(float(np.exp(value)) for value in (logs.mean(), logs.mean() - half, logs.mean() + half))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("revisions", nargs="*", metavar="REV")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--tree", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.tree:
        args.out.write_text(json.dumps(spent(args.tree, args.cases)), encoding="utf-8")
        return 0
    first, second = (*args.revisions, None)[:2] if args.revisions else ("HEAD", None)
    with revision_in(first) as one, revision_in(second) as other, tempfile.TemporaryDirectory() as place:
        ratios: dict[str, list[float]] = {name: [] for name in args.cases}
        for pair in range(args.pairs):
            trees = [one, other] if pair % 2 == 0 else [other, one]
            found = {tree: spent_apart(tree, args.cases, Path(place)) for tree in trees}
            for name in args.cases:
                ratios[name].append(found[other][name] / found[one][name])
            now = ", ".join(f"{own[-1]:.2f}" for own in ratios.values())
            print(f"pair {pair + 1} of {args.pairs}: {now}", flush=True)
    rows, slower = [], False
    for name, own in ratios.items():
        mean, low, high = interval(np.array(own))
        slower |= high >= 1.05
        rows.append(f"| {name} | {mean:.3f} | {low:.3f} to {high:.3f} |")
    head = (
        f"# Same speed\n\nCPU time of {second or 'the working tree'} over that of {first}, {args.pairs} alternating "
        "pairs of fresh processes, one thread. Below 1: the second is faster.\n\n"
        "| case | ratio | 95% interval |\n| --- | ---: | ---: |\n"
    )
    command = f"\n\nMade by `python benchmarks/same_speed.py {' '.join(args.revisions)} --pairs {args.pairs}`.\n"
    TABLE.write_text(head + "\n".join(rows) + command, encoding="utf-8")
    print("\n".join(rows))
    return int(slower)


if __name__ == "__main__":
    sys.exit(main())
