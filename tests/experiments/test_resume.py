"""A run that was killed goes on from the newest checkpoint that is whole, whatever Tune had written down by then."""

import json
import os
import pickle
import zipfile
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from ray.train._internal.storage import StorageContext
from ray.tune import CheckpointConfig
from ray.tune.experiment import Trial
from ray.tune.utils.serialization import TuneFunctionEncoder

from rllib_biac.cli.evaluate import find
from rllib_biac.cli.main import main
from rllib_biac.experiments import changes, reading
from rllib_biac.experiments.mistakes import Mistake
from rllib_biac.experiments.overrides import override
from rllib_biac.experiments.resolve import resolve
from rllib_biac.experiments.resume import KeepRecord, begun, foresee, mend
from rllib_biac.files.checkpoint import MADE_BY, METADATA, metadata, replacing
from rllib_biac.rllib.compat import read_record, saved_trial

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


CHANGES = """
mine:
  run: BiAC
  env: escape_v0
  stop: {{training_iteration: {stop}}}
  max_failures: {failures}
  checkpoint_config: {{checkpoint_frequency: {frequency}}}
  config: {{hierarchy: [[player_0], [player_1]], seed: {seed}, lr: {lr}, gamma: {gamma}, num_env_runners: {runners}}}
"""
STARTED = {"stop": 2, "failures": 0, "frequency": 1, "seed": 0, "lr": 0.001, "gamma": 0.9, "runners": 0}


@pytest.fixture
def began(tmp_path, write):
    """An experiment, as it would be resumed: its folder knows what it was started with."""

    def resumed(flags=None, **changed):
        path = write(CHANGES.format(**STARTED | changed))
        (draft,) = reading.read(path)
        return resolve(override(draft, {"storage_path": str(tmp_path), "resume": True} | (flags or {})))

    (draft,) = reading.read(write(CHANGES.format(**STARTED)))
    changes.write(resolve(override(draft, {"storage_path": str(tmp_path), "num_samples": 2})))
    return resumed


def test_what_changed_is_told(began):
    said = []
    assert changes.differences(began(), said.append) == {}
    assert len(began().trials) == 2  # as a flag said when it was started
    found = changes.differences(began(stop=9, failures=3, frequency=5, lr=0.5, runners=1), said.append)
    assert found == {
        ("stop", "training_iteration"): (2, 9),
        ("max_failures",): (0, 3),
        ("checkpoint_config", "checkpoint_frequency"): (1, 5),
        ("config", "lr"): (0.001, 0.5),
        ("config", "num_env_runners"): (0, 1),
    }
    assert changes.differences(began({"stop": {"training_iteration": 7}}), said.append) == {
        ("stop", "training_iteration"): (2, 7)
    }
    assert said == []


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"gamma": 0.5}, "`config: gamma` was 0.9"),
        ({"seed": 1}, "`config: seed` was 0"),
        ({"flags": {"seed": 4}}, "`config: seed` was 0"),
        ({"flags": {"num_samples": 3}}, "`num_samples` was 2"),
        ({"lr": "{grid_search: [0.1, 0.2]}"}, "`config: lr` was 0.001"),
    ],
)
def test_what_may_not_change_is_refused(began, changed, told):
    with pytest.raises(Mistake, match=f"cannot be resumed with other settings than it was started with: {told}"):
        changes.differences(began(**changed), print)


def test_what_would_change_is_foreseen(began, record, tmp_path):
    said = []
    with pytest.raises(Mistake, match=r"nothing to resume in .*mine: run it once without --resume"):
        foresee([began()])
    record("PENDING")
    before = {path: path.read_bytes() for path in (tmp_path / "mine").rglob("*") if path.is_file()}
    foresee([began(lr=0.5)], said.append)
    assert said == ["`config: lr` was 0.001: the trials go on with 0.5."]
    with pytest.raises(Mistake, match="cannot be resumed with other settings"):
        foresee([began(gamma=0.5)])
    assert {path: path.read_bytes() for path in (tmp_path / "mine").rglob("*") if path.is_file()} == before


def test_a_run_that_nobody_knows_is_told(began, tmp_path):
    experiment = began()
    (tmp_path / "mine" / ".rllib_experiment.json").write_text("{")
    said = []
    assert changes.differences(experiment, said.append) == {} and "is not known" in said[0]


