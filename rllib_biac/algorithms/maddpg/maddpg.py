"""MADDPG (Lowe et al. 2017) and MATD3 (Ackermann et al. 2019), for discrete and continuous actions."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.utils.annotations import override

from rllib_biac.algorithms.maddpg.maddpg_learner import MADDPGLearner, MATD3Learner
from rllib_biac.algorithms.maddpg.maddpg_rl_module import MADDPGModule, MADDPGRLModule, MATD3RLModule
from rllib_biac.core.algorithm import JointAlgorithm
from rllib_biac.core.config import JointConfig
from rllib_biac.core.equals import EqualsConfig
from rllib_biac.core.hierarchy import Hierarchy
from rllib_biac.core.rl_module import HierarchyModule, JointRLModule
from rllib_biac.envs.batched import BatchedGame


class MADDPGConfig(EqualsConfig):
    """Config of MADDPG, with discrete (Gumbel-Softmax) or continuous actions.

    .. code-block:: python

        from rllib_biac import MADDPGConfig

        algo = MADDPGConfig().environment("merge_v0").hierarchy([["main_0", "auxiliary_0"]]).build_algo()
    """

    continuous_actions: ClassVar[bool] = True

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or MADDPG)
        self.gumbel_temperature: float = 1.0
        self.actor_regularization: float = 1e-3
        self.exploration_noise: float = 0.1

    @override(JointConfig)
    def training(
        self,
        *,
        gumbel_temperature: float = NotProvided,
        actor_regularization: float = NotProvided,
        **kwargs: Any,
    ) -> Self:
        """Sets how MADDPG learns.

        Args:
            gumbel_temperature: of the relaxed samples of discrete actions, greater than 0.
            actor_regularization: weight of the mean square of an actor's outputs, which keeps them off saturation; at
                least 0. The authors' code has 1e-3.
            kwargs: as for `JointConfig.training`.

        Returns:
            This config.
        """
        super().training(**kwargs)
        return self._set_given(gumbel_temperature=gumbel_temperature, actor_regularization=actor_regularization)

    @override(JointConfig)
    def env_runners(self, *, exploration_noise: float = NotProvided, **kwargs: Any) -> Self:
        """Sets how games are played while learning.

        Args:
            exploration_noise: standard deviation of the noise on continuous actions that are not drawn at random
                altogether (`epsilon`), in half their range; at least 0. There is none where epsilon is 0.
            kwargs: as for `JointConfig.env_runners`.

        Returns:
            This config.
        """
        super().env_runners(**kwargs)
        return self._set_given(exploration_noise=exploration_noise)

    @override(JointConfig)
    def get_default_learner_class(self) -> type[MADDPGLearner]:
        return MADDPGLearner

    @override(JointConfig)
    def hierarchy_module_class(self) -> type[HierarchyModule]:
        return MADDPGModule

    @override(JointConfig)
    def module_classes(self) -> dict[str, type[JointRLModule]]:
        return dict.fromkeys(self.policies, MADDPGRLModule)

    @override(JointConfig)
    def module_settings(self) -> dict[str, Any]:
        return super().module_settings() | {"exploration_noise": self.exploration_noise}

    @override(JointConfig)
    def validate(self) -> None:
        self.validate_number("gumbel_temperature", 0.0, np.inf, open_low=True)
        self.validate_number("actor_regularization", 0.0, np.inf)
        self.validate_number("exploration_noise", 0.0, np.inf)
        super().validate()

    @override(EqualsConfig)
    def _validate_game(self, games: BatchedGame, hierarchy: Hierarchy) -> None:
        super()._validate_game(games, hierarchy)
        shape = games.state_space.shape if self.state == "env" and games.state_space is not None else (1,)
        if len(shape or ()) != 1:
            self._value_error(
                f"the state has shape {shape}: the critics of {type(self).__name__.removesuffix('Config')} put it "
                "beside the actions, which takes a vector. Write state: observations, or give the game such a state."
            )


class MADDPG(JointAlgorithm):
    """Multi-agent deep deterministic policy gradient (Lowe et al. 2017).

    Simplified against it: no ensembles of policies, no inferred policies of others.
    """

    @classmethod
    @override(JointAlgorithm)
    def get_default_config(cls) -> MADDPGConfig:
        return MADDPGConfig()


class MATD3Config(MADDPGConfig):
    """Config of MATD3: `MADDPGConfig`, and what TD3 adds."""

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or MATD3)
        self.policy_delay: int = 2
        self.target_network_update_freq = 2  # with the policies, as in TD3
        self.target_noise: float = 0.2
        self.target_noise_clip: float = 0.5

    @override(MADDPGConfig)
    def training(
        self,
        *,
        policy_delay: int = NotProvided,
        target_noise: float = NotProvided,
        target_noise_clip: float = NotProvided,
        **kwargs: Any,
    ) -> Self:
        """Sets how MATD3 learns.

        Args:
            policy_delay: updates of the critics per update of the actors, at least 1. Targets follow at
                `target_network_update_freq`, 2 by default as well.
            target_noise: standard deviation of the noise on continuous target actions, in half their range; at least 0.
                Discrete target actions are Gumbel-Softmax samples, whose noise does the same.
            target_noise_clip: the noise's bound, at least 0.
            kwargs: as for `MADDPGConfig.training`.

        Returns:
            This config.
        """
        super().training(**kwargs)
        return self._set_given(
            policy_delay=policy_delay, target_noise=target_noise, target_noise_clip=target_noise_clip
        )

    @override(MADDPGConfig)
    def get_default_learner_class(self) -> type[MADDPGLearner]:
        return MATD3Learner

    @override(MADDPGConfig)
    def module_classes(self) -> dict[str, type[JointRLModule]]:
        return dict.fromkeys(self.policies, MATD3RLModule)

    @override(MADDPGConfig)
    def update_period(self, kind: str) -> int:
        return self.policy_delay if kind == "actor" else 1

    @override(MADDPGConfig)
    def validate(self) -> None:
        self.validate_number("policy_delay", 1, np.inf, whole=True)
        self.validate_number("target_noise", 0.0, np.inf)
        self.validate_number("target_noise_clip", 0.0, np.inf)
        super().validate()


class MATD3(MADDPG):
    """MADDPG with twin critics, target smoothing and delayed policies (Ackermann et al. 2019; the paper's "TD3")."""

    @classmethod
    @override(MADDPG)
    def get_default_config(cls) -> MATD3Config:
        return MATD3Config()
