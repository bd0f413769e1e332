"""Exact game theory, the oracle for every test: equilibria, margins and regrets. Imports numpy and scipy only."""

from rllib_biac.equilibria.matrix import (
    StackelbergEquilibrium,
    leader_regret,
    pure_nash,
    response_regret,
    stackelberg,
)

__all__ = ["StackelbergEquilibrium", "leader_regret", "pure_nash", "response_regret", "stackelberg"]
