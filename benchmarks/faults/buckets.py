"""A store of the kind of S3 that goes away in the middle of a run."""

from __future__ import annotations

import logging
import os
import shutil
import urllib.request
from pathlib import Path
from unittest import mock

from commands import said_how_to_go_on, start
from survivors import HARM_AT, ITERATIONS, PATIENCE, check_run, command, experiment, require, wait_for

from rllib_biac.experiments import remote

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")


def bucket_lost(seed: int, folder: Path) -> None:
    """The store refuses every request: the command says so and how to go on, and ends; `--resume` goes on exactly."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint, results = f"http://{host}:{port}", f"s3://faults{seed}/results"
    with mock.patch.dict(os.environ, dict.fromkeys(KEYS, "us-east-1") | {"AWS_ENDPOINT_URL": endpoint}):
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/faults{seed}", method="PUT")).close()
        arguments = [*experiment(folder, seed, 400 * ITERATIONS)[:-1], results]
        process = start(arguments)
        wait_for(lambda: _checkpoints(results) >= HARM_AT, process)
        server.stop()
        output, _ = process.communicate(timeout=PATIENCE)
        require(process.returncode == 1, f"exit code {process.returncode}: {output}")
        said_how_to_go_on(output)
        require(results in output.split("iter 1")[-1], f"nobody said what failed: {output}")
        server = ThreadedMotoServer(host, port, verbose=False)  # of the same store, which lies in this process
        server.start()
        iterations = _checkpoints(results) + 4
        command([*experiment(folder, seed, iterations)[:-1], results, "--resume"])
        with mock.patch.object(remote, "CHECKPOINTS_COPIED", iterations), remote.here(f"{results}/mine") as copy:
            shutil.copytree(copy, folder / "results" / "mine")
        check_run(folder, seed, iterations)
        server.stop()


def _checkpoints(results: str) -> int:
    """Returns the number of the newest checkpoint, and 1."""
    filesystem, path = remote._opened(f"{results}/mine")
    found = [info.path for info in remote._listed(filesystem, path, recursive=True) if "/checkpoint_" in info.path]
    return max((int(one.partition("/checkpoint_")[2][:6]) + 1 for one in found), default=0)
