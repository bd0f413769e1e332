"""The game as it was counted, and what commitments are worth in it.

Where the best commitment lies at a cliff, all hangs on small differences between the follower's values. Critics err by
more than that. Counts do not: states are few, and each row teaches a mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from rllib_biac.algorithms.commitment.answering import entropy, response
from rllib_biac.algorithms.commitment.team import CommitmentLeader, CommitmentTeam
from rllib_biac.algorithms.commitment.worth import UNLIKELY, UNMOVED
from rllib_biac.walk.commitment import beside

_CERTAIN = 2.0  # standard errors of a preference, in one `answer_margin`
_TIED = 1e-4  # of the spread of the follower's Q: what it never prefers by
_ROUNDING = 1e-9
_ITERATIONS = 100  # at most; a few, unless rounding errors go round in circles
_AT_ONCE = 2**24  # numbers in the largest array


def count(leader: CommitmentLeader, entry: torch.Tensor, to: torch.Tensor, rewards: torch.Tensor) -> None:
    """Takes rows of the game into a leader's counts.

    Args:
        leader: whose counts they are.
        entry: (rows,) int64, the numbers of states and joint actions.
        to: (rows,) int64, the rows of the next states; -1 where the game ended.
        rewards: (2, rows), the leader's first.
    """
    rewards, goes_on, one = rewards.double(), to >= 0, torch.ones(len(to), dtype=torch.float64, device=to.device)
    new = torch.zeros(leader.counts.numel(), dtype=torch.float64, device=to.device).index_add_(0, entry, one)
    leader.counts.view(-1).add_(new)
    total = leader.counts.view(-1).clamp(min=1.0)
    for mean, column in zip(
        (*leader.reward_mean.flatten(1), leader.reward_square_mean.view(-1)),
        (*rewards, rewards[1].square()),
        strict=True,
    ):
        mean += (torch.zeros_like(new).index_add_(0, entry, column) - new * mean) / total
    leader.moves.view(-1).index_add_(0, (entry * len(leader.states) + to)[goes_on], one[goes_on])


@dataclass(frozen=True)
class Answered:
    """What n commitments are worth in the counted game if the follower knows it, ties going to its first action.

    K is |A_1| if the follower sees the leader's action, else 1. |S| are the states that were met. All are float64.

    Attributes:
        values: (n, |S|), the leader's.
        answer: (n, |S|, K, |A_2|), the follower's probabilities.
        q1, q2: (n, |S|, K, |A_2|), both agents' values of answers.
        q2_joint: (n, |S|, |A_1|, |A_2|), the follower's of joint actions.
        error: (n, |S|, K, |A_2|), standard errors of the follower's preference for its answer.
    """

    values: torch.Tensor
    answer: torch.Tensor
    q1: torch.Tensor
    q2: torch.Tensor
    q2_joint: torch.Tensor
    error: torch.Tensor


class CountedGame:
    """The game that a team counted: mean rewards and frequencies of next states.

    Args:
        team: that has learned. What it never tried it takes for worth nothing, and for unknown.
    """

    def __init__(self, team: CommitmentTeam) -> None:
        leader, settings, count = team.leader, team.settings, int(team.leader.count)
        self._team = team
        self._gamma = min(settings.gamma, 1.0 - _ROUNDING)
        counts = leader.counts[:count]  # (|S|, |A_1|, |A_2|)
        self._rewards = leader.reward_mean[:, :count]  # (2, |S|, |A_1|, |A_2|)
        self._moves = leader.moves[:count, ..., :count] / counts.clamp(min=1.0)[..., None]  # (|S|, |A_1|, |A_2|, |S|)
        self._noise = (leader.reward_square_mean[:count] - self._rewards[1].square()).clamp(min=0.0)  # as `counts`
        # Each sampled row was replayed so often, early ones more often than late ones: as good as half of them.
        repeated = settings.training_intensity or settings.train_batch_size_per_learner
        self._rows = counts / (2.0 * repeated)
        self._starts = (leader.starts / leader.starts.sum())[:count].double()

    @torch.no_grad()
    def answered(self, z: torch.Tensor) -> Answered:
        """Lets the follower answer: policy iteration, which is soft where it errs, all commitments at once.

        Args:
            z: (n, |S|, |A_1|).
        """
        z = z[:, : len(self._moves)].double()
        z = z / z.sum(2, keepdim=True)
        temperature = self._team.settings.temperature
        answer = response(self._told(z, self._rewards[1].expand(len(z), -1, -1, -1)), temperature)
        for _ in range(_ITERATIONS):
            follows, values, q = self._evaluated(z, answer)
            q1, q2 = self._told(z, q[0]), self._told(z, q[1])
            better = response(q2, temperature)
            if temperature:
                gains = (better - answer).abs().amax(3) > _ROUNDING
            else:
                gains = ((better - answer) * q2).sum(3) > _ROUNDING * q2.abs().max()
            if not gains.any():
                break
            answer = torch.where(gains[..., None], better, answer)
        return Answered(values[0], answer, q1, q2, q[1], self._error(z, answer, follows, values[1]))

    def _evaluated(self, z: torch.Tensor, answer: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Returns (I - gamma P)^-1 (n, |S|, |S|), both values (2, n, |S|) and Q (2, n, |S|, |A_1|, |A_2|)."""
        played = answer * z[..., None]  # (n, |S|, |A_1|, |A_2|)
        moves = torch.einsum("nsab,sabt->nst", played, self._moves)
        rewards = torch.einsum("nsab,isab->ins", played, self._rewards)
        rewards[1] += self._team.settings.temperature * (z * entropy(answer)).sum(2)
        follows = torch.linalg.inv(torch.eye(z.shape[1], dtype=z.dtype, device=z.device) - self._gamma * moves)
        values = torch.einsum("nst,int->ins", follows, rewards)
        q = self._rewards[:, None] + self._gamma * torch.einsum("sabt,int->insab", self._moves, values)
        return follows, values, q

    def _told(self, z: torch.Tensor, table: torch.Tensor, power: int = 1) -> torch.Tensor:
        """Returns a table over joint actions as one over answers: (n, |S|, |A_1|, ...) -> (n, |S|, K, ...)."""
        if self._team.hears:
            return table
        chances = z.pow(power).view(*z.shape, *[1] * (table.dim() - 3))
        return (chances * table).sum(2, keepdim=True)

    def _error(
        self, z: torch.Tensor, answer: torch.Tensor, follows: torch.Tensor, values: torch.Tensor
    ) -> torch.Tensor:
        """Returns the standard errors of q2(answer) - q2, by the delta method, (n, |S|, K, |A_2|).

        What is counted at the answer itself counts once more wherever the game comes back to it.
        """
        moves, pick = self._moves, answer.argmax(3, keepdim=True)
        mean = torch.einsum("sabt,nt->nsab", moves, values)
        spread = torch.einsum("sabt,nt->nsab", moves, values.square()) - mean.square()
        variance = self._noise + self._gamma**2 * spread.clamp(min=0.0)  # of one row's target
        unknown = self._team.follower.q_std.double().square()
        variance = torch.where(self._rows > 1.0, variance / self._rows.clamp(min=1.0), unknown)
        own = self._told(z, variance, 2)  # of q2: (n, |S|, K, |A_2|)
        taken = own.gather(3, pick)  # (n, |S|, K, 1)
        at_state = (taken[..., 0] * z.square()).sum(2) if self._team.hears else taken[:, :, 0, 0]  # (n, |S|)
        led = self._told(z, moves.expand(len(z), -1, -1, -1, -1))  # (n, |S|, K, |A_2|, |S|)
        gone = led.gather(3, pick[..., None].expand(-1, -1, -1, -1, led.shape[4]))
        weight = self._gamma * torch.einsum("nskbt,ntu->nskbu", led - gone, follows)
        return (own + taken + torch.einsum("nskbu,nu->nskb", weight.square(), at_state)).sqrt()

    def judge(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns what commitments are worth, (n,), and how safe they are; as `worth.expected`, in standard errors."""
        parts = [self._judge(part) for part in z.split(max(1, _AT_ONCE // self._moves.numel()))]
        values, safe = zip(*parts, strict=True)
        return torch.cat(values), torch.cat(safe)

    def _judge(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        team, found = self._team, self.answered(z)
        value = found.values @ self._starts
        if team.settings.temperature:  # who errs never turns away at once
            return value, torch.ones_like(value)
        regret = (found.answer * found.q2).sum(3, keepdim=True) - found.q2
        costs = (found.answer * found.q1).sum(3, keepdim=True) - found.q1 > UNMOVED * team.leader.q_std
        if team.hears:
            costs &= z[:, : len(self._moves), :, None] > UNLIKELY
        least = team.settings.answer_margin * _CERTAIN * found.error + _TIED * team.follower.q_std
        safe = torch.where(costs, regret / least, torch.inf).amin((1, 2, 3))
        return value, safe.clamp(max=1.0)

    @torch.no_grad()
    def teach(self, z: torch.Tensor) -> None:
        """Makes the follower's critic say of one commitment, (|S|, |A_1|), what was counted.

        Its last layer takes the least change by which it does so in all states that were met.
        """
        team, follower, count = self._team, self._team.follower, len(self._moves)
        wanted = follower.in_units(self.answered(z[None]).q2_joint[0].flatten(1))
        seen = beside(team.leader.states[:count], z.expand(count, -1, -1))
        for critic in (follower.critic, follower.critic_target):
            last = [module for module in critic.modules() if isinstance(module, nn.Linear)][-1]
            hidden: list[torch.Tensor] = []
            hook = last.register_forward_pre_hook(lambda _, inputs, hidden=hidden: hidden.append(inputs[0]))
            missing = wanted - critic(seen)
            hook.remove()
            features = torch.cat([hidden[0], torch.ones_like(hidden[0][:, :1])], 1).double()
            change = (torch.linalg.pinv(features) @ missing.double()).to(last.weight.dtype)  # (features + 1, outputs)
            last.weight.add_(change[:-1].T)
            last.bias.add_(change[-1])
