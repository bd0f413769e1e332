"""Ray's head is gone: somebody says so before Ray ends the process."""

import socket
import threading
from types import SimpleNamespace

import pytest

from rllib_biac.experiments import watch


@pytest.fixture
def head(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(watch.ray, "get_runtime_context", lambda: SimpleNamespace(gcs_address=address))
        yield server


def test_a_head_that_is_gone_is_told_once(head):
    gone = threading.Event()
    with watch.watching_the_head(gone.set, every_s=0.01):
        assert not gone.wait(0.2)
        head.close()
        assert gone.wait(30)


def test_who_has_ended_is_not_told(head):
    gone = threading.Event()
    with watch.watching_the_head(gone.set, every_s=0.01):
        pass
    head.close()
    assert not gone.wait(0.2)
