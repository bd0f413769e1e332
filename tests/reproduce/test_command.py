"""`rllib reproduce`: what it writes, what it refuses, how it ends and goes on."""

from __future__ import annotations

import csv
import json
import os
import signal
import threading
import time
from dataclasses import replace

import pytest
from click.testing import CliRunner

from rllib_biac.cli.main import main
from rllib_biac.reproduce import matrix_games
from rllib_biac.reproduce.registry import EXPERIMENTS, experiment


@pytest.fixture(autouse=True)
def tried_out(monkeypatch, ray):
    for name in ("squares", "slow", "never"):
        monkeypatch.setitem(EXPERIMENTS, name, f"tests.reproduce.tasks:{name.upper()}")


def reproduce(*arguments):
    return CliRunner().invoke(main, ["reproduce", *map(str, arguments)])


@pytest.mark.slow
def test_all_that_is_written(tmp_path):
    out = tmp_path / "my results"
    result = reproduce("squares", "--seeds", 2, "--out", out)
    assert result.exit_code == 0, result.output
    assert f"squares: {out / 'squares.md'}" in result.output
    assert "squares: Squares of seeds, 2 runs\n" in result.output
    names = {path.name for path in out.iterdir()}
    assert names == {f"squares{end}" for end in (".jsonl", ".json", ".md", ".csv", ".png", ".svg", "_2.png", "_2.svg")}
    assert list(csv.reader((out / "squares.csv").open())) == [["x", "x²"], ["0", "0"], ["1", "1"]]
    manifest = json.loads((out / "squares.json").read_text())
    assert manifest["kind"] == "rllib_biac reproduction"
    assert manifest["command"] == f"rllib reproduce squares --seeds 2 --out '{out}'"
    assert manifest["tables"] == [{"title": "Squares", "columns": ["x", "x²"], "rows": [["0", "0"], ["1", "1"]]}]
    assert [figure["svg"] for figure in manifest["figures"]] == ["squares.svg", "squares_2.svg"]
    assert manifest["raw"] == "squares.jsonl"
    page = (out / "squares.md").read_text()
    for part in ("# Squares of seeds", "| 1 | 1 |", "![Squares](squares.png)", "- by hand", manifest["command"]):
        assert part in page

    more = reproduce("squares", "--out", out)
    assert "squares: Squares of seeds, 3 runs, 2 of them done before\n" in more.output
    before = (out / "squares.svg").read_bytes()
    assert reproduce("squares", "--out", out).exit_code == 0
    assert (out / "squares.svg").read_bytes() == before


def test_mistakes_are_found_before_anything_runs(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "squares.jsonl").write_text("nonsense\n")
    for arguments, exit_code, fragments in (
        (["tabel2"], 2, ["no experiment 'tabel2'", "Did you mean 'table2'?", "figs8-12, "]),
        (["table2", "fig3"], 2, ["no experiment 'fig3'"]),
        (["squares", "--seeds", "0"], 2, ["--seeds", "0 is not in the range"]),
        (["squares", "--cpus", "-1"], 2, ["--cpus"]),
        ([], 2, ["EXPERIMENT"]),
        (["squares", "--out", tmp_path / "file"], 2, ["--out", "cannot write there"]),
        (["squares", "--out", tmp_path / "file" / "inside"], 2, ["cannot write there", "Not a directory"]),
        (["squares", "--out", tmp_path], 2, ["squares.jsonl, line 1", "--out"]),
    ):
        result = reproduce(*arguments)
        assert result.exit_code == exit_code, result.output
        for fragment in fragments:
            assert fragment in result.output
        assert "Traceback" not in result.output


@pytest.mark.slow
def test_failed_runs_are_reported_with_their_settings(tmp_path):
    result = reproduce("never", "squares", "--out", tmp_path)
    assert result.exit_code == 1
    assert "never: a run failed: ValueError: Out of range float values are not JSON compliant" in result.output
    assert 'its settings: {"x": 0}' in result.output
    assert "never: 2 of 2 runs failed; the same command tries them again." in result.output
    assert not (tmp_path / "never.md").exists()
    assert (tmp_path / "squares.md").exists()


@pytest.fixture
def ctrl_c():
    """Whoever started the tests in the background may have them ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
def test_interrupt_and_go_on(tmp_path, ctrl_c):
    raw = tmp_path / "slow.jsonl"

    def interrupt_after_a_row():
        while not (raw.exists() and raw.read_text().count("\n") >= 2):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt_after_a_row)
    thread.start()
    stopped = reproduce("slow", "--out", tmp_path)
    thread.join()
    assert stopped.exit_code == 130, stopped.output
    assert f"continue with: rllib reproduce slow --out {tmp_path}\n" in stopped.output
    assert not (tmp_path / "slow.md").exists()
    done = raw.read_text().count("\n")
    assert 2 <= done < 40
    resumed = reproduce("slow", "--seeds", done + 1, "--out", tmp_path)
    assert resumed.exit_code == 0, resumed.output
    assert f"{done + 1} runs, {done} of them done before" in resumed.output


@pytest.mark.slow
def test_table2_end_to_end(tmp_path, monkeypatch):
    def few(seeds):
        return [run for run in matrix_games.runs("escape", seeds, ("BiAC",)) if run["variant"] == "main"]

    monkeypatch.setattr(matrix_games, "TABLE2", replace(matrix_games.TABLE2, runs=few))
    result = reproduce("table2", "--seeds", 1, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    (table,) = json.loads((tmp_path / "table2.json").read_text())["tables"]
    ours = dict(zip(table["columns"], table["rows"][0], strict=True))
    assert ours["algorithm"] == "Bi-AC"
    assert ours["runs at C-Z after 3,000 steps [95%]"] == "1 of 1 [2.5%, 100.0%]"
    assert ours["paper: C-Z"] == "90%"
    assert [row[0] for row in table["rows"]] == ["Bi-AC", "bi-level Q, tabular"]


@pytest.mark.parametrize("name", list(EXPERIMENTS))
def test_every_experiment_has_runs_of_different_settings(name):
    tried = experiment(name)
    runs = [json.dumps(settings, sort_keys=True) for settings in tried.runs(2)]
    assert tried.name == name
    assert runs and len(set(runs)) == len(runs)
