"""The package as a user gets it: from a wheel, or from a checkout in place, in an environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
KINDS = ("editable", "wheel")
_PARTS = ("rllib_biac", "envs", "tuned_examples", "setup.py", "pyproject.toml", "README.md", "LICENSE")


def install(kind: str, folder: Path) -> Path:
    """Installs a copy of the checkout. The dependencies are those of this environment.

    Args:
        kind: one of `KINDS`.
        folder: an empty folder, for the copy and the virtual environment.

    Returns:
        The virtual environment's Python.
    """
    copy = folder / "checkout"
    copy.mkdir()
    for part in _PARTS:
        if (CHECKOUT / part).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", ".mypy_cache")
            shutil.copytree(CHECKOUT / part, copy / part, symlinks=True, ignore=ignored)
        elif (CHECKOUT / part).exists():
            shutil.copy(CHECKOUT / part, copy / part)
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    # Of the dependencies alone: without the finder of an editable install of the checkout.
    paths = {sysconfig.get_path("purelib"), *(path for path in sys.path if Path(path).name == "site-packages")}
    (site / "dependencies.pth").write_text("\n".join(sorted(paths)) + "\n", encoding="utf-8")
    pip = ("-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps", "--no-build-isolation")
    how = ("--editable", str(copy)) if kind == "editable" else (str(copy),)
    # An installation of the package that this environment has would else be uninstalled first.
    run(python, *pip, "--ignore-installed", *how, cwd=folder)
    if kind == "wheel":
        shutil.rmtree(copy)
    return python


def run(python: Path, *arguments: str, cwd: Path, **variables: str) -> str:
    """Runs Python in a folder, with these environment variables. Returns what it prints.

    Raises:
        AssertionError: if it fails, with its own words.
    """
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "MYPYPATH")}
    command = [str(python), *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment | variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
