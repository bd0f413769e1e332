"""Greedy play of a trained team, in the game itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from rllib_biac.envs.errors import GameError
from rllib_biac.equilibria import CommitmentRegret, NashComparison, PlayRegret
from rllib_biac.evaluation.best_response import LearnedRegret, learned_regret
from rllib_biac.evaluation.exact import exact_play
from rllib_biac.evaluation.greedy import greedy, greedy_on_observations
from rllib_biac.evaluation.starts import Start, Starts
from rllib_biac.evaluation.trained import Trained
from rllib_biac.learning.games import StateReader, make_copies, make_games, make_one, name_of
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
        render: whether to collect pictures; a game that draws nothing gives none.
        on_observations: whether each agent acts by its approximator, on its own observation alone.
        best_response: env steps in which each agent learns to deviate, for `learned_regret`; 0: none does.
        starts: of the episodes, in turn, instead of what the game draws. Best responses learn on the game's own starts.
        progress: called while they learn with the env steps done and those in all.

    Raises:
        ValueError: if agents should act on observations and have no approximators; if a game that cannot be drawn
            should be; if the game never looks at an option of a start; if it is not the game that the team was trained
            in, as `check_same_game` says.
    """
    team, settings = trained.team, dict(trained.env_config)
    if render:
        settings["render_mode"] = "rgb_array"
    try:
        games = make_copies(trained.env, 1, np.random.default_rng(seed), settings, team.spec.look)
    except (GameError, ValueError) as error:
        if render and "render_mode" in str(error):
            raise ValueError(f"{name_of(trained.env)} takes no render_mode, so there is nothing to draw.") from error
        raise
    (game,) = games.copies
    chosen = Starts(game, starts) if starts else None
    state = StateReader(games, team.settings.state)
    check_same_game(team.spec, games, state.space, name_of(trained.env))
    agents = games.possible_agents
    played = Played({agent: [] for agent in agents})
    # What is measured exactly, or learned against, is play that knows the state.
    if not on_observations and (exact := exact_play(trained)) is not None:
        played.regret, played.nash = exact.regret(), exact.nash()
        played.commitment, played.regrets = exact.commitment(), exact.regrets()
    drawn = None if seed is None else torch.Generator().manual_seed(seed)
    played.frames_per_second = getattr(game, "metadata", {}).get("render_fps", played.frames_per_second)
    try:
        for episode in range(episodes):
            if chosen is not None:
                chosen.take(episode % len(starts))
            games.reset()
            returns, length, over = dict.fromkeys(agents, 0.0), 0, False
            _draw(game, played, render)
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
                _draw(game, played, render)
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


def can_draw(env: Any, settings: dict[str, Any]) -> bool:
    """Tells whether a game can be drawn: whether it is made with `render_mode="rgb_array"`."""
    try:
        game = make_one(env, settings | {"render_mode": "rgb_array"}) if isinstance(env, str) else None
    except (GameError, TypeError, ValueError):
        return False
    if game is not None:
        game.close()
    return game is not None


def _draw(game: Any, played: Played, render: bool) -> None:
    if not render:
        return
    # A game that moves between two decisions may give the pictures on the way.
    between = getattr(game, "frames_since_last_step", None)
    frames = between() if between is not None else []
    if not len(frames):
        frame = game.render()
        frames = [] if frame is None else [frame]
    played.frames.extend(np.asarray(frame) for frame in frames)
    played.episode_of_frame.extend([len(played.lengths)] * len(frames))
