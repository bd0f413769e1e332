"""Makes the pages of result folders: each one HTML file that needs no other file."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import IO, Any

import jinja2

from rllib_biac.report import comparison, paper, reproduction, training
from rllib_biac.report.comparison import Comparison
from rllib_biac.report.folders import Run, read


def write_report(folder: str | Path, out: str | Path | None = None) -> Path:
    """Writes the report of a result folder.

    Checkpoints are read by pickle, and their games are played: report only on folders you trust.

    Args:
        folder: what `rllib train` or `rllib reproduce` left. The page names it as it is written here.
        out: the HTML file; default: `report.html` in the folder. It is replaced as a whole or not touched.

    Returns:
        The file written.

    Raises:
        ValueError: if there is no such folder or it holds no results.
        OSError: if the file cannot be written.
    """
    folder = Path(folder)
    out = folder / "report.html" if out is None else Path(out)
    found = read(folder)
    if out.is_dir():
        raise IsADirectoryError(f"{out} is a folder")
    # This check comes before the work, not after it.
    with _replacing(out) as file:
        context = training.context(found) if isinstance(found, Run) else reproduction.context(found)
        file.write(render(context))
    return out


def write_comparison(found: Comparison, out: str | Path) -> list[Path]:
    """Writes a comparison: an HTML page, a table and curves as CSV, and for each game a figure as SVG and PDF.

    Args:
        found: what `comparison.compare` made.
        out: the folder; it is made if needed.

    Returns:
        The files written, the page first.

    Raises:
        OSError: if a file cannot be written.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "compare.html"
    with _replacing(page) as file:
        beside = paper.write(found, folder)
        file.write(render(comparison.context(found, [path.name for path in beside])))
    return [page, *beside]


def render(context: dict[str, Any]) -> str:
    """Returns the page for the values of a `context`: of training, reproduction or comparison. All is escaped."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = files("rllib_biac.report").joinpath("page.html").read_text(encoding="utf-8")
    return environment.from_string(template).render(context)


@contextlib.contextmanager
def _replacing(out: Path) -> Iterator[IO[str]]:
    """Opens a file beside `out`. At the end it replaces `out`; after an error it is removed."""
    handle, beside = tempfile.mkstemp(prefix=f".{out.name}.", dir=out.absolute().parent)
    try:
        with open(handle, "w", encoding="utf-8") as file:
            yield file
        # Only the owner can read a temporary file. The report gets the usual permissions.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(beside, 0o666 & ~umask)
        os.replace(beside, out)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise
