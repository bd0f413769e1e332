"""The choice of the commitment, once, at the end: the critics propose, play refutes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from rllib_biac.algorithms.commitment.team import CommitmentTeam
from rllib_biac.algorithms.commitment.worth import candidates, values, worth
from rllib_biac.envs.batched import BatchedGame
from rllib_biac.learning.games import StateReader, game_errors

CANDIDATES = 16  # that are played, the best by the critics
_CERTAIN = 2.0  # standard errors by which play refutes a promise
_NOTHING = 0.02  # of the spread of the leader's Q: what no promise is refuted by


@dataclass(frozen=True)
class Choice:
    """What was chosen, and by what.

    Attributes:
        z: (|S|, |A_1|), the commitment.
        promised: what the leader's critic expects of it.
        played: what it got of the learned follower, its mean return. It was chosen by this: report other play.
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
    team.commit(choice.z)
    team.leader.chosen.fill_(True)
    names = "promised", "played", "refuted", "env_steps"
    return {name: getattr(choice, name) for name in names}


@torch.no_grad()
def choose(team: CommitmentTeam, games: BatchedGame, steps: int, generator: torch.Generator | None) -> Choice:
    """Plays the best candidates against the learned follower, and takes the first whose promise that does not refute.

    Play alone does not decide: the best of many noisy means is one where the follower erred in the leader's favour.

    Args:
        team: that has learned.
        games: to play in, all at once; a multiple of `CANDIDATES` of them.
        steps: env steps to play, rounded up to a multiple of the number of games.
        generator: draws the search and all actions.

    Raises:
        GameError: if a game raises.
    """
    found = candidates(team, generator)
    found = found[torch.arange(CANDIDATES, device=found.device) % len(found)]
    promised = worth(team, found).cpu().numpy()
    rounds = -(-steps // games.num_games)
    returns = _returns(team, games, found, rounds, generator)
    mean = np.array([own.mean() for own in returns])
    error = np.array([own.std() / np.sqrt(len(own)) for own in returns])
    refuted = mean < promised - _CERTAIN * error - _NOTHING * float(team.leader.q_std)
    best = int(mean.argmax() if refuted.all() else refuted.argmin())  # the first that is not
    lost = int(refuted.sum() if refuted.all() else best)
    return Choice(found[best], float(promised[best]), float(mean[best]), lost, rounds * games.num_games)


def _returns(
    team: CommitmentTeam, games: BatchedGame, found: torch.Tensor, rounds: int, generator: torch.Generator | None
) -> list[np.ndarray]:
    """Returns the leader's discounted return in every episode of each candidate; what is cut off the critic adds."""
    state, leader, device = StateReader(games, team.settings.state), team.agents[0], found.device
    whose = np.arange(games.num_games) % len(found)
    z = found[torch.from_numpy(whose).to(device)]
    total, weight = np.zeros(games.num_games), np.ones(games.num_games)
    ended: list[list[float]] = [[] for _ in found]
    with game_errors("reset()"):
        games.reset()
    for left in reversed(range(rounds)):
        taken = team.play(torch.from_numpy(state()).to(device), z, generator=generator)
        with game_errors("step()"):
            step = games.step({agent: action.cpu().numpy() for agent, action in taken.items()})
        total += weight * step.rewards[leader]
        weight *= team.settings.gamma
        over = step.terminated | step.truncated
        cut = ~step.terminated & (over | (left == 0))
        if cut.any():
            x = team.leader.encode(torch.from_numpy(state()).to(device))
            total += np.where(cut, weight * values(team, x, z).cpu().numpy(), 0.0)
        for game in np.flatnonzero(over | cut):
            ended[whose[game]].append(float(total[game]))
        if over.any():
            total[over], weight[over] = 0.0, 1.0
            with game_errors("reset()"):
                games.reset(over)
    return [np.array(own) for own in ended]
