"""A game that hangs while it is looked at: the call is named, and ends."""

import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from rllib_biac.envs import watchdog
from rllib_biac.envs.errors import GameError
from rllib_biac.envs.parallel_batch import ParallelEnvBatch
from tests.games import Probe


class Hangs(Probe):
    """Sleeps for ever in one call, from its second episode on."""

    def __init__(self, call="step"):
        self.call, self.episodes = call, 0
        self.sleep("constructor")
        super().__init__()

    def sleep(self, call):
        if call == self.call and (call == "constructor" or self.episodes == 2):
            time.sleep(3600)

    def reset(self, seed=None, options=None):
        self.episodes += 1
        self.sleep("reset")
        return super().reset(seed)

    def pay(self, *actions):
        self.sleep("step")
        return (0.0, 0.0), self.time == 3, False

    def observe(self):
        return {agent: np.zeros(2, np.float32) for agent in self.possible_agents}

    def state(self):
        self.sleep("state")
        return super().state()


@pytest.fixture
def at_once(monkeypatch):
    # Less would be taken for hanging where a busy machine lets this process wait.
    for name, seconds in (("CALL", 1.0), ("TOLD", 0.1), ("GRACE", 30.0)):
        monkeypatch.setattr(watchdog, f"{name}_SECONDS", seconds)


@pytest.mark.parametrize("call", ["constructor", "reset", "step", "state"])
def test_a_call_that_hangs_is_interrupted_and_named(call, at_once, capfd):
    before = signal.getsignal(signal.SIGVTALRM)
    name = "the constructor" if call == "constructor" else rf"{call}\(\)"
    if call == "state":  # what is wrong with the state alone concerns only those who ask for it
        games = ParallelEnvBatch(lambda: Hangs(call), 1, np.random.default_rng(0))
        assert "state() hangs: it has not come back in 1 s" in games.look.state_fault
    else:
        with pytest.raises(GameError, match=rf"{name} hangs: it has not come back in 1 s"):
            ParallelEnvBatch(lambda: Hangs(call), 1, np.random.default_rng(0))
    assert "of the game has not come back in 0.1 s; it is waited for 1 s." in capfd.readouterr().err
    assert signal.getsignal(signal.SIGVTALRM) is before


def test_a_slow_game_is_only_told_about(at_once, monkeypatch, capfd):
    monkeypatch.setattr(watchdog, "CALL_SECONDS", 30.0)
    monkeypatch.setattr(time, "sleep", lambda seconds, sleep=time.sleep: sleep(0.3))
    assert ParallelEnvBatch(lambda: Hangs("reset"), 1, np.random.default_rng(0)).look.episodes > 2
    assert "reset() of the game has not come back in 0.1 s" in capfd.readouterr().err


def test_each_call_has_its_own_time(at_once, monkeypatch, capfd):
    # All calls together take longer; each may take six times what it does, on a machine that is busy.
    monkeypatch.setattr(watchdog, "TOLD_SECONDS", 0.5)
    monkeypatch.setattr(watchdog, "CALL_SECONDS", 30.0)
    with watchdog.Watchdog() as calling:
        for number in range(8):
            calling(f"call {number}")
            time.sleep(0.08)
    assert capfd.readouterr().err == ""


STUCK = """
import itertools, sys, threading
import numpy as np
from rllib_biac.envs import watchdog
from rllib_biac.envs.parallel_batch import ParallelEnvBatch
watchdog.CALL_SECONDS, watchdog.TOLD_SECONDS, watchdog.GRACE_SECONDS = .4, .2, .2

def in_c():  # which holds Python's lock
    sum(itertools.repeat(0))

def swallows():
    while True:
        try:
            while True:
                pass
        except Exception:
            pass

def look():
    ParallelEnvBatch({game}, 1, np.random.default_rng(0))

if {threaded}:
    threading.Thread(target=look).start()
else:
    look()
"""


@pytest.mark.parametrize(("game", "threaded"), [("in_c", False), ("swallows", False), ("in_c", True)])
def test_what_cannot_be_interrupted_ends_the_process(game, threaded):
    program = STUCK.format(game=game, threaded=threaded)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    assert "Error: the constructor of the game hangs: it has not come back in 0.4 s" in ended.stderr


def test_threads_that_are_not_the_main_one_are_watched_without_a_signal():
    looks = []
    make = lambda: looks.append(ParallelEnvBatch(Probe, 1, np.random.default_rng(0)).look)  # noqa: E731
    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    assert looks[0].steps
