"""Everything an algorithm is, in numbers that can be compared: what a run reports, and what it has come to."""

import hashlib
from collections.abc import Mapping

import numpy as np
import torch
from ray.tune.utils import flatten_dict

# Clocks, machines and names differ from run to run.
OTHER = ("time", "throughput", "date", "pid", "hostname", "node_ip", "since_restore", "trial_id", "perf/", "sample")


def numbers(result):
    """What an iteration reported, by path, all but times."""
    flat = flatten_dict({key: value for key, value in result.items() if key != "config"}, delimiter="/")
    # `sample` alone is RLlib's name of a timer.
    words = {path: path.replace("steps_sampled", "steps") for path in flat}
    return {path: value for path, value in flat.items() if not any(word in words[path] for word in OTHER)}


def state(algo):
    """All that a checkpoint holds, path -> value, arrays as hashes; all but times."""
    found = {}

    def walk(node, path):
        if isinstance(node, Mapping):
            for key, value in node.items():
                walk(value, f"{path}/{key}")
        elif isinstance(node, list | tuple):
            for i, value in enumerate(node):
                walk(value, f"{path}/{i}")
        elif isinstance(node, np.ndarray | torch.Tensor):
            array = np.ascontiguousarray(np.asarray(node))
            found[path] = (str(array.dtype), array.shape, hashlib.sha256(array.tobytes()).hexdigest())
        else:
            found[path] = repr(node)

    walk(algo.get_state(), "")
    # Remote evaluation runners hear of the steps now and then, whenever they are free; they explore by no schedule.
    heard = ("evaluation env runners", "num_env_steps_sampled_lifetime")
    return {
        path: value
        for path, value in found.items()
        if "timer" not in path
        and "--sample/" not in path
        and "cpu_time_s" not in path
        and not all(word in path for word in heard)
        and not ("/evaluation/" in path and any(word in path.replace("steps_sampled", "steps") for word in OTHER))
    }


def differing(one, other):
    """What is not the same in both."""
    return {
        path: (one.get(path), other.get(path))
        for path in one.keys() | other.keys()
        if repr(one.get(path)) != repr(other.get(path))
    }
