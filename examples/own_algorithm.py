"""This example shows: an algorithm of one's own in one file. QMIX (Rashid et al., 2018), with a network of no agent.

How to run, from this folder:
    rllib train file own_algorithm.yaml
    rllib evaluate ~/ray_results/own_algorithm

Results to expect: both players play C-Z in Escape, the best joint action, within 3,000 steps.

An algorithm is three things: settings, a team, losses. `register` makes RLlib's classes of them. The team here is that
of independent Q-learners and, beside it, a mixer: it belongs to no agent, and RLlib keeps it as a module of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from rllib_biac.algorithms.dqn.losses import IDQNLosses
from rllib_biac.algorithms.dqn.team import DQNTeam
from rllib_biac.learning.algorithm import Algorithm
from rllib_biac.learning.losses import Measured, Rows
from rllib_biac.learning.networks import follow
from rllib_biac.learning.peers import PeersSettings
from rllib_biac.learning.settings import setting
from rllib_biac.learning.stacked import Outputs
from rllib_biac.learning.team import SHARED, Member
from rllib_biac.learning.transitions import NEXT_ACTION_MASK, NEXT_OBS, NEXT_STATE, REWARDS, STATE, TERMINATED
from rllib_biac.rllib.register import register
from rllib_biac.walk import restrict


@dataclass(kw_only=True)
class QMIXSettings(PeersSettings):
    """Settings of QMIX: those that all algorithms have, and the size of its mixer."""

    mixing_embed_dim: int = setting(32, "width of the mixer's hidden layer, at least 1.", low=1)
    normalize_targets: bool = setting(False, "must stay false: the mixer has no linear output to rescale.")

    def check(self, *args: Any, **kwargs: Any) -> None:
        super().check(*args, **kwargs)
        if self.normalize_targets:
            raise ValueError("normalize_targets: True: the mixer has no linear output to rescale; leave it out.")


class Mixer(nn.Module):
    """Q_tot(s, q_1, ..., q_n), which rises with every q_i: weights come from the state and are positive."""

    def __init__(self, state_size: int, num_agents: int, width: int) -> None:
        super().__init__()
        self.split, self.shape = (state_size, num_agents), (-1, num_agents, width)
        self.weight1, self.bias1 = nn.Linear(state_size, num_agents * width), nn.Linear(state_size, width)
        self.weight2, self.bias2 = nn.Linear(state_size, width), nn.Linear(state_size, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (batch, state size + n) -> (batch, 1)
        state, q = x.split(self.split, dim=1)
        hidden = torch.bmm(q.unsqueeze(1), self.weight1(state).abs().view(self.shape)).squeeze(1)
        hidden = nn.functional.elu(hidden + self.bias1(state))  # (batch, width)
        return (hidden * self.weight2(state).abs()).sum(1, keepdim=True) + self.bias2(state)


class Mixing(Member):
    """What belongs to no agent: the mixer and its target network. Play does without both."""

    settings: QMIXSettings

    def build_networks(self) -> None:
        self.mixer = Mixer(math.prod(self.state_shape), len(self.agents), self.settings.mixing_embed_dim)
        self.mixer_target = follow(self.mixer)
        self.register_q_normalizer()

    def networks(self) -> dict[str, nn.Module]:
        return {"mixer": self.mixer}

    def target_networks(self) -> dict[str, nn.Module]:
        return {"mixer": self.mixer_target}

    def training_only(self) -> list[str]:
        return ["mixer", "mixer_target"]


class QMIXTeam(DQNTeam):
    """Agents that act by their own observations, and a mixer to train them by."""

    shares = True

    def build_shared(self) -> Member:
        return Mixing(self.spec, SHARED)


class QMIXLosses(IDQNLosses):
    """One TD loss, of Q_tot on the sum of all rewards."""

    def owners(self) -> tuple[str, ...]:
        return (SHARED,)

    def _mixed(self, state: torch.Tensor, utilities: list[torch.Tensor], target: bool = False) -> torch.Tensor:
        x = torch.cat([state.flatten(1), torch.stack(utilities, 1)], 1)
        return self.networks.compute("mixer", x, target=target)[SHARED, "mixer"].squeeze(1)  # (rows,)

    @torch.no_grad()
    def compute_targets(self, rows: Rows) -> dict[str, torch.Tensor]:
        next_q = self.networks.compute("critic", {agent: rows[NEXT_OBS, agent] for agent in self.agents}, target=True)
        masks = [rows.get((NEXT_ACTION_MASK, agent)) for agent in self.agents]
        best = [restrict(q, mask).amax(1) for q, mask in zip(next_q.values(), masks, strict=True)]
        value = self._mixed(rows[NEXT_STATE], best, target=True)
        reward = torch.stack([rows[REWARDS, agent] for agent in self.agents]).sum(0)
        return {SHARED: reward + self.settings.gamma * ~rows[TERMINATED] * value}

    def losses(self, batch: Rows, outputs: Outputs) -> Measured:
        error = self.replayed_q(outputs, batch)[SHARED] - self.normalised_targets(batch)[SHARED]
        return {(SHARED, "qf_loss"): error.square().mean()}

    def replayed_q(self, outputs: Outputs, batch: Rows) -> dict[str, torch.Tensor]:
        return {SHARED: self._mixed(batch[STATE], list(super().replayed_q(outputs, batch).values()))}


QMIX = register(Algorithm("QMIX", QMIXSettings, QMIXTeam, QMIXLosses), __name__)
