"""`rllib compare`: sets trials of any algorithms, games and seeds beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rllib_biac.cli.folders import readable
from rllib_biac.cli.ticker import Ticker
from rllib_biac.experiments.mistakes import Mistake

if TYPE_CHECKING:
    from rllib_biac.report.comparison import Game


def compare(
    folders: Sequence[str], out: Path, episodes: int, seed: int, best_response: int | None, command: str
) -> None:
    """Writes the comparison's files, prints its tables and the page's path.

    Raises:
        Mistake: if a folder holds no trials, or `out` cannot be written.
    """
    # These imports take seconds.
    from rllib_biac.report import comparison
    from rllib_biac.report.page import write_comparison

    ticker = Ticker("playing checkpoints", "trials")
    try:
        found = comparison.compare(
            [readable(folder) for folder in folders],
            episodes=episodes,
            seed=seed,
            best_response=best_response or 0,
            command=command,
            progress=ticker,
        )
    except ValueError as error:
        raise Mistake(str(error)) from error
    finally:
        ticker.close()
    try:
        written = write_comparison(found, out)
    except OSError as error:
        raise Mistake(f"--out {out}: cannot write there ({error.strerror or error}).") from error
    for problem in found.problems:
        click.echo(f"note: {problem}", err=True)
    for game in found.games:
        _show(game)
    click.echo(f"comparison: {written[0]}")
    click.echo(f"  for a paper: {', '.join(path.name for path in written[1:])}")


def _show(game: Game) -> None:
    """Prints a game's table, a line per method and metric: no terminal is too narrow for it."""
    from rllib_biac.report import comparison

    told = "greedy play" if game.played else "training, exploration included"
    click.echo(f"{game.name} ({told}; mean over seeds and its 95% interval)")
    titles = [comparison.title_of(metric) for metric in game.metrics()]
    for name, seeds, cells in comparison.cells(game):
        click.echo(f"  {name}, {seeds} seed{'s' if seeds > 1 else ''}")
        for title, (value, interval) in zip(titles, cells, strict=True):
            click.echo(f"    {title}: {value} {interval}".rstrip())
