"""The losses of Bi-AC: TD for both critics (Eqs. 12-15), the follower's actor (Eq. 16 and its low-variance forms)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from rllib_biac.algorithms.biac.settings import BiACSettings
from rllib_biac.algorithms.biac.team import BiACTeam, sample_responses
from rllib_biac.learning.losses import Losses, Measured, Rows
from rllib_biac.learning.stacked import Outputs
from rllib_biac.learning.transitions import ACTION_MASK, ACTIONS, NEXT_ACTION_MASK, NEXT_STATE, STATE
from rllib_biac.walk import ByTables, restrict, walk

JOINT_ACTION = "joint_action"  # a column beside those of joint transitions


class BiACLosses(Losses):
    """Losses of one leader and one follower with discrete actions."""

    team: BiACTeam
    settings: BiACSettings

    def __init__(self, team: BiACTeam, *args: Any, **kwargs: Any) -> None:
        super().__init__(team, *args, **kwargs)
        self.leader, self.follower = self.agents
        self.num_actions = team[self.leader].num_actions  # |A_1|, |A_2|
        self._played_by = self.networks.some({(self.leader, "critic"), (self.follower, team.answered_by)})

    def table(self, output: torch.Tensor) -> torch.Tensor:
        """Shapes a network's output: (batch, |A_1| · |A_2|) -> (batch, |A_1|, |A_2|)."""
        return output.view(-1, *self.num_actions)

    def more_columns(self, rows: Rows) -> Rows:
        joint = rows[ACTIONS, self.leader] * self.num_actions[1] + rows[ACTIONS, self.follower]
        return {JOINT_ACTION: joint.unsqueeze(1)}  # (rows, 1), into |A_1| · |A_2|

    def play(self, outputs: Outputs, rows: Rows, column: str) -> ByTables:
        """Returns what the pair plays by, as `response` says.

        Args:
            outputs: of the online networks.
            rows: for their action masks.
            column: which of these, `ACTION_MASK` or `NEXT_ACTION_MASK`.
        """
        response = self.settings.response
        one, two = (self.team[agent] for agent in self.agents)
        if response == "enumerated":
            answering = two.q_table(outputs[self.follower, "critic"])
        else:
            answering = self.table(outputs[self.follower, "actor"])
        masks = {agent: rows[column, agent] for agent in self.agents if (column, agent) in rows}
        sampled = None
        if response == "sampled":
            sampled = sample_responses(answering, masks.get(self.follower), self.generator)
        q1 = one.q_table(outputs[self.leader, "critic"])
        return ByTables(self.team.hierarchy.levels, q1, answering, masks, sampled)

    @torch.no_grad()
    def next_joint_actions(self, rows: Rows, outputs: Outputs) -> torch.Tensor:
        """The joint action of the next state (Eqs. 12-13), chosen by the online networks: an index into |A_1| · |A_2|.

        Args:
            rows: minibatch, for its action masks.
            outputs: of the online networks in the next state.

        Returns:
            (batch, 1) int64.
        """
        actions = walk(self.team.hierarchy.levels, self.play(outputs, rows, NEXT_ACTION_MASK))
        return (actions[self.leader] * self.num_actions[1] + actions[self.follower]).unsqueeze(1)

    def next_values(self, rows: Rows) -> dict[str, torch.Tensor]:
        joint = self.next_joint_actions(rows, self._played_by(rows[NEXT_STATE]))  # (rows, 1)
        next_q = self.networks.forward(rows[NEXT_STATE], target=True)
        return {
            # Q_i(s', a'), in the second term of Eq. 14: (rows,)
            agent: self.team[agent].raw(self.team[agent].q_of(next_q[agent, "critic"], joint))
            for agent in self.agents
        }

    def losses(self, batch: Rows, outputs: Outputs) -> Measured:
        losses = {}
        targets = self.normalised_targets(batch)
        for agent in self.agents:
            losses[agent, "qf_loss"] = self.qf_loss(agent, outputs, batch, targets[agent])
        losses[self.follower, "actor_loss"] = self.actor_loss(outputs, batch)
        return losses

    def qf_loss(self, agent: str, outputs: Outputs, batch: Rows, targets: torch.Tensor) -> torch.Tensor:
        """Returns a critic's loss: its gradient step is Eq. 15, on the TD error of Eq. 14 in units of their spread.

        Args:
            agent: whose critic.
            outputs: of the online networks.
            batch: the minibatch.
            targets: normalised, (batch,).
        """
        q = self.team[agent].q_of(outputs[agent, "critic"], batch[JOINT_ACTION])  # (batch,)
        return F.mse_loss(q, targets)

    def replayed_q(self, outputs: Outputs, batch: Rows) -> dict[str, torch.Tensor]:
        joint = batch[JOINT_ACTION]
        return {agent: self.team[agent].q_of(outputs[agent, "critic"], joint) for agent in self.agents}

    def actor_loss(self, outputs: Outputs, batch: Rows) -> torch.Tensor:
        """The follower's loss: its answer to a commitment a_1 should maximise Q_2(s, a_1, ·), plus an entropy bonus.

        Q_2 is normalised, so that `entropy_coeff` means the same in any unit of reward. No gradient reaches the critic.
        """
        mask2 = batch.get((ACTION_MASK, self.follower))
        q2 = self.team[self.follower].q_table(outputs[self.follower, "critic"]).detach()  # (batch, |A_1|, |A_2|)
        logits = self.table(outputs[self.follower, "actor"])
        if mask2 is not None:
            logits = restrict(logits, mask2[:, None])
        log_pi = logits.movedim(0, 2).log_softmax(1).movedim(2, 0)  # PyTorch is slow over the last axis
        pi = log_pi.exp()
        if mask2 is not None:
            log_pi = log_pi.masked_fill(~mask2.unsqueeze(1), 0.0)  # where 0 · log 0 counts as 0
        # What an action is worth under the entropy bonus: E_pi[q - c log pi] = E_pi[q] + c H(pi).
        c = self.settings.entropy_coeff
        soft_q = q2 - c * log_pi
        if self.settings.actor_loss == "expectation":
            # E_{a_2 ~ pi_2(s, a_1)}, exact, for every commitment a_1.
            return -(pi * soft_q).sum(2).mean()
        if self.settings.actor_loss == "gumbel_softmax":
            noise = -torch.empty_like(logits).exponential_(generator=self.generator).log()
            relaxed = ((logits + noise) / self.settings.gumbel_temperature).softmax(2)  # Jang et al. 2016
            return -((relaxed * q2).sum(2) - c * (pi * log_pi).sum(2)).mean()
        # Eq. 16, with a_2 drawn afresh from pi_2 and the policy's own value as baseline.
        a2 = sample_responses(logits.detach(), None, self.generator).unsqueeze(2)  # (batch, |A_1|, 1)
        advantage = (soft_q - (pi * soft_q).sum(2, keepdim=True)).detach().gather(2, a2)
        return -(log_pi.gather(2, a2) * advantage).mean()

    @torch.no_grad()
    def diagnostics(self, batch: Rows) -> Measured:
        """Returns what every algorithm reports, and the entropy of the follower's policy in nats."""
        measured = super().diagnostics(batch)
        logits = self.table(self.networks.forward(batch[STATE])[self.follower, "actor"])
        mask2 = batch.get((ACTION_MASK, self.follower))
        pi = restrict(logits, None if mask2 is None else mask2[:, None]).softmax(2)
        measured[self.follower, "entropy"] = torch.special.entr(pi).sum(2).mean()
        return measured
