"""The losses of independent Q-learners: plain, hysteretic, lenient. They differ in what becomes of bad surprises."""

from __future__ import annotations

import torch

from rllib_biac.algorithms.dqn.settings import HystereticDQNSettings
from rllib_biac.learning.losses import Losses, Measured, Rows
from rllib_biac.learning.stacked import Outputs
from rllib_biac.learning.transitions import ACTIONS, NEXT_ACTION_MASK, NEXT_OBS, OBS
from rllib_biac.walk import restrict

LENIENCY = "leniency"  # a column beside those of joint transitions


class IDQNLosses(Losses):
    """Every agent learns Q_i(o_i, a_i) as if the others were part of the world (Tampuu et al. 2017)."""

    one_input = False

    def next_values(self, rows: Rows) -> dict[str, torch.Tensor]:
        next_q = self.networks.compute("critic", {agent: rows[NEXT_OBS, agent] for agent in self.agents}, target=True)
        return {
            # max_a Q_i'(o', a): (rows,)
            agent: self.team[agent].raw(restrict(next_q[agent, "critic"], rows.get((NEXT_ACTION_MASK, agent))).amax(1))
            for agent in self.agents
        }

    def forward_online(self, batch: Rows) -> Outputs:
        return self.networks.compute("critic", {agent: batch[OBS, agent] for agent in self.agents})

    def losses(self, batch: Rows, outputs: Outputs) -> Measured:
        targets = self.normalised_targets(batch)
        losses = {}
        for agent, q in self.replayed_q(outputs, batch).items():
            error = targets[agent] - q  # (batch,), in units of the targets' spread
            weight = self.weight(agent, error.detach(), batch)
            losses[agent, "qf_loss"] = (weight * error.square()).mean()
        return losses

    def weight(self, agent: str, error: torch.Tensor, batch: Rows) -> torch.Tensor | float:
        """Returns how much each row's TD error (batch,), target minus Q, counts: a number or (batch,)."""
        return 1.0

    def replayed_q(self, outputs: Outputs, batch: Rows) -> dict[str, torch.Tensor]:
        return {
            agent: outputs[agent, "critic"].gather(1, batch[ACTIONS, agent].unsqueeze(1)).squeeze(1)
            for agent in self.agents
        }


class HystereticDQNLosses(IDQNLosses):
    """Bad surprises count less: they may be due to the others' exploration (Matignon et al. 2007)."""

    settings: HystereticDQNSettings

    def weight(self, agent: str, error: torch.Tensor, batch: Rows) -> torch.Tensor:
        # Rate alpha where the error is at least 0, beta = hysteresis · alpha else.
        return torch.where(error >= 0.0, 1.0, self.settings.hysteresis)


class LenientDQNLosses(IDQNLosses):
    """Bad surprises are forgiven with a probability stored with each transition (Palmer et al. 2018)."""

    def weight(self, agent: str, error: torch.Tensor, batch: Rows) -> torch.Tensor:
        x = torch.rand(error.shape, generator=self.generator, device=error.device)
        return ((error > 0.0) | (x > batch[LENIENCY, agent])).to(torch.float32)
