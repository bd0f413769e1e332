"""Bi-level Actor-Critic."""

from rllib_biac.algorithms.biac.biac import BiAC, BiACConfig

__all__ = ["BiAC", "BiACConfig"]
