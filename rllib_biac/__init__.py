"""Leader-follower (Stackelberg) multi-agent reinforcement learning for RLlib."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rllib_biac.algorithms.biac.team import BiACFollower, BiACLeader
    from rllib_biac.rllib.biac import BiAC, BiACConfig
    from rllib_biac.rllib.bilevel_q import BiLevelQ, BiLevelQConfig
    from rllib_biac.rllib.commitment_dqn import CommitmentDQN, CommitmentDQNConfig
    from rllib_biac.rllib.hysteretic_dqn import HystereticDQN, HystereticDQNConfig
    from rllib_biac.rllib.idqn import IDQN, IDQNConfig
    from rllib_biac.rllib.lenient_dqn import LenientDQN, LenientDQNConfig
    from rllib_biac.rllib.maddpg import MADDPG, MADDPGConfig
    from rllib_biac.rllib.matd3 import MATD3, MATD3Config

__all__ = [
    "IDQN",
    "MADDPG",
    "MATD3",
    "BiAC",
    "BiACConfig",
    "BiACFollower",
    "BiACLeader",
    "BiLevelQ",
    "BiLevelQConfig",
    "CommitmentDQN",
    "CommitmentDQNConfig",
    "HystereticDQN",
    "HystereticDQNConfig",
    "IDQNConfig",
    "LenientDQN",
    "LenientDQNConfig",
    "MADDPGConfig",
    "MATD3Config",
]


# The bases of networks of one's own.
_NETWORKS = ("BiACLeader", "BiACFollower")


def __getattr__(name: str) -> Any:
    if name in _NETWORKS:
        return getattr(importlib.import_module("rllib_biac.algorithms.biac.team"), name)
    # Importing ray takes seconds: it waits until an algorithm is asked for.
    if name in __all__:
        from rllib_biac.rllib.registry import ALGORITHMS

        module, _, _ = ALGORITHMS[name.removesuffix("Config")].partition(":")
        return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
