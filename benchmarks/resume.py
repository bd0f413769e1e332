"""This program shows: a run that goes on from a checkpoint in a new process is the run that was never interrupted.

How to run:
    python benchmarks/resume.py                    # about five minutes on two cores
    python benchmarks/resume.py --rows 100000 --out /tmp

Each case trains three times, each time in a process of its own: 2N iterations in one go; N iterations, then a
checkpoint; and N more from that checkpoint. Compared are all that the iterations after the N-th report, times aside,
and all that a checkpoint of the end holds: networks, target networks, optimizers, replay, normalisers, every generator,
games in flight, metrics. Numbers count as equal if all their bits are.

Beside it: how long a checkpoint takes to save and to restore whose replay holds a million steps of Highway Merge, and
how large it is.

Results to expect: no difference in any case; a few seconds and about a hundred MB.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from studies import RESULTS, markdown, versions

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests import exact

ITERATIONS = 4  # N
MERGE = {"hierarchy": [["main_0"], ["auxiliary_0"]], "evaluation_interval": 2, "evaluation_duration": 10}


def cases() -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Returns name -> algorithm, game and what differs from the defaults."""
    from rllib_biac.rllib.registry import ALGORITHMS

    found: dict[str, tuple[str, str, dict[str, Any]]] = {
        "BiAC, Maintain": ("BiAC", "maintain_v0", {}),
        "BiAC, Maintain, 7 steps": ("BiAC", "maintain_v0", {"env_config": {"horizon": 7}}),
        "BiAC, Merge, evaluation": ("BiAC", "merge_v0", MERGE),
        "BiAC, Merge, 2 remote runners, evaluation": ("BiAC", "merge_v0", MERGE | {"num_env_runners": 2}),
        "BiAC, Merge, remote evaluation": ("BiAC", "merge_v0", MERGE | {"evaluation_num_env_runners": 1}),
        "BiAC, Maintain, remote learner": ("BiAC", "maintain_v0", {"num_learners": 1}),
        "BiAC, Maintain, 2 remote learners": ("BiAC", "maintain_v0", {"num_learners": 2}),
    }
    return {f"{name}, Escape": (name, "escape_v0", {}) for name in ALGORITHMS} | found


def build(run: str, game: str, settings: dict[str, Any]) -> Any:
    """Builds the algorithm of a case."""
    from rllib_biac.rllib import config_keys
    from rllib_biac.rllib.registry import config_class

    two_levels = run in ("BiAC", "BiLevelQ")
    players = [["player_0"], ["player_1"]] if two_levels else [["player_0", "player_1"]]
    given = {"env": game, "hierarchy": players, "seed": 0, "min_sample_timesteps_per_iteration": 500}
    return config_keys.build(config_class(run), given | settings).build_algo()


def written(found: Mapping[str, Any]) -> dict[str, str]:
    """Returns values as text, which tells all their bits."""
    return {path: repr(value) for path, value in found.items()}


def train(part: str, folder: Path) -> None:
    """Trains all cases in this process: `whole`, `first` half or `second` half."""
    import ray
    import torch
    from ray.rllib.algorithms.algorithm import Algorithm

    from rllib_biac.experiments.cluster import worker_env

    torch.set_num_threads(1)
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, runtime_env=worker_env())
    ends = {}
    for number, (name, case) in enumerate(cases().items()):
        checkpoint = folder / str(number)
        algo = build(*case) if part != "second" else Algorithm.from_checkpoint(str(checkpoint))
        if part != "second":
            for _ in range(ITERATIONS):
                algo.train()
        if part == "first":
            algo.save_to_path(checkpoint)
        else:
            ends[name] = [[written(exact.numbers(algo.train())) for _ in range(ITERATIONS)], written(exact.state(algo))]
        algo.stop()
        print(f"{part}: {name}", flush=True)
    (folder / f"{part}.json").write_text(json.dumps(ends), encoding="utf-8")
    ray.shutdown()


def compare(folder: Path) -> list[list[Any]]:
    """Returns a row per case: how many numbers were compared, and which were not the same."""
    for part in ("whole", "first", "second"):
        subprocess.run([sys.executable, __file__, "--part", part, "--out", str(folder)], check=True)
    whole, second = (json.loads((folder / f"{part}.json").read_text()) for part in ("whole", "second"))
    rows = []
    for name, (reports, state) in whole.items():
        compared, unlike = 0, []
        for one, other in [*zip(reports, second[name][0], strict=True), (state, second[name][1])]:
            paths = one.keys() | other.keys()
            compared += len(paths)
            unlike += [path for path in paths if one.get(path) != other.get(path)]
        rows.append(
            [name, f"{compared:,}", "none" if not unlike else f"{len(unlike)}: {', '.join(sorted(unlike)[:3])}"]
        )
    return rows


def measure(rows: int, folder: Path) -> list[list[Any]]:
    """Returns a row per way to save: seconds to save, seconds to restore, size in MB."""
    found, played = [], None
    for label, settings in (
        ("plain", {}),
        ("compressed", {"compress_buffer_in_checkpoints": True}),
        ("without replay", {"store_buffer_in_checkpoints": False}),
    ):
        settings |= {"replay_buffer_config": {"capacity": rows}, "num_envs_per_env_runner": 500}
        algo, other = (build("BiAC", "merge_v0", MERGE | settings) for _ in range(2))
        played = played or algo.env_runner.sample(num_timesteps=rows)[0]
        algo.local_replay_buffer.add(played)
        path = folder / label
        seconds = []
        for action in (algo.save_to_path, other.restore_from_path):
            begin = time.perf_counter()
            action(path)
            seconds.append(time.perf_counter() - begin)
        assert len(other.local_replay_buffer) == (rows if "store_buffer_in_checkpoints" not in settings else 0)
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        found.append([label, f"{seconds[0]:.2f}", f"{seconds[1]:.2f}", f"{size / 1e6:,.1f}"])
        for each in (algo, other):
            each.stop()
    return found


def main() -> None:
    """Runs everything and writes `resume.md`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--part", choices=("whole", "first", "second"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        train(arguments.part, arguments.out)
        return
    with tempfile.TemporaryDirectory() as name:
        compared, measured = compare(Path(name)), measure(arguments.rows, Path(name))
    arguments.out.mkdir(parents=True, exist_ok=True)
    unlike = sum(row[2] != "none" for row in compared)
    (arguments.out / "resume.md").write_text(
        f"""# Resume

Made by `python benchmarks/resume.py`: {versions()}.

## 2N iterations in one go; N, a checkpoint, a new process, N more

N = {ITERATIONS} iterations of 500 env steps, seed 0, default settings otherwise. Compared are all numbers that
iterations {ITERATIONS + 1} to {2 * ITERATIONS} report and all that a checkpoint of the end holds, an array counting as
one; times aside. Differences in {unlike} of {len(compared)} cases.

{markdown(["case", "numbers compared", "different"], compared)}

## A checkpoint with {arguments.rows:,} steps of Highway Merge in replay

Wall-clock seconds on a machine shared with other programs. "Compressed" is zlib at level 1; most of a step are two
states of eight float32 numbers.

{markdown(["replay", "save, s", "restore, s", "size, MB"], measured)}
""",
        encoding="utf-8",
    )
    print((arguments.out / "resume.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
