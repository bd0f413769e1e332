"""Bi-level Actor-Critic (Zhang et al., AAAI 2020): a leader that commits, a follower that best-responds."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

import gymnasium as gym
import numpy as np
from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.utils.annotations import override

from rllib_biac.algorithms.biac.biac_learner import BiACLearner
from rllib_biac.algorithms.biac.biac_rl_module import BiACFollower, BiACLeader, BiACModule
from rllib_biac.algorithms.biac.hypotheses_learner import HypothesesLearner
from rllib_biac.algorithms.biac.hypotheses_rl_module import HypothesesFollower, HypothesesLeader
from rllib_biac.algorithms.biac.levels_learner import LevelsLearner
from rllib_biac.algorithms.biac.levels_rl_module import LevelAgent, LevelsModule
from rllib_biac.core.algorithm import JointAlgorithm
from rllib_biac.core.config import JointConfig, load_object
from rllib_biac.core.hierarchy import Hierarchy
from rllib_biac.core.learner import JointLearner
from rllib_biac.core.rl_module import HierarchyModule, JointRLModule
from rllib_biac.envs.batched import BatchedGame


class BiACConfig(JointConfig):
    """Config of Bi-AC, for any hierarchy of agents with discrete or continuous actions.

    One leader and one follower with discrete actions get networks that answer for all joint actions at once, which is
    fastest; any other hierarchy gets networks that take actions in (`levels_rl_module`).

    .. code-block:: python

        from rllib_biac import BiACConfig

        algo = BiACConfig().environment("escape_v0").hierarchy([["player_0"], ["player_1"]]).build_algo()
        for _ in range(3):
            algo.train()
    """

    continuous_actions: ClassVar[bool] = True

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or BiAC)
        self.exploration_noise: float = 0.1
        # Whether networks answer for all joint actions at once; found out in `validate()`.
        self.answers_at_once: bool = True
        self.actor_loss: str = "expectation"
        self.response: str = "greedy"
        self.entropy_coeff: float = 0.2
        self.gumbel_temperature: float = 1.0
        self.num_hypotheses: int = 1
        self.updates_per_round: int = 1000
        self.continuous_leader: str = "actor"
        self.soft_q_temperature: float = 0.1
        self.num_leader_actions: int = 64
        self.approximators: bool = False
        self.approximated_share: float = 0.5
        # Agents that see part of the state are to be judged by how they play on that.
        self.evaluation_config = {"explore": False, "approximated_share": 1.0}
        self.leader_module_class: type[JointRLModule] | str = BiACLeader
        self.follower_module_class: type[JointRLModule] | str = BiACFollower

    @override(JointConfig)
    def training(
        self,
        *,
        actor_loss: Literal["expectation", "gumbel_softmax", "score_function"] = NotProvided,
        response: Literal["greedy", "sampled", "enumerated"] = NotProvided,
        entropy_coeff: float = NotProvided,
        gumbel_temperature: float = NotProvided,
        num_hypotheses: int = NotProvided,
        updates_per_round: int = NotProvided,
        continuous_leader: Literal["actor", "soft_q"] = NotProvided,
        soft_q_temperature: float = NotProvided,
        num_leader_actions: int = NotProvided,
        approximators: bool = NotProvided,
        **kwargs: Any,
    ) -> Self:
        """Sets how Bi-AC learns.

        Args:
            actor_loss: how the follower's actor climbs its critic: `expectation` over all its actions (exact, no sample
                variance; the default), `gumbel_softmax` (a relaxed sample, as the paper says), or `score_function`
                (Eq. 16, on actions drawn afresh, with a baseline).
            response: the follower's answer in play and in targets: `greedy`, `sampled` (Eq. 12 to the letter), or
                `enumerated`, the best by its critic (Eq. 8; the actor is then not played).
            entropy_coeff: weight of the actor's entropy bonus, in units of the spread of Q-values, at least 0.
            gumbel_temperature: of `gumbel_softmax`, greater than 0.
            num_hypotheses: pairs of critics, and actors, that are learned at once, at least 1. With more than one,
                training looks for the fixed point of the bi-level Bellman equation that pays the leader most where
                games start; 1, the published form, stays with the one it comes to.
            updates_per_round: updates, at least 8, after which the best hypothesis is selected and the others begin
                anew.
            continuous_leader: how a leader alone on the top level learns continuous actions: by an `actor` (Eq. 17) or
                by `soft_q`, soft Q-learning: it tries actions spread over its range and chooses by their values.
            soft_q_temperature: of `soft_q`, in units of the spread of Q-values, greater than 0: how softly it explores
                and how much less than the best a state is thought to be worth.
            num_leader_actions: how many actions `soft_q` tries, at least 2; the best of them is played.
            approximators: whether each agent also learns pi'_i(o_i), to play its part of the equilibrium by its own
                observation alone, in games where that is less than the state.
            kwargs: as for `JointConfig.training`.

        Returns:
            This config.
        """
        super().training(**kwargs)
        return self._set_given(
            actor_loss=actor_loss,
            response=response,
            entropy_coeff=entropy_coeff,
            gumbel_temperature=gumbel_temperature,
            continuous_leader=continuous_leader,
            soft_q_temperature=soft_q_temperature,
            num_leader_actions=num_leader_actions,
            approximators=approximators,
            num_hypotheses=num_hypotheses,
            updates_per_round=updates_per_round,
        )

    @override(JointConfig)
    def env_runners(
        self, *, exploration_noise: float = NotProvided, approximated_share: float = NotProvided, **kwargs: Any
    ) -> Self:
        """Sets how games are played while learning.

        Args:
            exploration_noise: standard deviation of the noise on continuous actions that are not drawn at random
                altogether (`epsilon`), in half their range; at least 0. There is none where epsilon is 0.
            approximated_share: share of a runner's games, in [0, 1], in which agents act by their `approximators`, so
                that they learn on the states they come to; 1 in evaluation. Without approximators it counts for
                nothing.
            kwargs: as for `JointConfig.env_runners`.

        Returns:
            This config.
        """
        super().env_runners(**kwargs)
        return self._set_given(exploration_noise=exploration_noise, approximated_share=approximated_share)

    @property
    @override(JointConfig)
    def uses_observations(self) -> bool:
        return self.approximators

    @property
    @override(JointConfig)
    def uses_starts(self) -> bool:
        return self.num_hypotheses > 1

    @override(JointConfig)
    def rl_module(
        self,
        *,
        leader_module_class: type | str = NotProvided,
        follower_module_class: type | str = NotProvided,
        **kwargs: Any,
    ) -> Self:
        """Sets the networks.

        Args:
            leader_module_class: a subclass of `BiACLeader`, or its name as `package.module:Class`.
            follower_module_class: a subclass of `BiACFollower`, or its name.
            kwargs: RLlib's, of which `model_config` (`fcnet_hiddens`, `fcnet_activation`, `conv_filters`)
                counts.

        Returns:
            This config.
        """
        super().rl_module(**kwargs)
        return self._set_given(leader_module_class=leader_module_class, follower_module_class=follower_module_class)

    @override(JointConfig)
    def get_default_learner_class(self) -> type[JointLearner]:
        if self.num_hypotheses > 1:
            return HypothesesLearner
        return BiACLearner if self.answers_at_once else LevelsLearner

    @override(JointConfig)
    def hierarchy_module_class(self) -> type[HierarchyModule]:
        return BiACModule if self.answers_at_once else LevelsModule

    @override(JointConfig)
    def module_classes(self) -> dict[str, type[JointRLModule]]:
        assert self.levels is not None
        if not self.answers_at_once:
            return dict.fromkeys(self.policies, LevelAgent)
        leader, follower = Hierarchy(self.levels).agents
        classes = [_loaded(given) for given in (self.leader_module_class, self.follower_module_class)]
        if self.num_hypotheses > 1:
            holds = {BiACLeader: HypothesesLeader, BiACFollower: HypothesesFollower}
            classes = [holds.get(given, given) for given in classes]
        return {leader: classes[0], follower: classes[1]}

    @override(JointConfig)
    def module_settings(self) -> dict[str, Any]:
        return super().module_settings() | {
            "response": self.response,
            "exploration_noise": self.exploration_noise,
            "continuous_leader": self.continuous_leader,
            "soft_q_temperature": self.soft_q_temperature,
            "num_leader_actions": self.num_leader_actions,
            "approximators": self.approximators,
            "num_hypotheses": self.num_hypotheses,
        }

    @override(JointConfig)
    def num_games_on_observations(self) -> int:
        return round(self.approximated_share * self.num_envs_per_env_runner) if self.approximators else 0

    @override(JointConfig)
    def validate(self) -> None:
        self.validate_choice("actor_loss", ("expectation", "gumbel_softmax", "score_function"))
        self.validate_choice("response", ("greedy", "sampled", "enumerated"))
        self.validate_number("entropy_coeff", 0.0, np.inf)
        self.validate_number("gumbel_temperature", 0.0, np.inf, open_low=True)
        for key, base in (("leader_module_class", BiACLeader), ("follower_module_class", BiACFollower)):
            given = _loaded(getattr(self, key))
            if not (isinstance(given, type) and issubclass(given, base)):
                self._value_error(f"{key}: {getattr(self, key)!r} is no subclass of {base.__name__}.")
        self.validate_number("exploration_noise", 0.0, np.inf)
        self.validate_choice("continuous_leader", ("actor", "soft_q"))
        self.validate_number("soft_q_temperature", 0.0, np.inf, open_low=True)
        self.validate_number("num_leader_actions", 2, np.inf, whole=True)
        self.validate_number("approximated_share", 0.0, 1.0)
        self.validate_choice("approximators", (True, False))
        self.validate_number("num_hypotheses", 1, np.inf, whole=True)
        self.validate_number("updates_per_round", 8, np.inf, whole=True)
        if self.num_hypotheses > 1:
            self._validate_hypotheses()
        if self.levels is not None:
            self.answers_at_once = _one_leads_one(Hierarchy(self.levels))
        super().validate()

    @override(JointConfig)
    def _validate_game(self, games: BatchedGame, hierarchy: Hierarchy) -> None:
        super()._validate_game(games, hierarchy)
        discrete = all(isinstance(space, gym.spaces.Discrete) for space in games.action_spaces.values())
        self.answers_at_once = discrete and _one_leads_one(hierarchy)
        (top, *_) = hierarchy.levels
        if self.continuous_leader == "soft_q" and (
            len(top) > 1 or isinstance(games.action_spaces[top[0]], gym.spaces.Discrete)
        ):
            self._value_error(
                "continuous_leader: soft_q is for one leader with continuous actions (Box) on the top level; leave it "
                "out."
            )
        if not self.answers_at_once:
            self._validate_levels(games)

    def _validate_hypotheses(self) -> None:
        for key, plain in (("leader_module_class", BiACLeader), ("follower_module_class", BiACFollower)):
            given = _loaded(getattr(self, key))
            if given is not plain and not issubclass(given, HypothesesLeader):
                self._value_error(
                    f"{key}: {getattr(self, key)!r} holds one hypothesis: with num_hypotheses above 1 make it a "
                    f"subclass of {plain.__name__.replace('BiAC', 'Hypotheses')}."
                )
        if self.num_learners > 1:
            self._value_error(
                f"num_hypotheses: {self.num_hypotheses} are compared by one learner: write num_learners: 0 or 1, or "
                "num_hypotheses: 1."
            )

    def _validate_levels(self, games: BatchedGame) -> None:
        plain = BiACConfig()
        for key in ("actor_loss", "response", "num_hypotheses", "leader_module_class", "follower_module_class"):
            if getattr(self, key) != getattr(plain, key):
                self._value_error(
                    f"{key}: {getattr(self, key)!r} is for one leader and one follower with discrete actions; leave it "
                    "out for other hierarchies."
                )
        space = games.state_space if self.state == "env" else None
        if space is not None and len(space.shape or ()) > 1:
            self._value_error(
                f"the state has shape {space.shape}: networks that take actions in put it beside them, which takes a "
                "vector. Give the game such a state."
            )


def _one_leads_one(hierarchy: Hierarchy) -> bool:
    return [len(level) for level in hierarchy.levels] == [1, 1]


class BiAC(JointAlgorithm):
    """Bi-level Actor-Critic.

    The leader's critic enumerates the leader's actions, the follower's actor answering each (Eq. 12); both critics
    learn by TD from the answered joint action (Eqs. 13-15), the actor from the follower's critic (Eq. 16). Hierarchies
    of any depth go by Eqs. 17-22.
    """

    @classmethod
    @override(JointAlgorithm)
    def get_default_config(cls) -> BiACConfig:
        return BiACConfig()


def _loaded(given: Any) -> Any:
    return load_object(given) if isinstance(given, str) else given
