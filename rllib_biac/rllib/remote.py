"""Calls of remote runners with a time limit: who is silent is killed, and Ray starts it again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Any

from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.env.env_runner_group import EnvRunnerGroup

from rllib_biac.envs.errors import GameError
from rllib_biac.rllib import compat
from rllib_biac.rllib.faults import GameFault

logger = logging.getLogger(__name__)


def ask(
    group: EnvRunnerGroup, function: Callable[[EnvRunner], Any], timeout_s: float | None
) -> tuple[list[Any], GameError | None]:
    """Calls a function on every healthy remote runner, and restarts the runners that do not reply in time.

    RLlib drops late replies and goes on sending requests to a runner that is late. A game that hangs would then block
    the first request without a time limit for ever, and the steps of a slow game would be counted and lost.

    Args:
        group: the runners.
        function: what each runner calls, with itself.
        timeout_s: seconds to wait for replies; None: without limit.

    Returns:
        The replies, and the first error of a game among them.
    """
    asked = group.healthy_worker_ids()
    returned = group.foreach_env_runner(
        lambda runner: (runner.worker_index, function(runner)), local_env_runner=False, timeout_seconds=timeout_s
    )
    faults = [each for each in returned if isinstance(each, GameFault)]
    replies = dict(each for each in returned if not isinstance(each, GameFault))
    restart(group, set(asked) - replies.keys() - {fault.index for fault in faults}, timeout_s)
    return list(replies.values()), faults[0].error if faults else None


def restart(group: EnvRunnerGroup, indices: Collection[int], timeout_s: float | None) -> None:
    """Kills runners that were silent too long. Ray starts them again, and RLlib gives them the newest weights.

    Args:
        group: the runners.
        indices: of the silent ones. Those that RLlib takes for dead are left alone.
        timeout_s: how long they were silent, for the log.
    """
    for index in indices:
        if compat.is_healthy(group, index):
            logger.warning(f"Env runner {index} was silent for {timeout_s} s: it is killed and started again.")
            compat.kill_runner(group, index)
