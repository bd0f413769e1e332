"""What the harness is tried out on: workers import it from here."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from matplotlib.figure import Figure

from rllib_biac.reproduce.experiment import Experiment, Table
from rllib_biac.reproduce.runs import Row


def square(x: int, mark: str = "") -> Row:
    """Leaves a line in `mark`, so that a test can tell how often it was called."""
    if mark:
        with open(mark, "a") as file:
            file.write(f"{x}\n")
    return {"y": x * x}


def raises_unless(x: int, mended: str) -> Row:
    """Raises at 2 until there is a file `mended`."""
    if x == 2 and not Path(mended).exists():
        raise ValueError("two is not mended")
    return {"y": x * x}


def dies_once(x: int, mark: str) -> Row:
    """Its process is killed the first time."""
    if not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"y": x * x}


def no_json(x: int) -> Row:
    """Returns what JSON has no word for."""
    return {"y": float("nan")}


def slowly(x: int) -> Row:
    """Takes its time."""
    time.sleep(0.3)
    return {"y": x * x}


def _runs(seeds: int) -> list[Row]:
    return [{"x": seed} for seed in range(seeds)]


def _tables(rows: list[Row]) -> list[Table]:
    return [Table("Squares", ["x", "x²"], [[str(row["x"]), str(row["y"])] for row in rows])]


def _figures(rows: list[Row]) -> list[tuple[str, Figure]]:
    figure = Figure()
    figure.subplots().plot([row["x"] for row in rows], [row["y"] for row in rows])
    return [("Squares", figure), ("Squares again", figure)]


SQUARES = Experiment("squares", "Squares of seeds", 3, _runs, square, _tables, _figures, notes=("by hand",))
SLOW = Experiment("slow", "Squares, slowly", 40, _runs, slowly, _tables, _figures)
NEVER = Experiment("never", "No number", 2, _runs, no_json, _tables, _figures)
