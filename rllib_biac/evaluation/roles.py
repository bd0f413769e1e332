"""What two agents get if one leads, and if the other does: exactly, where the game has tables, and as learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from rllib_biac.equilibria import BestCommitment, MarkovGame, feedback_se, secured
from rllib_biac.equilibria.commitment import start_chances
from rllib_biac.evaluation.exact import best_known, exact_game, exact_play
from rllib_biac.evaluation.play import play
from rllib_biac.evaluation.trained import Trained
from rllib_biac.learning.algorithm import Algorithm
from rllib_biac.learning.games import Game
from rllib_biac.learning.hierarchy import Hierarchy
from rllib_biac.learning.run import Run
from rllib_biac.learning.settings import Settings

_CHUNK = 500  # env steps between two looks at how far training is


@dataclass(frozen=True, slots=True)
class Worth:
    """What an equilibrium of one order is worth, discounted, from the start.

    Attributes:
        notion: `feedback SE`, `pure commitment`, `mixed commitment` or `mixed commitment, announced`.
        leader: the least and the most that the leader gets: over all feedback SE, or the ends of the bracket.
        follower: the same of the follower; of a commitment, of the best one that was found.
    """

    notion: str
    leader: tuple[float, float]
    follower: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Order:
    """What both agents get if `leader` leads.

    Attributes:
        leader, follower: agents.
        exact: by equilibrium; None where the game has no tables or is too large. An equilibrium that does not exist is
            not among them.
        learned: (leader's, follower's) of each seed.
        discounted: whether `learned` are discounted returns from the start, read off the game's tables; else they are
            mean undiscounted returns of episodes.
    """

    leader: str
    follower: str
    exact: tuple[Worth, ...] | None
    learned: tuple[tuple[float, float], ...]
    discounted: bool

    @property
    def mean(self) -> tuple[float, float]:
        """Means of `learned` over seeds."""
        leads, follows = zip(*self.learned, strict=True)
        return fmean(leads), fmean(follows)


def compare_roles(
    algorithm: Algorithm,
    settings: Settings,
    env: Game,
    agents: Sequence[str],
    *,
    env_config: Mapping[str, Any],
    steps: int,
    seeds: Sequence[int],
    episodes: int = 100,
    num_games: int = 25,
    progress: Callable[[int, int], None] | None = None,
) -> list[Order]:
    """Lets each of two agents lead: works out what that is worth, and learns it, in this process.

    Args:
        algorithm: that learns.
        settings: its settings, checked for both orders.
        env: the game: an id, or a factory.
        agents: the two, the first order's leader first.
        env_config: handed to the game.
        steps: env steps of each run.
        seeds: of runs, at least one.
        episodes: that are played of each run where the game has no tables.
        num_games: that are played at once while learning.
        progress: called while learning with the env steps done and those in all.

    Returns:
        Both orders.

    Raises:
        GameError, ValueError: if the game raises, or does not fit.
    """
    orders, runs = (tuple(agents), tuple(agents)[::-1]), 2 * len(seeds)
    found: list[Order] = []
    for leader, follower in orders:
        learned, discounted = [], False
        for k, seed in enumerate(seeds):
            hierarchy = Hierarchy(((leader,), (follower,)))
            run = Run(algorithm, env, hierarchy, settings, seed=seed, num_games=num_games, env_config=env_config)
            while run.env_steps < steps:
                run.train(min(_CHUNK, steps - run.env_steps))
                if progress:
                    progress((len(found) * len(seeds) + k) * steps + min(run.env_steps, steps), runs * steps)
            trained = Trained(run.team, env, env_config, num_games)
            exact = exact_play(trained)
            discounted = exact is not None
            if exact is not None:
                learned.append(exact.returns())
            else:
                returns = play(trained, episodes=episodes, seed=seed).returns
                learned.append((fmean(returns[leader]), fmean(returns[follower])))
        found.append(
            Order(leader, follower, _worths(env, env_config, settings.gamma, leader), tuple(learned), discounted)
        )
    return found


def _worths(env: Game, env_config: Mapping[str, Any], gamma: float, leader: str) -> tuple[Worth, ...] | None:
    """Returns what each equilibrium is worth if an agent leads, or None."""
    known = exact_game(env, env_config, gamma)
    if known is None:
        return None
    leads = known.agents.index(leader)
    found = [_feedback(known.game, known.start, leads)]
    for notion, mixed, announced in (
        ("pure commitment", False, False),
        ("mixed commitment", True, False),
        ("mixed commitment, announced", True, True),
    ):
        best = best_known(known.game, known.start, mixed=mixed, announced=announced, leader=leads)
        found.append(_commitment(notion, known.game, known.start, leads, best, announced))
    return tuple(worth for worth in found if worth is not None) or None


def _feedback(game: MarkovGame, start: np.ndarray | int, leader: int) -> Worth | None:
    """Returns what the feedback SE are worth; None if there is none, or the game is too large."""
    try:
        found = feedback_se(game, leader)
    except ValueError:
        return None
    if not len(found):
        return None
    first = start_chances(start, game.num_states)
    leads, follows = found.leader_value @ first, found.follower_value @ first
    return Worth("feedback SE", (leads.min(), leads.max()), (follows.min(), follows.max()))


def _commitment(
    notion: str,
    game: MarkovGame,
    start: np.ndarray | int,
    leader: int,
    best: BestCommitment | None,
    announced: bool,
) -> Worth | None:
    if best is None:
        return None
    follows = secured(game, best.policy, announced=announced, start=start, leader=leader).follower_payoff
    return Worth(notion, (best.lower, best.upper), (follows, follows))
