"""Highway Merge from other starts than the advertised ones."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rllib_biac.envs.zoo.game import Draft

GAMMA = 0.99
STARTS = 300
"""From how many starts play is scored."""

RANGES: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "merge_30_40": {},
    "merge_25_45": {"main_speed": (25.0, 45.0), "auxiliary_speed": (25.0, 45.0)},
    "merge_20_30": {"main_speed": (20.0, 30.0), "auxiliary_speed": (20.0, 30.0)},
    "merge_places": {"main_x": (200.0, 225.0), "auxiliary_x": (200.0, 225.0)},
}


class MergeAnswer:
    """The equilibrium of Merge from starts drawn once, solved for when it is first asked for.

    Args:
        ranges: of the starts, as `ParallelMerge` takes them; what is left out is its default.
        leader: `main_0` or `auxiliary_0`.
        seed: of the starts.
    """

    def __init__(self, ranges: Mapping[str, Any], leader: str, seed: int) -> None:
        from rllib_biac.envs.merge import rules

        low, high = rules.MergeRules(**ranges).start_ranges()
        self.starts = np.random.default_rng(seed).uniform(low, high, (STARTS, 4))
        self.leader = leader

    @functools.cached_property
    def equilibrium(self) -> Any:
        """The equilibrium from all starts, a `MergeEquilibrium`."""
        from rllib_biac.envs.merge.exact import merge_equilibrium

        return merge_equilibrium(self.starts, self.leader, GAMMA)

    def error(self, policy: Callable[[np.ndarray], Mapping[str, np.ndarray]]) -> float:
        """Returns the share of starts from which a policy comes to another outcome than the equilibrium.

        Starts whose equilibrium hangs on a tie do not count.

        Args:
            policy: takes states (m, 8) float32, returns agent -> (m,) integers.
        """
        from rllib_biac.envs.merge.exact import policy_outcomes

        counted = ~self.equilibrium.tied
        return float((policy_outcomes(policy, self.starts) != self.equilibrium.outcome)[counted].mean())


def merge(name: str) -> Callable[[np.random.Generator, int], Draft]:
    """Returns the family of Merge from starts of a range; either car leads."""
    ranges = RANGES[name]

    def draw(rng: np.random.Generator, seed: int) -> Draft:
        from rllib_biac.envs.merge import ParallelMerge, rules

        leader = int(rng.integers(2))
        game = ParallelMerge(**ranges)  # type: ignore[arg-type]
        return Draft(game, leader, GAMMA, MergeAnswer(ranges, rules.AGENTS[leader], seed), np.inf, dict(ranges))

    told = ", ".join(f"{key} {low:g} to {high:g}" for key, (low, high) in ranges.items())
    draw.__doc__ = f"Merge from {told or 'the advertised starts'}."
    return draw
