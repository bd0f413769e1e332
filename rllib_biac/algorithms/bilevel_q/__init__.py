"""Bi-level Q-learning with tables (Zhang et al., AAAI 2020, Eqs. 8-11): one leader, one follower, states that recur.

It converges to Q* where the paper's assumptions hold, and in games that never return to a state; else it may end at any
of several fixed points, or cycle (see `rllib_biac.equilibria.feedback_se`).
"""

from __future__ import annotations

from rllib_biac.algorithms.bilevel_q.settings import BiLevelQSettings
from rllib_biac.algorithms.bilevel_q.team import TableTeam
from rllib_biac.algorithms.bilevel_q.trainer import TableTrainer
from rllib_biac.learning.algorithm import Algorithm
from rllib_biac.learning.losses import Losses

BiLevelQ = Algorithm("BiLevelQ", BiLevelQSettings, TableTeam, Losses, trainer=TableTrainer)
