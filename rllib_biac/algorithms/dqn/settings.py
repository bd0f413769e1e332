"""What independent Q-learners can be told."""

from __future__ import annotations

from dataclasses import dataclass

from rllib_biac.learning.peers import PeersSettings
from rllib_biac.learning.settings import setting


@dataclass(kw_only=True)
class IDQNSettings(PeersSettings):
    """Settings of independent Q-learners with discrete actions."""


@dataclass(kw_only=True)
class HystereticDQNSettings(IDQNSettings):
    """Settings of hysteretic Q-learners: `IDQNSettings` and `hysteresis`."""

    hysteresis: float = setting(
        0.1,
        "beta / alpha, how much a negative TD error counts beside a positive one, in [0, 1]; 1 is IDQN.",
        low=0.0,
        high=1.0,
    )


@dataclass(kw_only=True)
class LenientDQNSettings(IDQNSettings):
    """Settings of lenient Q-learners: `IDQNSettings` and how leniency wears off."""

    leniency_moderation: float = setting(
        5.0,
        "K in leniency 1 - exp(-K T), the share of negative TD errors that are forgiven; greater than 0.",
        low=0.0,
        above=True,
    )
    temperature_decay: float = setting(
        0.998,
        "factor by which T(o, a), 1 at first, cools each time a is tried in o; in (0, 1].",
        low=0.0,
        high=1.0,
        above=True,
    )
    temperature_diffusion: float = setting(
        0.1,
        "how much of the mean temperature of the next observation's actions flows into it, in [0, 1].",
        low=0.0,
        high=1.0,
    )
    temperature_hash_bits: int = setting(
        64, "into how many clusters, at most 2 to this power, observations are hashed.", low=1, high=1024
    )
