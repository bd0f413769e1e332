"""Files of a comparison for a paper: figures as SVG and PDF, the table and the curves as CSV."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rllib_biac.evaluation.statistics import mean_interval, probability_of_improvement
from rllib_biac.report.comparison import Comparison, Game, panels

# Told apart by people of any colour vision (Okabe and Ito), as on the page.
_COLOURS = ("#0072b2", "#d55e00", "#00875f", "#b65c95", "#8a6d00", "#3f9fd8", "#5c4a9e")
_WIDTH, _HEIGHT = 2.35, 1.9  # inches of a panel: three fit the width of a page
_ACROSS = 3


def write(found: Comparison, folder: Path) -> list[Path]:
    """Writes all files and returns their paths.

    Raises:
        OSError: if a file cannot be written.
    """
    written = []
    names: set[str] = set()
    for game in found.games:
        name = stem = f"compare_{re.sub(r'[^A-Za-z0-9_]+', '_', game.name).strip('_')[:60]}"
        number = 1
        while name in names:
            number += 1
            name = f"{stem}_{number}"
        names.add(name)
        written += _figure(game, folder, name)
    written.append(_csv(folder / "compare.csv", _TABLE, _table(found)))
    written.append(_csv(folder / "compare_curves.csv", _CURVES, _curves(found)))
    return written


def _figure(game: Game, folder: Path, name: str) -> list[Path]:
    drawn = [(title, bands, share) for title, bands, share in panels(game) if any(bands.values())]
    if not drawn:
        return []
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, PercentFormatter

    across = min(_ACROSS, len(drawn))
    down = math.ceil(len(drawn) / across)
    # Text stays text: it can be searched, and an editor can change it.
    with matplotlib.rc_context({"svg.fonttype": "none", "pdf.fonttype": 42, "font.size": 8, "svg.hashsalt": "compare"}):
        figure = Figure(figsize=(max(across * _WIDTH, 4.0), down * _HEIGHT + 0.5), layout="constrained")
        axes = figure.subplots(down, across, squeeze=False)
        for axis in axes.flat[len(drawn) :]:
            axis.remove()
        for axis, (title, bands, share) in zip(axes.flat, drawn, strict=False):
            for index, (method, band) in enumerate(bands.items()):
                if band is None:
                    continue
                colour, style = _COLOURS[index % len(_COLOURS)], "-" if index < len(_COLOURS) else "--"
                axis.plot(band.xs, band.mean, style, color=colour, linewidth=1.2, label=method)
                axis.fill_between(band.xs, band.low, band.high, color=colour, alpha=0.2, linewidth=0)
            axis.set_title(title, fontsize=8)
            axis.set_xlabel("env steps")
            axis.xaxis.set_major_formatter(EngFormatter(sep=""))
            axis.spines[["top", "right"]].set_visible(False)
            if share:
                axis.set_ylim(-0.02, 1.02)
                axis.yaxis.set_major_formatter(PercentFormatter(1.0))
        handles = {label: h for axis in figure.axes for h, label in zip(*axis.get_legend_handles_labels(), strict=True)}
        figure.legend(
            handles.values(), handles.keys(), loc="outside lower center", ncols=min(len(handles), 4), frameon=False
        )
        files = []
        for suffix, metadata in (("svg", {"Date": None}), ("pdf", {"CreationDate": None})):
            files.append(folder / f"{name}.{suffix}")
            figure.savefig(files[-1], metadata=metadata)
    return files


_TABLE = ("game", "method", "metric", "seeds", "mean", "low_95", "high_95", "values")
_CURVES = ("game", "method", "metric", "env_steps", "mean", "low_95", "high_95")


def _table(found: Comparison) -> Iterable[Sequence[Any]]:
    for game in found.games:
        for method in game.methods:
            for metric in game.metrics():
                if values := method.finals.get(metric):
                    mean, low, high = mean_interval(values)
                    ends = (low, high) if len(values) > 1 else (math.nan, math.nan)
                    yield game.name, method.name, metric, len(values), mean, *ends, " ".join(map(repr, values))
        first, *others = game.methods
        for method in others:
            for agent in game.agents:
                ours, theirs = (one.finals.get(f"return {agent}", []) for one in (first, method))
                if ours and theirs:
                    metric = f"probability that {first.name} improves, return {agent}"
                    found_ = probability_of_improvement(ours, theirs)
                    yield game.name, method.name, metric, len(theirs), *found_, ""


def _curves(found: Comparison) -> Iterable[Sequence[Any]]:
    for game in found.games:
        for title, bands, _ in panels(game):
            for method, band in bands.items():
                if band is not None:
                    for x, mean, low, high in zip(band.xs, band.mean, band.low, band.high, strict=True):
                        yield game.name, method, title, *map(float, (x, mean, low, high))


def _csv(path: Path, heading: Sequence[str], rows: Iterable[Sequence[Any]]) -> Path:
    """Writes a table. What is not known, such as the interval of one run, stays empty."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(heading)
        for row in rows:
            writer.writerow(["" if isinstance(cell, float) and math.isnan(cell) else cell for cell in row])
    return path
