"""A run that was killed goes on from the newest checkpoint that is whole, whatever Tune had written down by then."""

import json

import pytest
from click.testing import CliRunner

from rllib_biac.cli.evaluate import find
from rllib_biac.cli.main import main
from rllib_biac.experiments.mistakes import Mistake
from rllib_biac.experiments.resume import mend
from rllib_biac.files.checkpoint import METADATA

TEXT = """
mine:
  run: BiAC
  env: escape_v0
  stop: {training_iteration: 4}
  checkpoint_config: {checkpoint_frequency: 1, checkpoint_at_end: false}
  config: {hierarchy: [[player_0], [player_1]], seed: 0, min_sample_timesteps_per_iteration: 100}
"""


def results(trial):
    (folder,) = trial
    rows = [json.loads(line) for line in (folder / "result.json").read_text().splitlines()]
    return {row["training_iteration"]: row for row in rows}


@pytest.mark.slow
def test_a_killed_run_goes_on_from_what_is_whole(ray, tmp_path, write):
    path = str(write(TEXT))

    def run(*flags):
        result = CliRunner().invoke(main, ["train", "file", path, "--storage-path", str(tmp_path), *flags])
        assert result.exit_code == 0, result.output
        return result.output

    run()
    folder = tmp_path / "mine"
    in_one_go = results(folder.glob("BiAC_*"))
    (record,) = folder.glob("experiment_state-*.json")
    # What a kill leaves behind: the trial still running, a checkpoint half copied, records that know of more than there
    # is, the newest of them torn. (The first checkpoint is in the record, and was deleted before the kill.)
    running = record.read_text().replace(r"\"status\": \"TERMINATED\"", r"\"status\": \"RUNNING\"")
    assert running != record.read_text()
    record.write_text(running)
    torn = record.with_name("experiment_state-2999-01-01_00-00-00.json")
    torn.write_text(running[: len(running) // 2])
    *_, second, third, fourth = sorted(folder.glob("*/checkpoint_*"))
    for part in (fourth / METADATA, third / "replay_buffer" / "rows.npz"):
        part.unlink()
    assert find(str(folder)) == second
    assert json.loads((second / METADATA).read_text())["rllib_biac"]["training_iteration"] == 2

    output = run("--resume")
    assert "done: iter 4 | 400 steps" in output and not torn.exists()
    gone_on = results(folder.glob("BiAC_*"))
    assert find(str(folder)) == fourth
    for iteration in (3, 4):
        for key in ("player_0", "player_1"):
            then, now = (rows[iteration]["learners"][key] for rows in (in_one_go, gone_on))
            assert now == then
        assert gone_on[iteration]["time_total_s"] > gone_on[2]["time_total_s"] > 0

    # A second time there is nothing to mend, and nothing is touched.
    before = record.read_text()
    mend(folder)
    assert record.read_text() == before


def test_without_a_record_there_is_no_resuming(tmp_path):
    (tmp_path / "experiment_state-2026-01-01_00-00-00.json").write_text("{")
    with pytest.raises(Mistake, match="the record of its trials is damaged"):
        mend(tmp_path)
