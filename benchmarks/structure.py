"""How the package is built: circles of imports, arrows up, where Ray is known, long files, lines one reads for Bi-AC.

This program shows
    what `tests/rooms.py` counts in this checkout, and beside it in another revision. A room of that revision that the
    table does not know is counted as the room it turned into (`FORMERLY`).
How to run
    python benchmarks/structure.py --before main
    Seconds for the imports; the lines one reads are traced in a process for each column, which takes half a minute.
Results to expect
    Nothing but zeros in the "after" column; at most 900 lines in at most 8 files for two-level Bi-AC.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import json
import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests import rooms

RESULTS = ROOT / "benchmarks" / "results" / "structure.md"
FORMERLY = {"core": "rllib"}
LONG, LONG_ALGORITHM = 450, 300
READ = ("walk", "learning", "algorithms", "core")  # the rooms whose lines count as those of the method

# Greedy play and one update of two-level Bi-AC, by autograd. What it prints: file -> [first line, last line] of all
# functions entered, for play and update alone and with the building of the networks before them.
TRACED = """
import inspect, json, sys
import numpy as np
import torch
from gymnasium import spaces

root = sys.argv[1]
entered, building = {}, {}

def note(frame, event, argument):
    code = frame.f_code
    if event == "call" and code.co_filename.startswith(root) and code.co_name not in ("<module>",):
        into.setdefault(code.co_filename, set()).add((code.co_firstlineno, code.co_name))

def traced(where, function):
    global into
    into = where
    sys.setprofile(note)
    try:
        return function()
    finally:
        sys.setprofile(None)

rng = np.random.default_rng(0)
agents, states = ["one", "two"], rng.normal(size=(2, 64, 2)).astype(np.float32)
columns = dict(
    states=states[0], next_states=states[1],
    actions={a: rng.integers(3, size=64) for a in agents}, rewards={a: rng.normal(size=64) for a in agents},
    terminated=rng.random(64) < 0.2, truncated=np.zeros(64, bool),
)
state = torch.from_numpy(states[0])
"""
NEW = """
from rllib_biac.algorithms.biac import BiAC
from rllib_biac.algorithms.biac.losses import BiACLosses
from rllib_biac.algorithms.biac.settings import BiACSettings
from rllib_biac.learning.hierarchy import Hierarchy
from rllib_biac.learning.team import TeamSpec
from rllib_biac.learning.transitions import join

def build():
    box = spaces.Box(-9.0, 9.0, (2,), np.float32)
    spec = TeamSpec(
        hierarchy=Hierarchy([["one"], ["two"]]), agents=tuple(agents), observation_spaces=dict.fromkeys(agents, box),
        action_spaces=dict.fromkeys(agents, spaces.Discrete(3)), state_space=box, masked=False, settings=BiACSettings(),
    )
    team = BiAC.build_team(spec)
    return team, BiAC.trainer(team, BiACLosses, seed=0)

def run():
    team.act(state)
    trainer.train(rows)

rows = join(agents, **columns).columns
team, trainer = traced(building, build)
traced(entered, run)
"""
OLD = """
import ray
from gymnasium import spaces
from pettingzoo import ParallelEnv
from rllib_biac import BiACConfig
from rllib_biac.algorithms.biac.biac_learner import BiACLearner
from rllib_biac.core.learner import as_multi_agent_batch
from rllib_biac.core.transitions import join

class Game(ParallelEnv):
    metadata = {"name": "game_v0"}
    possible_agents = agents
    state_space = spaces.Box(-9.0, 9.0, (2,), np.float32)
    def observation_space(self, agent): return self.state_space
    def action_space(self, agent): return spaces.Discrete(3)
    def state(self): return np.zeros(2, np.float32)
    def reset(self, seed=None, options=None):
        self.agents = list(agents)
        return {a: self.state() for a in agents}, {a: {} for a in agents}

ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
BiACLearner._has_known_gradient = False
config = BiACConfig().environment(Game).hierarchy([["one"], ["two"]]).env_runners(num_env_runners=0)
algo = traced(building, config.build_algo)
learner = algo.learner_group._learner

batch = as_multi_agent_batch(join(agents, **columns), learner.agents)

def run():
    with torch.no_grad():
        learner.module.act(state)
    learner.update(batch=batch, minibatch_size=64)

