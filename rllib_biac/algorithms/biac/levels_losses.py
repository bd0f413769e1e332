"""The losses of Bi-AC for a hierarchy of any depth (Eqs. 17-22).

Each action is trained as a commitment: the actions above it come from replay, the actions below it from the current
policies answering it, a peer's from its current policy. (With the actions below taken as fixed, Eq. 22 converges to
what simultaneous play would: in the duopoly to Cournot's equilibrium instead of Stackelberg's.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F

from rllib_biac.algorithms.biac.levels_team import LevelsTeam
from rllib_biac.algorithms.biac.settings import BiACSettings
from rllib_biac.learning.losses import VECTOR, Measured, Rows, VectorLosses
from rllib_biac.learning.networks import call_frozen
from rllib_biac.learning.stacked import Outputs
from rllib_biac.learning.transitions import ACTION_MASK, NEXT_ACTION_MASK, NEXT_STATE, STATE
from rllib_biac.walk import ByActions, concatenated, restrict, walk

# An actor climbs to the nearest peak of its critic. So in the last LOOK_FOR of every LOOK_EVERY updates it looks at
# `actor_tries` random actions in each of LOOK_ROWS rows, and goes to the best of them where that is worth more than its
# own by PEAK_MARGIN, in units of the spread of Q-values: critics are not exact.
LOOK_EVERY, LOOK_FOR, LOOK_ROWS, PEAK_MARGIN = 1024, 256, 32, 0.1


class LevelsLosses(VectorLosses):
    """Losses of any hierarchy, with discrete and continuous actions."""

    apart = ("actor",)  # critics all see the joint action; every actor sees something else
    team: LevelsTeam
    settings: BiACSettings

    def next_values(self, rows: Rows) -> dict[str, torch.Tensor]:
        x, masks = rows[NEXT_STATE].flatten(1), self.masks(rows, NEXT_ACTION_MASK)
        temperature = self.team.temperature
        play = self.team.play(x, masks, temperature=temperature, generator=self.generator)
        actions = walk(self.team.hierarchy.levels, play)  # Eqs. 17-18
        next_q = self.networks.compute("critic", concatenated(x, actions, self.agents), target=True)
        values = {}
        for agent in self.agents:
            q = next_q[agent, "critic"].squeeze(1)  # (rows,)
            if temperature and agent == self.agents[0]:
                # The soft value, T log E_{a ~ uniform} exp(Q / T) (Haarnoja et al. 2017, Eq. 10).
                tried = self.team.score(x, {}, agent, masks=masks, target=True)  # (rows, tried actions)
                q = temperature * ((tried / temperature).logsumexp(1) - math.log(tried.shape[1]))
            values[agent] = self.team[agent].raw(q)
        return values

    def forward_online(self, batch: Rows) -> Outputs:
        replayed = {agent: batch[VECTOR, agent] for agent in self.agents}
        return self.networks.compute("critic", concatenated(batch[STATE].flatten(1), replayed, self.agents))

    def losses(self, batch: Rows, outputs: Outputs) -> Measured:
        losses = {}
        targets = self.normalised_targets(batch)
        for agent in self.agents:
            losses[agent, "qf_loss"] = F.mse_loss(outputs[agent, "critic"].squeeze(1), targets[agent])  # Eqs. 20-21
            if not self.team[agent].enumerates:
                losses[agent, "actor_loss"] = self.actor_loss(agent, batch)
        return losses

    def actor_loss(self, agent: str, batch: Rows) -> torch.Tensor:
        """The loss of one actor (Eq. 22): what it commits to should maximise its critic, the levels below answering."""
        own, levels = self.team[agent], self.team.hierarchy.levels
        looks = self.looks_around(agent)
        if looks:
            batch = {column: values[:LOOK_ROWS] for column, values in batch.items()}
        x, masks = batch[STATE].flatten(1), self.masks(batch, ACTION_MASK)
        above = [name for upper in levels[: own.level] for name in upper]
        given = {name: batch[VECTOR, name] for name in above}
        seen = concatenated(x, given, above)
        with torch.no_grad():
            for peer in levels[own.level]:
                if peer != agent:
                    other = self.team[peer]
                    given[peer] = other.coder.act(other.actor(seen), masks.get(peer))
        output = own.actor(seen)
        loss = self.commitment_loss(agent, output, x, given, masks)
        if looks:
            action = own.coder.act(output, masks.get(agent))
            higher, there = self.higher_peaks(agent, action.detach(), x, given, masks)
            loss = torch.where(higher, (action - there).square().sum(1), loss)
        return loss.mean()

    def looks_around(self, agent: str) -> bool:
        """Tells whether an agent's actor looks for higher peaks in the update at hand."""
        late = self.num_updates % LOOK_EVERY >= LOOK_EVERY - LOOK_FOR
        return late and not self.team[agent].coder.discrete and self.settings.actor_tries > 0

    def commitment_loss(
        self,
        agent: str,
        output: torch.Tensor,
        x: torch.Tensor,
        given: Mapping[str, torch.Tensor],
        masks: dict[str, torch.Tensor],
    ) -> torch.Tensor:
        """The losses of what an agent commits to, the levels below answering it, (batch,).

        Args:
            agent: who commits.
            output: (batch, size), of its actor or approximator.
            x: (batch, state size), normalised.
            given: actions of the levels above and of the agent's peers.
            masks: agent -> (batch, |A_i|) bool.
        """
        own = self.team[agent]
        if own.coder.discrete:
            with torch.no_grad():
                q = self.team.score(x, given, agent, masks=masks)  # (batch, |A_i|)
            return expectation_loss(output, q, masks.get(agent), self.settings.entropy_coeff)
        # The derivative is total: through the answers of the levels below as well. It does not reach the answerers.
        temperature = self.settings.gumbel_temperature
        relaxed = ByActions(
            self.team.hierarchy.levels,
            x,
            actor=lambda name, seen: call_frozen(self.team[name].actor, seen),
            vector=lambda name, out, mask: self.team[name].coder.relax(out, temperature, mask, self.generator),
            masks=masks,
        )
        own_action = own.coder.act(output, masks.get(agent))
        actions = relaxed.answered({**given, agent: own_action}, own.level + 1)
        return -call_frozen(own.critic, concatenated(x, actions, self.agents)).squeeze(1)

    @torch.no_grad()
    def higher_peaks(
        self,
        agent: str,
        action: torch.Tensor,
        x: torch.Tensor,
        given: Mapping[str, torch.Tensor],
        masks: dict[str, torch.Tensor],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Looks at actions far from an agent's own: climbing alone leads to the nearest peak of its critic.

        Args:
            agent: who commits, with continuous actions.
            action: (batch, size), its own.
            x, given, masks: as for `commitment_loss`.

        Returns:
            (batch,) bool, whether the best of those tried is worth more by `PEAK_MARGIN`; and that, (batch, size).
        """
        own, play = self.team[agent], self.team.play(x, masks)
        joint = play.answered({**given, agent: action}, own.level + 1)
        worth = own.critic(concatenated(x, joint, self.agents)).squeeze(1)  # (batch,)
        tried = torch.rand(self.settings.actor_tries, own.coder.size, generator=self.generator, device=x.device)
        tried = 2.0 * tried - 1.0  # (actor_tries, size)
        highest, index = play.tries(agent, tried, given, own.critic)[1].max(1)
        return highest > worth + PEAK_MARGIN, tried[index]

    def replayed_q(self, outputs: Outputs, batch: Rows) -> dict[str, torch.Tensor]:
        return {agent: outputs[agent, "critic"].squeeze(1) for agent in self.agents}


def expectation_loss(
    logits: torch.Tensor, q: torch.Tensor, mask: torch.Tensor | None, entropy_coeff: float
) -> torch.Tensor:
    """Returns minus (E_{a ~ pi}[Q(a)] plus the entropy bonus), exact, for each row.

    Args:
        logits: of pi, (batch, |A_i|).
        q: what each action is worth, normalised, (batch, |A_i|).
        mask: (batch, |A_i|) bool, allowed actions; None allows all.
        entropy_coeff: weight of the entropy, at least 0.

    Returns:
        (batch,), to be minimised.
    """
    log_pi = restrict(logits, mask).log_softmax(1)
    pi = log_pi.exp()
    log_pi = log_pi.masked_fill(pi == 0.0, 0.0)  # where 0 · log 0 counts as 0
    return -(pi * (q - entropy_coeff * log_pi)).sum(1)