@pytest.mark.slow
def test_changes_are_applied_and_a_trial_that_had_finished_stays_so(ray, tmp_path, write):
    def run(*flags, **changed):
        path = str(write(CHANGES.format(**STARTED | changed)))
        return CliRunner().invoke(main, ["train", "file", path, "--storage-path", str(tmp_path), *flags])

    first = run()
    assert first.exit_code == 0, first.output
    folder = tmp_path / "mine"
    (record,) = folder.glob("experiment_state-*.json")
    # Killed before Tune wrote down that the trial had ended.
    record.write_text(record.read_text().replace(r"\"status\": \"TERMINATED\"", r"\"status\": \"RUNNING\""))
    assert "RUNNING" in record.read_text()
    before = results(folder.glob("BiAC_*"))
    again = run("--resume")
    assert again.exit_code == 0 and results(folder.glob("BiAC_*")) == before, again.output
    refused = run("--resume", gamma=0.5)
    assert refused.exit_code == 2 and "`config: gamma` was 0.9" in refused.output, refused.output
    changed = run("--resume", stop=3, lr=0.0, runners=1)
    assert changed.exit_code == 0, changed.output
    for line in ("lr` was 0.001: the trials go on with 0.0", "it had finished, and goes on", "done: iter 3 |"):
        assert line in changed.output, changed.output
    rows = results(folder.glob("BiAC_*"))
    assert rows[3]["config"]["lr"] == 0.0 and rows[3]["config"]["num_env_runners"] == 1
    assert rows[3]["learners"]["player_0"]["critic_learning_rate"] == 0.0
    assert rows[3]["num_env_steps_sampled_lifetime"] > rows[2]["num_env_steps_sampled_lifetime"]


@pytest.fixture
def record(began, tmp_path):
    """Writes Tune's record of one trial, as a run leaves it; returns a function that reads it."""
    config = began().trials[0].config
    storage = StorageContext(str(tmp_path), "mine", trial_dir_name="BiAC_x")
    trial = Trial("BiAC", config=config.to_dict(), trial_id="x", stub=True, storage=storage)
    trial.stopping_criterion = {"training_iteration": 2}
    trial.placement_group_factory = config.algo_class.default_resource_request(trial.config)
    trial.stub = False
    path = tmp_path / "mine" / "experiment_state-2026-01-01_00-00-00.json"

    def write(status):
        trial.status = status
        trial.run_metadata.last_result = {"training_iteration": 2, "trial_id": "x"}
        trial.invalidate_json_state()
        path.write_text(json.dumps({"trial_data": [trial.get_json_state()]}, cls=TuneFunctionEncoder))

        def read():
            ((saved, metadata),) = read_record(path.read_text())["trial_data"]
            found = Trial.from_json_state(saved, stub=True)
            found.restore_run_metadata(metadata)
            return found

        return read

    return write


def test_trials_take_over_what_changed(began, record, tmp_path):
    read, said = record("TERMINATED"), []
    mend(tmp_path / "mine", said.append, began())
    assert read().status == "TERMINATED"
    assert [line for line in said if "though its folder is gone" not in line] == []
    (tmp_path / "mine" / "BiAC_x").mkdir()
    said.clear()
    mend(tmp_path / "mine", said.append, began())
    assert said == [] and read().status == "TERMINATED"
    mend(tmp_path / "mine", said.append, began(stop=1, lr=0.5, runners=2, failures=3))
    trial = read()
    assert trial.status == "TERMINATED"  # it has reached the new stop, too
    assert trial.config["lr"] == 0.5 and trial.config["num_env_runners"] == 2 and trial.config["gamma"] == 0.9
    assert trial.max_failures == 3 and trial.placement_group_factory.required_resources == {"CPU": 3.0}
    assert "`config: lr` was 0.001: the trials go on with 0.5." in said
    mend(tmp_path / "mine", said.append, began(stop=9, frequency=5))
    trial = read()
    assert trial.status == "PENDING" and trial.stopping_criterion == {"training_iteration": 9}
    assert trial.run_metadata.checkpoint_manager.checkpoint_config.checkpoint_frequency == 5
    assert any("it had finished, and goes on to the new stop" in line for line in said)


@pytest.mark.parametrize(("saved", "status"), [(2, "TERMINATED"), (1, "PENDING"), (None, "PENDING")])
def test_a_trial_that_had_reached_its_stop_is_finished(record, tmp_path, saved, status):
    """Tune was killed before it wrote that down; not so if the last checkpoint is of an earlier report."""
    read, folder = record("RUNNING"), tmp_path / "mine" / "BiAC_x"
    folder.mkdir()
    (folder / "result.json").write_text('{"training_iteration": 1}\n{"training_iteration": 2}\n')
    if saved:
        with replacing(folder / f"checkpoint_00000{saved}") as written:
            (written / METADATA).write_text(json.dumps(metadata(training_iteration=saved)))
    trial = read()
    trial.run_metadata.checkpoint_manager._checkpoint_config = CheckpointConfig(checkpoint_frequency=1)
    path = tmp_path / "mine" / "experiment_state-2026-01-01_00-00-00.json"
    path.write_text(json.dumps({"trial_data": [saved_trial(trial)]}, cls=TuneFunctionEncoder))
    mend(tmp_path / "mine")
    assert read().status == status


