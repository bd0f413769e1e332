"""Watches the head of Ray: where it is gone, Ray itself says so after a minute, in a raw line, and ends the process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import ray

_EVERY_S = 2.0
_TIMES = 5  # in a row, that nobody answers


@contextmanager
def watching_the_head(gone: Callable[[], None], every_s: float = _EVERY_S) -> Iterator[None]:
    """Calls a function, in another thread and once, when Ray's head (its GCS) accepts no calls any more.

    Args:
        gone: what to call.
        every_s: seconds between two looks.
    """
    over = threading.Event()
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")

    def look() -> None:
        missed = 0
        while missed < _TIMES:
            if over.wait(every_s):
                return
            try:
                socket.create_connection((host.strip("[]"), int(port)), timeout=every_s).close()
                missed = 0
            except OSError:
                missed += 1
        gone()

    thread = threading.Thread(target=look, name="watches Ray's head", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
