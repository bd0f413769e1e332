"""What learning to commit can be told."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from rllib_biac.learning.hierarchy import Hierarchy
from rllib_biac.learning.settings import Settings, setting


@dataclass(kw_only=True)
class CommitmentDQNSettings(Settings):
    """Settings of a leader that commits to a whole policy, for two agents with discrete actions in few states."""

    tau: float = setting(
        0.05, "share by which target networks move towards the online ones, in (0, 1].", low=0.0, high=1.0, above=True
    )
    train_batch_size_per_learner: int = setting(64, "rows of one update, in each learner.", low=1)
    training_intensity: float | None = setting(
        16.0,
        "rows trained per row sampled; None: one update per env step, that is `train_batch_size_per_learner`.",
        low=0.0,
        above=True,
    )
    lr_fade: float | None = setting(
        None,
        "env steps, times the root of the horizon, after which a learning rate has fallen to 0.7 of it.",
        low=0.0,
        above=True,
    )
    averaging: float = setting(
        0.0, "commitments are searched for and played with the latest weights: leave it out.", low=0.0, high=1.0
    )
    mixed: bool = setting(False, "whether the leader may commit to probabilities; `false`: to one action per state.")
    announced: bool = setting(
        False,
        "whether the follower sees the action that is drawn before it answers; `false`: it knows the probabilities "
        "alone. Of a pure commitment it knows both.",
    )
    leader_ignores: list[int] = setting(
        [],
        "which components of the state, by number, the leader's commitment does not depend on; the follower sees all.",
    )
    max_states: int = setting(
        8, "rows of the commitment; training stops with a message if more states than that are met.", low=1
    )
    answer_margin: float = setting(
        1.0,
        "distance that the commitment keeps from where the follower turns away: by how much it is to prefer its answer "
        "to those that cost the leader, in units of two standard errors of that preference; unless `counted`, of its "
        "critic's measured error.",
        low=0.0,
    )
    temperature: float = setting(
        0.0,
        "how much the follower errs, in the game's units of reward: it answers by a softmax of its values divided by "
        "this, and values the entropy of its answers times this; 0: it best-responds.",
        low=0.0,
    )
    num_candidates: int = setting(4096, "commitments that one search for the best looks at first.", low=64, high=10**6)
    search_every: int = setting(
        250, "updates between two of the first ten searches; each later one comes after a tenth more.", low=1
    )
    choose_after: int | None = setting(
        None,
        "env steps after which the leader chooses its commitment for good: the best candidates are played, and it "
        "takes the first whose promise play does not refute. `null`: the last search decides, and nothing is played.",
        low=1,
    )
    choose_steps: int = setting(4000, "env steps that this choice plays, which count as others do.", low=16)
    counted: bool = setting(
        True,
        "whether searches and that choice go by what was counted: how often rows of each state and joint action led "
        "where, and what they paid. `false`: by critics alone.",
    )
    near_best: float = setting(
        0.5, "share of commitments drawn near the best one found so far, in play and in replay.", low=0.0, high=1.0
    )

    @property
    def bounds_values(self) -> bool:
        return self.bound_values and not self.temperature  # what errs values the entropy of its answers, too

    @property
    def spreads_epsilon(self) -> bool:
        return bool(self.spread_epsilon)  # what it explores is commitments

    @property
    def uses_starts(self) -> bool:
        return True

    def check(self, hierarchy: Hierarchy, num_learners: int = 1) -> None:
        if self.normalize_observations:
            raise ValueError(
                "normalize_observations: True: a commitment is a table over states, which must stay what they are; "
                "leave it out."
            )
        if self.averaging:
            raise ValueError(
                f"averaging: {self.averaging!r}: a commitment is searched for with the latest weights, and played with "
                "what it was searched with: leave it out."
            )
        if self.history > 1:
            raise ValueError(
                f"history: {self.history}: a commitment is one row of probabilities per state of the game, and the "
                "follower's answer to it is worked out on those states; rows that also tell what was seen before would "
                "be other, far more states. Leave it out, or use BiAC."
            )
        super().check(hierarchy, num_learners)

    def check_game(self, spec: Any) -> None:
        super().check_game(spec)
        size = math.prod(spec.state_space.shape or ())
        if wrong := [number for number in self.leader_ignores if not 0 <= number < size]:
            raise ValueError(
                f"leader_ignores: {wrong[0]}: the state has components 0 to {size - 1}; name some of these."
            )
        if not spec.one_leads_one:
            levels = [list(level) for level in spec.hierarchy.levels]
            raise ValueError(
                f"{self.algorithm()} plays one leader and one follower, but the hierarchy is {levels!r}: write two "
                "levels of one agent, [[leader], [follower]]."
            )
        if spec.masked:
            raise ValueError(
                f"the game forbids actions at times, and {self.algorithm()} commits to probabilities of all of them: "
                "let forbidden actions do what some other one does, or use BiAC."
            )
        if len(spec.state_space.shape or ()) != 1:
            raise ValueError(
                f"{self.algorithm()} needs states that are vectors and recur; got shape {spec.state_space.shape}: use "
                "BiAC."
            )
