"""The losses of approximators pi'_i(o_i), for one leader and one follower and for any hierarchy."""

from __future__ import annotations

from typing import Any

import torch

from rllib_biac.algorithms.biac.levels_losses import LevelsLosses, expectation_loss
from rllib_biac.algorithms.biac.losses import BiACLosses
from rllib_biac.learning.losses import Losses, Measured, Rows
from rllib_biac.learning.stacked import Outputs
from rllib_biac.learning.team import APPROXIMATOR
from rllib_biac.learning.transitions import ACTION_MASK, OBS, STATE
from rllib_biac.walk import best, picked

# Updates of the critics before continuous approximators climb them. Untrained critics would drive one far into
# saturation; on the way there and back ReLUs die, and a network that sees little says the same of all it sees.
HEAD_START = 200


class PairApproximatorLosses(BiACLosses):
    """Adds the losses of pi'_1(o_1) and pi'_2(o_2), against both critics, which feel nothing of it.

    What the leader commits to is answered by pi_2(s, a_1), which knows all: were it answered by pi'_2(o_2), which does
    not see a_1, both would be peers. The follower answers what the leader plays by its own observation.
    """

    def losses(self, batch: Rows, outputs: Outputs) -> Measured:
        losses = super().losses(batch, outputs)
        mask1, mask2 = (batch.get((ACTION_MASK, agent)) for agent in self.agents)
        local = self.networks.compute(APPROXIMATOR, {agent: batch[OBS, agent] for agent in self.agents})
        logits1, logits2 = (local[agent, APPROXIMATOR] for agent in self.agents)  # (batch, |A_i|)
        with torch.no_grad():
            # (batch, |A_1|, |A_2|)
            q1, q2 = (self.team[agent].q_table(outputs[agent, "critic"]) for agent in self.agents)
            enumerated = self.settings.response == "enumerated"
            preferences = q2 if enumerated else self.table(outputs[self.follower, "actor"])
            responses = best(preferences, None if mask2 is None else mask2[:, None])  # (batch, |A_1|)
            value1 = picked(q1, responses)  # (batch, |A_1|), Q_1(s, a_1, pi_2(s, a_1))
            value2 = picked(q2, best(logits1, mask1))  # (batch, |A_2|), Q_2(s, pi'_1(o_1), a_2)
        c = self.settings.entropy_coeff
        losses[self.leader, "approximator_loss"] = expectation_loss(logits1, value1, mask1, c).mean()
        losses[self.follower, "approximator_loss"] = expectation_loss(logits2, value2, mask2, c).mean()
        return losses


class LevelsApproximatorLosses(LevelsLosses):
    """Adds the losses of pi'_i(o_i): the levels above and peers play theirs, the levels below answer knowing all."""

    def losses(self, batch: Rows, outputs: Outputs) -> Measured:
        losses = super().losses(batch, outputs)
        masks = self.masks(batch, ACTION_MASK)
        local = self.networks.compute(APPROXIMATOR, {agent: batch[OBS, agent] for agent in self.agents})
        with torch.no_grad():
            played = {
                agent: self.team[agent].coder.act(local[agent, APPROXIMATOR], masks.get(agent)) for agent in self.agents
            }
        for level, agents in enumerate(self.team.hierarchy.levels):
            known = [agent for upper in self.team.hierarchy.levels[: level + 1] for agent in upper]
            for agent in agents:
                if self.num_updates <= HEAD_START and not self.team[agent].coder.discrete:
                    continue
                given = {other: played[other] for other in known if other != agent}
                losses[agent, "approximator_loss"] = self.commitment_loss(
                    agent, local[agent, APPROXIMATOR], batch[STATE].flatten(1), given, masks
                ).mean()
        return losses


def with_approximator_losses(losses: type[Any]) -> type[Losses]:
    """Returns those losses with the approximators' added."""
    added = PairApproximatorLosses if issubclass(losses, BiACLosses) else LevelsApproximatorLosses
    return type(f"Approximated{losses.__name__}", (added, losses), {})
