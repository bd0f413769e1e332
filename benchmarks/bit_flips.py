"""This program shows: a damaged file of a run is refused, with its name, or the damage changes nothing.

How to run:
    python benchmarks/bit_flips.py                 # 1,000 flips, and all other damage; about four minutes on one core
    python benchmarks/bit_flips.py --flips 100 --out /tmp

A short run of Bi-AC on Highway Merge makes two checkpoints, a file of weights and a file of a policy. Then, one at a
time, a random bit of a random file is flipped, the file is read as its readers do, and the bit is flipped back. In a
checkpoint, weights and policies each flip must be refused with the path of that very file, and the checkpoint
before must be the one that is taken. Of Tune's own files in the run's folder, `--resume` must refuse the file, or
make of it what it makes of the whole one. Then each file of a checkpoint, of weights and of a policy is damaged in
every other way of `benchmarks/file_damage.py`: cut off, emptied, exchanged, missing, a folder or a link in its place,
and so on; the same must come of it.

Results to expect: nothing is accepted. The program ends with code 1 otherwise.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from file_damage import DAMAGE, damaged
from studies import RESULTS, made_with, markdown

from rllib_biac.execution import StackelbergPolicy
from rllib_biac.experiments.mistakes import Mistake
from rllib_biac.experiments.resume import mend
from rllib_biac.files.checkpoint import METADATA, check, newest_whole
from rllib_biac.files.damage import DamagedFile, sha256
from rllib_biac.files.weights import load_weights
from rllib_biac.rllib.compat import read_record
from rllib_biac.rllib.reading import load

TEXT = """
flips:
  run: BiAC
  env: merge_v0
  stop: {training_iteration: 2}
  checkpoint_config: {checkpoint_frequency: 1}
  config:
    hierarchy: [[main_0], [auxiliary_0]]
    seed: 0
    model_config: {fcnet_hiddens: [16, 16]}
    num_steps_sampled_before_learning_starts: 50
    min_sample_timesteps_per_iteration: 200
"""
REFUSED, TAKEN_BACK, UNREAD, ACCEPTED = "refused, by name", "taken back", "not read", "accepted"
# Of all flips, how many in which kind of file.
SHARES = {"checkpoint": 0.5, "manifest": 0.1, "weights": 0.15, "policy": 0.15, "Tune's": 0.1}
# What `--resume` does not read: people and `rllib report` do.
FOR_PEOPLE = ("params.json", "params.pkl", "progress.csv", "result.json", "error.txt", "error.pkl")


@dataclass(frozen=True)
class Run:
    """What a run left."""

    folder: Path
    trial: Path
    checkpoints: list[Path]
    weights: Path
    policy: Path


def make(folder: Path) -> Run:
    """Trains, and writes weights and a policy."""
    (folder / "flips.yaml").write_text(TEXT)
    command = [sys.executable, "-c", "from rllib_biac.cli.main import main; main()"]
    subprocess.run(
        [*command, "train", "file", str(folder / "flips.yaml"), "--storage-path", str(folder), "--ray-num-cpus", "1"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (trial,) = (folder / "flips").glob("BiAC_*")
    checkpoints = sorted(trial.glob("checkpoint_*"))
    weights, policy = folder / "weights.safetensors", folder / "policy.safetensors"
    subprocess.run([*command, "export", str(checkpoints[-1]), str(weights)], check=True, stdout=subprocess.DEVNULL)
    StackelbergPolicy.load(weights).save(policy)
    return Run(folder / "flips", trial, checkpoints, weights, policy)


def outcome_of(read: Callable[[], object], path: Path) -> str:
    """Tells what became of reading a file with a flipped bit."""
    try:
        read()
    except DamagedFile as error:
        # A list of files that belongs to another checkpoint cannot be told from files that do.
        named = error.path == path or (path.name == METADATA and error.path.is_relative_to(path.parent))
        return REFUSED if named and error.path.name in str(error) else f"{ACCEPTED}: named {error.path}"
    except (ValueError, FileNotFoundError, IsADirectoryError) as error:
        return REFUSED if str(path) in str(error) else f"{ACCEPTED}: raised {error!r}"
    except Exception as error:
        return f"{ACCEPTED}: raised {error!r}"
    return ACCEPTED


def look(run: Run, kind: str, path: Path, expected: object) -> str:
    """Reads a file with a flipped bit as its readers do."""
    if kind in ("checkpoint", "manifest"):
        newest = run.checkpoints[-1]
        whole, _ = newest_whole(run.checkpoints)
        if whole != run.checkpoints[-2]:
            return f"{ACCEPTED}: {whole} was taken"
        seen = {outcome_of(lambda: check(newest), path), outcome_of(lambda: load(newest), path)}
        return seen.pop() if len(seen) == 1 else f"{ACCEPTED}: {seen}"
    if kind == "weights":
        like = load(run.checkpoints[-1])[1].weights()
        return outcome_of(lambda: load_weights(path, like), path)
    if kind == "policy":
        return outcome_of(lambda: StackelbergPolicy.load(path), path)
    return resumed(run, path, expected)


def resumed(run: Run, path: Path, expected: object) -> str:
    """Tells what `--resume` makes of a file of Tune's; `expected` is what it makes of the whole one."""
    if path.name.startswith((*FOR_PEOPLE, "events.out")):
        return UNREAD
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(shutil.copytree(run.folder, Path(scratch) / "flips"))
        try:
            mend(copy)
        except Mistake as error:
            return REFUSED if path.name in str(error) else f"{ACCEPTED}: {error}"
        return TAKEN_BACK if state_of(copy) == expected else ACCEPTED


