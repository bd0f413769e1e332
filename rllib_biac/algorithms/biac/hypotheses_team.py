"""Networks of Bi-AC with several hypotheses: the pair's own, and as many again for each challenger.

The hypothesis that is played lies in the networks of `BiACLeader` and `BiACFollower`, under their names. So play,
evaluation and export know nothing of the others; when another one is selected, the two change places.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from rllib_biac.algorithms.biac.settings import BiACSettings
from rllib_biac.algorithms.biac.team import BiACFollower, BiACLeader, BiACTeam
from rllib_biac.learning.networks import follow


class HypothesesLeader(BiACLeader):
    """A leader that holds one critic per hypothesis.

    Attributes:
        challengers: the networks of hypotheses 1, 2, ..., by name: `critic_1`, `critic_2`, ...
        challengers_target: their target networks.
        challengers_mean, challengers_std: buffers (num_hypotheses - 1,), the normalisers of their targets.
    """

    settings: BiACSettings
    challengers_mean: torch.Tensor
    challengers_std: torch.Tensor

    def build_networks(self) -> None:
        super().build_networks()
        others = range(1, self.settings.num_hypotheses)
        played = [name for name in ("critic", "actor") if hasattr(self, name)]
        self.challengers = nn.ModuleDict({f"{name}_{k}": self.build_network() for name in played for k in others})
        critics = {name: network for name, network in self.challengers.items() if name.startswith("critic")}
        self.challengers_target = nn.ModuleDict({name: follow(network) for name, network in critics.items()})
        self.register_buffer("challengers_mean", torch.zeros(len(others)))
        self.register_buffer("challengers_std", torch.ones(len(others)))

    def networks(self) -> dict[str, nn.Module]:
        return super().networks() | dict(self.challengers.items())

    def target_networks(self) -> dict[str, nn.Module]:
        return super().target_networks() | dict(self.challengers_target.items())

    def training_only(self) -> list[str]:
        return [*super().training_only(), "challengers", "challengers_target"]


class HypothesesFollower(HypothesesLeader, BiACFollower):
    """A follower that holds one critic and one actor per hypothesis."""


class HypothesesTeam(BiACTeam):
    """The pair, whose agents hold networks for every hypothesis."""

    leader_class: ClassVar[type[BiACLeader]] = HypothesesLeader
    follower_class: ClassVar[type[BiACFollower]] = HypothesesFollower
