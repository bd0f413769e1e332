"""Corridors: both must step forward together, again and again, and only the end pays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rllib_biac.envs.markov_game import FiniteMarkovGame
from rllib_biac.envs.zoo.answers import answer, margin
from rllib_biac.envs.zoo.game import Draft


def corridor_tables(forward: np.ndarray, rewards: tuple[float, float], back: bool) -> tuple[np.ndarray, np.ndarray]:
    """Builds a corridor: the end of the game lies behind its last state.

    Args:
        forward: (N, 2) in {0, 1}, the joint action that steps forward in each state.
        rewards: of both players at the end.
        back: whether any other joint action steps back, or stays.

    Returns:
        Rewards (2, N, 2, 2) and transitions (N, 2, 2, N).
    """
    count = len(forward)
    paid, transitions = np.zeros((2, count, 2, 2)), np.zeros((count, 2, 2, count))
    for state, (first, second) in enumerate(forward.tolist()):
        transitions[state, :, :, max(state - 1, 0) if back else state] = 1
        transitions[state, first, second] = 0
        if state + 1 < count:
            transitions[state, first, second, state + 1] = 1
    paid[:, -1, forward[-1, 0], forward[-1, 1]] = rewards
    return paid, transitions


def corridor(count: int, back: bool = False) -> Callable[[np.random.Generator, int], Draft]:
    """Returns the family of corridors of so many states.

    A wrong joint action stays, or steps back: uniform play then never arrives. Which actions step forward is drawn in
    every state. Uniform play takes four steps per state, and horizons have five or more; gamma is 1 - 1 / N.
    """

    def draw(rng: np.random.Generator, seed: int) -> Draft:
        forward, leader = rng.integers(2, size=(count, 2)), int(rng.integers(2))
        first, second = rng.uniform(0.5, 2, size=2).tolist()
        tables = corridor_tables(forward, (first, second), back)
        gamma = 1 - 1 / count
        game = FiniteMarkovGame(*tables, horizon=max(5 * count, 4 * count + 100), name="zoo_v0")
        # Backwards from the end: a step nearer is worth 1 / gamma times as much, to both.
        left = gamma ** np.arange(count - 1, -1, -1.0)  # (N,)
        values = np.array([first, second])[[leader, 1 - leader], None] * left  # (2, N)
        found = answer(game.tables(), game.start_probabilities, gamma, leader, values[None])
        # Of a stage game of its own spread: what a step is worth does not depend on where the corridor ends.
        decided = min(margin(q) for q in found.q[0])
        return Draft(game, leader, gamma, found, decided, {"states": count, "horizon": game.horizon})

    steps = "steps back, so that uniform play never arrives" if back else "stays"
    draw.__doc__ = f"A corridor of {count} states, two actions each: a wrong joint action {steps}."
    return draw
