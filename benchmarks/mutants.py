"""A hundred small faults, drawn by a seed, and how many of them the fast tests notice.

This program shows
    how many mutants the tests notice, and each one that they do not. A mutant is one change to a line that some test
    runs: a comparison or an operator swapped, a number shifted, a condition negated, a value not returned, a keyword
    or a call left out, `argmax` made `argmin` and the like. Places and changes are drawn before any of them is run.
How to run
    python benchmarks/mutants.py --lines           # once: which test runs which line, as long as the fast tests take
    python benchmarks/mutants.py --jobs 2          # draws and runs what is not finished yet; 10 to 25 seconds each
    python benchmarks/mutants.py --list            # only shows what is drawn; `--first 6` takes six
    For each mutant those tests run that run its line, quickest first, up to the first that fails. Finished ones are
    kept in `mutants.jsonl` beside the table; delete that file to begin anew. Write reasons into the last column of the
    table: they stay when it is written again.
Results to expect
    At least 90 of 100 are noticed.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Queue
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
LINES = ROOT / "build" / "mutants.json"  # what `--lines` finds
SEED, NUMBER = 20261125, 100
ROOMS = ("rllib_biac/walk", "rllib_biac/learning", "rllib_biac/algorithms", "rllib_biac/equilibria", "envs")
LIMIT = 60.0  # seconds beside three times what the tests took without a fault; a run that takes longer hangs

# Every name stands for the other one.
PAIRS = [
    ("argmax", "argmin"),
    ("max", "min"),
    ("maximum", "minimum"),
    ("sum", "mean"),
    ("any", "all"),
    ("zeros", "ones"),
    ("zeros_like", "ones_like"),
    ("floor", "ceil"),
    ("exp", "log"),
    ("softmax", "log_softmax"),
]
NAMES = dict([*PAIRS, *((b, a) for a, b in PAIRS)])
COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.MatMult: ast.Mult,
}  # fmt: skip
Edit = Callable[[Any], None]


# Which test runs which line.


class _Recorder:
    """A pytest plugin that tells coverage which test runs, and keeps how long each takes and whether it passes."""

    def __init__(self, measured: Any) -> None:
        self.measured = measured
        self.seconds: dict[str, float] = defaultdict(float)
        self.failed: set[str] = set()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.measured.switch_context(nodeid)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.measured.switch_context("")

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds[report.nodeid] += report.duration
        if report.outcome != "passed":
            self.failed.add(report.nodeid)


def record(arguments: list[str]) -> None:
    """Runs the tests in this process and keeps which of those that passed run which line."""
    import coverage
    import pytest

    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as folder:
        sources = [str(ROOT / "rllib_biac"), str(ROOT / "envs")]
        measured = coverage.Coverage(data_file=f"{folder}/data", config_file=False, source=sources)
        recorder = _Recorder(measured)
        measured.start()
        pytest.main(["-p", "no:cacheprovider", *arguments], plugins=[recorder])
        measured.stop()
        data = measured.get_data()
        numbers = {test: k for k, test in enumerate(recorder.seconds)}
        lines: dict[str, dict[int, list[int]]] = {}
        for file in sorted(data.measured_files()):
            by_line = data.contexts_by_lineno(file)
            name = str(Path(os.path.realpath(file)).relative_to(ROOT))
            lines[name] = {
                line: sorted(numbers[test] for test in tests if test in numbers and test not in recorder.failed)
                for line, tests in by_line.items()
            }
    LINES.parent.mkdir(exist_ok=True)
    found = {"tests": list(recorder.seconds), "seconds": list(recorder.seconds.values()), "lines": lines}
    LINES.write_text(json.dumps(found), encoding="utf-8")
    print(f"{len(numbers)} tests, {len(recorder.failed)} of them failed or were skipped and are not asked")


# Mutants.


@dataclass(frozen=True)
class Mutant:
    """One change: of the node that `ast.walk` meets as number `node`, by its edit number `edit`."""

    file: str
    line: int
    node: int
    edit: int
    change: str
    tests: tuple[int, ...]


def edits(node: ast.AST) -> Iterator[Edit]:
    """Yields the ways of changing a node in place."""
    match node:
        case ast.Compare(ops=[op]) if type(op) in COMPARISONS:
            yield lambda n: n.ops.__setitem__(0, COMPARISONS[type(n.ops[0])]())
        case ast.BinOp() | ast.AugAssign() if type(node.op) in OPERATORS and not _is_text(node):
            yield lambda n: setattr(n, "op", OPERATORS[type(n.op)]())
        case ast.BoolOp():
            yield lambda n: setattr(n, "op", ast.Or() if isinstance(n.op, ast.And) else ast.And())
        case ast.UnaryOp(op=ast.USub()):
            yield lambda n: setattr(n, "op", ast.UAdd())
        case ast.UnaryOp(op=ast.Not() | ast.Invert()):
            yield lambda n: setattr(n, "operand", ast.UnaryOp(type(n.op)(), n.operand))
        case ast.Constant(value=bool()):
            yield lambda n: setattr(n, "value", not n.value)
        case ast.Constant(value=int() | float()):
            yield lambda n: setattr(n, "value", n.value + 1)
            yield lambda n: setattr(n, "value", n.value - 1)
        case ast.If() | ast.While() | ast.IfExp():
            yield lambda n: setattr(n, "test", ast.UnaryOp(ast.Not(), n.test))
        case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
            yield lambda n: setattr(n, "value", ast.Constant(None))
        case ast.Attribute(attr=name) if name in NAMES:
            yield lambda n: setattr(n, "attr", NAMES[n.attr])
        case ast.Name(id=name) if name in NAMES:
            yield lambda n: setattr(n, "id", NAMES[n.id])
        case ast.Expr(value=ast.Call()):
            yield lambda n: setattr(n, "value", ast.Constant(None))
        case ast.Call(keywords=keywords):
            for k, keyword in enumerate(keywords):
                if keyword.arg:
                    yield lambda n, k=k: n.keywords.pop(k)


def _is_text(node: ast.BinOp | ast.AugAssign) -> bool:
    parts = [node.value] if isinstance(node, ast.AugAssign) else [node.left, node.right]
    return any(
        isinstance(p, ast.JoinedStr) or (isinstance(p, ast.Constant) and isinstance(p.value, str)) for p in parts
    )


def _statements(tree: ast.AST) -> dict[ast.AST, int]:
    """Returns the nodes that may be changed -> the line of their statement; no types, messages, assertions, docs."""
    found: dict[ast.AST, int] = {}

    def visit(node: ast.AST, line: int) -> None:
        if isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr | ast.Import | ast.ImportFrom):
            return
        line = node.lineno if isinstance(node, ast.stmt) else line
        found[node] = line
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "returns", "decorator_list", "args") and not isinstance(node, ast.Call):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    visit(child, line)

    visit(tree, 0)
    return found


def mutants(file: str, lines: dict[str, list[int]]) -> Iterator[Mutant]:
    """Yields all mutants of a file whose line some test runs."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    statements = _statements(tree)
    for number, node in enumerate(ast.walk(tree)):
        if node not in statements or not hasattr(node, "lineno"):
            continue
        tests = lines.get(str(node.lineno)) or lines.get(str(statements[node]))
        for k, _ in enumerate(edits(node)) if tests else ():
            yield Mutant(file, node.lineno, number, k, _change(node, k), tuple(tests or ()))


