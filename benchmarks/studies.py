"""What the studies of learning share, beside the runs themselves: where results go, and how tables say things."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path

import numpy as np
from scipy import stats

from rllib_biac.reproduce import runs as _runs
from rllib_biac.reproduce import write as _write
from rllib_biac.reproduce.runs import Row
from rllib_biac.reproduce.write import markdown

__all__ = ["RESULTS", "Row", "made_with", "markdown", "quantiles", "run_all", "share", "versions"]

RESULTS = Path(__file__).parent / "results"


def run_all(function: Callable[..., Row], runs: Iterable[Row], raw: Path, cpus: int | None = None) -> list[Row]:
    """Returns the rows of all runs given, in their order; see `rllib_biac.reproduce.runs.run_all`.

    Raises:
        RuntimeError: if a run failed, after all others have ended; the next call tries it again.
    """
    finished = _runs.run_all(function, runs, raw, cpus)
    if finished.failures:
        first = finished.failures[0]
        raise RuntimeError(f"{len(finished.failures)} run(s) failed, the first with {first.settings}: {first.reason}")
    return finished.rows


def share(hits: int, total: int) -> str:
    """Returns `100 of 100 (≥ 96.4%)`: a count and its exact one-in-forty lower bound (Clopper-Pearson)."""
    low = stats.binomtest(hits, total).proportion_ci(0.95, "exact").low
    return f"{hits} of {total} (≥ {100 * low:.1f}%)"


def versions() -> str:
    """Returns what the figures were made with."""
    return ", ".join(f"{name} {number}" for name, number in _write.versions().items())


def made_with(*packages: str) -> list[str]:
    """Returns the last lines of what a program measured: by what, on what, and the command."""
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    held = [f"Python {platform.python_version()}", *(f"{name} {metadata.version(name)}" for name in packages), machine]
    return [f"{', '.join(held)}.", "", f"    {shlex.join(['python', *sys.argv])}"]


def quantiles(values: Iterable[float]) -> str:
    """Returns median and worst of non-negative numbers."""
    array = np.asarray(list(values), float)
    return f"{np.median(array):.3g} / {array.max():.3g}"
