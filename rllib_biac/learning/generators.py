"""The generators of a process, which networks and games of the user's own may draw from."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def process_generators() -> dict[str, Any]:
    """Returns the states of this process's own generators, which networks and games of the user's may draw from."""
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state().numpy(),
    }
    if torch.cuda.is_available():
        state["cuda"] = [each.numpy() for each in torch.cuda.get_rng_state_all()]
    return state


def set_process_generators(state: dict[str, Any]) -> None:
    """Takes back what `process_generators` returned."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(torch.as_tensor(state["torch"]))
    if torch.cuda.is_available() and len(state.get("cuda", ())) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([torch.as_tensor(each) for each in state["cuda"]])
