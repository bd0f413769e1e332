"""What tabular bi-level Q-learning can be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rllib_biac.learning.hierarchy import Hierarchy
from rllib_biac.learning.model_config import MODEL_DEFAULTS
from rllib_biac.learning.settings import Settings, setting


@dataclass(kw_only=True)
class BiLevelQSettings(Settings):
    """Settings of tabular bi-level Q-learning, for one leader and one follower with discrete actions."""

    lr: float | list[list[float]] = setting(
        0.1, "the tables' alpha (Eqs. 10, 11), in [0, 1], or its schedule [[env step, value], ...].", low=0.0, high=1.0
    )
    training_intensity: float | None = setting(1.0, "rows trained per row sampled.", low=0.0, above=True)
    train_batch_size_per_learner: int = setting(25, "rows that are taken at a time.", low=1)
    lr_fade: float | None = setting(None, "a table's alpha is as `lr` says: leave it out.", low=0.0, above=True)
    averaging: float = setting(0.0, "tables are played as they are: leave it out.", low=0.0, high=1.0)
    bound_values: bool = setting(False, "tables are learned as they are: leave it out.")
    normalize_targets: bool = setting(False, "tables hold raw values: leave it out.")
    max_states: int = setting(
        10_000, "rows of the tables; training stops with a message if more states than that are met.", low=1
    )
    initial_q: float = setting(0.0, "what all entries begin with.", low=-np.inf)

    @property
    def spreads_epsilon(self) -> bool:
        return bool(self.spread_epsilon)  # tables forget nothing

    def check(self, hierarchy: Hierarchy, num_learners: int = 1) -> None:
        if self.normalize_targets or self.normalize_observations:
            raise ValueError(
                "tables hold raw values of raw states: leave normalize_targets, normalize_observations out."
            )
        if self.lr_fade is not None or self.averaging:
            raise ValueError("tables are played as they are, and alpha is as `lr` says: leave averaging, lr_fade out.")
        if self.bound_values:
            raise ValueError("bound_values: tables are learned by Eqs. 10 and 11 as they are: leave it out.")
        if num_learners > 1:
            raise ValueError(
                f"num_learners: {num_learners}: a table takes its transitions one after the other, which several "
                "learners cannot share: write 0 (in the trial's process) or 1 (in one of its own)."
            )
        if self.model_config != MODEL_DEFAULTS:
            raise ValueError("model_config would do nothing here: BiLevelQ has tables, no networks; leave it out.")
        super().check(hierarchy, num_learners)

    def check_game(self, spec: Any) -> None:
        super().check_game(spec)
        self.refuse_cuts(spec, "BiLevelQ")
        if not spec.one_leads_one:
            levels = [list(level) for level in spec.hierarchy.levels]
            raise ValueError(
                f"BiLevelQ plays one leader and one follower, but the hierarchy is {levels!r}: write two levels of one "
                "agent, [[leader], [follower]]."
            )
