"""The losses of a hierarchy in which each agent acts by its own observation: the best decentralised commitment.

The agent i commits to a policy pi_i(o_i). If whoever sees o_i did a_i instead, those below would answer another
policy: they would believe something else of what they do not see. So "whoever sees o_i does a_i" is what is tried here
(Eq. 12 over observations), and what lower actors learn to answer. A minibatch stands for the states that play leads to,
and what agents do in it is what they would do now: replayed actions would give the answerers the beliefs of long ago.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F

from rllib_biac.algorithms.biac.own_scene import ByCommitments, Commitment, Scene, repeated, repeated_each
from rllib_biac.algorithms.biac.own_team import OwnTeam
from rllib_biac.algorithms.biac.settings import BiACSettings
from rllib_biac.learning.losses import VECTOR, Measured, Rows, VectorLosses
from rllib_biac.learning.networks import call_frozen
from rllib_biac.learning.stacked import Outputs
from rllib_biac.learning.transitions import ACTION_MASK, NEXT_ACTION_MASK, NEXT_OBS, NEXT_STATE, OBS, STATE
from rllib_biac.walk import concatenated, restrict, walk

# How often each row meets another one of its minibatch, whose agent above commits to something else.
MEETINGS = 4
# What an action that nobody takes now counts, beside one that is taken, where it tells who took it.
TREMBLE = 0.02
# Updates of the critics before continuous actors climb them: untrained ones would drive them far into saturation.
HEAD_START = 200
# What an agent's present choice counts more, as a share of what lies between its best and its worst: among equals it is
# kept.
INERTIA = 0.025
# Actions whose values differ by less, in units of the spread of all values, are worth the same.
SAME = 1e-6
# How many actions an update tries in all rows together, about: where there are many, fewer rows tell of each.
MOST_TRIED = 4096
# What a row counts in which what is heard is what has been committed to, and one in which it is not.
HEARD, UNHEARD = 2.0, 0.5


class OwnLosses(VectorLosses):
    """Losses of any hierarchy that acts by observations, with discrete and continuous actions."""

    apart = ("actor",)
    team: OwnTeam
    settings: BiACSettings

    # Critics.

    def next_values(self, rows: Rows) -> dict[str, torch.Tensor]:
        x = {agent: rows[NEXT_OBS, agent].flatten(1) for agent in self.agents}
        actions = walk(self.team.hierarchy.levels, self.team.play(x, self.masks(rows, NEXT_ACTION_MASK)))
        inputs = concatenated(rows[NEXT_STATE].flatten(1), actions, self.agents)
        next_q = self.networks.compute("critic", inputs, target=True)
        return {agent: self.team[agent].raw(next_q[agent, "critic"].squeeze(1)) for agent in self.agents}

    def forward_online(self, batch: Rows) -> Outputs:
        replayed = {agent: batch[VECTOR, agent] for agent in self.agents}
        return self.networks.compute("critic", concatenated(batch[STATE].flatten(1), replayed, self.agents))

    def replayed_q(self, outputs: Outputs, batch: Rows) -> dict[str, torch.Tensor]:
        return {agent: outputs[agent, "critic"].squeeze(1) for agent in self.agents}

    def losses(self, batch: Rows, outputs: Outputs) -> Measured:
        losses: Measured = {}
        targets = self.normalised_targets(batch)
        here = Scene(
            batch[STATE].flatten(1),
            {agent: batch[OBS, agent].flatten(1) for agent in self.agents},
            self.masks(batch, ACTION_MASK),
        )
        for agent in self.agents:
            losses[agent, "qf_loss"] = F.mse_loss(outputs[agent, "critic"].squeeze(1), targets[agent])
            coder = self.team[agent].coder
            if coder.discrete:
                losses[agent, "actor_loss"] = self.actor_loss(agent, here.at(slice(max(MOST_TRIED // coder.size, 1))))
            elif self.num_updates > HEAD_START:
                losses[agent, "actor_loss"] = self.actor_loss(agent, here)
        return losses

    # Actors.

    def actor_loss(self, agent: str, here: Scene) -> torch.Tensor:
        """The loss of one actor: what it commits to should be best for it, those below answering."""
        own = self.team[agent]
        scene, weights = here, None
        more: torch.Tensor | float = 0.0
        if own.above:
            scene, weights = self.meet(agent, here)
        elif own.coder.discrete and len(self.team.hierarchy.levels) > 1:
            more = self.effect_on_others(agent, here)
        with torch.no_grad():
            given = ByCommitments(self.team, scene).completed({}, 0, own.level + 1)
            given.pop(agent)
        play = ByCommitments(self.team, scene)
        seen = play.seen(agent, own.level, given)  # (rows, what it sees)
        output = play.output(agent, seen)  # (rows, size of its action)
        if not own.coder.discrete:
            return self._climbed(agent, scene, seen, output.tanh(), given, weights)
        q = self.tried(agent, scene, seen, given) + more  # (rows, |A_i|)
        mask = scene.masks.get(agent)
        if not own.above:
            # Its outputs are values of what it may commit to, the best of which it plays. Logits would drift between
            # equals, and with them the meaning of its actions; nor do values ever saturate. In long games states
            # differ far more in worth than an agent's actions in each: what it learns is what actions differ by.
            between = restrict(q, mask).amax(1, keepdim=True) - q.amin(1, keepdim=True)
            values = q + INERTIA * between * own.coder.act(output.detach(), mask)
            error = (output - _apart(values, mask) / _spread(q, mask).clamp(min=SAME)).square()
            return (error if mask is None else torch.where(mask, error, 0.0)).mean()
        log_pi = restrict(output, mask).log_softmax(1)
        pi = log_pi.exp()
        soft = q - self.settings.entropy_coeff * _spread(q, mask) * log_pi.masked_fill(pi == 0.0, 0.0)
        return _mean(-(pi * soft).sum(1), weights)

    @torch.no_grad()
    def tried(self, agent: str, scene: Scene, seen: torch.Tensor, given: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Returns Q_i of each action of an agent's, the levels below answering that whoever sees this does that.

        Args:
            agent: who commits, with discrete actions.
            scene: of the rows.
            seen: (rows, what it sees).
            given: the actions of the levels above and of its peers.

        Returns:
            (rows, |A_i|), normalised.
        """
        own, count = self.team[agent], self.team.sizes[agent]
        actions = torch.eye(count, device=seen.device).repeat(len(seen), 1)  # (rows · |A_i|, |A_i|)
        many = self._told(scene, agent, seen).repeated(count)
        if agent in many.commitments:
            commitment = replace(many.commitments[agent], action=actions)
            many = replace(many, commitments={**many.commitments, agent: commitment})
        taken = {**repeated_each(given, count), agent: actions}
        joint = ByCommitments(self.team, many).completed(taken, own.level + 1)
        return own.critic(concatenated(many.state, joint, self.agents)).view(len(seen), count)

    def _climbed(
        self,
        agent: str,
        scene: Scene,
        seen: torch.Tensor,
        action: torch.Tensor,
        given: Mapping[str, torch.Tensor],
        weights: torch.Tensor | None,
    ) -> torch.Tensor:
        """The loss of a continuous action: its derivative is total, through the answers to the commitment as well."""
        own, temperature = self.team[agent], self.settings.gumbel_temperature

        def relaxed(name: str, output: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
            return self.team[name].coder.relax(output, temperature, mask, self.generator)

        told = self._told(scene, agent, seen)
        if agent in told.commitments:
            commitment = replace(told.commitments[agent], action=action)
            told = replace(told, commitments={**told.commitments, agent: commitment})
        joint = ByCommitments(self.team, told, relaxed).completed({**given, agent: action}, own.level + 1)
        q = call_frozen(own.critic, concatenated(scene.state, joint, self.agents)).squeeze(1)
        return _mean(-q, weights)

    def _told(self, scene: Scene, agent: str, seen: torch.Tensor) -> Scene:
        """Returns the scene in which those below hear what an agent commits to: of those of whom there are several.

        Of what nobody else in a minibatch sees there is much in the game, and each part of it moves beliefs too little.
        """
        if self.team[agent].level == len(self.team.hierarchy.levels) - 1:
            return scene
        told = scene.told(agent, seen, seen.new_zeros(len(seen), self.team.sizes[agent]))
        known = (_alike(seen) > 1).to(seen.dtype).unsqueeze(1)
        own = replace(told.commitments[agent], known=known)
        return replace(told, commitments={**told.commitments, agent: own})

    @torch.no_grad()
    def effect_on_others(self, agent: str, here: Scene) -> torch.Tensor:
        """Returns what a commitment changes for the agent in the rows where it sees something else, (rows, |A_i|).

        Those below believe something else of them too: one who joins them brings them into disrepute.
        """
        rows, count = len(here.state), self.team.sizes[agent]
        seen, alike = here.x[agent], _alike(here.x[agent])
        if not bool((alike > 1).any()) or bool((alike == rows).all()):
            return seen.new_zeros(rows, count)
        # Pairs of a row and another one, who commits: one of several who see that, while it sees something else itself.
        base = torch.arange(rows, device=seen.device).repeat(MEETINGS)
        who = torch.cat([self._others(rows) for _ in range(MEETINGS)])
        others = (seen[base] != seen[who]).any(1) & (alike[who] > 1)
        base, who = base[others], who[others]
        own = self.team[agent]
        mask = here.masks.get(agent)
        now = own.coder.act(own.output(seen), mask)  # (rows, |A_i|)
        tried = torch.cat([torch.eye(count, device=seen.device).expand(len(who), -1, -1), now[who].unsqueeze(1)], 1)
        many = here.at(base).repeated(count + 1)
        many = many.told(agent, repeated(seen[who], count + 1), tried.flatten(0, 1))
        joint = ByCommitments(self.team, many).completed({}, 0)
        q = own.critic(concatenated(many.state, joint, self.agents)).view(len(who), count + 1)
        change = q[:, :count] - q[:, count:]  # (pairs, |A_i|)
        summed = seen.new_zeros(rows, count).index_add_(0, who, change)
        return summed / MEETINGS * (rows / alike).unsqueeze(1)

    @torch.no_grad()
    def meet(self, agent: str, here: Scene) -> tuple[Scene, torch.Tensor]:
        """Returns rows in which agents above commit to this or that at times, and what each counts, (rows,).

        Each row meets itself and, by chance, `MEETINGS` others, as often as one would meet them in the game.
        """
        rows = len(here.state)
        base = torch.arange(rows, device=here.state.device)
        who = torch.cat([base, *(self._others(rows) for _ in range(MEETINGS))])
        scene = here.at(base.repeat(1 + MEETINGS))
        weights = scene.state.new_ones(len(who))
        oneself = torch.arange(len(who), device=weights.device) < rows
        taken: dict[str, torch.Tensor] = {}
        asked: dict[str, torch.Tensor] = {}
        own = self.team[agent]
        for level, agents in enumerate(self.team.hierarchy.levels[: own.level]):
            play = ByCommitments(self.team, scene)
            for above in agents:
                seen = play.seen(above, level, taken)
                alike = _alike(seen[: len(base)])
                chance = torch.rand(len(who), generator=self.generator, device=weights.device)
                known = (chance < 1 / 2) & (alike[who] > 1)
                tried = self._any_action(above, seen, scene.masks.get(above))
                commitment = Commitment(known.to(seen.dtype).unsqueeze(1), seen[who], tried[who])
                scene = replace(scene, commitments={**scene.commitments, above: commitment})
                # Among rows in which the same is known and heard each counts as often as it comes in the game; between
                # such questions weights are free, and rare ones are to be learned as fast as others.
                weights = torch.where(known & oneself, weights * (MEETINGS / max(rows - 1, 1)), weights)
                rarity = rows / alike[who]
                weights = torch.where(known, weights * rarity / rarity.mean(), weights)
                asked[above] = known
                if self.settings.announced:
                    trembles = (chance > 11 / 12) | ((chance < 1 / 3) & (alike[base] == 1).repeat(1 + MEETINGS))
                    counts = torch.where(alike[base] == 1, 1.0, TREMBLE).repeat(1 + MEETINGS)
                    weights = torch.where(trembles & ~known, weights * counts, weights)
                    tremble = ((trembles & ~known).unsqueeze(1), tried)
                    scene = replace(scene, trembles={**scene.trembles, above: tremble})
            taken |= ByCommitments(self.team, scene).greedy(level, taken)
            for above in agents:
                if self.settings.announced:
                    heard = scene.commitments[above].does(taken[above]).squeeze(1) > 0
                    weights = torch.where(asked[above], weights * torch.where(heard, HEARD, UNHEARD), weights)
        return scene, weights

    def _others(self, rows: int) -> torch.Tensor:
        """Returns a partner for each row, never itself."""
        device = self.generator.device
        order = torch.randperm(rows, generator=self.generator, device=device)
        partner = torch.empty_like(order)
        partner[order] = order.roll(1)
        return partner

    def _any_action(self, agent: str, seen: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Returns allowed actions drawn uniformly, (rows, size)."""
        coder = self.team[agent].coder
        if not coder.discrete:
            return 2.0 * torch.rand(len(seen), coder.size, generator=self.generator, device=seen.device) - 1.0
        allowed = seen.new_ones(len(seen), coder.size)
        if mask is not None:
            allowed = torch.where(mask.any(1, keepdim=True), mask.to(seen.dtype), allowed)
        return coder.encode(torch.multinomial(allowed, 1, generator=self.generator).squeeze(1))


def _mean(losses: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    return losses.mean() if weights is None else (weights * losses).sum() / weights.sum()


def _apart(q: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Returns how far the values of an agent's actions lie from their mean in each row, (rows, |A_i|)."""
    if mask is None:
        return q - q.mean(1, keepdim=True)
    count = mask.sum(1, keepdim=True).clamp(min=1)
    return torch.where(mask, q - torch.where(mask, q, 0.0).sum(1, keepdim=True) / count, 0.0)


def _spread(q: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Returns how far apart the values of an agent's actions lie, (rows, |A_i|) -> scalar, where it has a choice.

    In long games that is a small part of the spread of all values: an entropy bonus in units of these would drown it.
    """
    count = q.new_full((len(q),), q.shape[1]) if mask is None else mask.sum(1).clamp(min=1)
    choice = count > 1
    return ((_apart(q, mask).square().sum(1) / count).sqrt() * choice).sum() / choice.sum().clamp(min=1)


def _alike(seen: torch.Tensor) -> torch.Tensor:
    """Returns in how many rows the same is seen, (rows, size) -> (rows,), each row counting itself."""
    _, which, counts = torch.unique(seen, dim=0, return_inverse=True, return_counts=True)
    return counts[which]
