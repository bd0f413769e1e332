"""Critics that say how likely each value is: histograms, learned by cross-entropy (Farebrother et al. 2024).

Where a small change of the state changes everything, as where two cars just miss or just hit each other, a network
that is fitted by least squares blurs the edge, and what it says near it is worth nothing. One that sorts values into
intervals (`num_atoms`) says on which side of the edge a state is, and how sure it is. Its Q-value is the mean.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import nn

from rllib_biac.algorithms.biac.settings import BiACSettings
from rllib_biac.algorithms.biac.team import BiACFollower, BiACLeader, BiACTeam
from rllib_biac.files.policy import Arrays, Description
from rllib_biac.learning.networks import QUnits, build_network

# Intervals are equally wide in asinh(value), which is the value itself near the mean of the targets, and its logarithm
# far off: the outermost ends lie 27 spreads away.
REACH = 4.0
# Of the normal distribution that a target is spread by, in widths of an interval.
SMOOTHING = 0.75
# How much the units of values may change until intervals are laid out anew: by which factor, and so many spreads.
MOST_SCALE, MOST_SHIFT = 2.0, 1.0
ROUNDING = 1e-3  # units that differ by less are the same
# By how much the logarithm of a density falls beyond the outermost intervals that there were, in widths of an interval.
FALL = 2.0


class HistogramLeader(BiACLeader):
    """A leader whose critic says of every joint action how likely its value is in each of K intervals.

    Attributes:
        critic: network of logits, (batch, *state shape) -> (batch, |A_1| · |A_2| · K).
        ends, atoms: buffers (K + 1,), the ends of the intervals, and (K,), the value that each stands for.
        value_scale, value_shift: buffers (): a normalised value is value_scale · sinh(y) + value_shift at place y.
    """

    settings: BiACSettings
    ends: torch.Tensor
    atoms: torch.Tensor
    value_scale: torch.Tensor
    value_shift: torch.Tensor

    def build_networks(self) -> None:
        count = self.settings.num_atoms
        self.register_buffer("value_scale", torch.ones(()))
        self.register_buffer("value_shift", torch.zeros(()))
        ends = torch.linspace(-REACH, REACH, count + 1)
        self.deviation = SMOOTHING * 2 * REACH / count
        middles = (ends[1:] + ends[:-1]) / 2
        # E[sinh(y + e)] = sinh(y) exp(deviation² / 2) of a normal e, and sinh(h) / h times as much where y + e is
        # rounded to the middles of intervals 2 h wide. So divided, a target's histogram has its mean. A surplus would
        # grow with every bootstrapped target, as if discounts were nearer to 1.
        half = REACH / count
        inflated = math.exp(self.deviation**2 / 2) * math.sinh(half) / half
        self.register_buffer("atoms", middles.sinh() / inflated, persistent=False)
        self.register_buffer("ends", ends, persistent=False)
        super().build_networks()
        outputs = math.prod(self.num_actions) * count
        with torch.no_grad():
            given = self.critic(torch.zeros(2, *self.state_shape)).shape[1]
        if given != outputs:
            raise ValueError(
                f"the critic of {self.name} has {given} outputs: num_atoms: {count} takes {outputs}, {count} for each "
                "joint action."
            )

    def build_network(self) -> nn.Module:
        outputs = math.prod(self.num_actions) * len(self.atoms)
        return build_network(self.state_shape, outputs, self.model_config)

    def q_table(self, output: torch.Tensor) -> torch.Tensor:
        return self.mean(self.logits(output)).T.reshape(-1, *self.num_actions)

    def q_of(self, output: torch.Tensor, joint: torch.Tensor) -> torch.Tensor:
        return self.mean(self.logits_of(output, joint))

    def logits(self, output: torch.Tensor) -> torch.Tensor:
        """Shapes a critic's output, rows last as stacked networks are computed: (batch, ...) -> (A, K, batch)."""
        return output.T.reshape(math.prod(self.num_actions), len(self.atoms), len(output))

    def logits_of(self, output: torch.Tensor, joint: torch.Tensor) -> torch.Tensor:
        """Returns the logits of one joint action a row, (batch, 1) -> (K, batch)."""
        return self.logits(output).gather(0, joint.view(1, 1, -1).expand(1, len(self.atoms), -1)).squeeze(0)

    def mean(self, logits: torch.Tensor) -> torch.Tensor:
        """Returns the mean of histograms, in the critic's units: (..., K, batch) -> (..., batch)."""
        return self.value_scale * (logits.softmax(-2) * self.atoms.unsqueeze(1)).sum(-2) + self.value_shift

    def histogram(self, targets: torch.Tensor) -> torch.Tensor:
        """Returns the histograms of normalised targets, each spread as a normal distribution: (batch,) -> (K, batch).

        What lies beyond the outermost intervals counts as in them.
        """
        places = ((targets - self.value_shift) / self.value_scale).asinh().clamp(-REACH, REACH)
        below = torch.special.ndtr((self.ends.unsqueeze(1) - places) / self.deviation)  # (K + 1, batch)
        mass = below.diff(dim=0)
        return mass / mass.sum(0)

    def rescale_critics(self, critics: Iterable[nn.Module], scale: torch.Tensor, shift: torch.Tensor) -> None:
        new_scale, new_shift = self.value_scale * scale, self.value_shift * scale + shift
        if not (1 / MOST_SCALE <= new_scale <= MOST_SCALE and abs(new_shift) <= MOST_SHIFT):
            self.lay_out(critics, new_scale, new_shift)
            new_scale, new_shift = torch.ones(()), torch.zeros(())
        self.value_scale.copy_(new_scale)
        self.value_shift.copy_(new_shift)

    def take_units_over(self, critics: Iterable[nn.Module], latest: QUnits) -> None:
        # Rounding must not decide twice whether intervals are laid out anew.
        assert isinstance(latest, HistogramLeader)
        scale, shift = self.units_in(latest)
        new_scale = self.value_scale * scale / latest.value_scale
        new_shift = (self.value_shift * scale + shift - latest.value_shift) / latest.value_scale
        if not (abs(new_scale - 1.0) <= ROUNDING and abs(new_shift) <= ROUNDING):
            self.lay_out(critics, new_scale, new_shift)

    @torch.no_grad()
    def lay_out(self, critics: Iterable[nn.Module], scale: torch.Tensor, shift: torch.Tensor) -> None:
        """Makes critics say of scale 1 and shift 0 what they said of these, () each, as nearly as intervals allow.

        If they went on saying the same of other intervals, values would grow with the spread of targets and targets
        with values, without end where games are long.
        """
        if not (torch.isfinite(scale) and torch.isfinite(shift) and scale > 0.0):
            return  # what was said in units so far from these is worth nothing
        count, width = len(self.atoms), 2 * REACH / len(self.atoms)
        new = ((self.ends[1:] + self.ends[:-1]) / 2).double()
        old = ((new.sinh() - shift) / scale).asinh()  # where the middles of new intervals are among old ones, (K,)
        # The logarithm of a histogram's density is read off the straight lines between old middles, and falls from the
        # outermost ones on.
        at = (old + REACH) / width - 0.5
        within = at.clamp(0.0, count - 1.0)
        below = within.floor().clamp(max=count - 2.0)
        column, share = below.long().unsqueeze(1), (within - below).unsqueeze(1)
        read = new.new_zeros(count, count).scatter(1, column, 1.0 - share).scatter(1, column + 1, share)
        added = (new.cosh() / (scale * old.cosh())).log() - FALL * (at - within).abs()
        for critic in critics:
            last = [m for m in critic.modules() if isinstance(m, nn.Linear)][-1]
            weight, bias = last.weight.double().view(-1, count, last.in_features), last.bias.double().view(-1, count)
            last.weight.copy_((read @ weight).flatten(0, 1))
            last.bias.copy_((bias @ read.T + added).flatten())


class HistogramFollower(HistogramLeader, BiACFollower):
    """A follower with such a critic, and an actor of one logit for each answer to each commitment."""

    def build_actor(self) -> nn.Module:
        return build_network(self.state_shape, math.prod(self.num_actions), self.model_config)


class HistogramTeam(BiACTeam):
    """The pair, whose critics are histograms."""

    leader_class: ClassVar[type[BiACLeader]] = HistogramLeader
    follower_class: ClassVar[type[BiACFollower]] = HistogramFollower

    def describe(self) -> tuple[Description, Arrays]:
        description, arrays = super().describe()
        leader, follower = self.agents
        networks = dict(description.networks)
        for agent in (leader, follower) if self.settings.response == "enumerated" else (leader,):
            module = self[agent]
            atoms = module.value_scale * module.atoms + module.value_shift
            networks[agent] = dataclasses.replace(networks[agent], num_atoms=len(atoms))
            arrays[f"{agent}/atoms"] = atoms.cpu().numpy()
        return dataclasses.replace(description, networks=networks), arrays
