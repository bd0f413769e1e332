"""This program shows: a run of an hour holds at its end what it held after its first tenth.

How to run
    python benchmarks/soak.py                     # an hour, and half of two cores
    python benchmarks/soak.py --minutes 5 --out /tmp/soak.md
It runs `rllib train file` of `merge_biac_workers` (two runners that play while the trial learns, a runner that
evaluates, a checkpoint every four iterations of which two are kept) until its time is over, writes a report twelve
times on the way, and looks at every process of the command and at every file that it keeps.
Results to expect
    Memory, descriptors, threads, processes and kept files are flat. What is written for every iteration grows, as it
    should (rows of results, TensorBoard's events, Ray's logs); the table says by how much.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import ray  # noqa: F401, it brings psutil along
import yaml
from studies import RESULTS, made_with, markdown

EXAMPLE = Path(__file__).parents[1] / "tuned_examples" / "merge_biac_workers.yaml"
RLLIB = "import sys; from rllib_biac.cli.main import main; sys.argv[0] = 'rllib'; sys.exit(main())"
LOOKS, REPORTS = 120, 12
# Of the command line of a process, as Ray names its own.
OTHER = "other workers of Ray"
KINDS = {
    "trial": r"^ray::BiAC",
    "runners": r"^ray::\w*EnvRunner",
    "Ray's GCS": r"gcs_server --",
    "Ray's raylet": r"raylet/raylet --",
    "Ray's agents": r"ray/_private|ray/dashboard|ray/autoscaler|ray::DashboardAgent|ray::RuntimeEnvAgent",
    OTHER: r"^ray::",
}
WRITTEN = re.compile(r"(result\.json|progress\.csv|events\.out\.tfevents.*|.*\.(log|out|err))$")  # with each iteration
Look = dict[str, float]


def kind(process: Any, known: dict[int, str]) -> str:
    """Returns which part of a run a process is; an actor's name is what it does just now, so the first one is kept."""
    if known.get(process.pid, OTHER) == OTHER:
        line = " ".join(process.cmdline())
        known[process.pid] = next((each for each, pattern in KINDS.items() if re.search(pattern, line)), "the command")
    return known[process.pid]


def look_at_processes(command: Any, known: dict[int, str]) -> Look:
    """Returns, by kind of process, memory in MB (proportional set size), descriptors, threads and processes.

    Args:
        command: the process of the command.
        known: process id -> kind, of the looks before.
    """
    import psutil

    found: Look = defaultdict(float)
    for process in [command, *command.children(recursive=True)]:
        try:
            part, memory = kind(process, known), process.memory_full_info().pss / 1e6
            descriptors, threads = process.num_fds(), process.num_threads()
        except psutil.Error:  # it has ended meanwhile
            continue
        for what, value in {"MB": memory, "descriptors": descriptors, "threads": threads, "processes": 1}.items():
            found[f"{part}: {what}"] += value
    return dict(found)


def look_at_files(folder: Path, name: str) -> Look:
    """Returns kept files and what they hold in MB, and apart from them what is written line by line."""
    files, kept, written = 0, 0, 0
    for path in folder.rglob("*"):
        try:
            size = path.lstat().st_size if path.is_file() and not path.is_symlink() else None
        except OSError:  # removed meanwhile, as checkpoints are that are not kept
            continue
        if size is None:
            continue
        if WRITTEN.match(path.name):
            written += size
        else:
            files, kept = files + 1, kept + size
    return {f"{name}: files": files, f"{name}: MB in them": kept / 1e6, f"{name}: MB of rows and logs": written / 1e6}


def experiment(minutes: float, folder: Path) -> Path:
    """Writes the example as a file of experiments that ends by the clock."""
    written = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    written[EXAMPLE.stem]["stop"] = {"time_total_s": 60 * minutes}
    (path := folder / EXAMPLE.name).write_text(yaml.safe_dump(written), encoding="utf-8")
    return path


def soak(minutes: float) -> tuple[list[Look], str]:
    """Trains for so long, and returns what was seen on the way, equally far apart, and what the command printed last.

    Raises:
        RuntimeError: if training or a report fails.
    """
    import psutil

    with tempfile.TemporaryDirectory(prefix="soak") as place:
        results, own, said = Path(place, "results"), Path(place, "t"), Path(place, "said")
        own.mkdir()
        environment = os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": str(own)}
        rllib = [sys.executable, "-c", RLLIB]
        train = [*rllib, "train", "file", str(experiment(minutes, Path(place))), "--storage-path", str(results)]
        looks: list[Look] = []
        known: dict[int, str] = {}
        with said.open("w") as output:
            command = subprocess.Popen(train, stdout=output, stderr=subprocess.STDOUT, env=environment)
            while command.poll() is None and "iter 1 " not in said.read_text():
                time.sleep(0.1)
            watched, begin = psutil.Process(command.pid), time.monotonic()
            try:
                while command.poll() is None and "\ndone:" not in said.read_text():
                    time.sleep(0.2)
                    spent = (time.monotonic() - begin) / 60
                    if spent < (len(looks) + 1) * minutes / LOOKS:
                        continue
                    files = look_at_files(results, "results") | look_at_files(own, "temporary")
                    looks.append({"minute": spent} | look_at_processes(watched, known) | files)
                    print(f"{spent:.1f} min: {said.read_text().splitlines()[-1]}", file=sys.stderr, flush=True)
                    if len(looks) % (LOOKS // REPORTS) == 0:
                        report = [*rllib, "report", str(results / EXAMPLE.stem)]
                        subprocess.run(report, check=True, stdout=subprocess.DEVNULL, env=environment)
                command.wait(timeout=120)
            finally:
                command.kill()  # Ray's processes end with the command that started them
        text = said.read_text()
        if command.returncode or len(looks) < LOOKS - LOOKS // 10:
            raise RuntimeError(f"{train} ended with {command.returncode} after {len(looks)} looks:\n{text[-3000:]}")
        return looks, next(line for line in reversed(text.splitlines()) if line.startswith("done:"))


def rows(looks: list[Look]) -> list[list[str]]:
    """Returns the table's rows: after a tenth of the time, at the end, the most from then on, and the slope an hour."""
    looks = looks[len(looks) // 10 :]
    hours = [look["minute"] / 60 for look in looks]
    found = []
    for what in dict.fromkeys(key for look in looks for key in look if key != "minute"):
        values = [look.get(what, 0.0) for look in looks]
        slope = np.polyfit(hours, values, 1)[0]
        found.append([what, *(f"{value:,.1f}" for value in (values[0], values[-1], max(values))), f"{slope:+,.1f}"])
    return found


def main() -> None:
    """Soaks, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60, help="how long (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=RESULTS / "soak.md", help="where to write the table")
    args = parser.parse_args()
    looks, last = soak(args.minutes)
    headings = ["", "after a tenth", "at the end", "most since", "slope since, per hour"]
    lines = [
        f"# {args.minutes:g} minutes of training with everything",
        "",
        markdown(headings, rows(looks)),
        "",
        f"`merge_biac_workers`, ended by the clock. {last} MB of a process are its proportional set size: what "
        f"processes share is counted once. {len(looks)} looks, {REPORTS} reports on the way.",
        "",
        *made_with("ray", "torch"),
    ]
    with args.out.with_suffix(".jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(look) + "\n" for look in looks)
    args.out.write_text(text := "\n".join(lines) + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
