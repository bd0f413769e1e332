"""Leader-follower (Stackelberg) multi-agent reinforcement learning for RLlib."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rllib_biac.algorithms.biac import BiAC, BiACConfig
    from rllib_biac.algorithms.bilevel_q import BiLevelQ, BiLevelQConfig
    from rllib_biac.algorithms.dqn import (
        IDQN,
        HystereticDQN,
        HystereticDQNConfig,
        IDQNConfig,
        LenientDQN,
        LenientDQNConfig,
    )
    from rllib_biac.algorithms.maddpg import MADDPG, MATD3, MADDPGConfig, MATD3Config

__all__ = [
    "IDQN",
    "MADDPG",
    "MATD3",
    "BiAC",
    "BiACConfig",
    "BiLevelQ",
    "BiLevelQConfig",
    "HystereticDQN",
    "HystereticDQNConfig",
    "IDQNConfig",
    "LenientDQN",
    "LenientDQNConfig",
    "MADDPGConfig",
    "MATD3Config",
]

_FAMILIES = {"BiAC": "biac", "BiLevelQ": "bilevel_q", "MADDPG": "maddpg", "MATD3": "maddpg"}


def __getattr__(name: str) -> Any:
    # Importing ray takes seconds: it waits until an algorithm is asked for.
    if name in __all__:
        family = _FAMILIES.get(name.removesuffix("Config"), "dqn")
        return getattr(importlib.import_module(f"rllib_biac.algorithms.{family}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
