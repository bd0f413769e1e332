"""Arrows between the rooms go one way (`tests/rooms.py`), in the checkout and as installed."""

import json
import sys
from pathlib import Path

import pytest

from tests import rooms
from tests.installs import CHECKOUT, KINDS, run

# What importing a room may not load.
FREE_OF = {
    "envs": ("torch", "ray"),
    "equilibria": ("torch", "ray"),
    "files": ("torch", "ray"),
    "walk": ("torch", "ray"),
    "execution": ("torch", "ray"),
    "learning": ("ray",),
    "algorithms": ("ray",),
}


def wrong(modules):
    """Says in one line each what a set of modules imports against the table."""
    imports = rooms.imports_of(modules)
    unknown = {rooms.room_of(m) for m, path in modules.items() if m.count(".") > 1 or path.name == "__init__.py"}
    return [
        *(f"rllib_biac/{room}/ is in no row of tests/rooms.py" for room in sorted(unknown - set(rooms.ROOMS))),
        *(f"{i}: its room may not import that room" for i in rooms.arrows_up(imports)),
        *(f"{i}: its room may not import that library" for i in rooms.foreign_libraries(imports)),
        *(f"{i}: its room may not import that part of Ray" for i in rooms.wrong_ray(imports)),
        *(f"files that import each other: {', '.join(circle)}" for circle in rooms.circles(imports)),
        *(f"rooms that import each other: {', '.join(circle)}" for circle in rooms.circles(imports, by_room=True)),
    ]


def test_checkout():
    assert not wrong(rooms.modules_of(CHECKOUT))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_installed(kind, installed, tmp_path):
    script = (
        "import json, pkgutil, rllib_biac, pathlib; p = pathlib.Path(rllib_biac.__file__).parent;"
        "import rllib_biac.envs as e; print(json.dumps([str(p), str(pathlib.Path(e.__file__).parent)]))"
    )
    package, envs = (Path(folder) for folder in json.loads(run(installed(kind), "-c", script, cwd=tmp_path)))
    assert not package.is_relative_to(CHECKOUT)
    modules = rooms.modules_in(package, "rllib_biac") | rooms.modules_in(envs, "rllib_biac.envs")
    # The examples are packaged so that `rllib example` finds them; a checkout has them beside the package.
    modules = {m: path for m, path in modules.items() if rooms.room_of(m) != "tuned_examples"}
    assert set(modules) == set(rooms.modules_of(CHECKOUT))
    assert not wrong(modules)


@pytest.mark.parametrize("room", FREE_OF)
def test_what_a_room_loads(room):
    """Every file of the room is imported, but those of `execution` that import torch and wait until they are needed."""
    modules = {m: path for m, path in rooms.modules_of(CHECKOUT).items() if rooms.room_of(m) == room}
    late = {i.file for i in rooms.imports_of(modules) if i.module == "torch" and not i.in_function}
    names = sorted(set(modules) - (late if room == "execution" else set()))
    assert f"rllib_biac.{room}" in names
    script = (
        f"import importlib, sys\nfor name in {names!r}: importlib.import_module(name)\n"
        f"print(*({{module.split('.')[0] for module in sys.modules}} & set({FREE_OF[room]!r})))"
    )
    assert not run(Path(sys.executable), "-c", script, cwd=CHECKOUT).split()


def test_the_reader_finds_what_is_wrong(tmp_path):
    (tmp_path / "rllib_biac" / "walk").mkdir(parents=True)
    (tmp_path / "rllib_biac" / "learning").mkdir()
    (tmp_path / "envs").mkdir()
    files = {
        "rllib_biac/__init__.py": "",
        "rllib_biac/walk/__init__.py": "def later():\n    from ..learning import team\n",
        "rllib_biac/walk/types.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import jax\n",
        "rllib_biac/learning/__init__.py": "import scipy\n",  # allowed, since `envs` may
        "rllib_biac/learning/team.py": "from rllib_biac import walk\nfrom ray import rllib\nimport torch\n",
        "envs/__init__.py": "import ray\nimport rllib_biac.envs\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    found = wrong(rooms.modules_of(tmp_path))
    assert [line.split(":")[0] for line in found] == [
        "rllib_biac.walk",  # up, although inside a function
        "rllib_biac.walk.types",  # jax, although only for type checkers
        "rllib_biac.learning.team",
        "rllib_biac.envs",
        "files that import each other",
        "rooms that import each other",
    ]