traced(entered, run)
"""
LAST = """
print("FOUND " + json.dumps([{f: sorted(c) for f, c in found.items()} for found in (entered, building)]))
"""


# Lines one reads.


def functions_entered(root: Path) -> tuple[dict[str, set[int]], dict[str, set[int]]]:
    """Runs Bi-AC's play and update. Returns file -> lines of the functions entered, then those that building entered.

    A function counts whole, with its docstring; what is defined inside another one counts once.
    """
    new = (root / rooms.PACKAGE / "learning").is_dir()
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled"}
    command = [sys.executable, "-W", "ignore", "-c", TRACED + (NEW if new else OLD) + LAST, str(root)]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    found = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    if not found:
        raise SystemExit(f"Bi-AC of {root} did not run:\n{done.stdout}\n{done.stderr}")
    entered, building = (
        {str(Path(file).relative_to(root)): _lines(Path(file), codes) for file, codes in part.items()}
        for part in json.loads(found[0].removeprefix("FOUND "))
    )
    return entered, building


def _lines(file: Path, codes: list[tuple[int, str]]) -> set[int]:
    firsts = {line for line, _ in codes}
    lines: set[int] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            if first in firsts:
                lines |= set(range(first, (node.end_lineno or first) + 1))
    return lines


def of_the_method(found: Mapping[str, set[int]]) -> dict[str, int]:
    """Returns file -> lines entered, of the rooms that hold the method."""
    places = {file: Path(file).parts for file in found}
    return {
        file: len(lines)
        for file, lines in sorted(found.items())
        if lines and (places[file][1] in READ or places[file][1:] == ("execution", "walk.py"))
    }


# Ray's private names.


def listed(modules: Mapping[str, Path]) -> set[str]:
    """Returns the private names that the table of `rllib/ray_names.py` lists."""
    path = modules.get(f"{rooms.PACKAGE}.rllib.ray_names")
    if path is None:
        return set()
    rows = (
        node.args
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Row"
    )
    return {a.value for row in rows for a in row[1:2] if isinstance(a, ast.Constant) and is_private(a.value)}


def is_private(name: str) -> bool:
    """Tells whether a name is one that its owner keeps to itself."""
    return name.startswith("_") and not name.startswith("__")


def private_names_used(modules: Mapping[str, Path]) -> list[str]:
    """Returns where files other than compat use private names of Ray that compat's table does not list.

    Counted are private modules and names in imports; in classes that descend from one of Ray's, what these have; and
    private attributes of other objects, if Ray has such a name and the file itself does not define one.
    """
    known, found = listed(modules), []
    ray_classes, everywhere = _Bases(modules), names_in_ray()
    compat = (f"{rooms.PACKAGE}.rllib.compat", f"{rooms.PACKAGE}.rllib.ray_names")
    for i in rooms.imports_of(modules):
        if i.module.split(".")[0] == "ray" and i.file not in compat:
            found += [f"{i.file}:{i.line} {part}" for part in f"{i.module}.{i.name}".split(".") if is_private(part)]
    for module, path in modules.items():
        if module in compat:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        defined = set(_defined(tree))
        for owner in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
            inherited = ray_classes.names(module, owner.name)
            for node in ast.walk(owner):
                name = _own_attribute(node)
                if name in inherited:
                    found.append(f"{module}:{node.lineno} {name}")
        for node in ast.walk(tree):
            if not isinstance(node, ast.Attribute) or ast.unparse(node) == "os._exit":  # Python's, and public
                continue
            if _own_attribute(node) == "" and node.attr in everywhere - defined:
                found.append(f"{module}:{node.lineno} {node.attr}")
    return sorted({place for place in found if place.split()[-1] not in known})


def _own_attribute(node: ast.AST) -> str:
    """Returns the private name that a class defines, or takes from `self` or `super()`; else nothing."""
    if isinstance(node, ast.FunctionDef):
        return node.name if is_private(node.name) else ""
    if isinstance(node, ast.Attribute) and is_private(node.attr):
        value = node.value
        by_super = isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "super"
        if by_super or (isinstance(value, ast.Name) and value.id in ("self", "cls")):
            return node.attr
    return ""


def _defined(tree: ast.AST) -> Iterator[str]:
    """Yields the private names that functions, or assignments to attributes of `self`, define."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and is_private(node.name):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _own_attribute(node):
            yield node.attr


def names_in_ray() -> set[str]:
    """Returns the private names that classes of RLlib, Tune and Train define."""
    import ray

    names: set[str] = set()
    for part in ("rllib", "tune", "train"):
        for path in (Path(ray.__file__).parent / part).rglob("*.py"):
            if "tests" not in path.parts:
                names |= set(_defined(ast.parse(path.read_text(encoding="utf-8"))))
    return names


class _Bases:
    """The classes of a checkout, and what those of Ray they descend from keep private."""

    def __init__(self, modules: Mapping[str, Path]) -> None:
        self._bases: dict[tuple[str, str], list[tuple[str, str]]] = {}
        imported = {(i.file, i.name): i.module for i in rooms.imports_of(modules) if i.name}
        for module, path in modules.items():
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef):
                    names = [base.id for base in node.bases if isinstance(base, ast.Name)]
                    self._bases[module, node.name] = [(imported.get((module, name), module), name) for name in names]

    def names(self, module: str, name: str) -> set[str]:
        found: set[str] = set()
        for base in self._bases.get((module, name), []):
            if base[0].split(".")[0] == "ray":
                cls = getattr(importlib.import_module(base[0]), base[1])
                for parent in inspect.getmro(cls):
                    if parent.__module__.split(".")[0] == "ray":
                        found |= set(_defined(ast.parse(textwrap.dedent(inspect.getsource(parent)))))
            elif base != (module, name):
                found |= self.names(*base)
        return found


