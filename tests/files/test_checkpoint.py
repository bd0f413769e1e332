"""A checkpoint's folder: whole or not there, whenever its writer was killed; every flipped bit is noticed."""

import itertools
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from rllib_biac.files.checkpoint import (
    MADE_BY,
    METADATA,
    check,
    check_part,
    clear_unfinished,
    is_whole,
    metadata,
    newest_whole,
    replacing,
)
from rllib_biac.files.damage import LARGEST, UNSEALED, DamagedFile, seal_holds, sealed, unusable

NAMES = ("state.pkl", "part/weights.pkl")
STEPS = (
    (os, "replace"),
    (os, "chmod"),
    (os, "unlink"),
    (os, "rmdir"),
    (os, "mkdir"),
    (shutil, "rmtree"),
    (Path, "unlink"),
    (Path, "rmdir"),
    (Path, "write_bytes"),
)


class Killed(BaseException):
    pass


def save(folder, number):
    with replacing(folder) as written:
        (written / "part").mkdir()
        for name in NAMES:
            (written / name).write_text(f"{name} {number}" * 50)
        (written / METADATA).write_text(json.dumps(metadata(number=number)))


def content(folder):
    return [(folder / name).read_text() for name in NAMES]


def kill_at(patch, step, after):
    """Has the step-th call that changes files be the last of its process, which also does nothing after it."""
    counted = itertools.count()

    def killing(function):
        def call(*args, **kwargs):
            number = next(counted)
            if number > step or (number == step and not after):
                raise Killed
            result = function(*args, **kwargs)
            if number == step:
                raise Killed
            return result

        return call

    for owner, name in STEPS:
        patch.setattr(owner, name, killing(getattr(owner, name)))


def test_what_a_kill_left_of_this_checkpoint_is_removed_and_nothing_else(tmp_path):
    left, dotted, stranger = (tmp_path / f".{name}.abcd_123.saving" for name in ("saved", "saved.old", "other"))
    for folder in (left, dotted, stranger):
        (folder / "part").mkdir(parents=True)
    with replacing(tmp_path / "saved") as written:
        assert not left.exists() and dotted.is_dir() and stranger.is_dir()
        clear_unfinished(tmp_path, "saved")
        assert written.is_dir()  # it is being written
        shutil.copytree(written, left)
        (written / METADATA).write_text(json.dumps(metadata()))
    assert is_whole(tmp_path / "saved")
    clear_unfinished(tmp_path, "saved")
    assert {path.name for path in tmp_path.iterdir()} == {"saved", dotted.name, stranger.name}


def test_a_name_may_be_given_where_folders_have_new_ones(tmp_path):
    with replacing(tmp_path / "tmp1", "trial_0") as written:
        assert written.name.startswith(".trial_0.")
        shutil.copytree(written, tmp_path / ".trial_0.abcd_123.saving")
        (written / METADATA).write_text(json.dumps(metadata()))
    with replacing(tmp_path / "tmp2", "trial_0") as written:
        assert {path.name for path in tmp_path.iterdir()} == {"tmp1", written.name}
        (written / METADATA).write_text(json.dumps(metadata()))


