"""The command with a stand-in for the algorithms, so that these tests are about the command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rllib_biac.cli.main import main
from rllib_biac.experiments.resolve import Experiment


@pytest.fixture
def rllib(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs `rllib` with these arguments. `BiAC` and `IDQN` are stubs, which play no games."""
    monkeypatch.setattr("rllib_biac.experiments.checks._mistakes_in_game", lambda settings: ())
    stub = "tests.experiments.stub:StubAlgorithm"
    monkeypatch.setattr("rllib_biac.rllib.registry.ALGORITHMS", {"BiAC": stub, "IDQN": stub})
    return lambda *arguments: CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Experiment]:
    """What would have been trained: nothing is run."""
    experiments: list[Experiment] = []

    def run(given: list[Experiment], *_: Any, **__: Any) -> int:
        experiments.extend(given)
        return 0

    monkeypatch.setattr("rllib_biac.cli.run.run", run)
    return experiments


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes an experiment file."""

    def write_file(text: str, name: str = "game.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write_file
