"""The losses of Bi-AC: TD for both critics (Eqs. 12-15), the follower's actor (Eq. 16 and its low-variance forms)."""

from __future__ import annotations

from functools import cached_property

import torch
import torch.nn.functional as F
from ray.rllib.utils.annotations import override

from rllib_biac.algorithms.biac.biac_rl_module import best_responses, leader_values, restrict, sample_responses
from rllib_biac.algorithms.biac.levels_learner import expectation_loss
from rllib_biac.core.actions import masked
from rllib_biac.core.learner import JointLearner, Outputs, Rows
from rllib_biac.core.rl_module import APPROXIMATOR
from rllib_biac.core.transitions import (
    ACTION_MASK,
    ACTIONS,
    NEXT_ACTION_MASK,
    NEXT_STATE,
    OBS,
    STATE,
)

JOINT_ACTION = "joint_action"  # a column beside those of joint transitions


class BiACLearner(JointLearner):
    """Learner of one leader and one follower with discrete actions."""

    @override(JointLearner)
    def build(self) -> None:
        super().build()
        self.leader, self.follower = self.agents
        self._num_actions = self.agent_module(self.leader).num_actions  # |A_1|, |A_2|

    def _table(self, output: torch.Tensor) -> torch.Tensor:
        return output.view(-1, *self._num_actions)  # (batch, |A_1|, |A_2|)

    @override(JointLearner)
    def more_columns(self, rows: Rows) -> Rows:
        joint = rows[ACTIONS, self.leader] * self._num_actions[1] + rows[ACTIONS, self.follower]
        return {JOINT_ACTION: joint.unsqueeze(1)}  # (rows, 1), into |A_1| · |A_2|

    def responses(self, outputs: Outputs, mask2: torch.Tensor | None) -> torch.Tensor:
        """Returns the follower's answer to every leader action, (batch, |A_1|), as `response` says it is found."""
        response = self.config.response
        preferences = self._table(outputs[self.follower, "critic" if response == "enumerated" else "actor"])
        if response == "sampled":
            return sample_responses(preferences, mask2, self.generator)
        return best_responses(preferences, mask2)

    @torch.no_grad()
    def next_joint_actions(self, rows: Rows, outputs: Outputs) -> torch.Tensor:
        """The joint action of the next state (Eqs. 12-13), chosen by the online networks: an index into |A_1| · |A_2|.

        Args:
            rows: minibatch, for its action masks.
            outputs: of the online networks in the next state.

        Returns:
            (batch, 1) int64.
        """
        mask1 = rows.get((NEXT_ACTION_MASK, self.leader))
        responses = self.responses(outputs, rows.get((NEXT_ACTION_MASK, self.follower)))
        q1 = self._table(outputs[self.leader, "critic"])
        a1 = leader_values(q1, responses, mask1).argmax(1, keepdim=True)  # (batch, 1)  Eq. 12
        a2 = responses.gather(1, a1)  # (batch, 1)  Eq. 13
        return a1 * q1.shape[2] + a2

    @override(JointLearner)
    def next_values(self, rows: Rows) -> dict[str, torch.Tensor]:
        joint = self.next_joint_actions(rows, self.forward(rows[NEXT_STATE]))  # (rows, 1)
        next_q = self.forward(rows[NEXT_STATE], target=True)
        values = {}
        for agent in self.agents:
            module = self.agent_module(agent)
            q = next_q[agent, "critic"].gather(1, joint).squeeze(1)  # (rows,)
            values[agent] = module.q_std * q + module.q_mean  # Q_i(s', a'), in the second term of Eq. 14
        return values

    @override(JointLearner)
    def compute_losses(self, *, fwd_out: Outputs, batch: Rows) -> dict[tuple[str, str], torch.Tensor]:
        losses = {}
        joint = batch[JOINT_ACTION]
        targets = self.normalised_targets(batch)
        for agent in self.agents:
            q = fwd_out[agent, "critic"].gather(1, joint).squeeze(1)  # (batch,), normalised
            # Its gradient step is Eq. 15, on the TD error of Eq. 14 in units of the targets' spread.
            losses[agent, "qf_loss"] = F.mse_loss(q, targets[agent])
        losses[self.follower, "actor_loss"] = self.actor_loss(fwd_out, batch)
        if self.config.approximators:
            losses |= self.approximator_losses(fwd_out, batch)
        return losses

    @override(JointLearner)
    def differentiate(self, batch: Rows, *, told: bool = True) -> dict[tuple[str, str], torch.Tensor]:
        if self._has_known_gradient and (ACTION_MASK, self.follower) not in batch:
            return self.known_gradient(batch, told=told)
        return super().differentiate(batch)

    @cached_property
    def _has_known_gradient(self) -> bool:
        cls = type(self)
        as_here = cls.compute_losses is BiACLearner.compute_losses and cls.actor_loss is BiACLearner.actor_loss
        simple = self.config.actor_loss == "expectation" and not self.config.approximators
        return as_here and simple and len(self._groups) == 1 and self._groups[0][1].stacked

    def known_gradient(self, batch: Rows, *, told: bool = True) -> dict[tuple[str, str], torch.Tensor]:
        """What `JointLearner.differentiate` does, without a graph: of both critics at once, and of the actor.

        Step by step it is what autograd makes of `compute_losses`, in the same order, so that not a bit differs.
        """
        ((keys, group),) = self._groups
        assert [network for _, network in keys] == ["critic", "critic", "actor"]
        outputs, backpropagate = group.run(batch[STATE])  # (3, batch, |A_1| · |A_2|)
        size = outputs.shape[1]
        gradient = outputs.new_zeros(outputs.shape)  # as autograd lays it out, rows first

        joint = batch[JOINT_ACTION].expand(2, -1, 1)  # (2, batch, 1)
        targets = torch.stack(list(self.normalised_targets(batch).values()))  # (2, batch)
        error = outputs[:2].gather(2, joint).squeeze(2) - targets  # (2, batch)
        gradient[:2].scatter_(2, joint, (error * (2 / size)).unsqueeze(2))  # Eq. 15

        c, q2 = self.config.entropy_coeff, self._table(outputs[1])
        log_pi = self._table(outputs[2]).log_softmax(2)
        pi = log_pi.exp()
        soft_q = q2 - c * log_pi
        each = -1.0 / (size * self._num_actions[0])  # of every (row, a_1), the loss being minus their mean
        by_log_pi = (each * soft_q) * pi - (each * pi) * c
        by_logits = torch._log_softmax_backward_data(by_log_pi, log_pi, 2, log_pi.dtype)
        gradient[2] = by_logits.flatten(1)
        backpropagate(gradient)
        if not told:
            return {}
        qf_losses = error.square().mean(1)  # (2,)
        return {
            (self.leader, "qf_loss"): qf_losses[0],
            (self.follower, "qf_loss"): qf_losses[1],
            (self.follower, "actor_loss"): each * (pi * soft_q).sum(),
        }

    @override(JointLearner)
    def replayed_q(self, outputs: Outputs, batch: Rows) -> dict[str, torch.Tensor]:
        joint = batch[JOINT_ACTION]
        return {agent: outputs[agent, "critic"].gather(1, joint).squeeze(1) for agent in self.agents}

    @override(JointLearner)
    @torch.no_grad()
    def diagnostics(self, batch: Rows) -> dict[tuple[str, str], torch.Tensor]:
        """Returns what every learner reports, and the entropy of the follower's policy in nats."""
        measured = super().diagnostics(batch)
        logits = self._table(self.forward(batch[STATE])[self.follower, "actor"])
        pi = restrict(logits, batch.get((ACTION_MASK, self.follower)), dim=2).softmax(2)
        measured[self.follower, "entropy"] = torch.special.entr(pi).sum(2).mean()
        return measured

    def approximator_losses(self, outputs: Outputs, batch: Rows) -> dict[tuple[str, str], torch.Tensor]:
        """The losses of pi'_1(o_1) and pi'_2(o_2), against both critics, which feel nothing of it.

        What the leader commits to is answered by pi_2(s, a_1), which knows all: were it answered by pi'_2(o_2), which
        does not see a_1, both would be equals. The follower answers what the leader plays by its own observation.
        """
        mask1, mask2 = (batch.get((ACTION_MASK, agent)) for agent in self.agents)
        local = self.compute(APPROXIMATOR, {agent: batch[OBS, agent] for agent in self.agents})
        logits1, logits2 = (local[agent, APPROXIMATOR] for agent in self.agents)  # (batch, |A_i|)
        with torch.no_grad():
            q1, q2 = (self._table(outputs[agent, "critic"]) for agent in self.agents)  # (batch, |A_1|, |A_2|)
            source = "critic" if self.config.response == "enumerated" else "actor"
            responses = best_responses(self._table(outputs[self.follower, source]), mask2)  # (batch, |A_1|)
            value1 = leader_values(q1, responses)  # (batch, |A_1|), Q_1(s, a_1, pi_2(s, a_1))
            a1 = masked(logits1, mask1).argmax(1)  # (batch,)
            value2 = q2[torch.arange(len(a1), device=a1.device), a1]  # (batch, |A_2|), Q_2(s, pi'_1(o_1), a_2)
        c = self.config.entropy_coeff
        return {
            (self.leader, "approximator_loss"): expectation_loss(logits1, value1, mask1, c),
            (self.follower, "approximator_loss"): expectation_loss(logits2, value2, mask2, c),
        }

    def actor_loss(self, outputs: Outputs, batch: Rows) -> torch.Tensor:
        """The follower's loss: its answer to a commitment a_1 should maximise Q_2(s, a_1, ·), plus an entropy bonus.

        Q_2 is normalised, so that `entropy_coeff` means the same in any unit of reward. No gradient reaches the critic.
        """
        mask2 = batch.get((ACTION_MASK, self.follower))
        q2 = self._table(outputs[self.follower, "critic"]).detach()  # (batch, |A_1|, |A_2|)
        logits = restrict(self._table(outputs[self.follower, "actor"]), mask2, dim=2)
        log_pi = logits.log_softmax(2)
        pi = log_pi.exp()
        if mask2 is not None:
            log_pi = log_pi.masked_fill(~mask2.unsqueeze(1), 0.0)  # where 0 · log 0 counts as 0
        # What an action is worth under the entropy bonus: E_pi[q - c log pi] = E_pi[q] + c H(pi).
        soft_q = q2 - self.config.entropy_coeff * log_pi
        if self.config.actor_loss == "expectation":
            # E_{a_2 ~ pi_2(s, a_1)}, exact, for every commitment a_1.
            return -(pi * soft_q).sum(2).mean()
        if self.config.actor_loss == "gumbel_softmax":
            noise = -torch.empty_like(logits).exponential_(generator=self.generator).log()
            relaxed = ((logits + noise) / self.config.gumbel_temperature).softmax(2)  # Jang et al. 2016
            return -((relaxed * q2).sum(2) - self.config.entropy_coeff * (pi * log_pi).sum(2)).mean()
        # Eq. 16, with a_2 drawn afresh from pi_2 and the policy's own value as baseline.
        a2 = sample_responses(logits.detach(), None, self.generator).unsqueeze(2)  # (batch, |A_1|, 1)
        advantage = (soft_q - (pi * soft_q).sum(2, keepdim=True)).detach().gather(2, a2)
        return -(log_pi.gather(2, a2) * advantage).mean()
