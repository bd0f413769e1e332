"""A user's type checker sees the whole package, `rllib_biac.envs` too: from the checkout and as installed."""

import sys
from pathlib import Path

import pytest

from tests.installs import CHECKOUT, KINDS, run

PROGRAM = """\
import rllib_biac.envs

reveal_type(rllib_biac.envs.make)
reveal_type(rllib_biac.envs.game_ids())
rllib_biac.envs.make(3)
"""
# Other libraries are left out: torch alone takes a minute.
SETTINGS = """\
[mypy]
follow_imports = skip
[mypy-rllib_biac.*]
follow_imports = silent
"""
EXPECTED = (
    'program.py:3: note: Revealed type is "def (game: str, **kwargs: Any)',
    'program.py:4: note: Revealed type is "list[str]"',
    'program.py:5: error: Argument 1 to "make" has incompatible type "int"; expected "str"',
)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["checkout", *KINDS])
def test_mypy_sees_the_games(kind, installed, tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    (tmp_path / "mypy.ini").write_text(SETTINGS, encoding="utf-8")
    python = Path(sys.executable) if kind == "checkout" else installed(kind)
    variables = {"MYPYPATH": str(CHECKOUT)} if kind == "checkout" else {}
    # Through mypy's API: the command ends with code 1, since it finds the mistake.
    options = ["--no-incremental", "--no-pretty", "program.py"]
    script = f"from mypy import api; print(api.run({options!r})[0])"
    found = run(python, "-c", script, cwd=tmp_path, **variables).splitlines()
    for line, expected in zip(found, EXPECTED, strict=False):
        assert line.replace("builtins.", "").startswith(expected), "\n".join(found)
    assert len(found) >= len(EXPECTED), found
