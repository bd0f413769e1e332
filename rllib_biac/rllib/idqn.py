"""Independent deep Q-learning for RLlib."""

from __future__ import annotations

from rllib_biac.algorithms.dqn import IDQN as ALGORITHM
from rllib_biac.rllib.algorithm import JointAlgorithm
from rllib_biac.rllib.config import JointConfig


class IDQNConfig(JointConfig):
    """Config of independent Q-learners with discrete actions."""

    algorithm = ALGORITHM

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or IDQN)


class IDQN(JointAlgorithm):
    """Independent deep Q-learning (Mnih et al. 2015; several agents: Tampuu et al. 2017)."""

    config_class = IDQNConfig
