"""Lenient deep Q-learning for RLlib."""

from __future__ import annotations

from typing import Any, Self

from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.utils.annotations import override

from rllib_biac.algorithms.dqn import LenientDQN as ALGORITHM
from rllib_biac.algorithms.dqn.settings import LenientDQNSettings
from rllib_biac.rllib.algorithm import JointAlgorithm
from rllib_biac.rllib.config import JointConfig
from rllib_biac.rllib.documented import documented


class LenientDQNConfig(JointConfig):
    """Config of lenient Q-learners."""

    algorithm = ALGORITHM

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or LenientDQN)

    @override(JointConfig)
    @documented(LenientDQNSettings)
    def training(
        self,
        *,
        leniency_moderation: float = NotProvided,
        temperature_decay: float = NotProvided,
        temperature_diffusion: float = NotProvided,
        temperature_hash_bits: int = NotProvided,
        **kwargs: Any,
    ) -> Self:
        """Sets how lenient Q-learners learn."""
        return (
            super()
            .training(**kwargs)
            ._set_given(
                leniency_moderation=leniency_moderation,
                temperature_decay=temperature_decay,
                temperature_diffusion=temperature_diffusion,
                temperature_hash_bits=temperature_hash_bits,
            )
        )


class LenientDQN(JointAlgorithm):
    """Lenient deep Q-learning (Palmer et al. 2018).

    Simplified against it: observations are hashed without an autoencoder, a temperature decays by one factor rather
    than by a schedule over the episode, and exploration is everybody's epsilon, not the temperature's.
    """

    config_class = LenientDQNConfig