@pytest.mark.parametrize("place", [30, 0.5, 0.9])
def test_a_flipped_bit_in_a_record_is_taken_back_or_named(record, tmp_path, place):
    record("PENDING")
    folder = tmp_path / "mine"
    (path,) = folder.glob("experiment_state-*.json")
    whole = path.read_bytes()
    at = place if isinstance(place, int) else int(place * len(whole))
    keep(folder)
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    mend(folder)
    assert path.read_bytes() == whole
    path.unlink()
    assert begun(SimpleNamespace(folder=str(folder)))
    mend(folder)
    assert path.read_bytes() == whole
    (folder / ".tune_record.zip").unlink()
    path.write_bytes(whole[:300] + b"\xff" + whole[301:])
    with pytest.raises(Mistake, match=path.name):
        mend(folder)


@pytest.mark.parametrize("damage", ["cut short", "of no trials", "of one trial twice", "of another run", "no JSON"])
@pytest.mark.parametrize("kept", [True, False])
def test_a_record_that_is_not_this_runs_is_not_gone_on_from(record, tmp_path, damage, kept):
    record("PENDING")
    folder = tmp_path / "mine"
    (path,) = folder.glob("experiment_state-*.json")
    whole = path.read_text()
    (folder / "BiAC_x").mkdir()
    (folder / "BiAC_x" / "params.json").write_text("{}")
    mend(folder)
    assert path.read_text() == whole
    if kept:
        keep(folder)
    else:
        (folder / ".tune_record.zip").write_bytes(b"PK")  # the copy is damaged, too
    trials = json.loads(whole)["trial_data"]
    other = json.dumps(trials).replace(b"BiAC_x".hex(), b"BiAC_y".hex())
    assert other != json.dumps(trials)
    path.write_text(
        {
            "cut short": whole[:15],  # by a full disk
            "of no trials": json.dumps({"trial_data": []}),
            "of one trial twice": json.dumps({"trial_data": 2 * trials}),
            "of another run": f'{{"trial_data": {other}}}',
            "no JSON": "[" * 100_000,
        }[damage]
    )
    if kept:
        mend(folder)
        assert path.read_text() == whole
    else:
        with pytest.raises(Mistake, match=f"is damaged, or another run's .{path.name}"):
            mend(folder)


def keep(folder):
    callback = KeepRecord(folder)
    trial = SimpleNamespace(storage=SimpleNamespace(experiment_driver_staging_path=str(folder)))
    callback.on_experiment_end(trials=[trial])
    return lambda: callback.on_experiment_end(trials=[trial])


def test_a_record_is_kept_although_the_clock_is_set_back(record, tmp_path):
    record("PENDING")
    folder = tmp_path / "mine"
    (path,) = folder.glob("experiment_state-*.json")
    again = keep(folder)
    record("TERMINATED")
    newer = path.read_text()
    os.utime(path, (1, 1))
    again()
    with zipfile.ZipFile(folder / ".tune_record.zip") as archive:
        assert archive.read(path.name).decode() == newer


@pytest.mark.parametrize("other", [{"env": "merge_v0"}, {"levels": [["player_1"], ["player_0"]]}])
def test_a_checkpoint_of_another_game_or_hierarchy_is_not_gone_on_from(record, tmp_path, other):
    read, folder, said = record("RUNNING"), tmp_path / "mine" / "BiAC_x", []
    config = read().config
    own = {"class": dict, "env": config["env"], "levels": config["levels"]}
    for number, state in enumerate((own, own | other)):
        with replacing(folder / f"checkpoint_00000{number}") as written:
            (written / METADATA).write_text(json.dumps(metadata(training_iteration=number + 1)))
            (written / MADE_BY).write_bytes(pickle.dumps({"class": dict, "ctor_args_and_kwargs": ((state,), {})}))
    mend(tmp_path / "mine", said.append)
    latest = read().run_metadata.checkpoint_manager.latest_checkpoint_result
    assert latest.checkpoint.path.endswith("checkpoint_000000")
    assert any("checkpoint_000001 is of another run" in line and "on from checkpoint_000000" in line for line in said)
