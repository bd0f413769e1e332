"""Bi-level Q tables find the exact equilibrium."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_biac.equilibria import stackelberg
from rllib_biac.reproduce import matrix_games
from rllib_biac.reproduce.tabular import BiLevelQ, explore


@pytest.mark.parametrize("game", ["escape", "maintain"])
def test_every_seed_ends_at_the_equilibrium(game):
    for seed in range(30):
        row = matrix_games.learn(**matrix_games.tabular_settings(game, seed))
        assert row["greedy"]["3000"]["name"] == matrix_games.equilibrium_of(game), seed


def test_play_is_the_equilibrium_of_the_tables():
    rng = np.random.default_rng(0)
    for _ in range(50):
        learner = BiLevelQ(1, (3, 4))
        learner.q[:, 0] = rng.standard_normal((2, 3, 4))
        exact = stackelberg(learner.q[:, 0])
        assert learner.joint_action(0) == (exact.leader_action, exact.follower_action)
        assert explore(learner, 0, 0.0, rng) == learner.joint_action(0)


def test_values_go_back_through_states():
    learner = BiLevelQ(2, (1, 1), alpha=0.5, gamma=0.9)
    for _ in range(200):
        learner.update(1, 0, 0, (10.0, 20.0), 0, terminated=True)
        learner.update(0, 0, 0, (1.0, 2.0), 1, terminated=False)
    assert np.allclose(learner.q[:, 0, 0, 0], (10.0, 20.0))
    assert np.allclose(learner.q[:, 1, 0, 0], (10.0, 20.0))
