"""Results in a bucket: a server of that protocol on this machine holds them."""

import json
import logging
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml
from pyarrow import fs

from rllib_biac.experiments import remote
from rllib_biac.experiments.mistakes import Mistake
from rllib_biac.files.checkpoint import METADATA

KEYS = {"AWS_ACCESS_KEY_ID": "of a test", "AWS_SECRET_ACCESS_KEY": "of a test", "AWS_DEFAULT_REGION": "us-east-1"}
RESULTS = "s3://bucket/results"


@pytest.fixture(scope="module")
def server():
    """Where the server listens; it has one bucket."""
    moto = pytest.importorskip("moto.server")
    running = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    endpoint = "http://{}:{}".format(*running.get_host_and_port())
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (KEYS | {"AWS_ENDPOINT_URL": endpoint}).items():
            patch.setenv(name, value)
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/bucket", method="PUT")).close()
        yield endpoint
    running.stop()


def rllib(folder, *arguments, code=0):
    ended = subprocess.run(
        [sys.executable, "-c", "from rllib_biac.cli.main import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"},
        check=False,
        timeout=200,
    )
    assert ended.returncode == code, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stdout + ended.stderr if code == 0 and "--json" not in arguments else (ended.stdout or ended.stderr)


def trained(folder, iterations, *more, results=RESULTS, code=0, **settings):
    config = {"hierarchy": [["player_0"], ["player_1"]], "seed": 0, "min_sample_timesteps_per_iteration": 250}
    mine = {
        "run": "BiAC",
        "env": "maintain_v0",
        "stop": {"training_iteration": iterations},
        "checkpoint_config": {"checkpoint_frequency": 1},
        "config": config | settings,
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump({"mine": mine}))
    return rllib(folder, "train", "file", "mine.yaml", "--storage-path", results, "--ray-num-cpus", 1, *more, code=code)


@pytest.mark.slow
def test_a_run_in_a_bucket_is_trained_resumed_evaluated_reported_and_exported(server, tmp_path):
    said = trained(tmp_path, 4)
    assert f"rllib evaluate {RESULTS}/mine/BiAC_" in said
    said = trained(tmp_path, 6, "--resume")
    assert "`stop: training_iteration` was 4: the trials go on with 6" in said and "iter 6" in said
    said = trained(tmp_path, 6, "--resume", gamma=0.5, code=2)
    assert "cannot be resumed with other settings" in said and "gamma" in said

    # A bit of the newest checkpoint flips: the one before is taken.
    (trial,) = {name.split("/")[3] for name in listed() if "/BiAC_" in name}
    newest = f"{RESULTS}/mine/{trial}/checkpoint_000005"
    (damaged,) = [name for name in listed() if name.startswith(newest[5:]) and name.endswith("module_state.pkl")][:1]
    content = bytearray(remote.read(f"s3://{damaged}"))
    content[len(content) // 2] ^= 1
    remote.write(f"s3://{damaged}", bytes(content))
    assert "damaged" in rllib(tmp_path, "evaluate", newest, code=2)
    assert "iter 7" in trained(tmp_path, 7, "--resume")

    found = json.loads(rllib(tmp_path, "evaluate", f"{RESULTS}/mine", "--episodes", 2, "--json"))
    assert found["checkpoint"].startswith(f"{RESULTS}/mine/{trial}/checkpoint_")
    rllib(tmp_path, "report", f"{RESULTS}/mine")
    page = (tmp_path / "report.html").read_text()
    assert f"{RESULTS}/mine" in page and "rllib_biac_" not in page
    rllib(tmp_path, "export", f"{RESULTS}/mine", "mine.safetensors")
    assert (tmp_path / "mine.safetensors").stat().st_size > 1000
    rllib(tmp_path, "compare", f"{RESULTS}/mine", "--episodes", 0)
    assert (tmp_path / "comparison" / "compare.html").exists()


def listed():
    bucket, path = fs.FileSystem.from_uri("s3://bucket")
    return [info.path for info in bucket.get_file_info(fs.FileSelector(path, recursive=True)) if info.is_file]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("s3://nobody/results", r"--storage-path s3://nobody/results: cannot write there .*bucket does not exist"),
        ("s3://bucket/results?region=x", r"write the address without '\?'"),
        ("zz://bucket/results", r"no such storage.*s3://bucket/folder"),
    ],
)
@pytest.mark.slow
def test_what_cannot_be_written_is_said_before_anything_trains(server, address, said):
    with pytest.raises(Mistake, match=said):
        remote.check_writable("--storage-path", address)


@pytest.mark.slow
def test_nothing_is_left_of_the_probe(server):
    remote.check_writable("--storage-path", "s3://bucket/probed")
    assert not any("probe" in name for name in listed())
    assert remote.names("s3://bucket/probed") == []


@pytest.mark.slow
def test_nothing_to_read_and_nothing_to_resume(server, tmp_path):
    for command in ("evaluate", "report", "compare"):
        assert "s3://bucket/nothing: nothing is there" in rllib(tmp_path, command, "s3://bucket/nothing", code=2)
    said = trained(tmp_path, 1, "--resume", results="s3://bucket/nothing", code=2)
    assert "nothing to resume in s3://bucket/nothing/mine" in said


def test_of_older_checkpoints_only_names_and_sizes_are_copied(tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "_opened", lambda address: (fs.LocalFileSystem(), address.partition("://")[2]))
    for number in range(4):
        folder = tmp_path / "mine" / "trial" / f"checkpoint_{number:06}" / "part"
        folder.mkdir(parents=True)
        (folder / "numbers").write_bytes(bytes([number + 1] * 100))
        if number < 3:  # the newest was cut short
            (folder.parent / METADATA).write_text(f"{number}")
    place, found = f"disk://{tmp_path}/mine", {}
    with pytest.raises(Mistake, match=f"{place}/trial is wrong"), remote.here(place) as copy:
        for number in range(4):
            checkpoint = Path(copy, "trial", f"checkpoint_{number:06}")
            found[number] = (checkpoint / "part" / "numbers").read_bytes()
            assert number == 3 or (checkpoint / METADATA).read_text() == f"{number}"
        raise Mistake(f"{copy}/trial is wrong")
    assert found == {0: bytes(100), 1: b"\2" * 100, 2: b"\3" * 100, 3: b"\4" * 100}
    assert not Path(copy).exists()


def test_a_folder_of_this_machine_is_read_where_it_is(tmp_path):
    with remote.here(str(tmp_path)) as here:
        assert here == str(tmp_path)
