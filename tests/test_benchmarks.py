"""What programs in benchmarks/ import is looked up: they take hours, and none should be found broken when it is run."""

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAMS = sorted((ROOT / "benchmarks").rglob("*.py"))
OURS = ("rllib_biac", "tests", "examples")


def names_in(file):
    """What a file defines or imports, by name."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    return names


def beside(program, module):
    """The file of a module that lies beside a program, or in the folder of all; None of one that is installed."""
    own = Path(*module.split(".")).with_suffix(".py")
    files = [folder / own for folder in (program.parent, ROOT / "benchmarks")]
    return next((file for file in files if file.is_file()), None)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.relative_to(ROOT / "benchmarks").as_posix())
def test_what_a_program_imports_is_there(program):
    missing = []
    for node in ast.walk(ast.parse(program.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not node.module:
            continue
        if (file := beside(program, node.module)) is not None:
            known = names_in(file)
            missing += [(node.module, each.name) for each in node.names if each.name not in known]
        elif node.module.partition(".")[0] in OURS:
            module = importlib.import_module(node.module)
            for each in node.names:
                if not hasattr(module, each.name):
                    importlib.import_module(f"{node.module}.{each.name}")
    assert not missing
