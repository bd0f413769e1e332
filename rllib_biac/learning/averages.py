"""Averaged weights: what play uses, while training goes on from the latest ones."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch

from rllib_biac.learning.losses import critics_of
from rllib_biac.learning.normalisers import rescale_output
from rllib_biac.learning.stacked import TeamNetworks
from rllib_biac.learning.team import Team, copy_weights, weight_pairs


class Averages:
    """Averages of a team's weights over its latest updates, a share of all (Polyak and Juditsky 1992).

    Under a constant learning rate weights never come to rest. Their average does, as the share is one of ever more
    updates, and unlike with a rate that falls, learning stays as fast as it was.

    Args:
        played: the team that holds the averages. Its networks are moved to where equal ones lie together.
        learning: the team that learns, of the same networks; `played` starts as its copy.
        networks: of the team that learns.
        label: (agent, network name) -> a label, by which `networks` were grouped.
        share: of the updates so far, in (0, 1].
    """

    def __init__(
        self,
        played: Team,
        learning: Team,
        networks: TeamNetworks,
        label: Callable[[str, str], Hashable],
        share: float,
    ) -> None:
        self._played, self._learning, self._share = played, learning, share
        groups = zip(TeamNetworks(played, label).groups, networks.groups, strict=True)
        self._averaged = [(average.flat, latest.flat) for (_, average), (_, latest) in groups]
        # A state dict holds other objects than the networks, in the same memory.
        members = played.members().values()
        trained = [network for one in members for network in one.networks().values()]
        averaged = {p.data_ptr() for network in trained for p in network.parameters()}
        pairs = zip(*weight_pairs(learning, played), strict=True)
        others = [(own, latest) for own, latest in pairs if own.data_ptr() not in averaged]
        self._copied = [own for own, _ in others], [latest for _, latest in others]
        self.start()

    @property
    def flat(self) -> list[torch.Tensor]:
        """The averaged parameters, many to a tensor."""
        return [average for average, _ in self._averaged]

    @torch.no_grad()
    def start(self) -> None:
        """Begins with the weights that there are."""
        copy_weights(self._learning, self._played)

    @torch.no_grad()
    def take_units_over(self) -> None:
        """Takes over what normalises inputs and targets, and keeps the Q-values that the averages stand for."""
        if self._learning.settings.normalize_targets:
            for name, member in self._played.members().items():
                critics, latest = critics_of(member.networks()), self._learning[name]
                if not critics:
                    continue
                scale, shift = member.q_std / latest.q_std, (member.q_mean - latest.q_mean) / latest.q_std
                for critic in critics.values():
                    rescale_output(critic, scale, shift)
        torch._foreach_copy_(*self._copied)

    @torch.no_grad()
    def update(self, num_updates: int) -> None:
        """Takes the latest weights in.

        Args:
            num_updates: since weights belong together, these included; at least 1.
        """
        weight = 1.0 / max(1.0, self._share * num_updates)
        for average, latest in self._averaged:
            average.lerp_(latest, weight)
