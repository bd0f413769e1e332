"""Networks of Bi-AC with several hypotheses: the pair's own, and as many again for each challenger.

The hypothesis that is played lies in the networks of `BiACLeader` and `BiACFollower`, under their names. So play,
evaluation and export know nothing of the others; when another one is selected, the two change places.
"""

from __future__ import annotations

import torch
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI
from ray.rllib.utils.annotations import override
from torch import nn

from rllib_biac.algorithms.biac.biac_rl_module import BiACFollower, BiACLeader
from rllib_biac.core.rl_module import follow


class HypothesesLeader(BiACLeader):
    """A leader that holds one critic per hypothesis.

    Attributes:
        challengers: the networks of hypotheses 1, 2, ..., by name: `critic_1`, `critic_2`, ...
        challengers_target: their target networks.
        challengers_mean, challengers_std: buffers (num_hypotheses - 1,), the normalisers of their targets.
    """

    challengers_mean: torch.Tensor
    challengers_std: torch.Tensor

    @override(BiACLeader)
    def build_networks(self) -> None:
        super().build_networks()
        others = range(1, self.model_config["num_hypotheses"])
        played = [name for name in ("critic", "actor") if hasattr(self, name)]
        self.challengers = nn.ModuleDict({f"{name}_{k}": self.build_network() for name in played for k in others})
        critics = {name: network for name, network in self.challengers.items() if name.startswith("critic")}
        self.challengers_target = nn.ModuleDict({name: follow(network) for name, network in critics.items()})
        self.register_buffer("challengers_mean", torch.zeros(len(others)))
        self.register_buffer("challengers_std", torch.ones(len(others)))

    @override(BiACLeader)
    def networks(self) -> dict[str, nn.Module]:
        return super().networks() | dict(self.challengers.items())

    @override(BiACLeader)
    def target_networks(self) -> dict[str, nn.Module]:
        return super().target_networks() | dict(self.challengers_target.items())

    @override(InferenceOnlyAPI)
    def get_non_inference_attributes(self) -> list[str]:
        return [*super().get_non_inference_attributes(), "challengers", "challengers_target"]


class HypothesesFollower(HypothesesLeader, BiACFollower):
    """A follower that holds one critic and one actor per hypothesis."""
