"""The losses of MADDPG (Lowe et al. 2017) and MATD3 (Ackermann et al. 2019, after Fujimoto et al. 2018)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from ray.rllib.utils.annotations import override

from rllib_biac.core.actions import ActionCoder
from rllib_biac.core.learner import VECTOR, JointLearner, Outputs, Rows
from rllib_biac.core.transitions import (
    ACTION_MASK,
    ACTIONS,
    NEXT_ACTION_MASK,
    NEXT_OBS,
    NEXT_STATE,
    OBS,
    STATE,
)


class MADDPGLearner(JointLearner):
    """Critics learn Q_i(s, a_1, ..., a_n); each actor climbs its own critic, the others' actions as replayed."""

    one_input = False

    def _coder(self, agent: str) -> ActionCoder:
        return self.agent_module(agent).coder

    def _joint(self, state: torch.Tensor, actions: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Returns what a critic sees, (batch, state size + sum of all actions' sizes)."""
        return torch.cat([state, *(actions[agent] for agent in self.agents)], dim=1)

    def next_action(self, agent: str, output: torch.Tensor, rows: Rows) -> torch.Tensor:
        """Returns the target actor's next action as a vector, (batch, size): mu_i'(o_i')."""
        return self._coder(agent).act(output, rows.get((NEXT_ACTION_MASK, agent)))

    @override(JointLearner)
    def next_values(self, rows: Rows) -> dict[str, torch.Tensor]:
        outputs = self.compute("actor", {agent: rows[NEXT_OBS, agent] for agent in self.agents}, target=True)
        actions = {agent: self.next_action(agent, outputs[agent, "actor"], rows) for agent in self.agents}
        next_q = self.compute("critic", self._joint(rows[NEXT_STATE], actions), target=True)
        values = {}
        for agent in self.agents:
            module = self.agent_module(agent)
            # Of twin critics the smaller counts (clipped double Q-learning, Fujimoto et al. 2018).
            twins = torch.stack([q.squeeze(1) for (owner, _), q in next_q.items() if owner == agent])
            # Q_i'(x', a_1', ..., a_N'), a_k' = mu_k'(o_k')  (Lowe et al., Eq. 6)
            values[agent] = module.q_std * twins.amin(0) + module.q_mean  # (rows,)
        return values

    @override(JointLearner)
    def more_columns(self, rows: Rows) -> Rows:
        return {(VECTOR, agent): self._coder(agent).encode(rows[ACTIONS, agent]) for agent in self.agents}

    def _replayed(self, batch: Rows) -> dict[str, torch.Tensor]:
        return {agent: batch[VECTOR, agent] for agent in self.agents}

    @override(JointLearner)
    def forward_online(self, batch: Rows) -> Outputs:
        return self.compute("critic", self._joint(batch[STATE], self._replayed(batch)))

    @override(JointLearner)
    def compute_losses(self, *, fwd_out: Outputs, batch: Rows) -> dict[tuple[str, str], torch.Tensor]:
        losses = {}
        targets = self.normalised_targets(batch)
        for (agent, name), q in fwd_out.items():
            losses[agent, name.replace("critic", "qf_loss")] = F.mse_loss(q.squeeze(1), targets[agent])
        return losses | (self.actor_losses(batch) if self.due("actor") else {})

    def actor_losses(self, batch: Rows) -> dict[tuple[str, str], torch.Tensor]:
        """Each actor's own action flows through its critic, the others' stay as replayed (Lowe et al., Eq. 5)."""
        replayed = self._replayed(batch)
        outputs = self.compute("actor", {agent: batch[OBS, agent] for agent in self.agents})
        inputs = {}
        for agent in self.agents:
            mask = batch.get((ACTION_MASK, agent))
            own = self._coder(agent).relax(
                outputs[agent, "actor"], self.config.gumbel_temperature, mask, self.generator
            )
            inputs[agent] = self._joint(batch[STATE], replayed | {agent: own})
        q = self.compute("critic", inputs, frozen=True)
        return {
            (agent, "actor_loss"): -q[agent, "critic"].mean()
            + self.config.actor_regularization * outputs[agent, "actor"].square().mean()
            for agent in self.agents
        }

    @override(JointLearner)
    def replayed_q(self, outputs: Outputs, batch: Rows) -> dict[str, torch.Tensor]:
        return {agent: outputs[agent, "critic"].squeeze(1) for agent in self.agents}


class MATD3Learner(MADDPGLearner):
    """Twin critics, smoothed target actions, delayed policies."""

    @override(MADDPGLearner)
    def next_action(self, agent: str, output: torch.Tensor, rows: Rows) -> torch.Tensor:
        coder = self._coder(agent)
        if coder.discrete:  # the Gumbel noise is the smoothing
            mask = rows.get((NEXT_ACTION_MASK, agent))
            return coder.relax(output, self.config.gumbel_temperature, mask, self.generator)
        action = output.tanh()
        noise = torch.empty_like(action).normal_(0.0, self.config.target_noise, generator=self.generator)
        limit = self.config.target_noise_clip
        return (action + noise.clamp_(-limit, limit)).clamp_(-1.0, 1.0)