@pytest.mark.parametrize("there", ["nothing", "an earlier one", "an earlier one and what a kill left", "own files"])
def test_killed_at_every_step_of_a_save(tmp_path, monkeypatch, there):
    """Either the earlier checkpoint is there or the new one, and the next save works. Own files stay."""
    killed = 0
    for step, after in ((number // 2, bool(number % 2)) for number in itertools.count()):
        folder = tmp_path / f"{step}{after}" / "saved"
        folder.parent.mkdir()
        if there.startswith("an earlier"):
            save(folder, 0)
            (folder / "mine.txt").write_text("mine")
            if there.endswith("left"):
                shutil.copytree(folder, folder.parent / ".saved.replaced")
        elif there == "own files":
            (folder / "part").mkdir(parents=True)
            (folder / "mine.txt").write_text("mine")
        try:
            with monkeypatch.context() as patch:
                kill_at(patch, step, after)
                save(folder, 1)
        except Killed:
            killed += 1
        else:
            break
        if is_whole(folder):
            about = check(folder)
            assert content(folder) == [f"{name} {about['number']}" * 50 for name in NAMES]
        else:
            assert not there.startswith("an earlier")
            with pytest.raises(ValueError, match=f"no checkpoint of an algorithm: it has no {METADATA}"):
                check(folder)
        for number in (2, 3):
            save(folder, number)
            assert check(folder)["number"] == number
        assert not (folder.parent / ".saved.replaced").exists()
        if there != "nothing":
            assert (folder / "mine.txt").read_text() == "mine"
    assert killed >= 4


def flipped(path, place, bit=0):
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << bit
    path.write_bytes(bytes(data))


def test_a_bit_of_every_byte_of_the_metadata_counts(tmp_path):
    save(tmp_path / "saved", 0)
    path = tmp_path / "saved" / METADATA
    data = path.read_bytes()
    for place in range(len(data)):
        flipped(path, place, place % 8)
        with pytest.raises(DamagedFile, match=METADATA) as caught:
            check(tmp_path / "saved")
        assert caught.value.path == path
        path.write_bytes(data)
    assert is_whole(tmp_path / "saved")


def test_metadata_of_gigabytes_is_not_read(tmp_path):
    save(tmp_path / "saved", 0)
    os.truncate(tmp_path / "saved" / METADATA, 10**12)  # with a hole, so that it takes no place
    with pytest.raises(DamagedFile, match=r"1,000,000,000,000 bytes are more than a list of files has"):
        check(tmp_path / "saved")


def test_a_flipped_bit_is_named_and_the_one_before_is_taken(tmp_path):
    folders = [tmp_path / f"checkpoint_00000{number}" for number in range(3)]
    for number, folder in enumerate(folders):
        save(folder, number)
    (folders[2] / ".is_checkpoint").write_text("Tune's")
    assert newest_whole(folders) == (folders[2], [])
    flipped(folders[2] / NAMES[1], 77)
    assert is_whole(folders[2], hashes=False)
    with pytest.raises(DamagedFile, match=r"part/weights\.pkl is not as it was written") as caught:
        check(folders[2])
    assert caught.value.path == folders[2] / NAMES[1]
    whole, (wrong,) = newest_whole(folders)
    assert whole == folders[1] and "part/weights.pkl is not as it was written" in wrong
    flipped(folders[1] / NAMES[0], 3)
    assert newest_whole(folders[1:])[0] is None


@pytest.mark.parametrize("name", [METADATA, NAMES[0], NAMES[1]])
@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda path: None, "is missing"),
        (lambda path: path.mkdir(), "is no file"),
        (lambda path: os.mkfifo(path), "is no file"),
        (lambda path: path.symlink_to(path), r"cannot be read \(Too many levels"),
        (lambda path: path.symlink_to("gone"), "is a link to nothing"),
        (lambda path: path.write_bytes(b""), "has 0 of .* bytes|cannot be read"),
    ],
)
def test_what_is_no_file_is_named_and_the_one_before_is_taken(tmp_path, name, harm, told):
    folders = [tmp_path / f"checkpoint_00000{number}" for number in range(2)]
    for number, folder in enumerate(folders):
        save(folder, number)
        (folder / MADE_BY).write_bytes(b"as every checkpoint of RLlib's has it")
    path = folders[1] / name
    path.unlink()
    harm(path)
    with pytest.raises(DamagedFile, match=f"{re.escape(name)} ({told})") as caught:
        check(folders[1])
    assert caught.value.path == path
    whole, (wrong,) = newest_whole(folders)
    assert whole == folders[0] and name in wrong


def test_a_folder_that_may_not_be_read_is_no_whole_checkpoint(tmp_path, monkeypatch):
    save(tmp_path / "saved", 0)

    def refused(self, **_):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "stat", refused)  # rights do not stop root
    assert newest_whole([tmp_path / "saved"])[0] is None


def test_a_part_is_checked_by_itself(tmp_path):
    save(tmp_path / "saved", 0)
    check_part(tmp_path / "saved" / "part")
    flipped(tmp_path / "saved" / NAMES[0], 3)
    check_part(tmp_path / "saved" / "part")
    flipped(tmp_path / "saved" / NAMES[1], 3)
    with pytest.raises(DamagedFile, match=r"part/weights\.pkl is not as it was written"):
        check_part(tmp_path / "saved" / "part")
    check_part(tmp_path)  # inside of none


def test_seals():
    data = json.dumps({"mine": 1, "seal": UNSEALED}).encode()
    assert seal_holds(sealed(data)) is True
    assert seal_holds(sealed(data).replace(b"1", b"2", 1)) is False
    assert seal_holds(b"{}") is None
    with pytest.raises(ValueError):
        sealed(b"{}")


def test_numbers_to_play_with():
    good = {"critic.weight": np.ones((2, 2), np.float32), "q_mean": np.array(1e30), "actor/0/bias": np.zeros(0)}
    assert unusable(good) is None
    for name, values, message in (
        ("critic.weight", np.array([1.0, np.nan]), "critic.weight holds numbers that are not finite"),
        ("q_std", np.array([np.inf, -np.inf]), "q_std holds numbers that are not finite"),
        ("critic.weight", np.array([0, -4e37], np.float32), "critic.weight holds weights beyond"),
    ):
        assert message in unusable(good | {name: values})
    assert unusable({"weight": np.full(3, LARGEST * 0.99, np.float32)}) is None
