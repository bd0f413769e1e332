"""`rllib report`: writes the report of a result folder and prints its path."""

from __future__ import annotations

from pathlib import Path

import click

from rllib_biac.cli.folders import readable
from rllib_biac.experiments.mistakes import Mistake


def report(folder: str, out: Path | None) -> None:
    """Writes an HTML page about a result folder.

    Args:
        folder: the results of `rllib train` or `rllib reproduce`.
        out: the file; None for `report.html` in the folder.

    Raises:
        Mistake: if the folder has no results or the page cannot be written.
    """
    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise Mistake(f"--out {out}: the file's name must end in .html.")
    if out is not None and not out.absolute().parent.is_dir():
        raise Mistake(f"--out {out}: there is no folder {out.absolute().parent}.")
    from rllib_biac.report.page import write_report

    try:
        written = write_report(readable(folder), out)
    except ValueError as error:
        raise Mistake(str(error)) from error
    except OSError as error:
        where = out or Path(folder, "report.html")
        instead = "" if out else " Write it elsewhere with --out FILE.html."
        raise Mistake(f"{where} cannot be written: {error.strerror or error}.{instead}") from error
    click.echo(f"report: {written}")
