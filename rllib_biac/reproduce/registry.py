"""All experiments by name. Reading the names imports no experiment."""

from __future__ import annotations

import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rllib_biac.reproduce.experiment import Experiment

_HERE = "rllib_biac.reproduce"
EXPERIMENTS: dict[str, str] = {
    "table2": f"{_HERE}.matrix_games:TABLE2",
    "table3": f"{_HERE}.matrix_games:TABLE3",
    "table4": f"{_HERE}.merge_study:TABLE4",
    "fig2": f"{_HERE}.random_games:FIG2",
    "fig4": f"{_HERE}.escape_curves:FIG4",
    "fig5": f"{_HERE}.training_curves:FIG5",
    "fig7": f"{_HERE}.training_curves:FIG7",
    "figs8-12": f"{_HERE}.random_games:FIGS8TO12",
}


def experiment(name: str) -> Experiment:
    """Returns the experiment of this name, one of `EXPERIMENTS`."""
    return pkgutil.resolve_name(EXPERIMENTS[name])
