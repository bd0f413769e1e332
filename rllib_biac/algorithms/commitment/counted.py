"""The game as it was counted, and what commitments are worth in it.

Where the best commitment lies at a cliff, all hangs on small differences between the follower's values. Critics err by
more than that. Counts do not: states are few, and each row teaches a mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from rllib_biac.algorithms.commitment.agents import CommitmentLeader
from rllib_biac.algorithms.commitment.answering import entropy, response
from rllib_biac.algorithms.commitment.team import CommitmentTeam

_CERTAIN = 2.0  # standard errors of a preference, in one `answer_margin`
_TIED = 1e-4  # of the spread of the follower's Q: what it never prefers by
_ROUNDING, _ROUGHLY = 1e-9, 1e-6
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
        q1_joint, q2_joint: (n, |S|, |A_1|, |A_2|), of joint actions.
        values2: (n, |S|), the follower's.
        system: the LU factors of I - gamma P, (n, |S|, |S|) and (n, |S|), P being where the game goes.
    """

    values: torch.Tensor
    answer: torch.Tensor
    q1: torch.Tensor
    q2: torch.Tensor
    q1_joint: torch.Tensor
    q2_joint: torch.Tensor
    values2: torch.Tensor
    system: tuple[torch.Tensor, torch.Tensor]

    def backwards(self, rows: torch.Tensor) -> torch.Tensor:
        """Multiplies rows by (I - gamma P)^-1 from their right: (n, k, |S|) -> the same shape."""
        return torch.linalg.lu_solve(*self.system, rows.transpose(1, 2), adjoint=True).transpose(1, 2)


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
        self.num_states, self.temperature = count, settings.temperature
        self.spread = float(team.follower.q_std)

    @torch.no_grad()
    def answered(self, z: torch.Tensor, errs: float = 0.0, answer: torch.Tensor | None = None) -> Answered:
        """Lets the follower answer: policy iteration, which is soft where it errs, all commitments at once.

        Args:
            z: (n, |S|, |A_1|).
            errs: the follower's temperature, if it is more than that of the settings.
            answer: where to begin, (n, |S|, K, |A_2|).
        """
        z, temperature = self._chances(z), max(self._team.settings.temperature, errs)
        if answer is None:
            answer = response(self._told(z, self._rewards[1].expand(len(z), -1, -1, -1)), temperature)
        for _ in range(_ITERATIONS):
            system, values, q = self._evaluated(z, answer, temperature)
            q1, q2 = self._told(z, q[0]), self._told(z, q[1])
            better = response(q2, temperature)
            if temperature:
                gains = (better - answer).abs().amax(3) > (_ROUGHLY if errs else _ROUNDING)
            else:
                gains = ((better - answer) * q2).sum(3) > _ROUNDING * q2.abs().max()
            if not gains.any():
                break
            answer = torch.where(gains[..., None], better, answer)
        return Answered(values[0], answer, q1, q2, q[0], q[1], values[1], system)

    def _evaluated(
        self, z: torch.Tensor, answer: torch.Tensor, temperature: float
    ) -> tuple[tuple[torch.Tensor, torch.Tensor], torch.Tensor, torch.Tensor]:
        """Returns the factors of I - gamma P, both values (2, n, |S|) and Q (2, n, |S|, |A_1|, |A_2|)."""
        played = answer * z[..., None]  # (n, |S|, |A_1|, |A_2|)
        moves = torch.einsum("nsab,sabt->nst", played, self._moves)
        rewards = torch.einsum("nsab,isab->ins", played, self._rewards)
        rewards[1] += temperature * (z * entropy(answer)).sum(2)
        system = torch.linalg.lu_factor(torch.eye(z.shape[1], dtype=z.dtype, device=z.device) - self._gamma * moves)
        values = torch.linalg.lu_solve(*system, rewards.permute(1, 2, 0)).permute(2, 0, 1)
        q = self._rewards[:, None] + self._gamma * torch.einsum("sabt,int->insab", self._moves, values)
        return system, values, q

    def _told(self, z: torch.Tensor, table: torch.Tensor, power: int = 1) -> torch.Tensor:
        """Returns a table over joint actions as one over answers: (n, |S|, |A_1|, ...) -> (n, |S|, K, ...)."""
        if self._team.hears:
            return table
        chances = z.pow(power).view(*z.shape, *[1] * (table.dim() - 3))
        return (chances * table).sum(2, keepdim=True)

    @torch.no_grad()
    def gradient(self, z: torch.Tensor, found: Answered, temperature: float) -> torch.Tensor:
        """Returns how what commitments are worth changes with them, through the follower's soft answers too.

        Of V_2, which is a fixed point in z, the implicit function theorem says it.

        Args:
            z: (n, |S|, |A_1|).
            found: what is answered at this temperature.
            temperature: more than 0.

        Returns:
            (n, |S|, |A_1|): of every probability by itself, though they sum to 1.
        """
        z, hears, answer = self._chances(z), self._team.hears, found.answer
        gamma, shape = self._gamma, found.q1_joint.shape
        met = found.backwards(self._starts.expand(len(z), 1, -1))[:, 0]  # how often, discounted: (n, |S|)
        gain = found.q1 - (answer * found.q1).sum(3, keepdim=True)
        weight = met[..., None, None] * answer * gain / temperature  # of each answer's q2: (n, |S|, K, |A_2|)
        if hears:
            weight = z[..., None] * weight
            direct = temperature * (found.q2_joint / temperature).logsumexp(3)  # of V_2: (n, |S|, |A_1|)
        else:
            direct = (answer * found.q2_joint).sum(3)
        by_pair = (weight if hears else z[..., None] * weight).expand(shape)
        later = gamma * torch.einsum("nsab,sabt->nt", by_pair, self._moves)
        later = found.backwards(later[:, None])[:, 0]  # of V_2: (n, |S|)
        slope = met[..., None] * (answer * found.q1_joint).sum(3) + later[..., None] * direct
        return slope if hears else slope + (weight * found.q2_joint).sum(3)

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
        at_state = (taken[..., 0] * z.square()).sum(2) if self._team.hears else taken[:, :, 0, 0]  # (n, |S|)
        led = self._told(z, moves.expand(len(z), -1, -1, -1, -1))  # (n, |S|, K, |A_2|, |S|)
        gone = led.gather(3, pick[..., None].expand(-1, -1, -1, -1, led.shape[4]))
        weight = self._gamma * found.backwards((led - gone).flatten(1, 3)).view(led.shape)
        return (own + taken + torch.einsum("nskbu,nu->nskb", weight.square(), at_state)).sqrt()

    @torch.no_grad()
    def worth(self, z: torch.Tensor) -> torch.Tensor:
        """Returns what commitments are worth from where games start: (n, |S|, |A_1|) -> (n,)."""
        return torch.cat([self.answered(part).values @ self._starts for part in self._parts(z)])

    @torch.no_grad()
    def secured(self, z: torch.Tensor) -> torch.Tensor:
        """Returns what commitments secure, (n,): the least that they are worth by answers that may be the best ones.

        These are, in each state, all that the follower likes almost as much as its best answer: by less than
        `answer_margin` times two standard errors of that preference. Who errs answers as it does, whatever the counts.

        Args:
            z: (n, |S|, |A_1|).
        """
        if self._team.settings.temperature:
            return self.worth(z)
        return torch.cat([self._least(part, self.answered(part)) for part in self._parts(z)])

    def _least(self, z: torch.Tensor, found: Answered) -> torch.Tensor:
        team, z, error = self._team, self._chances(z), self.error(z, found)
        regret = (found.answer * found.q2).sum(3, keepdim=True) - found.q2
        margin = team.settings.answer_margin * _CERTAIN * error + _TIED * team.follower.q_std
        likely = regret < margin  # (n, |S|, K, |A_2|); the answer itself is
        answer, values, q1 = found.answer, found.values, found.q1
        for _ in range(_ITERATIONS):  # policy iteration
            worst = F.one_hot(torch.where(likely, q1, torch.inf).argmin(3), q1.shape[3]).to(q1.dtype)
            loses = ((answer - worst) * q1).sum(3) > _ROUNDING * q1.abs().max()
            if not loses.any():
                break
            answer = torch.where(loses[..., None], worst, answer)
            _, (values, _), (q1, _) = self._evaluated(z, answer, 0.0)
            q1 = self._told(z, q1)
        return values @ self._starts

    def _parts(self, z: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return z.split(max(1, _AT_ONCE // self._moves.numel()))

    def _chances(self, z: torch.Tensor) -> torch.Tensor:
        z = z[:, : len(self._moves)].double()
        return z / z.sum(2, keepdim=True)
