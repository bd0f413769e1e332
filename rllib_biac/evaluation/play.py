"""Greedy play of a trained team, in the game itself."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np
import torch

from rllib_biac.envs.errors import GameError
from rllib_biac.equilibria import CommitmentRegret, NashComparison, PlayRegret
from rllib_biac.evaluation.best_response import LearnedRegret, learned_regret
from rllib_biac.evaluation.exact import exact_play
from rllib_biac.evaluation.greedy import greedy, greedy_on_observations
from rllib_biac.evaluation.pictures import NoPicture, first_pictures_of, pictures_of
from rllib_biac.evaluation.starts import Start, Starts
from rllib_biac.evaluation.trained import Trained
from rllib_biac.learning.games import StateReader, make_copies, make_games, name_of
from rllib_biac.learning.information import deployable, tell_less
from rllib_biac.learning.same_game import check_same_game


@dataclass
class Played:
    """What became of the episodes.

    Attributes:
        returns: agent -> undiscounted return of every episode.
        lengths: steps of every episode.
        cut: episodes that had not ended after `max_episode_steps` steps, and were cut there.
        outcomes: how often each outcome the game names came about.
        ends: the outcome of every episode, empty where the game names none.
        frames: pictures (height, width, 3) uint8 of the play, if asked for.
        film_fault: where and why the game drew no more; empty where it drew all.
        episode_of_frame: the number of each picture's episode, from 0.
        frames_per_second: how fast to show them.
        regret: of the play that was learned, exact, stage by stage; None where the game has no tables, or the leader
            mixes.
        commitment: the same as a commitment to a whole policy; None where the game has no tables.
        regrets: the follower's and the leader's by what was to be learned: the largest of `regret` over all states, or
            those of `commitment` where the leader committed to its whole policy.
        nash: its payoffs beside those of every pure NE; None where the game has no tables, or too many policies.
        deployable: what the agents need where they are deployed, in words.
        learned_regret: agent -> its regret by a best response that was learned, top level first; if asked for.
    """

    returns: dict[str, list[float]]
    lengths: list[int] = field(default_factory=list)
    cut: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    ends: list[str] = field(default_factory=list)
    frames: list[np.ndarray] = field(default_factory=list)
    film_fault: str = ""
    episode_of_frame: list[int] = field(default_factory=list)
    frames_per_second: float = 5.0
    regret: PlayRegret | None = None
    commitment: CommitmentRegret | None = None
    regrets: tuple[float, float] | None = None
    nash: NashComparison | None = None
    learned_regret: dict[str, LearnedRegret] = field(default_factory=dict)
    deployable: str = ""


def play(
    trained: Trained,
    *,
    episodes: int,
    seed: int | None = None,
    render: bool = False,
    on_observations: bool = False,
    best_response: int = 0,
    starts: Sequence[Start] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Played:
    """Plays episodes greedily.

    Args:
        trained: the team and its game.
        episodes: at least 1.
        seed: of the game's starts.
        render: whether to collect pictures. Where a game that drew its start fails to draw later, play goes on.
        on_observations: whether each agent acts by its approximator, on its own observation alone.
        best_response: env steps in which each agent learns to deviate, for `learned_regret`; 0: none does.
        starts: of the episodes, in turn, instead of what the game draws. Best responses learn on the game's own starts.
        progress: called while they learn with the env steps done and those in all.

    Raises:
        NoPicture: if the game should be drawn and does not draw its start; before anything is played.
        ValueError: if agents should act on observations and have no approximators; if the game never looks at an option
            of a start; if it is not the game that the team was trained in, as `check_same_game` says.
    """
    team, settings, name = trained.team, dict(trained.env_config), name_of(trained.env)
    if render:
        settings["render_mode"] = "rgb_array"
    try:
        games = make_copies(trained.env, 1, np.random.default_rng(seed), settings, team.spec.look)
    except (GameError, TypeError, ValueError) as error:
        if render and "render_mode" in str(error):
            raise NoPicture(
                f'{name} draws nothing: it takes no render_mode; let it take render_mode="rgb_array"'
            ) from error
        raise
    (game,) = games.copies
    chosen = Starts(game, starts) if starts else None
    state = StateReader(games, team.settings.state)
    check_same_game(team.spec, games, state.space, name)
    agents = games.possible_agents
    played = Played({agent: [] for agent in agents})
    # What is measured exactly, or learned against, is play that knows the state.
    if not on_observations and (exact := exact_play(trained)) is not None:
        played.regret, played.nash = exact.regret(), exact.nash()
        played.commitment, played.regrets = exact.commitment(), exact.regrets()
    drawn = None if seed is None else torch.Generator().manual_seed(seed)
    per_second = (getattr(game, "metadata", None) or {}).get("render_fps")
    if isinstance(per_second, Real) and 0 < float(per_second) < math.inf:
        played.frames_per_second = float(per_second)
    try:
        for episode in range(episodes):
            if chosen is not None:
                chosen.take(episode % len(starts))
            games.reset()
            returns, length, over = dict.fromkeys(agents, 0.0), 0, False
            if render:
                _draw(game, played, name, length)
            while not over:
                seen, masks = games.observe(), games.action_masks()
                if on_observations:
                    actions = greedy_on_observations(team, seen, masks)
                else:
                    actions = greedy(team, state(), seen, masks, drawn)
                step = games.step(actions)
                length += 1
                for agent in agents:
                    returns[agent] += float(step.rewards[agent][0])
                if render:
                    _draw(game, played, name, length)
                over = bool(step.terminated[0] | step.truncated[0])
                if not over and length >= team.settings.max_episode_steps:
                    over, played.cut = True, played.cut + 1
            if chosen is not None:
                chosen.check_that_all_counted()
            for agent in agents:
                played.returns[agent].append(returns[agent])
            played.lengths.append(length)
            end = games.outcome_names[step.outcome[0]] if step.outcome[0] >= 0 else ""
            played.ends.append(end)
            if end:
                played.outcomes[end] += 1
    finally:
        games.close()
    played.deployable = deployment(trained, on_observations)
    if best_response:
        played.learned_regret = learned_regret(trained, best_response, seed=seed, progress=progress)
    return played


def deployment(trained: Trained, on_observations: bool = False) -> str:
    """Says in words what a team needs where it is deployed: its agents' own observations, or the full state.

    Args:
        trained: the team and its game, which is made once more to see what observations tell.
        on_observations: whether each agent acts by its approximator.
    """
    team = trained.team
    if team.information == "own":
        return deployable(team, [])
    if on_observations:
        return "deployable: each agent acts on its own observation, by its approximator"
    games = make_games(trained.env, 1, np.random.default_rng(0), trained.env_config, team.spec.look)
    try:
        return deployable(team, tell_less(games, team.settings.state))
    except Exception:  # it was played well by the team, so how it fails at random is no news to whoever plays it
        return "deployable with the full state; what observations tell could not be seen in random play"
    finally:
        games.close()


def _draw(game: Any, played: Played, name: str, step: int) -> None:
    if played.film_fault:
        return
    try:
        frames = pictures_of(game, name) if played.frames else first_pictures_of(game, name)
    except NoPicture as error:
        if not played.frames:
            raise
        # What is measured is worth more than the rest of its film.
        played.film_fault = f"in episode {len(played.lengths) + 1} at step {step} {error}"
        return
    played.frames.extend(frames)
    played.episode_of_frame.extend([len(played.lengths)] * len(frames))
