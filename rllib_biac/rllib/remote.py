"""Asking remote runners: whoever does not answer in time is killed, and started again by Ray."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Any

import ray
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.env.env_runner_group import EnvRunnerGroup

from rllib_biac.envs.errors import GameError
from rllib_biac.rllib.faults import GameFault

logger = logging.getLogger(__name__)


def ask(
    group: EnvRunnerGroup, function: Callable[[EnvRunner], Any], timeout_s: float | None
) -> tuple[list[Any], GameError | None]:
    """Has every healthy remote runner call a function with itself.

    RLlib drops the answers of those who are late, and asks them on: a game that hangs would hold up the first question
    that has no timeout for ever, and steps of a slow one would count that nobody has.

    Args:
        group: the runners.
        function: what each calls.
        timeout_s: how long to wait for answers; None: for ever.

    Returns:
        The answers, and the first error of a game among them.
    """
    asked = group.healthy_worker_ids()
    returned = group.foreach_env_runner(
        lambda runner: (runner.worker_index, function(runner)), local_env_runner=False, timeout_seconds=timeout_s
    )
    faults = [each for each in returned if isinstance(each, GameFault)]
    answers = dict(each for each in returned if not isinstance(each, GameFault))
    restart(group, set(asked) - answers.keys() - {fault.index for fault in faults}, timeout_s)
    return list(answers.values()), faults[0].error if faults else None


def restart(group: EnvRunnerGroup, indices: Collection[int], timeout_s: float | None) -> None:
    """Kills runners that were silent for so long; those known to be dead are left alone.

    RLlib notices when Ray has started them again, and gives them the newest weights.
    """
    manager = group._worker_manager
    for index in indices:
        if manager.is_actor_healthy(index):
            logger.warning(f"Env runner {index} did not answer within {timeout_s} s: it is killed and started again.")
            ray.kill(manager.actors()[index], no_restart=False)
            manager.set_actor_state(index, healthy=False)
