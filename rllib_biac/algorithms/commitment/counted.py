"""The game as it was counted, and what commitments are worth in it.

Where the best commitment lies at a cliff, all hangs on small differences between the follower's values. Critics err by
more than that. Counts do not: states are few, and each row teaches a mean.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from rllib_biac.algorithms.commitment.agents import CommitmentLeader
from rllib_biac.algorithms.commitment.known import ITERATIONS, ROUNDING, Answered, KnownGame
from rllib_biac.algorithms.commitment.team import CommitmentTeam

_CERTAIN = 2.0  # standard errors of a preference, in one `answer_margin`
_TIED = 1e-4  # of the spread of the follower's Q: what it never prefers by


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


class CountedGame(KnownGame):
    """The game that a team counted: mean rewards and frequencies of next states.

    Args:
        team: that has learned. What it never tried it takes for worth nothing, and for unknown.
    """

    def __init__(self, team: CommitmentTeam) -> None:
        leader, settings, count = team.leader, team.settings, int(team.leader.count)
        self._team = team
        counts = leader.counts[:count]  # (|S|, |A_1|, |A_2|)
        super().__init__(
            leader.reward_mean[:, :count],
            leader.moves[:count, ..., :count] / counts.clamp(min=1.0)[..., None],
            (leader.starts / leader.starts.sum())[:count].double(),
            gamma=settings.gamma,
            hears=team.hears,
            temperature=settings.temperature,
            spread=float(team.follower.q_std),
        )
        self._noise = (leader.reward_square_mean[:count] - self._rewards[1].square()).clamp(min=0.0)  # as `counts`
        # Each sampled row was replayed so often, early ones more often than late ones: as good as half of them.
        repeated = settings.training_intensity or settings.train_batch_size_per_learner
        self._rows = counts / (2.0 * repeated)

    def error(self, z: torch.Tensor, found: Answered) -> torch.Tensor:
        """Returns the standard errors of q2(answer) - q2, by the delta method, (n, |S|, K, |A_2|).

        What is counted at the answer itself counts once more wherever the game comes back to it.
        """
        z, moves, values = self._chances(z), self._moves, found.values2
        pick = found.answer.argmax(3, keepdim=True)
        mean = torch.einsum("sabt,nt->nsab", moves, values)
        spread = torch.einsum("sabt,nt->nsab", moves, values.square()) - mean.square()
        variance = self._noise + self._gamma**2 * spread.clamp(min=0.0)  # of one row's target
        unknown = self._team.follower.q_std.double().square()
        variance = torch.where(self._rows > 1.0, variance / self._rows.clamp(min=1.0), unknown)
        own = self._told(z, variance, 2)  # of q2: (n, |S|, K, |A_2|)
        taken = own.gather(3, pick)  # (n, |S|, K, 1)
        at_state = (taken[..., 0] * z.square()).sum(2) if self._hears else taken[:, :, 0, 0]  # (n, |S|)
        led = self._told(z, moves.expand(len(z), -1, -1, -1, -1))  # (n, |S|, K, |A_2|, |S|)
        gone = led.gather(3, pick[..., None].expand(-1, -1, -1, -1, led.shape[4]))
        weight = self._gamma * found.backwards((led - gone).flatten(1, 3)).view(led.shape)
        return (own + taken + torch.einsum("nskbu,nu->nskb", weight.square(), at_state)).sqrt()

    @torch.no_grad()
    def secured(self, z: torch.Tensor) -> torch.Tensor:
        """Returns what commitments secure, (n,): the least that they are worth by answers that may be the best ones.

        These are, in each state, all that the follower likes almost as much as its best answer: by less than
        `answer_margin` times two standard errors of that preference. Who errs answers as it does, whatever the counts.

        Args:
            z: (n, |S|, |A_1|).
        """
        if self.temperature:
            return self.worth(z)
        return torch.cat([self._least(part, self.answered(part)) for part in self._parts(z)])

    def _least(self, z: torch.Tensor, found: Answered) -> torch.Tensor:
        team, z, error = self._team, self._chances(z), self.error(z, found)
        regret = (found.answer * found.q2).sum(3, keepdim=True) - found.q2
        margin = team.settings.answer_margin * _CERTAIN * error + _TIED * team.follower.q_std
        likely = regret < margin  # (n, |S|, K, |A_2|); the answer itself is
        answer, values, q1 = found.answer, found.values, found.q1
        for _ in range(ITERATIONS):  # policy iteration
            worst = F.one_hot(torch.where(likely, q1, torch.inf).argmin(3), q1.shape[3]).to(q1.dtype)
            loses = ((answer - worst) * q1).sum(3) > ROUNDING * q1.abs().max()
            if not loses.any():
                break
            answer = torch.where(loses[..., None], worst, answer)
            _, (values, _), (q1, _) = self._evaluated(z, answer, 0.0)
            q1 = self._told(z, q1)
        return values @ self._starts
