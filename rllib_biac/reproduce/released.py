"""Settings of the authors' released code that no paper has, for the rows that are labelled so.

Hysteretic and lenient Q-learners learned from targets cut to at most 1, in raw units of reward: in Escape every payoff
worth having (10, 15, 30) then looks the same. Independent Q-learners bootstrapped from their online network, beyond the
end of the game too. The methods as their own papers have them are `IDQN`, `HystereticDQN` and `LenientDQN`.
"""

from __future__ import annotations

import torch

from rllib_biac.algorithms.dqn.losses import HystereticDQNLosses, IDQNLosses, LenientDQNLosses
from rllib_biac.learning.losses import Rows
from rllib_biac.learning.transitions import NEXT_OBS, REWARDS

HIGHEST_TARGET = 1.0


class ReleasedIndependent(IDQNLosses):
    """`IDQN` without target networks, for which no game ever ends."""

    def bootstraps(self, rows: Rows) -> bool:
        return True

    @torch.no_grad()
    def compute_targets(self, rows: Rows) -> dict[str, torch.Tensor]:
        next_q = self.networks.compute("critic", {agent: rows[NEXT_OBS, agent] for agent in self.agents})
        targets = {}
        for agent in self.agents:
            best = self.team[agent].raw(next_q[agent, "critic"].amax(1))  # (batch,)
            targets[agent] = rows[REWARDS, agent] + self.settings.gamma * best
        return targets


class _CutTargets(IDQNLosses):
    def compute_targets(self, rows: Rows) -> dict[str, torch.Tensor]:
        return {agent: targets.clamp(max=HIGHEST_TARGET) for agent, targets in super().compute_targets(rows).items()}


class ReleasedHysteretic(_CutTargets, HystereticDQNLosses):
    """`HystereticDQN` on targets of at most 1."""


class ReleasedLenient(_CutTargets, LenientDQNLosses):
    """`LenientDQN` on targets of at most 1."""
