"""Tabular bi-level Q-learning."""

from rllib_biac.algorithms.bilevel_q.bilevel_q import BiLevelQ, BiLevelQConfig

__all__ = ["BiLevelQ", "BiLevelQConfig"]
