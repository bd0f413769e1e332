"""Line coverage of the tests, room by room: in the test process, and with the processes it starts.

This program shows
    how many lines of each room the tests run. Most of the kernel runs in the test process itself. Ray's workers and
    the commands that tests start are measured as well, by coverage's own patch, and are counted apart.
How to run
    python benchmarks/line_coverage.py --column after
    python benchmarks/line_coverage.py --column after --tests tests/cli tests/report   # adds to the column
    python benchmarks/line_coverage.py --column after --pytest "-m 'not slow'" --new   # begins the column again
    It takes about one and a half times as long as the tests alone. The counts lie in `coverage.json` beside the table.
Results to expect
    The rooms without Ray are covered in the test process nearly as well as with all processes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import coverage

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
SETTINGS = """\
[run]
source =
    {root}/rllib_biac
    {root}/envs
data_file = {folder}/data
parallel = true
patch =
    subprocess
    _exit
sigterm = true
disable_warnings = no-data-collected, module-not-measured
"""


def room_of(file: str) -> str:
    """Returns the room of a file: `envs`, a folder of `rllib_biac`, or `rllib_biac` for what lies in none."""
    parts = Path(file).relative_to(ROOT).parts
    return parts[0] if parts[0] == "envs" or len(parts) == 2 else parts[1]


def measure(folder: Path, tests: list[str], options: list[str]) -> tuple[int, float, dict[str, dict[str, set[int]]]]:
    """Runs the tests. Returns pytest's exit code, the seconds, and file -> the lines run `here` and `elsewhere`."""
    settings = folder / "coveragerc"
    settings.write_text(SETTINGS.format(root=ROOT, folder=folder), encoding="utf-8")
    command = [sys.executable, "-m", "coverage", "run", f"--rcfile={settings}", "-m", "pytest", *options, *tests]
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"COVERAGE_CORE": "ctrace"})
    code = process.wait()
    seconds = time.monotonic() - started
    lines: dict[str, dict[str, set[int]]] = defaultdict(lambda: {"here": set(), "elsewhere": set()})
    for path in folder.glob("data.*"):
        data = coverage.CoverageData(str(path))
        try:
            data.read()
        except coverage.CoverageException as error:  # of a process that was killed while it wrote
            print(f"{path.name} is left out: {error}", file=sys.stderr)
            continue
        where = "here" if re.search(rf"\.(pid)?{process.pid}\.", path.name) else "elsewhere"
        for file in data.measured_files():
            lines[file][where].update(data.lines(file) or ())
    return code, seconds, lines


def statements_of(file: Path) -> list[int]:
    """Returns the numbers of the lines that hold a statement."""
    return coverage.Coverage(config_file=False, data_file=None).analysis2(str(file))[1]


def bits(lines: Iterable[int]) -> int:
    """Returns line numbers as one integer, a bit a line: short to keep, quick to unite and to count."""
    return sum(1 << line for line in set(lines))


def table(columns: dict[str, Any]) -> str:
    """Lays the columns out beside each other, one room a row."""
    names = [name for name in ("before", "after") if name in columns]
    rooms = sorted({room for name in names for room in columns[name]["rooms"]})
    head = [
        "room",
        *(f"{name}: {what}" for name in names for what in ("lines", "in the test process", "with all processes")),
    ]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    for room in [*rooms, "all"]:
        row = [f"`{room}`" if room != "all" else "all"]
        for name in names:
            counts = columns[name]["rooms"].values() if room == "all" else [columns[name]["rooms"].get(room)]
            if None in counts:
                row += ["–"] * 3
                continue
            total, here, anywhere = (sum(c[k] for c in counts) for k in ("lines", "here", "anywhere"))
            row += [f"{total:,}", *(f"{100 * covered / max(total, 1):.1f}%" for covered in (here, anywhere))]
        rows.append(row)
    notes = [
        f"- {name}: revision {columns[name]['revision']}, {columns[name]['seconds'] / 60:.1f} minutes, "
        f"`pytest {' '.join(columns[name]['tests'])}`"
        for name in names
    ]
    title = "Made by `benchmarks/line_coverage.py`. A line is a statement, as coverage.py counts them."
    return "\n".join(
        ["# Line coverage by room", "", title, "", *(f"| {' | '.join(r)} |" for r in rows), "", *notes, ""]
    )


def main() -> int:
    """Runs what the command line asks for; returns pytest's exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--column", choices=("before", "after"), required=True, help="the column to fill")
    parser.add_argument("--tests", nargs="*", default=["tests"], help="files or folders of tests")
    parser.add_argument("--pytest", default="", metavar="OPTIONS", help="further options of pytest, in quotes")
    parser.add_argument("--new", action="store_true", help="begin the column again, instead of adding to it")
    options = parser.parse_args()

    kept = RESULTS / "coverage.json"
    columns = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    revision = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    old = {} if options.new else columns.get(options.column, {})
    with tempfile.TemporaryDirectory() as folder:
        code, seconds, lines = measure(Path(folder), options.tests, shlex.split(options.pytest))

    files: dict[str, dict[str, str]] = {}
    rooms: dict[str, dict[str, int]] = defaultdict(lambda: {"lines": 0, "here": 0, "anywhere": 0})
    for path in sorted([*(ROOT / "rllib_biac").rglob("*.py"), *(ROOT / "envs").rglob("*.py")]):
        name, statements = str(path.relative_to(ROOT)), bits(statements_of(path))
        earlier = old.get("files", {}).get(name, {})
        here, elsewhere = (
            (bits(lines[str(path)][where]) & statements) | int(earlier.get(where, "0"), 16)
            for where in ("here", "elsewhere")
        )
        files[name] = {"here": f"{here:x}", "elsewhere": f"{elsewhere:x}"}
        room = rooms[room_of(str(path))]
        room["lines"] += statements.bit_count()
        room["here"] += here.bit_count()
        room["anywhere"] += (here | elsewhere).bit_count()
    columns[options.column] = {
        "revision": revision,
        "seconds": round(old.get("seconds", 0.0) + seconds),
        "tests": [*old.get("tests", []), *shlex.split(options.pytest), *options.tests],
        "rooms": rooms,
        "files": files,
    }
    kept.write_text(json.dumps(columns), encoding="utf-8")
    (RESULTS / "coverage.md").write_text(table(columns), encoding="utf-8")
    print(table(columns))
    return code


if __name__ == "__main__":
    sys.exit(main())
