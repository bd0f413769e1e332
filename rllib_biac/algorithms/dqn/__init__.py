"""Independent deep Q-learning and its two variants for cooperation: hysteretic and lenient."""

from rllib_biac.algorithms.dqn.dqn import (
    IDQN,
    HystereticDQN,
    HystereticDQNConfig,
    IDQNConfig,
    LenientDQN,
    LenientDQNConfig,
)

__all__ = ["IDQN", "HystereticDQN", "HystereticDQNConfig", "IDQNConfig", "LenientDQN", "LenientDQNConfig"]
