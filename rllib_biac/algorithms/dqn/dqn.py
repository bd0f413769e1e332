"""Independent deep Q-learners (`IDQN`), hysteretic (`HystereticDQN`) and lenient ones (`LenientDQN`)."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.utils.annotations import override

from rllib_biac.algorithms.dqn.dqn_learner import (
    LENIENCY,
    HystereticDQNLearner,
    IDQNLearner,
    LenientDQNLearner,
)
from rllib_biac.algorithms.dqn.dqn_rl_module import DQNModule, DQNRLModule
from rllib_biac.algorithms.dqn.temperatures import Temperatures
from rllib_biac.core.algorithm import JointAlgorithm
from rllib_biac.core.config import JointConfig
from rllib_biac.core.equals import EqualsConfig
from rllib_biac.core.rl_module import HierarchyModule, JointRLModule
from rllib_biac.core.transitions import ACTIONS, NEXT_OBS, OBS, TERMINATED, JointTransitions

TEMPERATURES = "temperatures"


class IDQNConfig(EqualsConfig):
    """Config of independent Q-learners with discrete actions.

    .. code-block:: python

        from rllib_biac import IDQNConfig

        algo = IDQNConfig().environment("escape_v0").hierarchy([["player_0", "player_1"]]).build_algo()
    """

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or IDQN)

    @override(JointConfig)
    def get_default_learner_class(self) -> type[IDQNLearner]:
        return IDQNLearner

    @override(JointConfig)
    def hierarchy_module_class(self) -> type[HierarchyModule]:
        return DQNModule

    @override(JointConfig)
    def module_classes(self) -> dict[str, type[JointRLModule]]:
        return dict.fromkeys(self.policies, DQNRLModule)


class IDQN(JointAlgorithm):
    """Independent deep Q-learning (Mnih et al. 2015; several agents: Tampuu et al. 2017)."""

    @classmethod
    @override(JointAlgorithm)
    def get_default_config(cls) -> IDQNConfig:
        return IDQNConfig()


class HystereticDQNConfig(IDQNConfig):
    """Config of hysteretic Q-learners: `IDQNConfig` and `hysteresis`."""

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or HystereticDQN)
        self.hysteresis: float = 0.1

    @override(IDQNConfig)
    def training(self, *, hysteresis: float = NotProvided, **kwargs: Any) -> Self:
        """Sets how hysteretic Q-learners learn.

        Args:
            hysteresis: beta / alpha, how much a negative TD error counts beside a positive one, in [0, 1]; 1 is IDQN.
            kwargs: as for `JointConfig.training`.

        Returns:
            This config.
        """
        super().training(**kwargs)
        return self._set_given(hysteresis=hysteresis)

    @override(IDQNConfig)
    def get_default_learner_class(self) -> type[IDQNLearner]:
        return HystereticDQNLearner

    @override(IDQNConfig)
    def validate(self) -> None:
        self.validate_number("hysteresis", 0.0, 1.0)
        super().validate()


class HystereticDQN(IDQN):
    """Hysteretic deep Q-learning (Matignon et al. 2007; with deep networks: Omidshafiei et al. 2017).

    Simplified against the latter: feed-forward networks and single-step replay, as their games are seen in full here.
    """

    @classmethod
    @override(IDQN)
    def get_default_config(cls) -> HystereticDQNConfig:
        return HystereticDQNConfig()


class LenientDQNConfig(IDQNConfig):
    """Config of lenient Q-learners: `IDQNConfig` and how leniency wears off."""

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or LenientDQN)
        self.leniency_moderation: float = 5.0
        self.temperature_decay: float = 0.998
        self.temperature_diffusion: float = 0.1
        self.temperature_hash_bits: int = 64

    @override(IDQNConfig)
    def training(
        self,
        *,
        leniency_moderation: float = NotProvided,
        temperature_decay: float = NotProvided,
        temperature_diffusion: float = NotProvided,
        temperature_hash_bits: int = NotProvided,
        **kwargs: Any,
    ) -> Self:
        """Sets how lenient Q-learners learn.

        Args:
            leniency_moderation: K in leniency 1 - exp(-K T), the share of negative TD errors that are forgiven;
                greater than 0.
            temperature_decay: factor by which T(o, a), 1 at first, cools each time a is tried in o; in (0, 1].
            temperature_diffusion: how much of the mean temperature of the next observation's actions flows into it, in
                [0, 1].
            temperature_hash_bits: into how many clusters, at most 2 to this power, observations are hashed.
            kwargs: as for `JointConfig.training`.

        Returns:
            This config.
        """
        super().training(**kwargs)
        return self._set_given(
            leniency_moderation=leniency_moderation,
            temperature_decay=temperature_decay,
            temperature_diffusion=temperature_diffusion,
            temperature_hash_bits=temperature_hash_bits,
        )

    @override(IDQNConfig)
    def get_default_learner_class(self) -> type[IDQNLearner]:
        return LenientDQNLearner

    @override(IDQNConfig)
    def validate(self) -> None:
        self.validate_number("leniency_moderation", 0.0, np.inf, open_low=True)
        self.validate_number("temperature_decay", 0.0, 1.0, open_low=True)
        self.validate_number("temperature_diffusion", 0.0, 1.0)
        self.validate_number("temperature_hash_bits", 1, np.inf, whole=True)
        super().validate()


class LenientDQN(IDQN):
    """Lenient deep Q-learning (Palmer et al. 2018).

    Simplified against it: observations are hashed without an autoencoder, a temperature decays by one factor rather
    than by a schedule over the episode, and exploration is everybody's epsilon, not the temperature's.
    """

    @classmethod
    @override(IDQN)
    def get_default_config(cls) -> LenientDQNConfig:
        return LenientDQNConfig()

    @override(IDQN)
    def setup(self, config: AlgorithmConfig) -> None:
        super().setup(config)
        self._temperatures: dict[str, Temperatures] = {}

    @override(IDQN)
    def with_own_columns(self, rows: JointTransitions) -> JointTransitions:
        """Stores with each step the leniency of each of its actions at that time."""
        own = {}
        for i, agent in enumerate(self.config.policies):
            observations, actions = rows.columns[OBS, agent], rows.columns[ACTIONS, agent]
            if agent not in self._temperatures:
                self._temperatures[agent] = self._make_temperatures(i, agent, math.prod(observations.shape[1:]))
            own[LENIENCY, agent] = self._temperatures[agent].leniency(
                observations, actions, rows.columns[NEXT_OBS, agent], rows.columns[TERMINATED]
            )
        return JointTransitions(rows.columns | own, rows.num_agents)

    def _make_temperatures(self, index: int, agent: str, size: int) -> Temperatures:
        module = self.get_module(agent)
        return Temperatures(
            size,
            int(module.unwrapped().action_space.n),
            decay=self.config.temperature_decay,
            diffusion=self.config.temperature_diffusion,
            moderation=self.config.leniency_moderation,
            bits=self.config.temperature_hash_bits,
            rng=np.random.default_rng([self.config.seed or 0, index]),
        )

    @override(IDQN)
    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        state = super().get_state(components, not_components=not_components, **kwargs)
        if self._check_component(TEMPERATURES, components, not_components):
            state[TEMPERATURES] = {agent: own.get_state() for agent, own in self._temperatures.items()}
        return state

    @override(IDQN)
    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        for i, (agent, own) in enumerate(state.get(TEMPERATURES, {}).items()):
            self._temperatures[agent] = self._make_temperatures(i, agent, len(own["projections"]) - 1)
            self._temperatures[agent].set_state(own)
