"""docs/tutorial.md, typed in as it stands: its files, its commands in order, and the lines it says they print."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "tutorial.md"
BLOCK = re.compile(r"(?:^<!-- file: (?P<file>\S+) -->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S)


@pytest.mark.slow
def test_the_tutorial(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "HOME": str(home), "PATH": path}
    output, commands = "", 0
    for block in BLOCK.finditer(PAGE.read_text(encoding="utf-8")):
        if block["file"]:
            (tmp_path / block["file"]).write_text(block["text"], encoding="utf-8")
        elif block["language"] == "sh":
            done = subprocess.run(
                ["bash", "-euc", block["text"]], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=500
            )
            assert done.returncode == 0, done.stdout + done.stderr
            output, commands = done.stdout, commands + 1
        elif block["language"] == "text":
            for line in block["text"].splitlines():
                assert line in output.splitlines(), f"{line!r} is not in what the command printed:\n{output}"
    assert commands == 4
    for name in ("compare.html", "compare_door_Door.pdf", "compare_door_Door.svg", "compare.csv"):
        assert (tmp_path / "figures" / name).stat().st_size > 1000
