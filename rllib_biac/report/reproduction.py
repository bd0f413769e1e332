"""Gathers the values of the page for results of `rllib reproduce`."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import Any

from rllib_biac.report.charts import number
from rllib_biac.report.checkpoints import data_uri
from rllib_biac.report.folders import Reproduction, inside, raw_rows
from rllib_biac.report.training import clock


def context(found: Reproduction) -> dict[str, Any]:
    """Returns the page's values."""
    sections = [_section(found, index, manifest) for index, manifest in enumerate(found.manifests)]
    seconds = sum(section["seconds"] or 0 for section in sections)
    count = len(sections)
    facts = [("Experiments", str(count)), ("Tables", str(sum(len(section["tables"]) for section in sections)))]
    facts.append(("Figures", str(sum(len(section["figures"]) for section in sections))))
    facts += [("Computing time", clock(seconds))] if seconds else []
    return {
        "kind": "reproduction",
        "eyebrow": "Reproduction",
        "title": found.folder.resolve().name,
        "facts": facts,
        "problems": found.problems,
        "contents": [(section["id"], section["title"]) for section in sections] + [("again", "Do it again")],
        "sections": sections,
        "commands": [("Compute", [section["command"] for section in sections if section["command"]])],
        "report_command": shlex.join(["rllib", "report", str(found.folder)]),
    }


def _section(found: Reproduction, index: int, manifest: dict[str, Any]) -> dict[str, Any]:
    name = str(manifest.get("experiment") or f"experiment {index + 1}")
    versions, seconds = manifest.get("versions"), manifest.get("seconds")
    return {
        "id": f"experiment-{index + 1}",
        "name": name,
        "title": str(manifest.get("title") or name),
        "notes": [str(note) for note in _list(manifest, "notes")],
        "tables": [_table(table) for table in _list(manifest, "tables") if isinstance(table, dict)],
        "figures": [_figure(found, figure) for figure in _list(manifest, "figures") if isinstance(figure, dict)],
        "command": str(manifest.get("command") or ""),
        "versions": {str(key): str(value) for key, value in versions.items()} if isinstance(versions, dict) else {},
        "raw": str(manifest.get("raw") or ""),
        "raw_rows": raw_rows(found, manifest),
        "seconds": float(seconds) if isinstance(seconds, int | float) else None,
        "time": clock(float(seconds)) if isinstance(seconds, int | float) else "",
    }


def _list(manifest: dict[str, Any], key: str) -> list[Any]:
    value = manifest.get(key)
    return value if isinstance(value, list) else []


def _table(table: dict[str, Any]) -> dict[str, Any]:
    columns = [str(column) for column in _list(table, "columns")]
    rows = [row for row in _list(table, "rows") if isinstance(row, list)]
    cells = [[_text(cell) for cell in (row + [None] * len(columns))[: len(columns)]] for row in rows]
    numeric = [bool(cells) and all(_numeric(row[i]) for row in cells) for i in range(len(columns))]
    return {"title": str(table.get("title") or "Table"), "columns": columns, "rows": cells, "numeric": numeric}


def _text(cell: Any) -> str:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return "–"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return number(cell) if isinstance(cell, float) else str(cell)


def _numeric(text: str) -> bool:
    """Tells whether a cell is right-aligned: it starts like a number, or it is empty."""
    return text in ("", "–") or text.lstrip("−-+±≥≤<>~ ")[:1].isdigit()


def _figure(found: Reproduction, figure: dict[str, Any]) -> dict[str, Any]:
    """Embeds a figure as an image, so that styles, ids and scripts of an SVG cannot affect the page."""
    title = str(figure.get("title") or "Figure")
    for key, kind in (("svg", "image/svg+xml"), ("png", "image/png")):
        if (path := inside(found.folder, figure.get(key))) is not None and (data := _read(path)):
            return {"title": title, "source": data_uri(kind, data), "file": path.name}
    wanted = " or ".join(str(figure[key]) for key in ("svg", "png") if figure.get(key))
    return {"title": title, "source": "", "file": wanted or "it names no file"}


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError:
        return b""
    whole = b"</svg>" in data[-200:] if path.suffix == ".svg" else data.startswith(b"\x89PNG") and b"IEND" in data[-12:]
    return data if whole else b""
