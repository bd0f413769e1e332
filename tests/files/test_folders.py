"""Folders are found through links, once each, whatever vanishes meanwhile."""

import os

import pytest

from rllib_biac.files.folders import folders_in, text_of


def test_links_are_followed_and_circles_end(tmp_path):
    (tmp_path / "run" / "trial" / "checkpoint_000001").mkdir(parents=True)
    (tmp_path / "run" / "trial" / "result.json").touch()
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "one").symlink_to(tmp_path / "run" / "trial")
    (linked / "one again").symlink_to(tmp_path / "run" / "trial")
    (tmp_path / "run" / "trial" / "back").symlink_to(tmp_path / "run")
    (linked / "broken").symlink_to(tmp_path / "nowhere")
    found = list(folders_in(linked))
    assert [at.name for at, files in found if "result.json" in files] == ["one"]
    assert sum(at.name == "checkpoint_000001" for at, _ in found) == 1


def test_what_vanishes_is_passed_over(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    found = []
    for at, _ in folders_in(tmp_path):
        found.append(at.name)
        if at == tmp_path:
            (tmp_path / "a").rmdir()
    assert found[1:] == ["b"]


@pytest.mark.parametrize("lies_there", [lambda path: os.mkfifo(path), lambda path: path.mkdir(), lambda path: None])
def test_what_is_no_file_is_not_waited_for(tmp_path, lies_there):
    lies_there(tmp_path / "file")
    with pytest.raises(OSError, match=r"file is (no file|missing)"):
        text_of(tmp_path / "file")
    (tmp_path / "other").write_text("ü")
    assert text_of(tmp_path / "other") == "ü"
