"""Games that exit or print: the command says so, its exit code is not 0, its JSON stays JSON."""

import json
import os
import subprocess
import sys

import pytest

from rllib_biac.cli import start

GAMES = """
import os, sys
from rllib_biac.envs import escape_v0

def leaves(**kwargs):
    sys.exit(0)

def ends(**kwargs):
    os._exit(0)

def forks(**kwargs):
    child = os.fork()
    if child == 0:
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    raise ValueError("after its child had ended")

def stays(**kwargs):
    import threading
    threading.Thread(target=threading.Event().wait, name="listener").start()
    return escape_v0.parallel_env(**kwargs)

def silences(**kwargs):
    sys.stdout = None
    return escape_v0.parallel_env(**kwargs)

def prints(**kwargs):
    print("a game prints")
    os.system("echo a child prints")
    os.write(1, b"a library prints\\n")
    return escape_v0.parallel_env(**kwargs)
"""


def rllib(folder, *arguments):
    (folder / "mygames.py").write_text(GAMES)
    (folder / "myimport.py").write_text("import sys\nsys.exit(0)\n")
    (folder / "myconfig.py").write_text("import os\nos._exit(0)\n")
    return subprocess.run(
        [sys.executable, "-c", "from rllib_biac.cli.main import main; main()", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("game", "told"),
    [
        ("mygames:leaves", "called sys.exit(0)"),
        ("mygames:ends", "called os._exit(0)"),
        ("mygames:forks", "after its child had ended"),
        ("myimport:game", "cannot import 'myimport': SystemExit: 0"),
    ],
)
def test_a_game_that_ends_the_process(tmp_path, game, told):
    config = json.dumps({"hierarchy": [["player_0"], ["player_1"]]})
    done = rllib(tmp_path, "train", "--algo", "BiAC", "--env", game, "--config", config)
    assert done.returncode == 2 and told in done.stderr and "Traceback" not in done.stderr, done.stderr


@pytest.mark.slow
def test_games_that_leave_something_behind(tmp_path):
    for game, told in (("stays", "listener"), ("silences", "")):
        text = f"mine: {{run: BiAC, env: mygames:{game}, config: {{hierarchy: [[player_0], [player_1]]}}}}"
        (tmp_path / "mine.yaml").write_text(text)
        done = rllib(tmp_path, "check", "mine.yaml")
        assert done.returncode == 0, done.stderr
        assert "who leads:" in done.stdout and told in done.stderr


def test_a_file_that_ends_the_process(tmp_path):
    done = rllib(tmp_path, "train", "file", "myconfig.py")
    assert done.returncode == 2 and "myconfig.py or what it imports called os._exit(0)" in done.stderr


@pytest.mark.slow
def test_a_game_that_prints(ray, tmp_path, monkeypatch):
    from tests.games import config

    (tmp_path / "mygames.py").write_text(GAMES)
    monkeypatch.syspath_prepend(tmp_path)
    made = config("mygames:prints", [["player_0"], ["player_1"]]).training(num_steps_sampled_before_learning_starts=10)
    algo = made.build_algo()
    path = algo.save_to_path(tmp_path / "saved")
    algo.stop()
    done = rllib(tmp_path, "evaluate", path, "--json", "--episodes", "2")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["episodes"] == 2 and done.stdout.count("\n") == 1
    for line in ("a game prints", "a child prints", "a library prints"):
        assert line in done.stderr


def test_ctrl_c_while_the_command_is_imported(monkeypatch, capsys):
    class Interrupts:
        def find_spec(self, name, path=None, target=None):
            if name == "rllib_biac.cli.main":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "rllib_biac.cli.main", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupts(), *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        start()
    assert ended.value.code == 130 and capsys.readouterr().err == "Interrupted.\n"
