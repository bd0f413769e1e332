"""Tabular bi-level Q-learning for RLlib."""

from __future__ import annotations

from typing import Any, Self

from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.utils.annotations import override

from rllib_biac.algorithms.bilevel_q import BiLevelQ as ALGORITHM
from rllib_biac.algorithms.bilevel_q.settings import BiLevelQSettings
from rllib_biac.rllib.algorithm import JointAlgorithm
from rllib_biac.rllib.config import JointConfig
from rllib_biac.rllib.documented import documented


class BiLevelQConfig(JointConfig):
    """Config of tabular bi-level Q-learning, for one leader and one follower with discrete actions."""

    algorithm = ALGORITHM

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or BiLevelQ)

    @override(JointConfig)
    @documented(BiLevelQSettings)
    def training(self, *, max_states: int = NotProvided, initial_q: float = NotProvided, **kwargs: Any) -> Self:
        """Sets how tables learn."""
        return super().training(**kwargs)._set_given(max_states=max_states, initial_q=initial_q)


class BiLevelQ(JointAlgorithm):
    """Tabular bi-level Q-learning (Zhang et al., AAAI 2020, Eqs. 8-11)."""

    config_class = BiLevelQConfig