# The table.


def facts(root: Path) -> tuple[dict[str, Any], list[str]]:
    """Counts a checkout. Returns the counts by name, and each place that counts, in one line."""
    modules = rooms.modules_of(root)
    table = dict(rooms.ROOMS) | {
        old: rooms.ROOMS[new] for old, new in FORMERLY.items() if (root / rooms.PACKAGE / old).is_dir()
    }
    imports = rooms.imports_of(modules)
    lines = {m: len(path.read_text(encoding="utf-8").splitlines()) for m, path in modules.items()}
    files, between = rooms.circles(imports), rooms.circles(imports, by_room=True)
    up = sorted({f"{i.file} → {i.module}" for i in rooms.arrows_up(imports, table)})
    rllib = sorted({i.file for i in imports if rooms.of_rllib(i) and rooms.room_of(i.file) != "rllib"})
    ray = sorted(
        {i.file for i in imports if i.module.split(".")[0] == "ray" and rooms.room_of(i.file) not in rooms.RAY}
    )
    libraries = sorted({f"{i.file} → {i.module}" for i in rooms.foreign_libraries(imports, table)})
    private = private_names_used(modules)
    long = sorted(f"{m}: {n}" for m, n in lines.items() if n > LONG)
    long_algorithms = sorted(
        f"{m}: {n}" for m, n in lines.items() if rooms.room_of(m) == "algorithms" and n > LONG_ALGORITHM
    )
    entered, building = functions_entered(root)
    read, all_read = of_the_method(entered), of_the_method(_united(entered, building))
    lists = {
        "circles of imports between files": [", ".join(circle) for circle in files],
        "circles of imports between rooms": [", ".join(circle) for circle in between],
        "arrows up (file → module)": up,
        "files that import `ray.rllib` outside `rllib_biac/rllib/`": rllib,
        "files that import Ray outside the rooms that may": ray,
        "imports of libraries that the room may not import": libraries,
        "private names of Ray outside compat's table": private,
        f"files over {LONG} lines": long,
        f"files of `algorithms/` over {LONG_ALGORITHM} lines": long_algorithms,
    }
    counts: dict[str, Any] = {name: len(places) for name, places in lists.items()}
    counts |= {
        "files, lines of the package": f"{len(modules)}, {sum(lines.values()):,}",
        "two-level Bi-AC, play and one update: lines of the functions entered": f"{sum(read.values()):,}",
        "two-level Bi-AC, play and one update: files": len(read),
        "two-level Bi-AC, play and one update: lines of these files, whole": f"{_length(root, read):,}",
        "the same with building the networks: lines": f"{sum(all_read.values()):,}",
        "the same with building the networks: files": len(all_read),
    }
    lists["two-level Bi-AC, play and one update"] = [f"{file}: {n}" for file, n in read.items()]
    return counts, [f"- {name}: `{place}`" for name, places in lists.items() for place in places]


def _length(root: Path, files: Iterable[str]) -> int:
    return sum(len((root / file).read_text(encoding="utf-8").splitlines()) for file in files)


def _united(one: Mapping[str, set[int]], other: Mapping[str, set[int]]) -> dict[str, set[int]]:
    return {file: one.get(file, set()) | other.get(file, set()) for file in {*one, *other}}


def revision(name: str, folder: Path) -> Path:
    """Lays another revision out in a folder, with `envs` where an installation has it."""
    root = folder / "checkout"
    root.mkdir()
    archive = subprocess.run(["git", "archive", name], cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", str(root)], input=archive, check=True)
    for part in ("envs", "tuned_examples"):
        link = root / rooms.PACKAGE / part
        if not link.exists():
            link.symlink_to(Path("..") / part)
    return root


def main() -> None:
    """Writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", metavar="REV", default="main", help="the revision of the other column")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        before, then = facts(revision(options.before, Path(folder).resolve()))
    after, now = facts(ROOT)
    hashes = [
        subprocess.run(["git", "rev-parse", "--short", r], cwd=ROOT, capture_output=True, text=True).stdout.strip()
        for r in (options.before, "HEAD")
    ]
    lines = [
        "# How the package is built",
        "",
        "Made by `benchmarks/structure.py`. What each room may import is in `tests/rooms.py`. Imports inside functions",
        "and imports of types count. Lines are whole functions, docstrings included.",
        "",
        f"| | before ({hashes[0]}) | after ({hashes[1]}) |",
        "| --- | ---: | ---: |",
        *(f"| {name} | {before[name]} | {after[name]} |" for name in after),
        "",
        *(
            line
            for title, places in (("after", now), ("before", then))
            for line in (f"<details><summary>Places: {title}</summary>", "", *places, "", "</details>", "")
        ),
    ]
    text = "\n".join(lines)
    options.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
