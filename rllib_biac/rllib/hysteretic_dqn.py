"""Hysteretic deep Q-learning for RLlib."""

from __future__ import annotations

from typing import Any, Self

from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.utils.annotations import override

from rllib_biac.algorithms.dqn import HystereticDQN as ALGORITHM
from rllib_biac.algorithms.dqn.settings import HystereticDQNSettings
from rllib_biac.rllib.algorithm import JointAlgorithm
from rllib_biac.rllib.config import JointConfig
from rllib_biac.rllib.documented import documented


class HystereticDQNConfig(JointConfig):
    """Config of hysteretic Q-learners."""

    algorithm = ALGORITHM

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or HystereticDQN)

    @override(JointConfig)
    @documented(HystereticDQNSettings)
    def training(self, *, hysteresis: float = NotProvided, **kwargs: Any) -> Self:
        """Sets how hysteretic Q-learners learn."""
        return super().training(**kwargs)._set_given(hysteresis=hysteresis)


class HystereticDQN(JointAlgorithm):
    """Hysteretic deep Q-learning (Matignon et al. 2007; with deep networks: Omidshafiei et al. 2017).

    Simplified against the latter: feed-forward networks and single-step replay, as their games are seen in full here.
    """

    config_class = HystereticDQNConfig
