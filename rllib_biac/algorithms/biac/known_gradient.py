"""The gradient of Bi-AC's losses in closed form, for the most common settings.

The plain form is `Losses.differentiate`, by autograd. Step by step this is what autograd makes of it, in the same
order, so that not a bit differs.
"""

from __future__ import annotations

from functools import cached_property

import torch

from rllib_biac.algorithms.biac.losses import JOINT_ACTION, BiACLosses
from rllib_biac.learning.losses import Measured, Rows
from rllib_biac.learning.transitions import ACTION_MASK, STATE


class KnownGradientLosses(BiACLosses):
    """`BiACLosses` whose gradient is written out where it is known."""

    def differentiate(self, batch: Rows, *, told: bool = True) -> Measured:
        if self._is_known and (ACTION_MASK, self.follower) not in batch:
            return self.known_gradient(batch, told=told)
        return super().differentiate(batch)

    @cached_property
    def _is_known(self) -> bool:
        cls, groups = type(self), self.networks.groups
        as_here = all(getattr(cls, own) is getattr(BiACLosses, own) for own in ("losses", "qf_loss", "actor_loss"))
        return as_here and self.settings.actor_loss == "expectation" and len(groups) == 1 and groups[0][1].stacked

    def known_gradient(self, batch: Rows, *, told: bool = True) -> Measured:
        """Does what `Losses.differentiate` does, without a graph: of both critics at once, and of the actor."""
        ((keys, group),) = self.networks.groups
        assert [network for _, network in keys] == ["critic", "critic", "actor"]
        outputs, backpropagate = group.run(batch[STATE])  # (3, batch, |A_1| · |A_2|)
        size = outputs.shape[1]
        gradient = outputs.new_zeros(outputs.shape)  # as autograd lays it out, rows first

        joint = batch[JOINT_ACTION].expand(2, -1, 1)  # (2, batch, 1)
        targets = torch.stack(list(self.normalised_targets(batch).values()))  # (2, batch)
        error = outputs[:2].gather(2, joint).squeeze(2) - targets  # (2, batch)
        gradient[:2].scatter_(2, joint, (error * (2 / size)).unsqueeze(2))  # Eq. 15

        c, q2 = self.settings.entropy_coeff, self.table(outputs[1])
        log_pi = self.table(outputs[2]).log_softmax(2)
        pi = log_pi.exp()
        soft_q = q2 - c * log_pi
        each = -1.0 / (size * self.num_actions[0])  # of every (row, a_1), the loss being minus their mean
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
