"""Trained play beside exact answers, where a game has tables."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from rllib_biac.envs import make
from rllib_biac.equilibria import (
    BestCommitment,
    CommitmentRegret,
    MarkovGame,
    NashComparison,
    PlayRegret,
    best_commitment,
    commitment_regret,
    compare_with_nash,
    play_regret,
)
from rllib_biac.equilibria.regret import returns_of
from rllib_biac.evaluation.greedy import greedy
from rllib_biac.evaluation.trained import Trained
from rllib_biac.learning.team import as_tensors
from rllib_biac.learning.transitions import joint_state

_MOST_NODES = 20_000  # of the search for the best mixed commitment: a second or two, once for a game


def regret(trained: Trained) -> PlayRegret | None:
    """Measures what was learned against exact answers, where the game has tables: `tables()`, as matrix games have.

    Args:
        trained: the team and its game.

    Returns:
        The regrets in the stage games that greedy play makes, discounted by the team's gamma; the first agent of the
        hierarchy leads. None where the game has no tables, or not two agents, or the leader mixes.
    """
    exact = exact_play(trained)
    return None if exact is None else exact.regret()


@dataclass(frozen=True, slots=True)
class ExactPlay:
    """Greedy play in a game's tables: what the leader does in each state, what the follower answers to what.

    Attributes:
        game: the game.
        policy: (|S|, |A_1|), the leader's probabilities.
        answers: (|S|, |A_1|), the follower's answer to each action.
        leader: the game's own number of who leads.
        start: the first state, or (|S|,) probabilities of it.
        commits: whether the leader has committed to its whole policy, and not to an action at a time.
        mixed: whether it might have committed to any probabilities.
        announced: whether the follower sees the leader's action before it answers.
    """

    game: MarkovGame
    policy: np.ndarray
    answers: np.ndarray
    leader: int
    start: np.ndarray | int
    commits: bool
    mixed: bool
    announced: bool

    def returns(self) -> tuple[float, float]:
        """Returns what the leader and the follower get of this play, discounted, from the start."""
        return returns_of(self.game, self.policy, self.answers, start=self.start, leader=self.leader)

    @property
    def _pure(self) -> bool:
        return bool((self.policy.max(-1) == 1).all())

    def regret(self) -> PlayRegret | None:
        """Returns the regrets in the stage games that this play makes; None where the leader mixes."""
        return play_regret(self.game, self.policy.argmax(-1), self.answers, leader=self.leader) if self._pure else None

    def regrets(self) -> tuple[float, float] | None:
        """Returns the follower's and the leader's regret by what was to be learned, feedback or commitment.

        None where a leader committed and nobody knows the best commitment, for the game is too large.
        """
        if self.commits:
            found = self.commitment()
            return None if found.leader_regret is None else (found.response_regret, found.leader_regret)
        stage = self.regret()
        return None if stage is None else (stage.worst_response_regret, stage.worst_leader_regret)

    def commitment(self) -> CommitmentRegret:
        """Returns the regrets of the leader's whole policy as a commitment, and of the answers to it."""
        best = best_known(self.game, self.start, mixed=self.mixed, announced=self.announced, leader=self.leader)
        return commitment_regret(
            self.game,
            self.policy,
            self.answers,
            announced=self.announced,
            best=best,
            start=self.start,
            leader=self.leader,
        )

    def nash(self) -> NashComparison | None:
        """Returns its payoffs beside those of every pure NE; None where there are too many policies, or it mixes."""
        if not self._pure:
            return None
        try:
            leads = self.policy.argmax(-1)
            return compare_with_nash(self.game, leads, self.answers, leader=self.leader, start=self.start)
        except ValueError:  # too many policies to enumerate
            return None


def best_known(
    game: MarkovGame, start: np.ndarray | int, *, mixed: bool, announced: bool, leader: int
) -> BestCommitment | None:
    """Returns the best commitment in a game, as `best_commitment`; None where there are too many policies."""
    tables = pickle.dumps((game.rewards, game.transitions, game.gamma, start))
    return _best(tables, mixed, announced, leader)


@lru_cache(maxsize=8)  # evaluations while training ask again and again
def _best(tables: bytes, mixed: bool, announced: bool, leader: int) -> BestCommitment | None:
    rewards, transitions, gamma, start = pickle.loads(tables)
    game = MarkovGame(rewards, transitions, gamma)
    try:
        return best_commitment(
            game, mixed=mixed, announced=announced, start=start, leader=leader, max_nodes=_MOST_NODES
        )
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class ExactGame:
    """A game that has tables.

    Attributes:
        game: the tables.
        agents: in the game's own order.
        start: the first state, or (|S|,) probabilities of it.
        states: (|S|, ...) float32, what agents see in each state.
    """

    game: MarkovGame
    agents: list[str]
    start: np.ndarray | int
    states: np.ndarray


def exact_game(env: Any, env_config: Mapping[str, Any], gamma: float) -> ExactGame | None:
    """Makes a game and reads its tables; None where it has none, or not two agents."""
    game: Any = make(env, **env_config) if isinstance(env, str) else None
    if not hasattr(game, "tables") or len(game.possible_agents) != 2:
        return None
    try:
        rewards, transitions, states = game.tables()
        tables = MarkovGame(rewards, transitions, gamma)
    except (ValueError, NotImplementedError):  # no tables that exact answers know of
        return None
    return ExactGame(tables, list(game.possible_agents), getattr(game, "start_probabilities", 0), states)


def exact_play(trained: Trained) -> ExactPlay | None:
    """Reads a team's greedy play off its game's tables; None where it has none, or not two agents."""
    team, agents = trained.team, trained.team.agents
    known = exact_game(trained.env, trained.env_config, team.settings.gamma)
    if known is None or len(agents) != 2:
        return None
    exact, states = known.game, known.states
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
    leader = known.agents.index(agents[0])
    with torch.no_grad():
        committed = team.commitment(torch.from_numpy(state))
    if committed is None:
        leads = greedy(team, state, seen, generator=torch.Generator().manual_seed(0))[agents[0]]
        policy = np.eye(exact.num_actions[leader])[leads]
    else:
        policy = committed.double().numpy()
        policy /= policy.sum(-1, keepdims=True)
    settings: Any = team.settings
    mixed = committed is not None and settings.mixed
    return ExactPlay(
        exact,
        policy,
        answers,
        leader,
        known.start,
        commits=committed is not None,
        mixed=mixed,
        announced=settings.announced if mixed else True,
    )
