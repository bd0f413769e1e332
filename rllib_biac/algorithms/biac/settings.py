"""What Bi-AC can be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import gymnasium as gym

from rllib_biac.learning.hierarchy import Hierarchy
from rllib_biac.learning.settings import Settings, setting

# What only one leader and one follower with discrete actions and full information can be told.
_PAIR = ("actor_loss", "response", "num_hypotheses", "num_atoms", "leader_module_class", "follower_module_class")

# Each value is spread over several intervals. Of fewer than these, what is spread beyond the last ones counts.
_FEWEST_ATOMS = 9


@dataclass(kw_only=True)
class BiACSettings(Settings):
    """Settings of Bi-AC, for any hierarchy of agents with discrete or continuous actions."""

    continuous_actions: ClassVar[bool] = True

    actor_loss: Literal["expectation", "gumbel_softmax", "score_function"] = setting(
        "expectation",
        "how the follower's actor climbs its critic: `expectation` over all its actions (exact, no sample variance; "
        "the default), `gumbel_softmax` (a relaxed sample, as the paper says), or `score_function` (Eq. 16, on actions "
        "drawn afresh, with a baseline).",
    )
    response: Literal["greedy", "sampled", "enumerated"] = setting(
        "greedy",
        "the follower's answer in play and in targets: `greedy`, `sampled` (Eq. 12 to the letter), or `enumerated`, "
        "the best by its critic (Eq. 8; the actor is then not played).",
    )
    entropy_coeff: float = setting(
        0.2,
        "weight of the actor's entropy bonus, at least 0, in units of the spread of Q-values; with `information: own` "
        "of the spread between an agent's own actions.",
        low=0.0,
    )
    gumbel_temperature: float = setting(1.0, "of `gumbel_softmax`, greater than 0.", low=0.0, above=True)
    num_hypotheses: int = setting(
        1,
        "pairs of critics, and actors, that are learned at once, at least 1. With more than one, training looks for "
        "the fixed point of the bi-level Bellman equation that pays the leader most where games start; 1, the "
        "published form, stays with the one it comes to.",
        low=1,
        high=100,
    )
    num_atoms: int = setting(
        1,
        "into how many intervals a critic sorts values, which it then learns by cross-entropy (histogram loss; "
        "Farebrother et al. 2024), in networks whose layers are normalised: for states near which values jump, such as "
        "positions of cars; at least 9, as 21. 1: each value is one number, learned by least squares.",
        low=1,
        high=1001,
    )
    updates_per_round: int = setting(
        1000,
        "updates, at least 8, after which the best hypothesis is selected and the others begin anew.",
        low=8,
    )
    actor_tries: int = setting(
        64,
        "random actions that an actor with continuous actions looks at, in a quarter of its updates: where the best of "
        "them is worth clearly more than its own, it goes there. With 0 it always climbs to the nearest peak.",
        low=0,
        high=10**4,
    )
    continuous_leader: Literal["actor", "soft_q"] = setting(
        "actor",
        "how a leader alone on the top level learns continuous actions: by an `actor` (Eq. 17) or by `soft_q`, soft "
        "Q-learning: it tries actions spread over its range and chooses by their values.",
    )
    soft_q_temperature: float = setting(
        0.1,
        "of `soft_q`, in units of the spread of Q-values, greater than 0: how softly it explores and how much less "
        "than the best a state is thought to be worth.",
        low=0.0,
        above=True,
    )
    num_leader_actions: int = setting(
        64, "how many actions `soft_q` tries, at least 2; the best of them is played.", low=2, high=10**6
    )
    information: Literal["full", "own"] | None = setting(
        None,
        "what each agent acts on in play: `full`, the state, or `own`, its own observation; None takes `full`, and "
        "says so where observations differ in what they tell.",
        group="environment",
    )
    announced: bool = setting(
        True,
        "with `information: own`, whether an agent sees the actions of the levels above beside its observation; else "
        "it knows those agents by their policies alone.",
        group="environment",
    )
    approximators: bool = setting(
        False,
        "whether each agent also learns pi'_i(o_i), to play its part of the equilibrium by its own observation alone, "
        "in games where that is less than the state.",
    )
    exploration_noise: float = setting(
        0.1,
        "standard deviation of the noise on continuous actions that are not drawn at random altogether (`epsilon`), in "
        "half their range; at least 0. There is none where epsilon is 0.",
        low=0.0,
        group="env_runners",
    )
    approximated_share: float = setting(
        0.5,
        "share of a runner's games, in [0, 1], in which agents act by their `approximators`, so that they learn on the "
        "states they come to; 1 in evaluation. Without approximators it counts for nothing.",
        low=0.0,
        high=1.0,
        group="env_runners",
    )
    leader_module_class: type | str | None = setting(
        None, "a subclass of `BiACLeader`, or its name as `package.module:Class`.", group="rl_module"
    )
    follower_module_class: type | str | None = setting(
        None, "a subclass of `BiACFollower`, or its name.", group="rl_module"
    )

    @property
    def uses_observations(self) -> bool:
        return self.approximators or self.information == "own"

    @property
    def uses_starts(self) -> bool:
        return self.num_hypotheses > 1

    @property
    def spreads_epsilon(self) -> bool:
        return self.information != "own" if self.spread_epsilon is None else self.spread_epsilon

    def num_games_on_observations(self, num_games: int) -> int:
        return round(self.approximated_share * num_games) if self.approximators else 0

    def check(self, hierarchy: Hierarchy, num_learners: int = 1) -> None:
        super().check(hierarchy, num_learners)
        self._check_company()
        if self.num_hypotheses > 1 and num_learners > 1:
            raise ValueError(
                f"num_hypotheses: {self.num_hypotheses} are compared by one learner: write num_learners: 0 or 1, or "
                "num_hypotheses: 1."
            )
        if 1 < self.num_atoms < _FEWEST_ATOMS:
            raise ValueError(
                f"num_atoms: {self.num_atoms}: so few intervals have other means than the values sorted into them: "
                f"write {_FEWEST_ATOMS} or more, or 1."
            )
        if self.num_hypotheses > 1 and self.num_atoms > 1:
            raise ValueError(f"num_atoms: {self.num_atoms} does not go with several hypotheses: leave one of them out.")
        if not self.normalize_targets and self.num_atoms > 1:
            raise ValueError(
                f"num_atoms: {self.num_atoms}: intervals are laid out in units of the spread of targets: leave "
                "normalize_targets at true, or write num_atoms: 1."
            )

    def _check_company(self) -> None:
        """Refuses settings that count for nothing without another one."""
        plain = BiACSettings()
        for key, counts, company in (
            ("soft_q_temperature", self.continuous_leader == "soft_q", "continuous_leader: soft_q"),
            ("num_leader_actions", self.continuous_leader == "soft_q", "continuous_leader: soft_q"),
            ("updates_per_round", self.num_hypotheses > 1, "num_hypotheses: 2 or more"),
        ):
            if not counts and (value := getattr(self, key)) != getattr(plain, key):
                raise ValueError(
                    f"{key}: {value!r} would silently do nothing here: write {company} as well, or leave it out."
                )
        if self.information != "own":
            if not self.announced:
                raise ValueError(
                    "announced: false is for information: own. With the state every agent works out what those above "
                    "it do, and an answer to that is one to their actions. Write information: own, or leave it out."
                )
            return
        for key in (*_PAIR, "continuous_leader", "approximators"):
            if (value := getattr(self, key)) != getattr(plain, key):
                raise ValueError(f"{key}: {value!r} does not go with information: own: leave one of them out.")

    def check_game(self, spec: Any) -> None:
        super().check_game(spec)
        if self.num_hypotheses > 1:
            self.refuse_cuts(spec, "num_hypotheses above 1")
        if self.information == "own":
            for agent, space in spec.observation_spaces.items():
                if len(shape := space.shape or ()) != 1:
                    raise ValueError(
                        f"agent {agent!r} sees an array of shape {shape}: with information: own actors put commitments "
                        "beside it, which takes a vector. Give the game such observations."
                    )
            self._check_state(spec)
            return
        (top, *_) = spec.hierarchy.levels
        if self.continuous_leader == "soft_q" and (
            len(top) > 1 or isinstance(spec.action_spaces[top[0]], gym.spaces.Discrete)
        ):
            raise ValueError(
                "continuous_leader: soft_q is for one leader with continuous actions (Box) on the top level; leave it "
                "out."
            )
        if spec.one_leads_one and spec.discrete:
            return
        plain = BiACSettings()
        for key in _PAIR:
            if getattr(self, key) != getattr(plain, key):
                raise ValueError(
                    f"{key}: {getattr(self, key)!r} is for one leader and one follower with discrete actions; leave it "
                    "out for other hierarchies."
                )
        self._check_state(spec)

    @staticmethod
    def _check_state(spec: Any) -> None:
        if len(spec.state_space.shape or ()) > 1:
            raise ValueError(
                f"the state has shape {spec.state_space.shape}: networks that take actions in put it beside them, "
                "which takes a vector. Give the game such a state."
            )
