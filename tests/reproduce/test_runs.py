"""Runs end as they should, whatever becomes of some of them, and a study goes on where it stopped."""

from __future__ import annotations

import errno
import json

import click
import pytest

from rllib_biac.experiments.mistakes import Mistake
from rllib_biac.reproduce import runs
from rllib_biac.reproduce.runs import count_missing, run_all
from tests.reproduce import tasks


@pytest.fixture(autouse=True)
def one_ray(ray):
    """The harness uses a Ray that is there already."""


@pytest.mark.slow
def test_rows_come_in_the_order_of_their_settings_and_are_not_made_twice(tmp_path):
    raw, mark = tmp_path / "new folder" / "rows.jsonl", tmp_path / "called"
    settings = [{"x": x, "mark": str(mark)} for x in (3, 1, 2, 1)]
    first = run_all(tasks.square, settings, raw)
    assert [row["y"] for row in first.rows] == [9, 1, 4, 1]
    assert not first.failures
    assert [row["settings_keys"] for row in first.rows] == [["x", "mark"]] * 4
    again = run_all(tasks.square, settings[:2], raw)
    assert [row["y"] for row in again.rows] == [9, 1]
    assert sorted(mark.read_text().split()) == ["1", "2", "3"]
    assert len(raw.read_text().splitlines()) == 3
    assert count_missing([*settings, {"x": 4, "mark": ""}], raw) == 1


@pytest.mark.parametrize(
    ("end", "redone"),
    [
        ('{"x": 2, "y"', True),
        pytest.param("{\x00", True, marks=pytest.mark.slow),
        pytest.param('{"x": 2, "y": 4, "settings_keys": ["x"]}', False, marks=pytest.mark.slow),
    ],
)
def test_a_last_line_without_an_end_is_mended(tmp_path, end, redone):
    raw = tmp_path / "rows.jsonl"
    whole = {"x": 1, "y": 1, "settings_keys": ["x"]}
    raw.write_text(json.dumps(whole) + "\n" + end)
    assert count_missing([{"x": 1}, {"x": 2}], raw) == redone
    finished = run_all(tasks.square, [{"x": 1}, {"x": 2}, {"x": 3}], raw)
    assert [row["y"] for row in finished.rows] == [1, 4, 9]
    rows = [json.loads(line) for line in raw.read_text().splitlines()]
    assert sorted(row["x"] for row in rows) == [1, 2, 3]
    assert ("cpu_seconds" in next(row for row in rows if row["x"] == 2)) == redone


@pytest.mark.parametrize("line", ["no json", "[1]", '{"x": 1}', '{"x": 1, "settings_keys": 7}'])
def test_a_line_that_cannot_be_read_is_named(tmp_path, line):
    raw = tmp_path / "rows.jsonl"
    raw.write_text('{"x": 1, "settings_keys": ["x"]}\n' + line + "\n")
    with pytest.raises(Mistake, match=r"rows\.jsonl, line 2: .*Remove the line"):
        run_all(tasks.square, [{"x": 1}], raw)


@pytest.mark.slow
def test_a_run_that_raises_is_named_and_tried_again(tmp_path):
    raw, mended = tmp_path / "rows.jsonl", tmp_path / "mended"
    settings = [{"x": x, "mended": str(mended)} for x in (1, 2, 3)]
    finished = run_all(tasks.raises_unless, settings, raw)
    assert [row["x"] for row in finished.rows] == [1, 3]
    ((failed, reason),) = [(failure.settings, failure.reason) for failure in finished.failures]
    assert failed == settings[1]
    assert reason == "ValueError: two is not mended"
    mended.touch()
    assert [row["x"] for row in run_all(tasks.raises_unless, settings, raw).rows] == [1, 2, 3]


@pytest.mark.slow
def test_a_killed_worker_is_replaced(tmp_path):
    finished = run_all(tasks.dies_once, [{"x": 5, "mark": str(tmp_path / "mark")}], tmp_path / "rows.jsonl")
    assert [row["y"] for row in finished.rows] == [25]


def test_a_full_disk_loses_nothing_finished(tmp_path, monkeypatch):
    raw = tmp_path / "rows.jsonl"
    settings = [{"x": x} for x in range(4)]

    class Full:
        """A file on a disk that has room for a line and a half."""

        def __init__(self, path, *_, **__):
            self.file, self.room = open(path, "ab", buffering=0), 120  # noqa: SIM115

        def write(self, data):
            if not self.room:
                raise OSError(errno.ENOSPC, "No space left on device")
            written = self.file.write(data[: self.room])
            self.room -= written
            return written

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

    monkeypatch.setattr(runs, "open", Full, raising=False)
    with pytest.raises(click.ClickException, match=r"No space left on device.*1 run\(s\) finished") as error:
        run_all(tasks.square, settings, raw, cpus=1)
    assert error.value.exit_code == 1
    monkeypatch.undo()
    assert not raw.read_bytes().endswith(b"\n")
    assert count_missing(settings, raw) == 3
    assert [row["y"] for row in run_all(tasks.square, settings, raw).rows] == [0, 1, 4, 9]
    assert len(raw.read_text().splitlines()) == 4
