"""`patrol_v0`: a boat patrols the coast of an island, and smugglers, who know its orders, land where it does not come.

`player_0`, the boat, shall lead: from bay p it goes back to bay p - 1, stays, or goes on to bay p + 1. `player_1`, the
smugglers, see where it is and the hour of the tide, and land in one of these three bays at once, or stay at home. A bay
that the boat comes to is theirs no more: they lose `FINE`, and it costs the boat nothing. Elsewhere they gain, and the
boat loses, what the bay is worth: from 0.5 to 1.5, more at high tide, drawn by `seed` once for each bay. To move costs
the boat `FUEL`. The tide runs on by an hour each step. The game does not end.

If the boat says at each step where it goes (a feedback equilibrium), the smugglers land beside it. If it commits to
probabilities for each bay and hour, it can keep all of three bays too dangerous where they are worth little, and
choose its way by that. What the smugglers do moves nobody, so that `equilibria.single_controller_commitment` solves
games of a thousand states.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pettingzoo.utils.conversions import aec_wrapper_fn

from rllib_biac.envs.markov_game import BatchedMarkovGame, FiniteMarkovGame

__all__ = ["FINE", "FUEL", "batched_env", "env", "parallel_env", "raw_env", "tables"]

FINE = 2.5
FUEL = 0.05
_TIDE = 0.4  # share by which it changes what bays are worth


def tables(bays: int = 64, hours: int = 16, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Makes the game's tables; states are `bay * hours + hour`.

    Args:
        bays: of the island, at least 3.
        hours: of the tide, at least 1.
        seed: of what the bays are worth.

    Returns:
        Rewards (2, |S|, 3, 4) and transitions (|S|, 3, 4, |S|).

    Raises:
        ValueError: if there are fewer bays or hours.
    """
    if bays < 3 or hours < 1:
        raise ValueError(f"patrol_v0 has at least 3 bays and 1 hour; got bays={bays}, hours={hours}.")
    worth = np.random.default_rng(seed).uniform(0.5, 1.5, bays)
    tide = 1.0 + _TIDE * np.cos(2 * np.pi * np.arange(hours) / hours)
    rewards, transitions = np.zeros((2, bays, hours, 3, 4)), np.zeros((bays, hours, 3, 4, bays, hours))
    for goes in range(3):
        rewards[0, :, :, goes] -= FUEL * (goes != 1)
        for lands in range(3):
            gain = np.roll(worth, 1 - lands)[:, None] * tide  # of the bay that is landed in: (bays, hours)
            caught = goes == lands
            rewards[0, :, :, goes, lands] -= (not caught) * gain
            rewards[1, :, :, goes, lands] = -FINE if caught else gain
        for bay in range(bays):
            for hour in range(hours):
                transitions[bay, hour, goes, :, (bay + goes - 1) % bays, (hour + 1) % hours] = 1
    count = bays * hours
    return rewards.reshape(2, count, 3, 4), transitions.reshape(count, 3, 4, count)


def parallel_env(bays: int = 64, hours: int = 16, seed: int = 0, horizon: int | None = 100) -> FiniteMarkovGame:
    """Makes the game, which begins in any bay at any hour.

    Both players and `state()` see two numbers from 0 to below 1: bay / `bays` and hour / `hours`.

    Args:
        bays, hours, seed: as for `tables`.
        horizon: steps after which an episode is cut; None: it never is.

    Raises:
        ValueError: if there are fewer than 3 bays or no hour, or the horizon does not fit.
    """
    rewards, transitions = tables(bays, hours, seed)
    bay, hour = np.divmod(np.arange(bays * hours), hours)
    return FiniteMarkovGame(
        rewards,
        transitions,
        start=np.full(bays * hours, 1.0 / (bays * hours)),
        horizon=horizon,
        action_names=(("back", "stay", "on"), ("behind", "here", "ahead", "home")),
        features=np.column_stack([bay / bays, hour / hours]),
        name="patrol_v0",
    )


raw_env = aec_wrapper_fn(parallel_env)
env = raw_env  # the conversion enforces the order of calls already


def batched_env(num_games: int, rng: np.random.Generator, **kwargs: Any) -> BatchedMarkovGame:
    """Makes N games as arrays; `kwargs` as for `parallel_env`."""
    return BatchedMarkovGame(parallel_env(**kwargs), num_games, rng)
