"""The gradient of Bi-AC's losses in closed form, for the most common settings.

The plain form is `Losses.differentiate`, by autograd. Step by step this is what autograd makes of it, in the same
order, so that not a bit differs, except where equal states are computed once: then sums have another order.
"""

from __future__ import annotations

from functools import cache, cached_property
from math import prod

import torch

from rllib_biac.algorithms.biac.losses import JOINT_ACTION, BiACLosses
from rllib_biac.learning.losses import Measured, Rows
from rllib_biac.learning.transitions import ACTION_MASK, STATE

MANY_JOINT_ACTIONS = 128  # from where on to look for equal states costs less than to compute them again


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
        size, joint = len(batch[STATE]), batch[JOINT_ACTION]  # (batch, 1)
        states, row, times = self._distinct(batch[STATE])
        outputs, backpropagate = group.run(states)  # (3, states, |A_1| · |A_2|)
        gradient = outputs.new_zeros(outputs.shape)  # as autograd lays it out, rows first

        targets = torch.stack(list(self.normalised_targets(batch).values()))  # (2, batch)
        if row is None:
            cell = joint.expand(2, -1, 1)
            error = outputs[:2].gather(2, cell).squeeze(2) - targets  # (2, batch)
            gradient[:2].scatter_(2, cell, (error * (2 / size)).unsqueeze(2))  # Eq. 15
        else:
            error = outputs[:2, row, joint.squeeze(1)] - targets
            cell = (row * outputs.shape[2] + joint.squeeze(1)).expand(2, -1)
            gradient[:2].flatten(1).scatter_add_(1, cell, error * (2 / size))

        # Rows last, as they lie: PyTorch's softmax is slow over the last axis.
        tables = outputs.transpose(1, 2).unflatten(1, self.num_actions)  # (3, |A_1|, |A_2|, states)
        q2, logits = tables[1], tables[2]
        c, log_pi = self.settings.entropy_coeff, logits.log_softmax(1)
        pi = log_pi.exp()
        soft_q = q2 - c * log_pi
        share = -1.0 / (size * self.num_actions[0])  # of every (row, a_1), the loss being minus their mean
        each = share if times is None else share * times
        by_log_pi = (each * soft_q) * pi - (each * pi) * c
        by_logits = torch._log_softmax_backward_data(by_log_pi, log_pi, 1, log_pi.dtype)
        self.table(gradient[2]).copy_(by_logits.permute(2, 0, 1))
        backpropagate(gradient)
        if not told:
            return {}
        qf_losses = error.square().mean(1)  # (2,)
        return {
            (self.leader, "qf_loss"): qf_losses[0],
            (self.follower, "qf_loss"): qf_losses[1],
            (self.follower, "actor_loss"): share * (pi * soft_q if times is None else times * pi * soft_q).sum(),
        }

    def _distinct(self, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Returns states to compute: each once, where joint actions are so many that the networks take the time.

        Returns:
            The states; at which of them each row is, (batch,); how often each occurs, (states,). None and None for
            the rows' own states.
        """
        if prod(self.num_actions) >= MANY_JOINT_ACTIONS:
            # States are sorted by one number each, for `torch.unique` of whole rows takes many times as long.
            numbers, row, times = torch.unique(_numbers(states.flatten(1)), return_inverse=True, return_counts=True)
            if 2 * len(numbers) <= len(states):
                rows = torch.arange(len(states), device=states.device)
                found = states[torch.empty_like(rows[: len(numbers)]).scatter_(0, row, rows)]
                if torch.equal(found[row], states):  # else two states have the same number
                    return found, row, times.to(states.dtype)
        return states, None, None


def _numbers(states: torch.Tensor) -> torch.Tensor:
    """Returns a number for each state, (batch,): hardly ever the same for two different ones."""
    return states @ _weights(states.shape[1], states.dtype, states.device)


@cache
def _weights(size: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    drawn = torch.randn(size, dtype=dtype, device="cpu", generator=torch.Generator("cpu").manual_seed(0))
    return drawn.to(device)
