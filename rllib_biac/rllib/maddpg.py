"""MADDPG for RLlib."""

from __future__ import annotations

from typing import Any, Self

from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.utils.annotations import override

from rllib_biac.algorithms.maddpg import MADDPG as ALGORITHM
from rllib_biac.algorithms.maddpg.settings import MADDPGSettings
from rllib_biac.rllib.algorithm import JointAlgorithm
from rllib_biac.rllib.config import JointConfig
from rllib_biac.rllib.documented import documented


class MADDPGConfig(JointConfig):
    """Config of MADDPG, with discrete (Gumbel-Softmax) or continuous actions."""

    algorithm = ALGORITHM

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or MADDPG)

    @override(JointConfig)
    @documented(MADDPGSettings)
    def training(
        self, *, gumbel_temperature: float = NotProvided, actor_regularization: float = NotProvided, **kwargs: Any
    ) -> Self:
        """Sets how MADDPG learns."""
        learning = super().training(**kwargs)
        return learning._set_given(gumbel_temperature=gumbel_temperature, actor_regularization=actor_regularization)

    @override(JointConfig)
    @documented(MADDPGSettings, "env_runners")
    def env_runners(self, *, exploration_noise: float = NotProvided, **kwargs: Any) -> Self:
        """Sets how games are played while learning."""
        return super().env_runners(**kwargs)._set_given(exploration_noise=exploration_noise)


class MADDPG(JointAlgorithm):
    """Multi-agent deep deterministic policy gradient (Lowe et al. 2017).

    Simplified against it: no ensembles of policies, no inferred policies of others.
    """

    config_class = MADDPGConfig
