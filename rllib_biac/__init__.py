"""Leader-follower (Stackelberg) multi-agent reinforcement learning for RLlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rllib_biac.algorithms.biac import BiAC, BiACConfig

__all__ = ["BiAC", "BiACConfig"]


def __getattr__(name: str) -> Any:
    # Importing ray takes seconds: it waits until an algorithm is asked for.
    if name in __all__:
        from rllib_biac.algorithms import biac

        return getattr(biac, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
