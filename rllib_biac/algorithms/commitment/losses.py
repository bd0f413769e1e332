"""What learns to commit learns by: replayed rows, each under a commitment that is drawn anew."""

from __future__ import annotations

import math

import torch

from rllib_biac.algorithms.commitment.answering import entropy, response, told
from rllib_biac.algorithms.commitment.choice import best, settle
from rllib_biac.algorithms.commitment.counted import count
from rllib_biac.algorithms.commitment.settings import CommitmentDQNSettings
from rllib_biac.algorithms.commitment.team import CommitmentTeam
from rllib_biac.learning.losses import Losses, Measured, Rows
from rllib_biac.learning.several import of_all_learners, start_as_the_first
from rllib_biac.learning.stacked import Outputs
from rllib_biac.learning.transitions import ACTIONS, NEXT_STATE, REWARDS, START, STATE, TERMINATED
from rllib_biac.walk.commitment import beside

_OFTEN = 10  # searches that come at one distance; then each comes a tenth later
COMMITMENT = "commitment"  # a column beside those of joint transitions: z, (rows, |S|, |A_1|)


def _update_of(search: int, every: int) -> float:
    """Returns after how many updates one of the searches, from 0 on, is due: the later, the less changes."""
    return every * (search + 1 if search < _OFTEN else _OFTEN * (1.0 + 1.0 / _OFTEN) ** (search + 1 - _OFTEN))


class CommitmentLosses(Losses):
    """Both agents learn Q_i(s, z, a_1, a_2), the value of one joint action, after which the leader plays z.

    What the game does and pays does not depend on z. So every row may be given any z, and teaches something of all.
    """

    team: CommitmentTeam
    settings: CommitmentDQNSettings
    one_input = False

    def normalise_targets(self, rows: Rows) -> None:
        leader, seen = self.team.leader, {key: rows[key] for key in (STATE, NEXT_STATE, TERMINATED, START)}
        if self.num_learners > 1:  # all number the states alike, and keep to one commitment
            seen = {key: of_all_learners(column) for key, column in seen.items()}
        self.team.meet(seen[STATE])
        self.team.meet(seen[NEXT_STATE][~seen[TERMINATED]])
        leader.starts += torch.bincount(leader.rows(seen[STATE][seen[START]]), minlength=len(leader.starts))
        self._count(rows)
        due = self.num_updates >= _update_of(int(leader.searches), self.settings.search_every)
        if due and not leader.chosen and leader.starts.any():
            self.team.follower.error.copy_(self._critic_error(rows))
            found = best(self.team, self.generator)
            if self.num_learners > 1:
                start_as_the_first([found, self.team.follower.error])
            settle(self.team, found)
        rows[COMMITMENT] = self.team.draw(len(rows[STATE]), self.generator)
        super().normalise_targets(rows)

    def _count(self, rows: Rows) -> None:
        to = torch.where(rows[TERMINATED], -1, self.team.leader.rows(rows[NEXT_STATE]))
        rewards = [rows[REWARDS, agent] for agent in self.agents]
        columns = [self._entries(rows), to, *rewards]
        if self.num_learners > 1:
            columns = [of_all_learners(column) for column in columns]
        entry, to, *rewards = columns
        count(self.team.leader, entry, to, torch.stack(rewards))

    @torch.no_grad()
    def _critic_error(self, rows: Rows) -> torch.Tensor:
        """Returns how far the follower's critic is off its targets, chance in the game aside, in the game's units, ().

        A row's error under one commitment is what is wrong with its entry of the table, plus what is wrong with how
        that depends on the commitment, plus chance. Chance is the same under two commitments, and not in two rows. So
        the second part shows in the difference of one row's errors under two commitments, and the first in the
        products of two rows' errors.
        """
        follower, joint = self.agents[1], self._joint(rows)
        entry = self._entries(rows)
        errors = []
        for _ in range(2):
            drawn = rows | {COMMITMENT: self.team.draw(len(joint), self.generator)}
            q = self.replayed_q(self.forward_online(drawn), drawn)[follower]
            errors.append(self.compute_targets(drawn)[follower] - self.team.follower.raw(q))
        columns = torch.stack([torch.ones_like(errors[0]), *errors, errors[0] * errors[1]])
        empty = torch.zeros(4, int(entry.max()) + 1, device=entry.device)
        count, one, two, both = empty.index_add_(1, entry, columns)
        several = count > 1
        products = ((one * two - both) / (count - 1))[several].sum() / count[several].sum().clamp(min=1.0)
        return (products.clamp(min=0.0) + (errors[0] - errors[1]).square().mean() / 2).sqrt()

    def _joint(self, rows: Rows) -> torch.Tensor:
        """Returns the numbers of joint actions, (rows,) int64."""
        first, second = (rows[ACTIONS, agent] for agent in self.agents)
        return first * self.team.sizes[self.agents[1]] + second

    def _entries(self, rows: Rows) -> torch.Tensor:
        """Returns the numbers of states and joint actions, (rows,) int64."""
        return self.team.leader.rows(rows[STATE]) * math.prod(self.team.sizes.values()) + self._joint(rows)

    def next_values(self, rows: Rows) -> dict[str, torch.Tensor]:
        leader, z = self.team.leader, rows[COMMITMENT]
        seen = beside(rows[NEXT_STATE], z)
        outputs = self.networks.compute("critic", seen, target=True)
        q1, q2 = (self.team[agent].table(outputs[agent, "critic"]) for agent in self.agents)
        chances = leader.probabilities(z, leader.rows(rows[NEXT_STATE]))  # (rows, |A_1|)
        temperature, unit = self.settings.temperature, self.team.follower.q_std
        answer = response(told(chances, q2, self.team.hears), temperature / unit)  # (rows, K, |A_2|)
        # E_{a_1 ~ z(s')} Q_i'(s', z, a_1, answer): (rows,)
        values = {
            agent: self.team[agent].raw((chances * (answer * q).sum(2)).sum(1))
            for agent, q in zip(self.agents, (q1, q2), strict=True)
        }
        if temperature:
            values[self.agents[1]] += temperature * (chances * entropy(answer)).sum(1)
        return values

    def forward_online(self, batch: Rows) -> Outputs:
        return self.networks.compute("critic", beside(batch[STATE], batch[COMMITMENT]))

    def losses(self, batch: Rows, outputs: Outputs) -> Measured:
        targets = self.normalised_targets(batch)
        return {
            (agent, "qf_loss"): (targets[agent] - q).square().mean()
            for agent, q in self.replayed_q(outputs, batch).items()
        }

    def replayed_q(self, outputs: Outputs, batch: Rows) -> dict[str, torch.Tensor]:
        joint = self._joint(batch)[:, None]
        return {agent: outputs[agent, "critic"].gather(1, joint).squeeze(1) for agent in self.agents}
