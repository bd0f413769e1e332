"""One command at a time in a run's folder."""

import errno
import subprocess
import sys

import filelock
import pytest

from rllib_biac.experiments.locks import locked
from rllib_biac.experiments.mistakes import Mistake

HOLDS = """
import sys, time
from rllib_biac.experiments.locks import locked
with locked(sys.argv[1], print):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_command_is_refused_until_the_first_is_dead(tmp_path):
    folder, said = str(tmp_path / "mine"), []
    first = subprocess.Popen([sys.executable, "-c", HOLDS, folder], stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout.readline() == "held\n"
        told = rf"another command \(process {first.pid} on .*\) works in .*mine"
        with pytest.raises(Mistake, match=told), locked(folder, said.append):
            pytest.fail("both work there")
    finally:
        first.kill()
        first.wait()
    for _ in range(2):
        with (
            locked(folder, said.append),
            pytest.raises(Mistake, match="another command"),
            locked(folder, said.append),
        ):
            pytest.fail("both work there")
    assert said == []


@pytest.mark.parametrize("error", [OSError(errno.ENOLCK, "No locks available"), NotImplementedError("no flock")])
def test_where_nothing_can_be_locked_it_is_said(tmp_path, monkeypatch, error):
    def refused(self, *args, **kwargs):
        raise error

    monkeypatch.setattr(filelock.FileLock, "_acquire", refused)
    for folder in (str(tmp_path), "s3://bucket/mine"):
        said = []
        with locked(folder, said.append):
            assert "cannot be locked" in said[0]
