"""What a team's critics say that commitments are worth, and which commitments are best by that."""

from __future__ import annotations

from collections.abc import Callable

import torch

from rllib_biac.algorithms.commitment.answering import response, told
from rllib_biac.algorithms.commitment.search import draw, search
from rllib_biac.algorithms.commitment.team import CommitmentTeam

UNMOVED = 0.02  # of the spread of its Q: what the leader does not care about
UNLIKELY = 0.01  # probability of an action whose answer does not count

# Commitments -> how good they are: (n, |S|, |A_1|) -> (n,).
Score = Callable[[torch.Tensor], torch.Tensor]


@torch.no_grad()
def worth(team: CommitmentTeam, z: torch.Tensor) -> torch.Tensor:
    """Returns J(z), what the critics expect of commitments from where games start: (n, |S|, |A_1|) -> (n,)."""
    return expected(team, z)[0]


@torch.no_grad()
def expected(team: CommitmentTeam, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns J(z), (n,), and how far the follower is from turning away, (n,) in [0, 1], 1 where it is safe.

    In each state an answer counts that costs the leader something and that the follower likes almost as much as its
    best one: by less than `answer_margin` times the error of its critic.

    Args:
        team: whose critics are asked.
        z: (n, |S|, |A_1|).
    """
    leader, margin = team.leader, team.settings.answer_margin * team.follower.error
    total, safe = torch.zeros(len(z), device=z.device), torch.ones(len(z), device=z.device)
    weights = leader.starts / leader.starts.sum()
    for row in range(int(leader.count)):
        chances, q1, q2, answer = _answered(team, leader.states[row].expand(len(z), -1), z, z[:, row])
        value = (answer * q1).sum(2, keepdim=True)
        total += weights[row] * (chances * value[..., 0]).sum(1)
        if margin > 0.0 and not team.settings.temperature:  # who errs never turns away at once
            regret = (answer * q2).sum(2, keepdim=True) - q2
            costs = (value - q1 > UNMOVED * leader.q_std) & (chances[..., None] > UNLIKELY)
            safe = torch.minimum(safe, torch.where(costs, regret, torch.inf).amin((1, 2)) / margin)
    return total, safe


@torch.no_grad()
def values(team: CommitmentTeam, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """Returns what the leader's critic expects from any states on, (batch,).

    Args:
        team: whose critics are asked.
        x: (batch, state size), encoded.
        z: (batch, |S|, |A_1|).
    """
    chances, q1, _, answer = _answered(team, x, z, team.leader.probabilities(z, team.leader.rows(x)))
    return (chances * (answer * q1).sum(2)).sum(1)


def _answered(
    team: CommitmentTeam, x: torch.Tensor, z: torch.Tensor, chances: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Lets the follower answer commitments in one state each.

    Returns:
        What the follower answers (n, K), as probabilities: |A_1| actions that it sees, or one mean of all. Both
        critics' values of answers, (n, K, |A_2|), and how it answers, probabilities (n, K, |A_2|).
    """
    q1, q2 = (told(chances, q, team.hears) for q in team.says(x, z))
    if not team.hears:  # one answer to all actions
        chances = torch.ones(len(z), 1, device=z.device)
    return chances, q1, q2, response(q2, team.settings.temperature)


@torch.no_grad()
def candidates(team: CommitmentTeam, generator: torch.Generator | None, score: Score | None = None) -> torch.Tensor:
    """Searches for the best commitments: (at most 16, |S|, |A_1|), best first.

    Args:
        team: whose commitments they are.
        generator: draws what is tried.
        score: says how good they are; by default the critics. Their J(z) counts in full where the follower prefers its
            answer by `answer_margin`. Nearer to where it turns away it falls, in proportion, to the worst that
            commitments are worth.
    """
    leader, mixed = team.leader, team.settings.mixed

    def again(count: int) -> torch.Tensor:
        return draw(count, leader.known, leader.alike, leader.num_actions[0], mixed=mixed, generator=generator)

    drawn = again(team.settings.num_candidates)
    if leader.searches:
        drawn = torch.cat([leader.commitment[None], drawn])
    if score is None:
        floor = worth(team, drawn).min()

        def score(z: torch.Tensor) -> torch.Tensor:
            value, safe = expected(team, z)
            return floor + safe * (value - floor)

    return search(score, drawn, again, leader.alike, mixed=mixed, generator=generator)
