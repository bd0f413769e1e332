"""Trains one run with its settings, and plays it greedily."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from rllib_biac.experiments import reading
from rllib_biac.learning.transitions import TERMINATED, TRUNCATED
from rllib_biac.reproduce.runs import Row
from rllib_biac.rllib.config_keys import build

# In the paper's order: name in `run:` -> name in the paper, stem of the tuned examples.
ALGORITHMS: dict[str, tuple[str, str]] = {
    "BiAC": ("Bi-AC", "biac"),
    "IDQN": ("I-DQN", "idqn"),
    "MADDPG": ("MADDPG", "maddpg"),
    "MATD3": ("TD3", "matd3"),
    "HystereticDQN": ("Hysteretic-DQN", "hysteretic_dqn"),
    "LenientDQN": ("Lenient-DQN", "lenient_dqn"),
}

RELEASED = {
    "IDQN": "rllib_biac.reproduce.released:ReleasedIndependent",
    "HystereticDQN": "rllib_biac.reproduce.released:ReleasedHysteretic",
    "LenientDQN": "rllib_biac.reproduce.released:ReleasedLenient",
}


def fully_explored_first(run: str, config: Row) -> Row:
    """Starts with the paper's 1,000 env steps of uniformly random play. The epsilon schedule begins after them."""
    from rllib_biac.rllib.registry import config_class

    schedule = config.get("epsilon", config_class(run)().epsilon)
    points = schedule if isinstance(schedule, list) else [[0, schedule]]
    # A schedule has one value per step, so its first value comes one step later.
    later = [[1000 + max(step, 1), value] for step, value in points]
    return config | {"epsilon": [[0, 1.0], [1000, 1.0], *later]}


# How a `variant` changes the settings of the tuned example: (run, config) -> config.
VARIANTS: dict[str, Callable[[str, Row], Row]] = {
    "main": lambda run, config: config,
    "paper": lambda run, config: config,  # of its own tuned example
    "uniform": fully_explored_first,
    "raw": lambda run, config: config | {"normalize_targets": False},
    "enumerated": lambda run, config: config | {"response": "enumerated"},
    "released": lambda run, config: config | {"losses_class": RELEASED[run]},
}


def settings(run: str, game: str, variant: str, seed: int, **changes: Any) -> Row:
    """Returns the full settings of one run, as JSON values: the tuned example, changed by the variant and by `changes`.

    Args:
        run: a name in `ALGORITHMS`.
        game: `escape`, `maintain` or `merge`.
        variant: a name in `VARIANTS`.
        seed: the seed of everything random.
        changes: changes to the example's `config`.

    Raises:
        Mistake: if there is no such tuned example.
    """
    example = f"{game}_{ALGORITHMS[run][1]}" + ("_paper" if variant == "paper" else "")
    (draft,) = reading.read(reading.find(example))
    config = VARIANTS[variant](run, draft.settings["config"])
    config.pop("min_sample_timesteps_per_iteration", None)  # it only sets how often metrics are shown
    return {
        "run": run,
        "env": draft.settings["env"],
        "variant": variant,
        "seed": seed,
        "steps": int(draft.settings["stop"]["num_env_steps_sampled_lifetime"]),
        "config": config | {"seed": seed} | changes,
    }


@contextmanager
def built(run: str, env: str, config: Row, every: int) -> Iterator[Any]:
    """Builds the algorithm of a run and stops it at the end. It reports after every `every` env steps."""
    from rllib_biac.rllib.registry import config_class

    algo = build(config_class(run), config | {"env": env, "min_sample_timesteps_per_iteration": every}).build_algo()
    try:
        yield algo
    finally:
        algo.stop()


def train_until(algo: Any, steps: int) -> Row:
    """Trains for this many env steps. Returns RLlib's last result."""
    result = algo.train()
    while result["num_env_steps_sampled_lifetime"] < steps:
        result = algo.train()
    return result


def greedy(algo: Any, states: np.ndarray, observations: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """Returns the joint actions without exploration.

    Args:
        algo: an algorithm of this library.
        states: (n, *state shape).
        observations: agent -> (n, *observation shape), of all agents.
        seed: the seed for teams that draw actions even without exploration.

    Returns:
        agent -> (n,) int64.
    """
    team = algo.env_runner.module.team
    with torch.no_grad():
        actions = team.act(
            torch.from_numpy(states),
            observations={agent: torch.from_numpy(rows) for agent, rows in observations.items()},
            generator=torch.Generator().manual_seed(seed),
        )
    return {agent: action.numpy() for agent, action in actions.items()}


def replayed(algo: Any, steps: int, *columns: Any) -> list[np.ndarray]:
    """Returns columns of all joint transitions of a run, in the order of play. The last column marks the end of games.

    Raises:
        ValueError: if the replay buffer did not keep all transitions.
    """
    buffer = algo.local_replay_buffer
    if not steps <= buffer.num_added <= buffer.capacity:
        raise ValueError(
            f"the replay buffer kept {len(buffer):,} of {buffer.num_added:,} env steps; raise its capacity."
        )
    kept = [buffer.columns[column][: buffer.num_added] for column in (*columns, TERMINATED, TRUNCATED)]
    return [*kept[:-2], kept[-2] | kept[-1]]
