"""The losses of MADDPG (Lowe et al. 2017) and MATD3 (Ackermann et al. 2019, after Fujimoto et al. 2018)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from rllib_biac.algorithms.maddpg.settings import MADDPGSettings, MATD3Settings
from rllib_biac.learning.actions import acting
from rllib_biac.learning.losses import VECTOR, Measured, Rows, VectorLosses
from rllib_biac.learning.stacked import Outputs
from rllib_biac.learning.transitions import (
    ACTION_MASK,
    NEXT_ACTION_MASK,
    NEXT_OBS,
    NEXT_STATE,
    OBS,
    STATE,
)
from rllib_biac.walk import concatenated


class MADDPGLosses(VectorLosses):
    """Critics learn Q_i(s, a_1, ..., a_n); each actor climbs its own critic, the others' actions as replayed."""

    settings: MADDPGSettings

    def next_action(self, agent: str, output: torch.Tensor, rows: Rows) -> torch.Tensor:
        """Returns the target actor's next action as a vector, (batch, size): mu_i'(o_i')."""
        return self.team[agent].coder.act(output, rows.get((NEXT_ACTION_MASK, agent)))

    def next_values(self, rows: Rows) -> dict[str, torch.Tensor]:
        outputs = self.networks.compute("actor", {agent: rows[NEXT_OBS, agent] for agent in self.agents}, target=True)
        actions = {agent: self.next_action(agent, outputs[agent, "actor"], rows) for agent in self.agents}
        next_q = self.networks.compute("critic", concatenated(rows[NEXT_STATE], actions, self.agents), target=True)
        values = {}
        for agent in self.agents:
            # Of twin critics the smaller counts (clipped double Q-learning, Fujimoto et al. 2018).
            twins = torch.stack([q.squeeze(1) for (owner, _), q in next_q.items() if owner == agent])
            # Q_i'(x', a_1', ..., a_N'), a_k' = mu_k'(o_k')  (Lowe et al., Eq. 6)
            values[agent] = self.team[agent].raw(twins.amin(0))  # (rows,)
        return values

    def _replayed(self, batch: Rows) -> dict[str, torch.Tensor]:
        return {agent: batch[VECTOR, agent] for agent in self.agents}

    def forward_online(self, batch: Rows) -> Outputs:
        return self.networks.compute("critic", concatenated(batch[STATE], self._replayed(batch), self.agents))

    def losses(self, batch: Rows, outputs: Outputs) -> Measured:
        losses = {}
        targets = self.normalised_targets(batch)
        for (agent, name), q in outputs.items():
            losses[agent, name.replace("critic", "qf_loss")] = F.mse_loss(q.squeeze(1), targets[agent])
        return losses | (self.actor_losses(batch) if self.due("actor") else {})

    def actor_losses(self, batch: Rows) -> Measured:
        """Each actor's own action flows through its critic, the others' stay as replayed (Lowe et al., Eq. 5)."""
        replayed = self._replayed(batch)
        outputs = self.networks.compute("actor", {agent: batch[OBS, agent] for agent in self.agents})
        inputs = {}
        for agent in self.agents:
            mask = batch.get((ACTION_MASK, agent))
            own = self.team[agent].coder.relax(
                outputs[agent, "actor"], self.settings.gumbel_temperature, mask, self.generator
            )
            inputs[agent] = concatenated(batch[STATE], replayed | {agent: own}, self.agents)
        q = self.networks.compute("critic", inputs, frozen=True)
        return {
            (agent, "actor_loss"): -q[agent, "critic"].mean()
            + self.settings.actor_regularization * outputs[agent, "actor"].square().mean()
            for agent in self.agents
        }

    def replayed_q(self, outputs: Outputs, batch: Rows) -> dict[str, torch.Tensor]:
        return {agent: outputs[agent, "critic"].squeeze(1) for agent in self.agents}


class MATD3Losses(MADDPGLosses):
    """Twin critics, smoothed target actions, delayed policies."""

    settings: MATD3Settings

    def next_action(self, agent: str, output: torch.Tensor, rows: Rows) -> torch.Tensor:
        coder = self.team[agent].coder
        if coder.discrete:  # the Gumbel noise is the smoothing
            mask = rows.get((NEXT_ACTION_MASK, agent))
            return coder.relax(output, self.settings.gumbel_temperature, mask, self.generator)
        action = output.tanh()
        noise = torch.empty_like(action).normal_(0.0, self.settings.target_noise, generator=self.generator)
        limit = self.settings.target_noise_clip
        smoothed = (action + noise.clamp_(-limit, limit)).clamp_(-1.0, 1.0)
        return acting(smoothed, rows.get((NEXT_ACTION_MASK, agent)))
