"""What the studies of learning share: many independent runs on Ray, one row of JSON each, resumable, with time left."""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from scipy import stats

Row = dict[str, Any]
RESULTS = Path(__file__).parent / "results"


@ray.remote(num_cpus=1, max_retries=2)
def _run(function: Callable[..., Row], settings: Row) -> Row:
    torch.set_num_threads(1)
    begin = time.process_time()
    row = function(**settings)
    return {**settings, **row, "cpu_seconds": round(time.process_time() - begin, 2)}


def run_all(function: Callable[..., Row], runs: Iterable[Row], raw: Path, cpus: int | None = None) -> list[Row]:
    """Runs `function(**settings)` for all settings that `raw` has no row of yet, appending one line per finished run.

    An interrupted call (Ctrl-C, a killed worker, a full disk) keeps what was finished; the next one goes on from there.

    Args:
        function: importable by workers; returns what the run found out, as JSON values.
        runs: settings of the runs, as JSON values.
        raw: a file of JSON lines.
        cpus: runs at once; default: all of the machine.

    Returns:
        The rows of all settings given, in their order.
    """
    runs = list(runs)
    done = _read(raw)
    todo = [settings for settings in runs if _key(settings) not in done]
    raw.parent.mkdir(parents=True, exist_ok=True)
    if todo:
        ray.init(num_cpus=cpus, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        try:
            _finish(function, todo, raw, done)
        finally:
            ray.shutdown()
    return [done[_key(settings)] for settings in runs]


def _finish(function: Callable[..., Row], todo: list[Row], raw: Path, done: dict[str, Row]) -> None:
    begin, waiting = time.monotonic(), list(reversed(todo))
    slots = int(ray.cluster_resources()["CPU"])
    pending: dict[Any, Row] = {}
    finished = 0
    with open(raw, "a", encoding="utf-8") as file:
        while waiting or pending:
            while waiting and len(pending) < slots:
                settings = waiting.pop()
                pending[_run.remote(function, settings)] = settings
            (ready, *_), _ = ray.wait(list(pending))
            settings = pending.pop(ready)
            row = ray.get(ready)
            file.write(json.dumps(row) + "\n")
            file.flush()
            done[_key(settings)] = row
            finished += 1
            spent = time.monotonic() - begin
            left = spent / finished * (len(todo) - finished)
            print(f"\r{finished}/{len(todo)} runs, {spent:.0f} s, about {left:.0f} s left ", end="", file=sys.stderr)
    print(file=sys.stderr)


def _read(raw: Path) -> dict[str, Row]:
    if not raw.exists():
        return {}
    rows = {}
    for line in raw.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue  # the last line of a run that was cut off
        rows[_key({key: row[key] for key in row["settings_keys"]})] = row
    return rows


def _key(settings: Row) -> str:
    return json.dumps(settings, sort_keys=True)


def share(hits: int, total: int) -> str:
    """Returns `100 of 100 (at least 96.4%)`: a count and its exact one-in-forty lower bound (Clopper-Pearson)."""
    low = stats.binomtest(hits, total).proportion_ci(0.95, "exact").low
    return f"{hits} of {total} (≥ {100 * low:.1f}%)"


def markdown(columns: list[str], rows: Iterable[Iterable[Any]]) -> str:
    """Returns a Markdown table."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def versions() -> str:
    """Returns what the figures were made with."""
    names = ("rllib_biac", "ray", "torch", "numpy", "highway-env")
    return f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in names)


def quantiles(values: Iterable[float]) -> str:
    """Returns median and worst of non-negative numbers."""
    array = np.asarray(list(values), float)
    return f"{np.median(array):.3g} / {array.max():.3g}"
