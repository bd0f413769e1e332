"""All algorithms, by the name a user types."""

from __future__ import annotations

from rllib_biac.algorithms.biac import BiACConfig
from rllib_biac.algorithms.bilevel_q import BiLevelQConfig
from rllib_biac.algorithms.dqn import HystereticDQNConfig, IDQNConfig, LenientDQNConfig
from rllib_biac.algorithms.maddpg import MADDPGConfig, MATD3Config
from rllib_biac.core.config import JointConfig

REGISTRY: dict[str, type[JointConfig]] = {
    "BiAC": BiACConfig,
    "BiLevelQ": BiLevelQConfig,
    "IDQN": IDQNConfig,
    "HystereticDQN": HystereticDQNConfig,
    "LenientDQN": LenientDQNConfig,
    "MADDPG": MADDPGConfig,
    "MATD3": MATD3Config,
}

__all__ = ["REGISTRY"]
