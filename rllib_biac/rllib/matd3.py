"""MATD3 for RLlib."""

from __future__ import annotations

from typing import Any, Self

from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.utils.annotations import override

from rllib_biac.algorithms.maddpg import MATD3 as ALGORITHM
from rllib_biac.algorithms.maddpg.settings import MATD3Settings
from rllib_biac.rllib.config import JointConfig
from rllib_biac.rllib.documented import documented
from rllib_biac.rllib.maddpg import MADDPG, MADDPGConfig


class MATD3Config(MADDPGConfig):
    """Config of MATD3: `MADDPGConfig`, and what TD3 adds."""

    algorithm = ALGORITHM

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or MATD3)

    @override(JointConfig)
    @documented(MATD3Settings)
    def training(
        self,
        *,
        policy_delay: int = NotProvided,
        target_noise: float = NotProvided,
        target_noise_clip: float = NotProvided,
        **kwargs: Any,
    ) -> Self:
        """Sets how MATD3 learns."""
        learning = super().training(**kwargs)
        return learning._set_given(
            policy_delay=policy_delay, target_noise=target_noise, target_noise_clip=target_noise_clip
        )


class MATD3(MADDPG):
    """MADDPG with twin critics, target smoothing and delayed policies (Ackermann et al. 2019; the paper's "TD3")."""

    config_class = MATD3Config