def _change(node: ast.AST, edit: int) -> str:
    shown = node.test if isinstance(node, ast.If | ast.While) else node
    before = ast.unparse(shown)
    copy = ast.parse(ast.unparse(node), mode="exec").body[0]
    changed = copy if isinstance(node, ast.stmt) else copy.value  # type: ignore[attr-defined]
    list(edits(changed))[edit](changed)
    after = ast.unparse(changed.test if isinstance(node, ast.If | ast.While) else changed)
    return f"{before} → {after}".replace("\n", " ")


def draw(found: dict[str, Any]) -> list[Mutant]:
    """Draws mutants: lines first, so that long lines count no more than others, then one change of each line."""
    by_line: dict[tuple[str, int], list[Mutant]] = defaultdict(list)
    for file in sorted(found["lines"]):
        if file.startswith(tuple(f"{room}/" for room in ROOMS)):
            for mutant in mutants(file, found["lines"][file]):
                by_line[file, mutant.line].append(mutant)
    chance = random.Random(SEED)
    places = chance.sample(sorted(by_line), min(NUMBER, len(by_line)))
    return [chance.choice(by_line[place]) for place in places]


def mutated(mutant: Mutant) -> str:
    """Returns the text of the file with the change."""
    tree = ast.parse((ROOT / mutant.file).read_text(encoding="utf-8"))
    node = list(ast.walk(tree))[mutant.node]
    list(edits(node))[mutant.edit](node)
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n"


# Running them.