def state_of(folder: Path) -> object:
    """Returns what Tune will read: the newest record, and the other files that it saves a run with."""
    records = sorted(folder.glob("experiment_state-*.json"))
    newest = read_record(records[-1].read_text())
    others = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file() and p.suffix == ".pkl"}
    return json.dumps(newest["trial_data"]), others


def other_damage(run: Run, listed: list[Path]) -> tuple[list[list[str]], list[str]]:
    """Does every other damage to every file of a checkpoint, of weights and of a policy.

    Returns:
        The rows of a table, damage by kinds of files, and what was accepted.
    """
    files = {"checkpoint": [run.checkpoints[-1] / METADATA, *listed], "weights": [run.weights], "policy": [run.policy]}
    rows, wrong = [], []
    for damage in DAMAGE:
        cells = []
        for kind, paths in files.items():
            refused = 0
            for path in paths:
                inside = kind == "checkpoint"
                earlier = run.checkpoints[-2] / path.relative_to(run.checkpoints[-1]) if inside else None
                other = earlier or (run.policy if path == run.weights else run.checkpoints[-1] / METADATA)
                with damaged(path, other, damage):
                    told = look(run, kind, path, None)
                refused += told == REFUSED
                if told != REFUSED:
                    wrong.append(f"{path.name}, {damage}: {told}")
            cells.append(f"{refused} of {len(paths)}")
        rows.append([damage, *cells])
    return rows, wrong


def seconds_per_gb(folder: Path) -> float:
    """Measures hashing, on a file that is in memory as after a save."""
    path = folder / "large"
    path.write_bytes(np.random.default_rng(0).bytes(2**28))
    begin = time.perf_counter()
    sha256(path)
    return (time.perf_counter() - begin) / (2**28 / 1e9)


def main() -> int:
    """Makes a run, flips bits, writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    rows, wrong, unread = [], [], Counter()
    with tempfile.TemporaryDirectory() as scratch:
        run = make(Path(scratch))
        newest = run.checkpoints[-1]
        listed = [newest / name for name in json.loads((newest / METADATA).read_text())["rllib_biac"]["files"]]
        own = [p for p in [*run.folder.iterdir(), *run.trial.iterdir()] if p.is_file() and p.stat().st_size]
        files = {
            "checkpoint": listed,
            "manifest": [newest / METADATA],
            "weights": [run.weights],
            "policy": [run.policy],
            "Tune's": sorted(own),
        }
        expected = state_of(run.folder)
        for kind, share in SHARES.items():
            counts: Counter[str] = Counter()
            number = round(arguments.flips * share)
            for flip in range(number):
                path = files[kind][flip % len(files[kind])]  # each file as often as any other
                place, bit = int(rng.integers(path.stat().st_size)), int(rng.integers(8))
                data = path.read_bytes()
                path.write_bytes(data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :])
                told = look(run, kind, path, expected)
                path.write_bytes(data)
                counts[told.partition(":")[0]] += 1
                if told.startswith(ACCEPTED):
                    wrong.append(f"{path.relative_to(scratch)}, byte {place}, bit {bit}: {told}")
                elif told == UNREAD:
                    unread[path.name.partition(".out.")[0]] += 1
            size = sum(path.stat().st_size for path in files[kind])
            found = [counts[outcome] for outcome in (REFUSED, TAKEN_BACK, UNREAD, ACCEPTED)]
            rows.append([kind, len(files[kind]), f"{size:,}", number, *found])
        Path(scratch).chmod(0o755)  # the next is done without root's rights
        others, accepted = other_damage(run, listed)
        wrong += accepted
        speed = seconds_per_gb(Path(scratch))
    head = ["files", "number", "bytes", "flips", REFUSED, TAKEN_BACK, UNREAD, ACCEPTED]
    text = [
        "# Flipped bits",
        "",
        "What becomes of one flipped bit in a file of a run. `benchmarks/bit_flips.py` says what the columns mean, and "
        "made this.",
        "",
        markdown(head, [[str(cell) for cell in row] for row in rows]),
        "",
        f"Each flip in a checkpoint named the flipped file, and the checkpoint before was taken. Hashing takes "
        f"{speed:.2f} s per GB, once for a save and once for a load.",
        "",
        "*Taken back*: `--resume` found the flip by the kept copy of Tune's record and its checksums, or does not "
        f"need what was flipped: it makes the same of the folder. *Not read*: {', '.join(sorted(unread))} are for "
        "people and `rllib report`; nothing is trained or resumed by them. A flipped digit there is shown.",
        "",
        "## Other damage",
        "",
        "Done to each file of the newest checkpoint, its list of files included, and to a file of weights and of a "
        "policy: how many were refused with the name of that very file, and for checkpoints the one before taken. "
        "*Another file of its kind*: for a checkpoint the same file of the checkpoint before, else a file of another "
        "kind.",
        "",
        markdown(["damage", "checkpoint", "weights", "policy"], others),
        "",
        *made_with("rllib_biac", "ray", "safetensors"),
    ]
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "bit_flips.md").write_text("\n".join(text) + "\n", encoding="utf-8")
    print("\n".join(text), *wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
