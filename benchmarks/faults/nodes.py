"""Nodes that go, each a raylet of its own, and an object store that is full."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import ray
from survivors import HARM_AT, ITERATIONS, Books, build, check_run, command, experiment, judge, last, require, wait_for

CLUSTER: list[Any] = []  # the cluster, and the node that comes and goes
# The kernel ends a raylet together with the thread that started it: this one lives as long as the program.
_caretaker = ThreadPoolExecutor(max_workers=1)


def node_replaced(seed: int, folder: Path) -> None:
    """The node of both runners is removed in mid-training, and another one added: runners are started again there."""
    algo = build(seed, num_env_runners=2)
    books, group = Books(algo), algo.env_runner_group
    for _ in range(HARM_AT):
        books.train()
    replace_node()
    books.train(lambda: group.num_healthy_remote_workers() == 2 and last(algo) >= ITERATIONS)
    require(group.num_remote_worker_restarts() >= 2, "the runners were not on that node")
    judge(algo)
    algo.stop()


def node_of_the_trial_replaced(seed: int, folder: Path) -> None:
    """The node of the trial itself is removed: `max_failures` starts it again on another, from its checkpoint."""
    # Until Ray knows that the node is gone, the trial may be started there again, in vain.
    arguments = experiment(folder, seed, 2 * ITERATIONS, max_failures=5)

    def replace() -> None:
        wait_for(lambda: len(list(folder.glob("results/mine/*/checkpoint_*"))) >= HARM_AT)
        replace_node()

    replaced = _caretaker.submit(replace)
    command(arguments)
    replaced.result()
    require(bool(list(folder.glob("results/mine/*/error.txt"))), "the trial was not on that node")
    check_run(folder, seed, 2 * ITERATIONS)


def replace_node() -> None:
    """Ends a node's raylet with all that runs on it, and adds another node."""
    cluster, node = CLUSTER
    cluster.remove_node(node, allow_graceful=False)
    wait_for(lambda: sum(each["Alive"] for each in ray.nodes()) == 1)
    # It would set a handler of signals, which only a main thread may.
    with mock.patch("ray._private.utils.set_sigterm_handler"):
        CLUSTER[1] = cluster.add_node(num_cpus=2)


# An object store that is full.


def store_full(seed: int, folder: Path) -> None:
    """Others fill the object store, with room to spill: training goes on beside them."""
    algo = build(seed, num_env_runners=1)
    books = Books(algo)
    for _ in range(HARM_AT):
        books.train()
    filled = [ray.put(np.full(10_000_000, i, np.uint8)) for i in range(15)]
    books.train(lambda: last(algo) >= ITERATIONS)
    require(all(int(ray.get(ref)[0]) == i for i, ref in enumerate(filled)), "somebody else's objects are lost")
    judge(algo)
    algo.stop()


def store_full_for_good(seed: int, folder: Path) -> None:
    """Others fill the object store and there is nowhere to spill: the error says so, and with room training goes on."""
    algo = build(seed, num_env_runners=1)
    books = Books(algo)
    for _ in range(HARM_AT):
        books.train()
    filled = []
    with contextlib.suppress(ray.exceptions.ObjectStoreFullError, ray.exceptions.OutOfDiskError):
        for size in (8_000_000, 1_000_000, 100_000):
            while True:
                filled.append(ray.put(np.zeros(size, np.uint8)))
    try:
        books.train(lambda: last(algo) >= ITERATIONS)
        print("it went on all the same")
    except (ray.exceptions.ObjectStoreFullError, ray.exceptions.OutOfDiskError) as error:
        require("full" in str(error).lower(), f"the error says {error}")
    filled.clear()
    books.train(lambda: last(algo) >= ITERATIONS)
    judge(algo)
    algo.stop()