def run(mutant: Mutant, found: dict[str, Any], copy: Path, stamp: int) -> dict[str, Any]:
    """Runs a mutant's tests in a copy of the checkout."""
    order = sorted(mutant.tests, key=lambda k: found["seconds"][k])
    limit = LIMIT + 3 * sum(found["seconds"][k] for k in order)
    path = copy / mutant.file
    path.write_text(mutated(mutant), encoding="utf-8")
    # Python takes compiled files for current by time and size.
    os.utime(path, (stamp, stamp))
    output = copy.parent / f"{copy.name}.log"
    tests = copy.parent / f"{copy.name}.tests"
    tests.write_text("\n".join(found["tests"][k] for k in order), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", "--tb=line", f"@{tests}"]
    started = time.monotonic()
    try:
        with output.open("w") as log:
            environment = os.environ | {"PYTHONPATH": str(copy)}
            process = subprocess.Popen(
                command, cwd=copy, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
            try:
                code = process.wait(limit)
                outcome = "noticed" if code else "survived"
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                outcome = "hung"
    finally:
        shutil.copy2(ROOT / mutant.file, path)
    text = output.read_text(encoding="utf-8", errors="replace").splitlines()
    by = next((line.split(" ", 1)[1] for line in text if line.startswith(("FAILED ", "ERROR "))), "")
    by = by.split(" - ")[0]
    result = asdict(mutant) | {"outcome": outcome, "by": by, "seconds": round(time.monotonic() - started, 1)}
    return result | {"tests": len(mutant.tests)}


def run_all(drawn: list[Mutant], found: dict[str, Any], jobs: int) -> list[dict[str, Any]]:
    """Runs all that are not finished, several at once."""
    kept = RESULTS / "mutants.jsonl"
    results = [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()] if kept.exists() else []
    finished = {(r["file"], r["line"], r["change"]): r for r in results}
    copies: Queue[Path] = Queue()
    lock = threading.Lock()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        for k in range(jobs):
            copy = Path(folder) / f"copy{k}"
            ignored = shutil.ignore_patterns(".git", "__pycache__", "build", ".mypy_cache", "*.egg-info")
            shutil.copytree(ROOT, copy, symlinks=True, ignore=ignored)
            copies.put(copy)

        def one(number: int, mutant: Mutant) -> None:
            key = (mutant.file, mutant.line, mutant.change)
            if key in finished:
                return
            copy = copies.get()
            try:
                result = run(mutant, found, copy, stamp=1_000_000_000 + number)
            finally:
                copies.put(copy)
            with lock:
                finished[key] = result
                with kept.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(result) + "\n")
                print(f"{number + 1} {result['outcome']} {mutant.file}:{mutant.line} {mutant.change[:90]}", flush=True)

        list(pool.map(one, range(len(drawn)), drawn))
    return [finished[m.file, m.line, m.change] for m in drawn]


def check(results: list[dict[str, Any]]) -> None:
    """Runs the tests that noticed something without any fault: they must pass.

    Raises:
        SystemExit: if one fails, since it says nothing about the mutants then.
    """
    tests = sorted({r["by"] for r in results if r["by"]})
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--tb=line", *tests]
    if tests and (done := subprocess.run(command, cwd=ROOT, capture_output=True, text=True)).returncode:
        raise SystemExit(f"These tests fail without a fault as well:\n{done.stdout[-3000:]}")


# The table.


def table(results: list[dict[str, Any]], reasons: dict[str, str]) -> str:
    """Writes what was noticed by room, and each survivor."""
    rooms: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for result in results:
        rooms[next(room for room in ROOMS if result["file"].startswith(f"{room}/"))].append(result)
    noticed = sum(r["outcome"] != "survived" for r in results)
    lines = [
        "# Mutants",
        "",
        f"Made by `benchmarks/mutants.py`, seed {SEED}. The fast tests notice {noticed} of {len(results)} faults; "
        "a run that hangs counts as noticed.",
        "",
        "| room | mutants | a test fails | a test hangs | survive |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for room in ROOMS:
        counts = [sum(r["outcome"] == outcome for r in rooms[room]) for outcome in ("noticed", "hung", "survived")]
        lines.append(f"| `{room}` | {len(rooms[room])} | {' | '.join(map(str, counts))} |")
    lines += [
        "",
        "## Survivors",
        "",
        "| place | change | tests that run the line | reason |",
        "| --- | --- | ---: | --- |",
    ]
    for r in sorted((r for r in results if r["outcome"] == "survived"), key=lambda r: (r["file"], r["line"])):
        lines.append(f"| {_place(r)} | {r['tests']} | {reasons.get(_place(r), '')} |")
    return "\n".join([*lines, ""])


def _place(result: dict[str, Any]) -> str:
    change = result["change"].replace("|", "\\|")
    return f"`{result['file']}:{result['line']}` | `{change}`"


def reasons_in(path: Path) -> dict[str, str]:
    """Returns the reasons that somebody wrote into the table, by place and change."""
    reasons = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        parts = line.removeprefix("| ").removesuffix(" |").rsplit(" | ", 2)
        if line.startswith("| `") and len(parts) == 3 and ":" in parts[0]:
            reasons[parts[0]] = parts[2].strip()
    return reasons


def main() -> None:
    """Does what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lines", action="store_true", help="record which test runs which line, and end")
    parser.add_argument("--list", action="store_true", help="show what is drawn, and end")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once")
    parser.add_argument("pytest", nargs="*", help="with --lines: files or folders of tests; all by default")
    parser.add_argument("--first", type=int, default=NUMBER, help="run the first so many only")
    options = parser.parse_args()
    if options.lines:
        record(options.pytest)
        return
    if not LINES.exists():
        parser.error(f"{LINES.relative_to(ROOT)} is missing; run `python benchmarks/mutants.py --lines` first.")
    found = json.loads(LINES.read_text(encoding="utf-8"))
    drawn = draw(found)[: options.first]
    if options.list:
        for mutant in drawn:
            print(f"{mutant.file}:{mutant.line} ({len(mutant.tests)} tests) {mutant.change}")
        return
    results = run_all(drawn, found, options.jobs)
    check(results)
    out = RESULTS / "mutants.md"
    text = table(results, reasons_in(out))
    out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
