"""Bi-AC for RLlib."""

from __future__ import annotations

from typing import Any, Literal, Self

from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.utils.annotations import override

from rllib_biac.algorithms.biac import BiAC as ALGORITHM
from rllib_biac.algorithms.biac.settings import BiACSettings
from rllib_biac.rllib.algorithm import JointAlgorithm
from rllib_biac.rllib.config import JointConfig
from rllib_biac.rllib.documented import documented


class BiACConfig(JointConfig):
    """Config of Bi-AC, for any hierarchy of agents with discrete or continuous actions.

    .. code-block:: python

        from rllib_biac import BiACConfig

        algo = BiACConfig().environment("escape_v0").hierarchy([["player_0"], ["player_1"]]).build_algo()
        for _ in range(3):
            algo.train()
    """

    algorithm = ALGORITHM

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or BiAC)
        # Agents that see part of the state are to be judged by how they play on that.
        self.evaluation_config = {"explore": False, "approximated_share": 1.0}

    @override(JointConfig)
    @documented(BiACSettings)
    def training(
        self,
        *,
        actor_loss: Literal["expectation", "gumbel_softmax", "score_function"] = NotProvided,
        response: Literal["greedy", "sampled", "enumerated"] = NotProvided,
        entropy_coeff: float = NotProvided,
        gumbel_temperature: float = NotProvided,
        num_hypotheses: int = NotProvided,
        num_atoms: int = NotProvided,
        updates_per_round: int = NotProvided,
        actor_tries: int = NotProvided,
        continuous_leader: Literal["actor", "soft_q"] = NotProvided,
        soft_q_temperature: float = NotProvided,
        num_leader_actions: int = NotProvided,
        approximators: bool = NotProvided,
        **kwargs: Any,
    ) -> Self:
        """Sets how Bi-AC learns."""
        return (
            super()
            .training(**kwargs)
            ._set_given(
                actor_loss=actor_loss,
                response=response,
                entropy_coeff=entropy_coeff,
                gumbel_temperature=gumbel_temperature,
                num_hypotheses=num_hypotheses,
                num_atoms=num_atoms,
                updates_per_round=updates_per_round,
                actor_tries=actor_tries,
                continuous_leader=continuous_leader,
                soft_q_temperature=soft_q_temperature,
                num_leader_actions=num_leader_actions,
                approximators=approximators,
            )
        )

    @override(JointConfig)
    @documented(BiACSettings, "environment")
    def environment(
        self,
        env: Any = NotProvided,
        *,
        information: Literal["full", "own"] | None = NotProvided,
        announced: bool = NotProvided,
        **kwargs: Any,
    ) -> Self:
        """Sets the game, and who knows what in it.

        Args:
            env: the game, as for the other algorithms.
            kwargs: `state`, and RLlib's other settings; `env_config` is handed to the game.

        Returns:
            This config.
        """
        return super().environment(env, **kwargs)._set_given(information=information, announced=announced)

    @override(JointConfig)
    @documented(BiACSettings, "env_runners")
    def env_runners(
        self, *, exploration_noise: float = NotProvided, approximated_share: float = NotProvided, **kwargs: Any
    ) -> Self:
        """Sets how games are played while learning."""
        runners = super().env_runners(**kwargs)
        return runners._set_given(exploration_noise=exploration_noise, approximated_share=approximated_share)

    @override(JointConfig)
    @documented(BiACSettings, "rl_module")
    def rl_module(
        self,
        *,
        leader_module_class: type | str | None = NotProvided,
        follower_module_class: type | str | None = NotProvided,
        **kwargs: Any,
    ) -> Self:
        """Sets the networks."""
        modules = super().rl_module(**kwargs)
        return modules._set_given(leader_module_class=leader_module_class, follower_module_class=follower_module_class)


class BiAC(JointAlgorithm):
    """Bi-level Actor-Critic.

    The leader's critic enumerates the leader's actions, the follower's actor answering each (Eq. 12); both critics
    learn by TD from the answered joint action (Eqs. 13-15), the actor from the follower's critic (Eq. 16). Hierarchies
    of any depth go by Eqs. 17-22.
    """

    config_class = BiACConfig
