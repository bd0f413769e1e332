"""What an experiment is: its runs, what one run does, and what is made of their rows."""

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
        name: what a user types, and the stem of the files' names.
        title: one line for people.
        seeds: how many, unless a user says otherwise.
        runs: number of seeds -> the settings of all runs, JSON values; runs of one seed stand together, so that time
            left can be told from what is done.
        run: does one run, called with its settings as keywords, in a worker process.
        tables: rows -> tables, the most important first.
        figures: rows -> (title, picture), the most important first; at least one.
        notes: what a reader has to know.
        raw: the stem of the file that holds the rows, where several experiments look at the same runs.
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
