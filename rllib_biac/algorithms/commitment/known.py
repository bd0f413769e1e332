"""A game whose tables are known, and what commitments are worth in it to a follower that knows it, too."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rllib_biac.algorithms.commitment.answering import entropy, response

ROUNDING, _ROUGHLY = 1e-9, 1e-6
ITERATIONS = 100  # at most; a few, unless rounding errors go round in circles
_AT_ONCE = 2**24  # numbers in the largest array


@dataclass(frozen=True)
class Answered:
    """What n commitments are worth if the follower knows it, ties going to its first action.

    K is |A_1| if the follower sees the leader's action, else 1. |S| are the game's states. All are float64.

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


class KnownGame:
    """A finite game of a leader and a follower, by its tables.

    Args:
        rewards: (2, |S|, |A_1|, |A_2|) float64, the leader's first.
        moves: (|S|, |A_1|, |A_2|, |S|) float64, where the game goes; what a row lacks to 1 is the chance that it ends.
            (|S|, 1, |A_2|, |S|) where the leader's action moves nothing.
        starts: (|S|,) float64, the chances of the first state.
        gamma: the discount.
        hears: whether the follower sees the leader's action.
        temperature: how much the follower errs.
        spread: what the follower's values differ by, in the game's units.

    Attributes:
        num_states, temperature, spread: as given.
    """

    def __init__(
        self,
        rewards: torch.Tensor,
        moves: torch.Tensor,
        starts: torch.Tensor,
        *,
        gamma: float,
        hears: bool,
        temperature: float,
        spread: float,
    ) -> None:
        self._rewards, self._moves, self._starts, self._hears = rewards, moves, starts, hears
        self._gamma = min(gamma, 1.0 - ROUNDING)
        self.num_states, self.temperature, self.spread = len(moves), temperature, spread

    @torch.no_grad()
    def answered(self, z: torch.Tensor, errs: float = 0.0, answer: torch.Tensor | None = None) -> Answered:
        """Lets the follower answer: policy iteration, which is soft where it errs, all commitments at once.

        Args:
            z: (n, |S|, |A_1|).
            errs: the follower's temperature, if it is more than that of the game.
            answer: where to begin, (n, |S|, K, |A_2|).
        """
        z, temperature = self._chances(z), max(self.temperature, errs)
        if answer is None:
            answer = response(self._told(z, self._rewards[1].expand(len(z), -1, -1, -1)), temperature)
        for _ in range(ITERATIONS):
            system, values, q = self._evaluated(z, answer, temperature)
            q1, q2 = self._told(z, q[0]), self._told(z, q[1])
            better = response(q2, temperature)
            if temperature:
                gains = (better - answer).abs().amax(3) > (_ROUGHLY if errs else ROUNDING)
            else:
                gains = ((better - answer) * q2).sum(3) > ROUNDING * q2.abs().max()
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
        if self._hears:
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
        z, hears, answer = self._chances(z), self._hears, found.answer
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

    @torch.no_grad()
    def worth(self, z: torch.Tensor) -> torch.Tensor:
        """Returns what commitments are worth from where games start: (n, |S|, |A_1|) -> (n,)."""
        return torch.cat([self.answered(part).values @ self._starts for part in self._parts(z)])

    def _parts(self, z: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return z.split(max(1, _AT_ONCE // self._moves.numel()))

    def _chances(self, z: torch.Tensor) -> torch.Tensor:
        z = z[:, : len(self._moves)].double()
        return z / z.sum(2, keepdim=True)
