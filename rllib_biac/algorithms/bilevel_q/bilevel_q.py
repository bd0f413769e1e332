"""Bi-level Q-learning with tables (Zhang et al., AAAI 2020, Eqs. 8-11): one leader, one follower, states that recur."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.utils.annotations import override

from rllib_biac.algorithms.bilevel_q.bilevel_q_learner import BiLevelQLearner
from rllib_biac.algorithms.bilevel_q.bilevel_q_rl_module import TableModule, TableRLModule
from rllib_biac.core.algorithm import JointAlgorithm
from rllib_biac.core.config import JointConfig
from rllib_biac.core.hierarchy import Hierarchy
from rllib_biac.core.rl_module import HierarchyModule, JointRLModule
from rllib_biac.envs.batched import BatchedGame


class BiLevelQConfig(JointConfig):
    """Config of tabular bi-level Q-learning, for one leader and one follower with discrete actions.

    .. code-block:: python

        from rllib_biac import BiLevelQConfig

        algo = BiLevelQConfig().environment("two_state_v0").hierarchy([["player_0"], ["player_1"]]).build_algo()
    """

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or BiLevelQ)
        self.lr = 0.1
        self.training_intensity = 1.0
        self.train_batch_size_per_learner = 25
        self.normalize_targets = False
        self.max_states: int = 10_000
        self.initial_q: float = 0.0

    @override(JointConfig)
    def training(self, *, max_states: int = NotProvided, initial_q: float = NotProvided, **kwargs: Any) -> Self:
        """Sets how tables learn.

        Args:
            max_states: rows of the tables; training stops with a message if more states than that are met.
            initial_q: what all entries begin with.
            kwargs: as for `JointConfig.training`. `lr` is the tables' alpha (Eqs. 10, 11), in [0, 1].

        Returns:
            This config.
        """
        super().training(**kwargs)
        return self._set_given(max_states=max_states, initial_q=initial_q)

    @override(JointConfig)
    def get_default_learner_class(self) -> type[BiLevelQLearner]:
        return BiLevelQLearner

    @override(JointConfig)
    def hierarchy_module_class(self) -> type[HierarchyModule]:
        return TableModule

    @override(JointConfig)
    def module_classes(self) -> dict[str, type[JointRLModule]]:
        return dict.fromkeys(self.policies, TableRLModule)

    @override(JointConfig)
    def module_settings(self) -> dict[str, Any]:
        return super().module_settings() | {"max_states": self.max_states, "initial_q": self.initial_q}

    @override(JointConfig)
    def validate(self) -> None:
        self.validate_number("max_states", 1, np.inf, whole=True)
        self.validate_number("initial_q", -np.inf, np.inf)
        if self.normalize_targets or self.normalize_observations:
            self._value_error(
                "tables hold raw values of raw states: leave normalize_targets, normalize_observations out."
            )
        if self.num_learners > 1:
            self._value_error(
                f"num_learners: {self.num_learners}: a table takes its transitions one after the other, which several "
                "learners cannot share: write 0 (in the trial's process) or 1 (in one of its own)."
            )
        if self._given_model_config():
            self._value_error("model_config would do nothing here: BiLevelQ has tables, no networks; leave it out.")
        self._validate_schedule("lr", self.lr, 0.0, 1.0)
        super().validate()

    @override(JointConfig)
    def _validate_game(self, games: BatchedGame, hierarchy: Hierarchy) -> None:
        super()._validate_game(games, hierarchy)
        if [len(level) for level in hierarchy.levels] != [1, 1]:
            self._value_error(
                f"BiLevelQ plays one leader and one follower, but the hierarchy is {self.levels!r}: write two levels "
                "of one agent, [[leader], [follower]]."
            )


class BiLevelQ(JointAlgorithm):
    """Tabular bi-level Q-learning.

    Converges to Q* where the paper's assumptions hold, and in games that never return to a state; else it may end at
    any of several fixed points, or cycle (see `rllib_biac.equilibria.feedback_se`).
    """

    @classmethod
    @override(JointAlgorithm)
    def get_default_config(cls) -> BiLevelQConfig:
        return BiLevelQConfig()
