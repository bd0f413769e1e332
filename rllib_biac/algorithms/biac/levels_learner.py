"""The losses of Bi-AC for a hierarchy of any depth (Eqs. 17-22).

Each action is trained as a commitment: the actions above it come from replay, the actions below it from the current
policies answering it, a peer's from its current policy. (With the actions below taken as fixed, Eq. 22 converges to
what simultaneous play would: in the duopoly to Cournot's equilibrium instead of Stackelberg's.)
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from ray.rllib.utils.annotations import override

from rllib_biac.algorithms.biac.levels_rl_module import LevelsModule
from rllib_biac.core.actions import masked
from rllib_biac.core.learner import JointLearner, Outputs, Rows
from rllib_biac.core.networks import call_frozen
from rllib_biac.core.rl_module import kind_of
from rllib_biac.core.transitions import ACTION_MASK, ACTIONS, NEXT_ACTION_MASK, NEXT_STATE, REWARDS, STATE, TERMINATED


class LevelsLearner(JointLearner):
    """Learner of any hierarchy, with discrete and continuous actions."""

    one_input = False
    module: LevelsModule

    @override(JointLearner)
    def stack_of(self, agent: str, network: str) -> Any:
        # Critics all see the joint action; every actor sees something else.
        return "critic" if kind_of(network) == "critic" else (agent, network)

    def _masks(self, rows: Rows, column: str) -> dict[str, torch.Tensor]:
        return {agent: rows[column, agent] for agent in self.agents if (column, agent) in rows}

    def _replayed(self, batch: Rows) -> dict[str, torch.Tensor]:
        return {agent: self.module.agent(agent).coder.encode(batch[ACTIONS, agent]) for agent in self.agents}

    @override(JointLearner)
    @torch.no_grad()
    def compute_targets(self, rows: Rows) -> dict[str, torch.Tensor]:
        rewards = {agent: rows[REWARDS, agent] for agent in self.agents}
        if bool(rows[TERMINATED].all()):  # nothing to bootstrap from: one-step games, say
            return rewards
        goes_on = (~rows[TERMINATED]).to(torch.float32)  # (batch,)
        x, masks = rows[NEXT_STATE].flatten(1), self._masks(rows, NEXT_ACTION_MASK)
        actions = self.module.answers(x, self.module.lead(x, masks), 1, masks=masks)  # Eqs. 17-18
        next_q = self.compute("critic", self.module.joint(x, actions), target=True)
        targets = {}
        for agent in self.agents:
            module = self.module.agent(agent)
            value = module.q_std * next_q[agent, "critic"].squeeze(1) + module.q_mean
            targets[agent] = rewards[agent] + self.config.gamma * goes_on * value  # (batch,)  Eq. 19
        return targets

    @override(JointLearner)
    def forward_online(self, batch: Rows) -> Outputs:
        return self.compute("critic", self.module.joint(batch[STATE].flatten(1), self._replayed(batch)))

    @override(JointLearner)
    def compute_losses(self, *, fwd_out: Outputs, batch: Rows) -> dict[tuple[str, str], torch.Tensor]:
        losses = {}
        targets = self.compute_targets(batch)
        for agent in self.agents:
            module = self.module.agent(agent)
            target = (targets[agent] - module.q_mean) / module.q_std  # (batch,)
            losses[agent, "qf_loss"] = F.mse_loss(fwd_out[agent, "critic"].squeeze(1), target)  # Eqs. 20-21
            if not module.enumerates:
                losses[agent, "actor_loss"] = self.actor_loss(agent, batch)
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
        output = own.actor(seen)
        if own.coder.discrete:
            with torch.no_grad():
                q = module.score(x, given, agent, masks=masks)  # (batch, |A_i|)
            return expectation_loss(output, q, masks.get(agent), self.config.entropy_coeff)
        # The derivative is total: through the answers of the levels below as well.
        relax = {"temperature": self.config.gumbel_temperature, "generator": self.generator}
        actions = module.answers(x, given | {agent: output.tanh()}, own.level + 1, masks=masks, relax=relax)
        return -call_frozen(own.critic, module.joint(x, actions)).mean()

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
