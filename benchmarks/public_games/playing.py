"""Deployable play of trained teams against random play and against each other, and what their difference is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from public_games.audit import Audit

from rllib_biac.envs.contract import Look
from rllib_biac.envs.look import random_actions
from rllib_biac.evaluation.trained import Trained
from rllib_biac.learning.games import StateReader, make_games
from rllib_biac.learning.team import as_tensors

AT_ONCE = 10  # games
LONGEST = 1_000  # steps of an episode; a longer one is cut, and says so

Actions = dict[str, np.ndarray]


def learned_actions(
    trained: Trained, state: np.ndarray, seen: Actions, masks: Actions | None, given: Mapping[str, np.ndarray]
) -> Actions:
    """Returns what a team plays greedily while some agents' actions are given."""
    team = trained.team
    with torch.no_grad():
        if getattr(team.settings, "approximators", False):
            actions = team.act_on_observations(as_tensors(seen) or {}, masks=as_tensors(masks))
        else:
            actions = team.act(
                torch.from_numpy(state),
                observations=as_tensors(seen),
                masks=as_tensors(masks),
                given={agent: torch.from_numpy(np.asarray(action)) for agent, action in given.items()},
            )
    return {agent: action.numpy() for agent, action in actions.items()} | dict(given)


def returns(
    env: str,
    env_config: Mapping[str, Any],
    state_from: str,
    side: Sequence[str],
    player: Trained | None,
    partner: Trained | None,
    episodes: int,
    seed: int,
    look: Look | None,
    audit: Audit | None = None,
) -> tuple[np.ndarray, int]:
    """Plays episodes whose starts are the same for whoever plays.

    Args:
        env, env_config: the game.
        state_from: `state` of the experiment file.
        side: the agents that `player` plays.
        player: a team, or None: random.
        partner: who plays all others, likewise.
        episodes: how many.
        seed: of the games and of random play.
        look: what the teams know of the game.
        audit: of the game's; it complains if the game did not pay what was counted here.

    Returns:
        (episodes,) sums of the side's returns, and how many episodes were cut.
    """
    sums, cut = [], 0
    for first in range(0, episodes, AT_ONCE):
        number = min(AT_ONCE, episodes - first)
        games = make_games(env, number, np.random.default_rng([seed, first]), dict(env_config), look)
        rng, state = np.random.default_rng([seed, first, 1]), StateReader(games, state_from)
        others = [agent for agent in games.possible_agents if agent not in side]
        games.reset()
        total, playing = np.zeros(number), np.ones(number, bool)
        counted, size, paid = 0.0, 0.0, audit.paid if audit else 0.0
        for _ in range(LONGEST):
            seen, masks = games.observe(), games.action_masks()
            actions = random_actions(games, rng)
            if partner is not None:
                given = {agent: actions[agent] for agent in side}
                actions |= _only(others, learned_actions(partner, state(), seen, masks, given))
            if player is not None:
                given = {agent: actions[agent] for agent in others}
                actions |= _only(side, learned_actions(player, state(), seen, masks, given))
            step = games.step(actions)
            total += playing * sum(step.rewards[agent] for agent in side)
            counted += sum(float(reward.sum()) for reward in step.rewards.values())
            size += sum(float(np.abs(reward).sum()) for reward in step.rewards.values())
            over = step.terminated | step.truncated
            playing &= ~over
            if not playing.any():
                break
            if over.any():
                games.reset(over)
        cut += int(playing.sum())
        if audit and audit.paid_all and abs(audit.paid - paid - counted) > 1e-3 * (1 + size):
            audit.complain(f"the game paid {audit.paid - paid:g} in all, and {counted:g} was read")
        games.close()
        sums.append(total)
    return np.concatenate(sums), cut


def _only(agents: Sequence[str], actions: Actions) -> Actions:
    return {agent: actions[agent] for agent in agents}


def interval(differences: np.ndarray, rng: np.random.Generator, draws: int = 4_000) -> tuple[float, float, float]:
    """Returns the mean of paired differences, (seeds, episodes), and its 95% interval by bootstrap.

    Seeds are drawn first, then episodes of each: episodes of one training run are no evidence about other runs.
    """
    seeds, episodes = differences.shape
    drawn = np.empty(draws)
    for i in range(draws):
        rows = rng.integers(seeds, size=seeds)
        columns = rng.integers(episodes, size=(seeds, episodes))
        drawn[i] = differences[rows[:, None], columns].mean()
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(differences.mean()), float(low), float(high)
