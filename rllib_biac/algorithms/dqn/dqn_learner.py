"""The losses of independent Q-learners: plain, hysteretic, lenient. They differ in what becomes of bad surprises."""

from __future__ import annotations

import torch
from ray.rllib.utils.annotations import override

from rllib_biac.core.actions import masked
from rllib_biac.core.learner import JointLearner, Outputs, Rows
from rllib_biac.core.transitions import ACTIONS, NEXT_ACTION_MASK, NEXT_OBS, OBS

LENIENCY = "leniency"


class IDQNLearner(JointLearner):
    """Every agent learns Q_i(o_i, a_i) as if the others were part of the world (Tampuu et al. 2017)."""

    one_input = False

    @override(JointLearner)
    def next_values(self, rows: Rows) -> dict[str, torch.Tensor]:
        next_q = self.compute("critic", {agent: rows[NEXT_OBS, agent] for agent in self.agents}, target=True)
        values = {}
        for agent in self.agents:
            module = self.agent_module(agent)
            best = masked(next_q[agent, "critic"], rows.get((NEXT_ACTION_MASK, agent))).amax(1)  # (rows,)
            values[agent] = module.q_std * best + module.q_mean  # max_a Q_i'(o', a)
        return values

    @override(JointLearner)
    def forward_online(self, batch: Rows) -> Outputs:
        return self.compute("critic", {agent: batch[OBS, agent] for agent in self.agents})

    @override(JointLearner)
    def compute_losses(self, *, fwd_out: Outputs, batch: Rows) -> dict[tuple[str, str], torch.Tensor]:
        targets = self.normalised_targets(batch)
        losses = {}
        for agent in self.agents:
            q = fwd_out[agent, "critic"].gather(1, batch[ACTIONS, agent].unsqueeze(1)).squeeze(1)  # (batch,)
            error = targets[agent] - q  # (batch,), in units of the targets' spread
            weight = self.weight(agent, error.detach(), batch)
            losses[agent, "qf_loss"] = (weight * error.square()).mean()
        return losses

    def weight(self, agent: str, error: torch.Tensor, batch: Rows) -> torch.Tensor | float:
        """Returns how much each row's TD error (batch,), target minus Q, counts: a number or (batch,)."""
        return 1.0

    @override(JointLearner)
    def replayed_q(self, outputs: Outputs, batch: Rows) -> dict[str, torch.Tensor]:
        return {
            agent: outputs[agent, "critic"].gather(1, batch[ACTIONS, agent].unsqueeze(1)).squeeze(1)
            for agent in self.agents
        }


class HystereticDQNLearner(IDQNLearner):
    """Bad surprises count less: they may be due to the others' exploration (Matignon et al. 2007)."""

    @override(IDQNLearner)
    def weight(self, agent: str, error: torch.Tensor, batch: Rows) -> torch.Tensor:
        # Rate alpha where the error is at least 0, beta = hysteresis · alpha else.
        return torch.where(error >= 0.0, 1.0, self.config.hysteresis)


class LenientDQNLearner(IDQNLearner):
    """Bad surprises are forgiven with a probability stored with each transition (Palmer et al. 2018)."""

    @override(IDQNLearner)
    def weight(self, agent: str, error: torch.Tensor, batch: Rows) -> torch.Tensor:
        x = torch.rand(error.shape, generator=self.generator, device=error.device)
        return ((error > 0.0) | (x > batch[LENIENCY, agent])).to(torch.float32)
