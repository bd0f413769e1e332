"""Trained play beside exact answers, where a game has tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from rllib_biac.envs import make
from rllib_biac.equilibria import MarkovGame, NashComparison, PlayRegret, compare_with_nash, play_regret
from rllib_biac.evaluation.greedy import greedy
from rllib_biac.evaluation.trained import Trained
from rllib_biac.learning.team import as_tensors
from rllib_biac.learning.transitions import joint_state


def regret(trained: Trained) -> PlayRegret | None:
    """Measures what was learned against exact answers, where the game has tables: `tables()`, as matrix games have.

    Args:
        trained: the team and its game.

    Returns:
        The regrets in the stage games that greedy play makes, discounted by the team's gamma; the first agent of the
        hierarchy leads. None where the game has no tables, or not two agents.
    """
    exact = exact_play(trained)
    return None if exact is None else exact.regret()


@dataclass(frozen=True, slots=True)
class ExactPlay:
    """Greedy play in a game's tables: what the leader does in each state, what the follower answers to what."""

    game: MarkovGame
    leads: np.ndarray  # (|S|,)
    answers: np.ndarray  # (|S|, |A_1|)
    leader: int
    start: np.ndarray | int

    def regret(self) -> PlayRegret:
        """Returns the regrets in the stage games that this play makes."""
        return play_regret(self.game, self.leads, self.answers, leader=self.leader)

    def nash(self) -> NashComparison | None:
        """Returns its payoffs beside those of every pure NE; None where there are too many policies."""
        try:
            return compare_with_nash(self.game, self.leads, self.answers, leader=self.leader, start=self.start)
        except ValueError:  # too many policies to enumerate
            return None


def exact_play(trained: Trained) -> ExactPlay | None:
    """Reads a team's greedy play off its game's tables; None where it has none, or not two agents."""
    team, agents = trained.team, trained.team.agents
    game: Any = make(trained.env, **trained.env_config) if isinstance(trained.env, str) else None
    if not hasattr(game, "tables") or len(agents) != 2:
        return None
    try:
        rewards, transitions, states = game.tables()
        exact = MarkovGame(rewards, transitions, team.settings.gamma)
    except (ValueError, NotImplementedError):  # no tables that exact answers know of
        return None
    # In such games every agent sees the state.
    seen = dict.fromkeys(agents, states)
    state = states if team.settings.state == "env" else joint_state(seen, agents)
    try:
        # Answers that are drawn (`response: sampled`) are the same at every look, and nobody else's draws change.
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            answers = team.responses(torch.from_numpy(state), as_tensors(seen)).numpy()  # (|S|, |A_1|)
    except NotImplementedError:  # no answers one by one
        return None
    leads = greedy(team, state, seen, generator=torch.Generator().manual_seed(0))[agents[0]]
    leader = game.possible_agents.index(agents[0])
    return ExactPlay(exact, leads, answers, leader, getattr(game, "start_probabilities", 0))
