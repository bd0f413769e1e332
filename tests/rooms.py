"""The rooms of the package, what each may import, and a reader of imports that holds files to it.

`tests/test_rooms.py` holds the package to this table, `benchmarks/structure.py` counts by it.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

PACKAGE = "rllib_biac"


@dataclass(frozen=True)
class Room:
    """What the files of a folder may import, beside the standard library and the room itself.

    Attributes:
        rooms: other rooms. What these may import is allowed as well.
        libraries: top-level packages, or a package with a dot for one part of it; None where any will do.
        inside_functions: rooms and libraries that a function may import when it is called.
    """

    rooms: tuple[str, ...] = ()
    libraries: tuple[str, ...] | None = ()
    inside_functions: tuple[str, ...] = ()


ROOMS: Mapping[str, Room] = {
    # A game of the zoo comes with its exact answer, solved for when it is drawn. As the arrow waits for a call, what is
    # built on games knows nothing of equilibria.
    "envs": Room(
        libraries=("numpy", "scipy", "gymnasium", "pettingzoo", "highway_env"), inside_functions=("equilibria",)
    ),
    "equilibria": Room(libraries=("numpy", "scipy")),
    "files": Room(libraries=("numpy", "safetensors")),
    "walk": Room(libraries=("array_api_compat", "numpy"), inside_functions=("torch",)),
    # Loading a checkpoint's folder needs RLlib's reader: the one arrow up. Torch is for a file that nobody imports
    # before a policy is exported to ONNX; a test holds that importing the room loads none.
    "execution": Room(("walk", "files"), ("torch",), inside_functions=("rllib", "onnx", "onnxscript")),
    "learning": Room(("envs", "files", "walk"), ("torch",)),
    "algorithms": Room(("learning",)),
    "evaluation": Room(("algorithms", "equilibria")),
    "rllib": Room(("evaluation", "execution"), None),
    "experiments": Room(("rllib",), None),
    "report": Room(("experiments",), None),
    "reproduce": Room(("experiments",), None),
    "cli": Room(("report", "reproduce"), None),
    # The package's own `__init__`: what a user imports from it is in the rooms below.
    PACKAGE: Room(("cli",), None),
}
# What of Ray a room may import, as patterns. A room that is not named here imports none of it.
RAY: Mapping[str, tuple[str, ...]] = {
    "rllib": ("ray", "ray.*"),
    "experiments": ("ray", "ray.tune", "ray.tune.*"),
    "cli": ("ray", "ray.tune", "ray.tune.*"),
}


@dataclass(frozen=True)
class Import:
    """One import of one file.

    Attributes:
        file: the module that imports, by its full name.
        line: where.
        module: the module that is imported; of `from package import module` the module.
        in_function: whether it waits until a function is called.
        typing_only: whether only type checkers see it.
        name: what `from module import name` takes from it, if it is no module.
    """

    file: str
    line: int
    module: str
    in_function: bool = False
    typing_only: bool = False
    name: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}{f' ({self.name})' if self.name else ''}"


def modules_of(checkout: Path) -> dict[str, Path]:
    """Returns the modules of a checkout, full name -> file; `envs/` is the package's `envs`."""
    found = modules_in(checkout / PACKAGE, PACKAGE)  # does not follow links
    return found | modules_in(checkout / "envs", f"{PACKAGE}.envs")


def modules_in(folder: Path, package: str) -> dict[str, Path]:
    """Returns the modules of a package's folder, full name -> file."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        found[".".join((package, *(parts[:-1] if parts[-1] == "__init__" else parts)))] = path
    return found


def room_of(module: str) -> str:
    """Returns the room of a module of the package; `rllib_biac` for the package itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else PACKAGE


def imports_of(modules: Mapping[str, Path]) -> list[Import]:
    """Reads the imports of all modules, those inside functions and under `TYPE_CHECKING` as well."""
    return [found for module, path in modules.items() for found in _imports(module, path, modules)]


def _imports(module: str, path: Path, modules: Mapping[str, Path]) -> Iterator[Import]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]

    def visit(node: ast.AST, in_function: bool, typing_only: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, node.lineno, alias.name, in_function, typing_only)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = ".".join([*parents[: len(parents) - node.level + 1], node.module or ""]).strip(".")
            source = base if node.level else node.module or ""
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                if inner in modules:
                    yield Import(module, node.lineno, inner, in_function, typing_only)
                else:
                    yield Import(module, node.lineno, source, in_function, typing_only, alias.name)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for child in node.body:
                yield from visit(child, in_function, True)
            for child in node.orelse:
                yield from visit(child, in_function, typing_only)
        else:
            inside = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for child in ast.iter_child_nodes(node):
                yield from visit(child, inside, typing_only)

    yield from visit(tree, False, False)


