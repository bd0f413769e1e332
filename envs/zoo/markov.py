"""Families of finite Markov games, by how many feedback SE they have."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rllib_biac.envs.markov_game import FiniteMarkovGame
from rllib_biac.envs.zoo.answers import answer, margin
from rllib_biac.envs.zoo.game import Draft

GAMMAS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.99)
STRATA = {"one": "one feedback SE", "several": "several feedback SE", "none": "no feedback SE"}
HORIZON = 50


def stratum(name: str) -> Callable[[np.random.Generator, int], Draft]:
    """Returns the family of games with one feedback SE, with several, or with none.

    Rewards are standard normal. In every third seed transitions are deterministic, in the next stochastic, in the next
    a joint action may end the game. There are 3 to 12 states of two actions each, or 3 to 6 of three; games start in
    state 0 or anywhere.
    """

    def draw(rng: np.random.Generator, seed: int) -> Draft:
        from rllib_biac.equilibria import MarkovGame, feedback_se
        from rllib_biac.equilibria.random_markov import sample_markov_games

        kind = ("deterministic", "dirichlet", "ending")[seed % 3]
        actions = int(rng.integers(2, 4))
        states = int(rng.integers(3, 13 if actions == 2 else 7))
        gamma, leader = float(rng.choice(GAMMAS)), int(rng.integers(2))
        anywhere = bool(rng.integers(2))
        rewards, transitions = (table[0] for table in sample_markov_games(1, states, actions, rng, kind))
        start = np.full(states, 1 / states) if anywhere else np.eye(states)[0]
        game = FiniteMarkovGame(rewards, transitions, start, HORIZON, name="zoo_v0")
        solution = feedback_se(MarkovGame(rewards, transitions, gamma), leader)
        fits = {"one": len(solution) == 1, "several": len(solution) > 1, "none": not len(solution)}[name]
        if not fits:
            return Draft(game, leader, gamma, None, 0.0)
        values = np.stack([solution.leader_value, solution.follower_value], 1)  # (k, 2, |S|)
        found = answer(game.tables(), start, gamma, leader, values)
        decided = margin(found.q) if len(found) else np.inf
        about = {"states": states, "actions": actions, "transitions": kind, "gamma": gamma, "equilibria": len(found)}
        return Draft(game, leader, gamma, found, float(decided), about)

    draw.__doc__ = f"Markov games with {STRATA[name]}: 3 to 12 states, 2 or 3 actions each, gamma 0 to 0.99."
    return draw
