"""An experiment: its runs, the function for one run, and the tables and figures made of the rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rllib_biac.reproduce.runs import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Table:
    """A table of texts; every row has as many cells as there are columns."""

    title: str
    columns: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Experiment:
    """One table or figure of the paper.

    Attributes:
        name: the name that a user types, and the stem of the files' names.
        title: one line for people.
        seeds: the default number of seeds.
        runs: number of seeds -> the settings of all runs, JSON values; the runs of one seed are
            together, so that finished runs give an estimate of the time left.
        run: does one run, called with its settings as keywords, in a worker process.
        tables: rows -> tables, the most important first.
        figures: rows -> (title, picture), the most important first; at least one.
        notes: remarks for the reader.
        raw: the stem of the file of rows, if several experiments use the same runs.
    """

    name: str
    title: str
    seeds: int
    runs: Callable[[int], list[Row]]
    run: Callable[..., Row]
    tables: Callable[[list[Row]], list[Table]]
    figures: Callable[[list[Row]], list[tuple[str, Figure]]]
    notes: tuple[str, ...] = ()
    raw: str = ""

    @property
    def raw_name(self) -> str:
        """The name of the file of rows."""
        return f"{self.raw or self.name}.jsonl"
