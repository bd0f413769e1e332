"""The loss of critics that are histograms: cross-entropy (Imani and White 2018; Farebrother et al. 2024)."""

from __future__ import annotations

import torch

from rllib_biac.algorithms.biac.losses import JOINT_ACTION, BiACLosses
from rllib_biac.learning.losses import Rows
from rllib_biac.learning.stacked import Outputs


class HistogramLosses(BiACLosses):
    """`BiACLosses` whose critics learn the histogram of each target, not its value by least squares (Eq. 15)."""

    def qf_loss(self, agent: str, outputs: Outputs, batch: Rows, targets: torch.Tensor) -> torch.Tensor:
        module = self.team[agent]
        log_p = module.logits_of(outputs[agent, "critic"], batch[JOINT_ACTION]).log_softmax(0)  # (K, batch)
        return -(module.histogram(targets) * log_p).sum(0).mean()
