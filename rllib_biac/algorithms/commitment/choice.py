"""The choice of the commitment, once, at the end: counts or critics propose, play refutes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from rllib_biac.algorithms.commitment.ascent import climbed
from rllib_biac.algorithms.commitment.counted import CountedGame
from rllib_biac.algorithms.commitment.known import Answered
from rllib_biac.algorithms.commitment.search import draw
from rllib_biac.algorithms.commitment.team import CommitmentTeam
from rllib_biac.algorithms.commitment.worth import candidates, values, worth
from rllib_biac.envs.batched import BatchedGame
from rllib_biac.learning.games import StateReader, game_errors

CANDIDATES = 16  # that are played, the best by counts or critics
_CERTAIN = 2.0  # standard errors by which play refutes a promise
_FEW = 64  # numbers of a commitment that are tried out at random
_CLIMBED = 8  # commitments, at once
_NOTHING = 0.02  # of the spread of the leader's Q: what no promise is refuted by


@dataclass(frozen=True)
class Choice:
    """What was chosen, and by what.

    Attributes:
        z: (|S|, |A_1|), the commitment.
        promised: what is expected of it, by counts or by the leader's critic.
        played: what it got of the follower, its mean return. It was chosen by this: report other play.
        refuted: how many candidates with better promises were refuted.
        env_steps: that were played for the choice.
    """

    z: torch.Tensor
    promised: float
    played: float
    refuted: int
    env_steps: int


def finish(team: Any, games: BatchedGame, generator: torch.Generator | None) -> dict[str, float]:
    """Chooses a `CommitmentTeam`'s commitment for good; what comes of it, by name.

    Args:
        team, games, generator: as for `choose`.
    """
    choice = choose(team, games, team.settings.choose_steps, generator)
    settle(team, choice.z)
    team.leader.chosen.fill_(True)
    names = "promised", "played", "refuted", "env_steps"
    return {name: getattr(choice, name) for name in names}


@torch.no_grad()
def best(team: CommitmentTeam, generator: torch.Generator | None) -> torch.Tensor:
    """Searches for the best commitment, (|S|, |A_1|), by what was learned so far: counts, or critics."""
    return (proposed(team, CountedGame(team), generator) if team.settings.counted else candidates(team, generator))[0]


@torch.no_grad()
def proposed(team: CommitmentTeam, game: CountedGame, generator: torch.Generator | None) -> torch.Tensor:
    """Searches the counted game for what secures most: (at most 16, |S|, |A_1|), best first.

    Commitments of few numbers are tried out at random, and mixed ones are climbed from the best of these by gradients.
    Those of many numbers are climbed from what was best before, and from where all actions are alike.
    """
    leader, mixed = team.leader, team.settings.mixed
    drawn = draw(_CLIMBED, leader.known, leader.alike, leader.num_actions[0], mixed=mixed, generator=generator)
    if len(leader.alike[: game.num_states].unique()) * (leader.num_actions[0] - 1) <= _FEW:
        found = candidates(team, generator, game.secured)
        if not mixed:
            return found
        drawn[: _CLIMBED // 2] = found[torch.arange(_CLIMBED // 2, device=found.device) % len(found)]
        drawn[-1] = 1.0 / drawn.shape[2]
    else:
        found = leader.commitment[None]
        drawn = torch.cat([found, torch.full_like(found, 1.0 / found.shape[2])])[: 1 + int(leader.searches > 0)]
    tried = torch.cat([found, climbed(game, drawn, leader.alike)])
    if not mixed:
        tried = F.one_hot(tried.argmax(2), tried.shape[2]).to(tried.dtype)
    best = game.secured(tried).topk(min(CANDIDATES, len(tried))).indices
    return tried[best]


@torch.no_grad()
def settle(team: CommitmentTeam, z: torch.Tensor) -> None:
    """Makes a policy, (|S|, |A_1|), the commitment; the follower answers as counts, or its critic, say."""
    team.commit(z, CountedGame(team).answered(z[None]).q2_joint[0] if team.settings.counted else None)


@torch.no_grad()
def choose(team: CommitmentTeam, games: BatchedGame, steps: int, generator: torch.Generator | None) -> Choice:
    """Plays the best candidates, and takes the first whose promise that does not refute.

    The follower answers as it is best in the counted game, or as it has learned to. Play alone does not decide: the
    best of many noisy means is one where the follower erred in the leader's favour.

    Args:
        team: that has learned.
        games: to play in, all at once; a multiple of `CANDIDATES` of them.
        steps: env steps to play, rounded up to a multiple of the number of games.
        generator: draws the search and all actions.

    Raises:
        GameError: if a game raises.
    """
    counted = CountedGame(team) if team.settings.counted else None
    found = proposed(team, counted, generator) if counted else candidates(team, generator)
    found = found[torch.arange(CANDIDATES, device=found.device) % len(found)]
    promised = (counted.worth(found) if counted else worth(team, found)).cpu().numpy()
    rounds = -(-steps // games.num_games)
    returns = _returns(team, games, found, rounds, generator, counted.answered(found) if counted else None)
    mean = np.array([own.mean() for own in returns])
    error = np.array([own.std() / np.sqrt(len(own)) for own in returns])
    refuted = mean < promised - _CERTAIN * error - _NOTHING * float(team.leader.q_std)
    best = int(mean.argmax() if refuted.all() else refuted.argmin())  # the first that is not
    lost = int(refuted.sum() if refuted.all() else best)
    return Choice(found[best], float(promised[best]), float(mean[best]), lost, rounds * games.num_games)


def _returns(
    team: CommitmentTeam,
    games: BatchedGame,
    found: torch.Tensor,
    rounds: int,
    generator: torch.Generator | None,
    answered: Answered | None = None,
) -> list[np.ndarray]:
    """Returns the leader's discounted return in every episode of each candidate; of what is cut off what is expected.

    `answered` says what the follower does, and what the leader expects, instead of their critics.
    """
    state, leader, device = StateReader(games, team.settings.state), team.agents[0], found.device
    whose = np.arange(games.num_games) % len(found)
    own = torch.from_numpy(whose).to(device)
    z = found[own]
    total, weight = np.zeros(games.num_games), np.ones(games.num_games)
    ended: list[list[float]] = [[] for _ in found]
    with game_errors("reset()"):
        games.reset()
    for left in reversed(range(rounds)):
        now = torch.from_numpy(state()).to(device)
        liked = None
        if answered is not None:
            liked = answered.q2_joint[own, team.leader.rows(team.leader.encode(now))]  # (games, |A_1|, |A_2|)
            liked = team.follower.in_units(liked).to(z.dtype)
        taken = team.play(now, z, generator=generator, q2=liked)
        with game_errors("step()"):
            step = games.step({agent: action.cpu().numpy() for agent, action in taken.items()})
        total += weight * step.rewards[leader]
        weight *= team.settings.gamma
        over = step.terminated | step.truncated
        cut = ~step.terminated & (over | (left == 0))
        if cut.any():
            x = team.leader.encode(torch.from_numpy(state()).to(device))
            rest = values(team, x, z) if answered is None else answered.values[own, team.leader.rows(x)]
            total += np.where(cut, weight * rest.cpu().numpy(), 0.0)
        for game in np.flatnonzero(over | cut):
            ended[whose[game]].append(float(total[game]))
        if over.any():
            total[over], weight[over] = 0.0, 1.0
            with game_errors("reset()"):
                games.reset(over)
    return [np.array(one) for one in ended]
