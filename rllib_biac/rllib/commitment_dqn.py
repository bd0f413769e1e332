"""Learning to commit to a whole policy, for RLlib."""

from __future__ import annotations

from typing import Any, Self

from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.utils.annotations import override

from rllib_biac.algorithms.commitment import CommitmentDQN as ALGORITHM
from rllib_biac.algorithms.commitment.settings import CommitmentDQNSettings
from rllib_biac.rllib.algorithm import JointAlgorithm
from rllib_biac.rllib.config import JointConfig
from rllib_biac.rllib.documented import documented


class CommitmentDQNConfig(JointConfig):
    """Config of a leader that commits to a whole policy (Eq. 5), for one leader and one follower in few states."""

    algorithm = ALGORITHM

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or CommitmentDQN)

    @override(JointConfig)
    @documented(CommitmentDQNSettings)
    def training(
        self,
        *,
        mixed: bool = NotProvided,
        announced: bool = NotProvided,
        leader_ignores: list[int] = NotProvided,
        max_states: int = NotProvided,
        answer_margin: float = NotProvided,
        temperature: float = NotProvided,
        num_candidates: int = NotProvided,
        search_every: int = NotProvided,
        choose_after: int | None = NotProvided,
        choose_steps: int = NotProvided,
        counted: bool = NotProvided,
        near_best: float = NotProvided,
        **kwargs: Any,
    ) -> Self:
        """Sets how the leader commits."""
        return (
            super()
            .training(**kwargs)
            ._set_given(
                mixed=mixed,
                announced=announced,
                leader_ignores=leader_ignores,
                max_states=max_states,
                answer_margin=answer_margin,
                temperature=temperature,
                num_candidates=num_candidates,
                search_every=search_every,
                choose_after=choose_after,
                choose_steps=choose_steps,
                counted=counted,
                near_best=near_best,
            )
        )


class CommitmentDQN(JointAlgorithm):
    """Q-learning of whole policies to commit to (Zhang et al., AAAI 2020, Eq. 5)."""

    config_class = CommitmentDQNConfig
