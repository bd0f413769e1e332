"""Writes the results of an experiment: tables as Markdown and CSV, pictures, and a manifest that lists the files."""

from __future__ import annotations

import csv
import json
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matplotlib

from rllib_biac.reproduce.experiment import Experiment
from rllib_biac.reproduce.runs import Failure, Row

KIND = "rllib_biac reproduction"


def write(
    experiment: Experiment, rows: list[Row], folder: Path, command: str, failures: Sequence[Failure] = ()
) -> Path:
    """Writes NAME.md, NAME.csv (the first table), NAME.png, NAME.svg (further ones NAME_2.png, ...) and NAME.json.

    Args:
        experiment: the experiment.
        rows: the rows of its runs; at least one.
        folder: the folder for the files; it exists.
        command: the command that repeats the experiment.
        failures: the failed runs. They have no rows.

    Returns:
        The Markdown file.
    """
    tables = experiment.tables(rows)
    notes = list(experiment.notes)
    if failures:
        notes.insert(0, f"{len(failures):,} run(s) failed and are left out.")
    made = versions()
    files = {kind: folder / f"{experiment.name}.{kind}" for kind in ("md", "csv", "json")}
    seconds = round(sum(row["cpu_seconds"] for row in rows))

    pictures = []
    # Without this, an SVG has ids and a date that differ from call to call.
    with matplotlib.rc_context({"svg.hashsalt": experiment.name, "svg.fonttype": "none"}):
        for number, (title, figure) in enumerate(experiment.figures(rows), 1):
            stem = experiment.name if number == 1 else f"{experiment.name}_{number}"
            figure.savefig(folder / f"{stem}.svg", metadata={"Date": None})
            figure.savefig(folder / f"{stem}.png", dpi=130)
            pictures.append({"title": title, "svg": f"{stem}.svg", "png": f"{stem}.png"})

    parts = [f"# {experiment.title}"]
    parts += [f"## {table.title}\n\n{markdown(table.columns, table.rows)}" for table in tables]
    parts += [f"![{picture['title']}]({picture['png']})" for picture in pictures]
    parts += ["\n".join(f"- {note}" for note in notes)] if notes else []
    made_with = ", ".join(f"{name} {number}" for name, number in made.items())
    parts += [f"Made by `{command}`: {len(rows):,} runs, {seconds:,} CPU-seconds ({made_with})."]
    files["md"].write_text("\n\n".join(parts) + "\n", encoding="utf-8")

    with open(files["csv"], "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([tables[0].columns, *tables[0].rows])

    manifest = {
        "kind": KIND,
        "experiment": experiment.name,
        "title": experiment.title,
        "command": command,
        "versions": made,
        "notes": notes,
        "tables": [{"title": table.title, "columns": table.columns, "rows": table.rows} for table in tables],
        "figures": pictures,
        "raw": experiment.raw_name,
        "seconds": seconds,
    }
    files["json"].write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return files["md"]


def markdown(columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    """Returns a Markdown table."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def versions() -> dict[str, str]:
    """Returns the versions that figures were made with, name -> version."""
    names = ("rllib_biac", "ray", "torch", "numpy", "highway-env")
    return {"Python": platform.python_version()} | {name: version(name) for name in names}
