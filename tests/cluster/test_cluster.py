"""Training over several nodes, each a raylet of its own; the full matrix is `python benchmarks/cluster.py`."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "cluster.py"


@pytest.mark.slow
def test_work_lies_on_both_nodes_and_every_step_counts_once(tmp_path):
    # In a process of its own: this one has its Ray already.
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    table = tmp_path / "cluster.md"
    # Ray starts no node's workers where Python's path holds a space.
    (tmp_path / "python").symlink_to(sys.prefix, target_is_directory=True)
    python = tmp_path / "python" / "bin" / Path(sys.executable).name
    run = subprocess.run(
        [python, PROGRAM, "--only", "smallest", "--out", table], env=env, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "| smallest | 1, 1 | 2 | 4,000 | 250 |" in table.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def program():
    before = dict(os.environ)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PROGRAM.parent)
        module = importlib.import_module("cluster")
        os.environ.clear()
        os.environ.update(before)
        yield module
    del sys.modules["cluster"]


GOOD = {
    "nodes": {"trial": ["a"], "runners": ["b", "b"]},
    "num_env_steps_sampled_lifetime": 4000,
    "rows_in_replay": 4000,
    "learners": {"__all_modules__": {"num_updates_lifetime": 250}},
}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, []),
        ({"nodes": {"trial": ["b"], "runners": ["b", "b"]}}, ["1 nodes at work, and not 2 or more"]),
        ({"nodes": {"trial": ["a"], "runners": ["b"]}}, ["1 runners and not 2"]),
        (
            {"num_env_steps_sampled_lifetime": 4200},
            ["4,200 steps and not 4,000", "4,000 steps in replay and not 4,200"],
        ),
        ({"rows_in_replay": 3800}, ["3,800 steps in replay and not 4,000", "250 updates and not 237 to 237"]),
    ],
)
def test_the_program_finds_what_is_wrong(program, change, found):
    assert program.faults(program.CASES["smallest"], GOOD | change) == found
