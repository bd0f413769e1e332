"""All algorithms, by the name a user types."""

from __future__ import annotations

from rllib_biac.algorithms.biac import BiACConfig
from rllib_biac.core.config import JointConfig

REGISTRY: dict[str, type[JointConfig]] = {"BiAC": BiACConfig}

__all__ = ["REGISTRY"]
