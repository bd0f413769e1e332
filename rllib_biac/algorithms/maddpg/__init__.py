"""MADDPG, and MATD3: the same with twin critics, target smoothing and delayed policies."""

from rllib_biac.algorithms.maddpg.maddpg import MADDPG, MATD3, MADDPGConfig, MATD3Config

__all__ = ["MADDPG", "MATD3", "MADDPGConfig", "MATD3Config"]
