"""The library of one revision, imported instead of whatever is installed."""

from __future__ import annotations

import importlib.util
import io
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


class TreeFinder:
    """Finds the packages of one tree, ahead of whatever is installed."""

    def __init__(self, tree: Path) -> None:
        self.folders = {
            "rllib_biac": tree / "rllib_biac",
            "rllib_biac.envs": tree / "envs",
            "rllib_biac.tuned_examples": tree / "tuned_examples",
        }

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Returns where a package is, None for all other modules."""
        if (folder := self.folders.get(name)) is None or not (folder / "__init__.py").is_file():
            return None
        return importlib.util.spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )


def import_from(tree: Path) -> None:
    """Lets this process import the library from a tree only, whatever is installed."""
    # The finder of an editable install would add what the tree does not have.
    others = [finder for finder in sys.meta_path if not getattr(finder, "__module__", "").startswith("__editable__")]
    sys.meta_path[:] = [TreeFinder(tree), *others]


def check_imported_from(tree: Path) -> None:
    """Raises RuntimeError if a module of the library came from elsewhere."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name.partition(".")[0] == "rllib_biac" and file and not Path(file).resolve().is_relative_to(tree.resolve()):
            raise RuntimeError(f"{name} was imported from {file}, not from {tree}.")


@contextmanager
def revision_in(revision: str | None) -> Iterator[Path]:
    """Gives the folder that holds a revision's files, the checkout for None."""
    if revision is None:
        yield ROOT
        return
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", revision], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(folder, filter="data")
        yield Path(folder)
