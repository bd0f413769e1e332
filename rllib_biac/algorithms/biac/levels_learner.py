"""The losses of Bi-AC for a hierarchy of any depth (Eqs. 17-22).

Each action is trained as a commitment: the actions above it come from replay, the actions below it from the current
policies answering it, a peer's from its current policy. (With the actions below taken as fixed, Eq. 22 converges to
what simultaneous play would: in the duopoly to Cournot's equilibrium instead of Stackelberg's.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from ray.rllib.utils.annotations import override

from rllib_biac.algorithms.biac.levels_rl_module import LevelsModule
from rllib_biac.core.actions import masked
from rllib_biac.core.learner import VECTOR, JointLearner, Outputs, Rows
from rllib_biac.core.networks import call_frozen
from rllib_biac.core.rl_module import APPROXIMATOR, kind_of
from rllib_biac.core.transitions import (
    ACTION_MASK,
    ACTIONS,
    NEXT_ACTION_MASK,
    NEXT_STATE,
    OBS,
    STATE,
)

# Updates of the critics before continuous approximators climb them. Untrained critics would drive one far into
# saturation; on the way there and back ReLUs die, and a network that sees little says the same of all it sees.
HEAD_START = 200


class LevelsLearner(JointLearner):
    """Learner of any hierarchy, with discrete and continuous actions."""

    one_input = False
    module: LevelsModule

    @override(JointLearner)
    def stack_of(self, agent: str, network: str) -> Any:
        # Critics all see the joint action; every actor sees something else.
        kind = kind_of(network)
        return (agent, network) if kind == "actor" else kind

    def _masks(self, rows: Rows, column: str) -> dict[str, torch.Tensor]:
        return {agent: rows[column, agent] for agent in self.agents if (column, agent) in rows}

    @override(JointLearner)
    def more_columns(self, rows: Rows) -> Rows:
        return {(VECTOR, agent): self.module.agent(agent).coder.encode(rows[ACTIONS, agent]) for agent in self.agents}

    def _replayed(self, batch: Rows) -> dict[str, torch.Tensor]:
        return {agent: batch[VECTOR, agent] for agent in self.agents}

    @override(JointLearner)
    def next_values(self, rows: Rows) -> dict[str, torch.Tensor]:
        x, masks = rows[NEXT_STATE].flatten(1), self._masks(rows, NEXT_ACTION_MASK)
        temperature = self.module.temperature
        lead = self.module.lead(x, masks, temperature=temperature, generator=self.generator)
        actions = self.module.answers(x, lead, 1, masks=masks)  # Eqs. 17-18
        next_q = self.compute("critic", self.module.joint(x, actions), target=True)
        values = {}
        for agent in self.agents:
            module = self.module.agent(agent)
            q = next_q[agent, "critic"].squeeze(1)  # (rows,)
            if temperature and agent == self.agents[0]:
                # The soft value, T log E_{a ~ uniform} exp(Q / T) (Haarnoja et al. 2017, Eq. 10).
                tried = self.module.score(x, {}, agent, masks=masks, target=True)  # (rows, tried actions)
                q = temperature * ((tried / temperature).logsumexp(1) - math.log(tried.shape[1]))
            values[agent] = module.q_std * q + module.q_mean
        return values

    @override(JointLearner)
    def forward_online(self, batch: Rows) -> Outputs:
        return self.compute("critic", self.module.joint(batch[STATE].flatten(1), self._replayed(batch)))

    @override(JointLearner)
    def compute_losses(self, *, fwd_out: Outputs, batch: Rows) -> dict[tuple[str, str], torch.Tensor]:
        losses = {}
        targets = self.normalised_targets(batch)
        for agent in self.agents:
            losses[agent, "qf_loss"] = F.mse_loss(fwd_out[agent, "critic"].squeeze(1), targets[agent])  # Eqs. 20-21
            if not self.module.agent(agent).enumerates:
                losses[agent, "actor_loss"] = self.actor_loss(agent, batch)
        if self.config.approximators:
            losses |= self.approximator_losses(batch)
        return losses

    def actor_loss(self, agent: str, batch: Rows) -> torch.Tensor:
        """The loss of one actor (Eq. 22): what it commits to should maximise its critic, the levels below answering."""
        module, own = self.module, self.module.agent(agent)
        x, masks, replayed = batch[STATE].flatten(1), self._masks(batch, ACTION_MASK), self._replayed(batch)
        levels = module.hierarchy.levels
        given = {name: replayed[name] for above in levels[: own.level] for name in above}
        seen = module.above(x, given, own.level)
        with torch.no_grad():
            for peer in levels[own.level]:
                if peer != agent:
                    coder = module.agent(peer).coder
                    given[peer] = coder.act(module.agent(peer).actor(seen), masks.get(peer))
        return self.commitment_loss(agent, own.actor(seen), x, given, masks)

    def commitment_loss(
        self,
        agent: str,
        output: torch.Tensor,
        x: torch.Tensor,
        given: Mapping[str, torch.Tensor],
        masks: dict[str, torch.Tensor],
    ) -> torch.Tensor:
        """The loss of what an agent commits to, the levels below answering it.

        Args:
            agent: who commits.
            output: (batch, size), of its actor or approximator.
            x: (batch, state size), normalised.
            given: actions of the levels above and of the agent's peers.
            masks: agent -> (batch, |A_i|) bool.
        """
        module, own = self.module, self.module.agent(agent)
        if own.coder.discrete:
            with torch.no_grad():
                q = module.score(x, given, agent, masks=masks)  # (batch, |A_i|)
            return expectation_loss(output, q, masks.get(agent), self.config.entropy_coeff)
        # The derivative is total: through the answers of the levels below as well.
        relax = {"temperature": self.config.gumbel_temperature, "generator": self.generator}
        actions = module.answers(x, {**given, agent: output.tanh()}, own.level + 1, masks=masks, relax=relax)
        return -call_frozen(own.critic, module.joint(x, actions)).mean()

    def approximator_losses(self, batch: Rows) -> dict[tuple[str, str], torch.Tensor]:
        """The losses of pi'_i(o_i): the levels above and peers play theirs, the levels below answer knowing all."""
        x, masks = batch[STATE].flatten(1), self._masks(batch, ACTION_MASK)
        outputs = self.compute(APPROXIMATOR, {agent: batch[OBS, agent] for agent in self.agents})
        with torch.no_grad():
            played = {
                agent: self.module.agent(agent).coder.act(outputs[agent, APPROXIMATOR], masks.get(agent))
                for agent in self.agents
            }
        losses = {}
        for level, agents in enumerate(self.module.hierarchy.levels):
            known = [agent for upper in self.module.hierarchy.levels[: level + 1] for agent in upper]
            for agent in agents:
                if self.num_updates <= HEAD_START and not self.module.agent(agent).coder.discrete:
                    continue
                given = {other: played[other] for other in known if other != agent}
                output = outputs[agent, APPROXIMATOR]
                losses[agent, "approximator_loss"] = self.commitment_loss(agent, output, x, given, masks)
        return losses

    @override(JointLearner)
    def replayed_q(self, outputs: Outputs, batch: Rows) -> dict[str, torch.Tensor]:
        return {agent: outputs[agent, "critic"].squeeze(1) for agent in self.agents}


def expectation_loss(
    logits: torch.Tensor, q: torch.Tensor, mask: torch.Tensor | None, entropy_coeff: float
) -> torch.Tensor:
    """Returns minus E_{a ~ pi}[Q(a)] plus the entropy bonus, exact: logits, q (batch, |A_i|) -> scalar."""
    log_pi = masked(logits, mask).log_softmax(1)
    pi = log_pi.exp()
    log_pi = log_pi.masked_fill(pi == 0.0, 0.0)  # where 0 · log 0 counts as 0
    return -(pi * (q - entropy_coeff * log_pi)).sum(1).mean()
