"""The loss of critics that are histograms: cross-entropy (Imani and White 2018; Farebrother et al. 2024)."""

from __future__ import annotations

from functools import cached_property

import torch

from rllib_biac.algorithms.biac.losses import JOINT_ACTION, BiACLosses
from rllib_biac.learning.losses import Measured, Rows
from rllib_biac.learning.stacked import Outputs
from rllib_biac.learning.transitions import STATE

NORMALISED_BY = 8  # of so many rows of a call one


class HistogramLosses(BiACLosses):
    """`BiACLosses` whose critics learn the histogram of each target, not its value by least squares (Eq. 15)."""

    def normalise_targets(self, rows: Rows) -> None:
        if self.bootstraps(rows):  # units need not follow every row, whose histograms take time and memory
            rows = {key: column[::NORMALISED_BY] for key, column in rows.items()}
        super().normalise_targets(rows)

    def qf_loss(self, agent: str, outputs: Outputs, batch: Rows, targets: torch.Tensor) -> torch.Tensor:
        module = self.team[agent]
        log_p = module.logits_of(outputs[agent, "critic"], batch[JOINT_ACTION]).log_softmax(0)  # (K, batch)
        return -(module.histogram(targets) * log_p).sum(0).mean()

    def differentiate(self, batch: Rows, *, told: bool = True) -> Measured:
        return self.known_gradient(batch) if self._is_known else super().differentiate(batch, told=told)

    @cached_property
    def _is_known(self) -> bool:
        cls, kinds = type(self), [[network for _, network in keys] for keys, _ in self.networks.groups]
        plain = cls.losses is BiACLosses.losses and cls.differentiate is HistogramLosses.differentiate
        return plain and cls.qf_loss is HistogramLosses.qf_loss and kinds == [["critic", "critic"], ["actor"]]

    def known_gradient(self, batch: Rows) -> Measured:
        """Does what `Losses.differentiate` does, the critics' part in closed form: p - h of the joint action played."""
        (_, critics), (actor_keys, actor) = self.networks.groups
        logits, backpropagate = critics.run(batch[STATE])  # (2, batch, |A_1| · |A_2| · K)
        targets, joint = self.normalised_targets(batch), batch[JOINT_ACTION]
        measured: Measured = {}
        gradient = torch.zeros_like(logits.transpose(1, 2))  # rows last, as critics are computed
        for agent, own, of_own in zip(self.agents, logits, gradient, strict=True):
            module = self.team[agent]
            histogram, log_p = module.histogram(targets[agent]), module.logits_of(own, joint).log_softmax(0)
            index = joint.view(1, 1, -1).expand(1, *log_p.shape)
            of_logits = (log_p.exp() - histogram) / log_p.shape[1]  # (K, batch)
            module.logits(of_own.T).scatter_(0, index, of_logits.unsqueeze(0))
            measured[agent, "qf_loss"] = -(histogram * log_p).sum(0).mean()
        backpropagate(gradient.transpose(1, 2))
        with torch.enable_grad():
            outputs: Outputs = dict(zip(actor_keys, actor(batch[STATE]), strict=True))
            loss = self.actor_loss({(self.follower, "critic"): logits[1], **outputs}, batch)
        # An actor of the user's own may hold parameters that its output does not depend on.
        found = torch.autograd.grad(loss, actor.leaves, allow_unused=True, materialize_grads=True)
        torch._foreach_copy_(actor.grads, found)
        return measured | {(self.follower, "actor_loss"): loss.detach()}