def reachable(room: str, rooms: Mapping[str, Room] = ROOMS) -> set[str]:
    """Returns the rooms that a room may import, itself included."""
    found = {room}
    for other in rooms[room].rooms:
        found |= reachable(other, rooms)
    return found


def arrows_up(imports: Iterable[Import], rooms: Mapping[str, Room] = ROOMS) -> list[Import]:
    """Returns the imports from one room to another that the table does not allow."""
    return [i for i in imports if _is_ours(i.module) and not _allowed_room(i, rooms)]


def _is_ours(module: str) -> bool:
    return module == PACKAGE or module.startswith(f"{PACKAGE}.")


def _allowed_room(found: Import, rooms: Mapping[str, Room]) -> bool:
    source, target = room_of(found.file), room_of(found.module)
    if source not in rooms or target not in rooms:
        return source == target
    late = found.in_function and target in rooms[source].inside_functions
    return late or target in reachable(source, rooms)


def foreign_libraries(imports: Iterable[Import], rooms: Mapping[str, Room] = ROOMS) -> list[Import]:
    """Returns the imports of libraries that the table does not allow, Ray's aside (see `wrong_ray`)."""
    return [i for i in imports if not _allowed_library(i, rooms)]


def _allowed_library(found: Import, rooms: Mapping[str, Room]) -> bool:
    top, source = found.module.partition(".")[0], room_of(found.file)
    if top in (PACKAGE, "ray") or top in sys.stdlib_module_names or source not in rooms:
        return True
    allowed: set[str] = set()
    for room in reachable(source, rooms):
        libraries = rooms[room].libraries
        if libraries is None:
            return True
        allowed |= set(libraries)
    return top in allowed or (found.in_function and top in rooms[source].inside_functions)


def wrong_ray(imports: Iterable[Import], ray: Mapping[str, tuple[str, ...]] = RAY) -> list[Import]:
    """Returns the imports of Ray that the table does not allow: `ray.rllib` is for one room alone."""
    return [i for i in imports if i.module.split(".")[0] == "ray" and not _allowed_ray(i, ray)]


def of_rllib(found: Import) -> bool:
    """Tells whether an import is one of RLlib."""
    return f"{found.module}.{found.name}.".startswith("ray.rllib.")


def _allowed_ray(found: Import, ray: Mapping[str, tuple[str, ...]]) -> bool:
    room = room_of(found.file)
    if of_rllib(found) and room != "rllib":
        return False
    return any(fnmatch(found.module, pattern) for pattern in ray.get(room, ()))


def circles(imports: Iterable[Import], by_room: bool = False) -> list[list[str]]:
    """Returns the circles of imports: sets of files (or rooms) that all lead to each other, one list a circle.

    Lazy imports count as well as those of types: a circle that is put off is still one.
    """
    graph: dict[str, set[str]] = {}
    for found in imports:
        if _is_ours(found.module):
            source, target = (room_of(m) if by_room else m for m in (found.file, found.module))
            if source != target:
                graph.setdefault(source, set()).add(target)
                graph.setdefault(target, set())
    return sorted((sorted(part) for part in _strongly_connected(graph) if len(part) > 1), key=len, reverse=True)


def _strongly_connected(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Kosaraju's algorithm: the order in which a walk leaves nodes, then walks against the arrows."""
    order: list[str] = []
    seen: set[str] = set()

    def leave(node: str, along: Mapping[str, set[str]], left: list[str]) -> None:
        seen.add(node)
        for other in sorted(along[node]):
            if other not in seen:
                leave(other, along, left)
        left.append(node)

    for node in sorted(graph):
        if node not in seen:
            leave(node, graph, order)
    against: dict[str, set[str]] = {node: set() for node in graph}
    for node, others in graph.items():
        for other in others:
            against[other].add(node)
    seen.clear()
    parts = []
    for node in reversed(order):
        if node not in seen:
            parts.append([])
            leave(node, against, parts[-1])
    return parts
