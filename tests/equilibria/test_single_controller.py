"""Games in which the leader alone moves the state: the linear program against branch and bound, and by hand."""

import numpy as np
import pytest

from rllib_biac.envs import patrol_v0
from rllib_biac.envs.matrix_game import MAINTAIN
from rllib_biac.equilibria import (
    MarkovGame,
    best_commitment,
    feedback_se,
    mixed_commitment,
    secured,
    single_controller_commitment,
)
from rllib_biac.equilibria.single_controller import feedback_value


def drawn(seed, states=3):
    """A game of two actions each, in which the follower moves nothing."""
    rng = np.random.default_rng(seed)
    moves = rng.dirichlet(np.ones(states), (states, 2))
    rewards = rng.standard_normal((2, states, 2, 2))
    return MarkovGame(rewards, np.broadcast_to(moves[:, :, None], (states, 2, 2, states)), 0.9)


@pytest.mark.parametrize("seed", range(4))
def test_both_brackets_meet(seed):
    game = drawn(seed)
    found, other = single_controller_commitment(game), best_commitment(game, mixed=True, tolerance=0.01)
    assert found.lower <= other.upper + 1e-9 and other.lower <= found.upper + 1e-9
    assert found.lower == pytest.approx(secured(game, found.policy, announced=False).leader_payoff)


def test_in_one_step_it_is_the_best_mixed_commitment():
    game = MarkovGame.from_matrix(MAINTAIN)
    game = MarkovGame(game.rewards, game.transitions, 0.5)
    found = single_controller_commitment(game)
    assert found.upper == pytest.approx(mixed_commitment(MAINTAIN).leader_payoff) == pytest.approx(27.5)
    assert found.lower == pytest.approx(27.5, abs=0.01)


def test_feedback_is_what_backward_induction_says():
    game = drawn(1)
    found = feedback_se(game).leader_value
    assert len(found) == 1 and found[0, 0] == pytest.approx(feedback_value(game))


def test_commitment_pays_on_patrol():
    game, start = MarkovGame(*patrol_v0.tables(4, 2), 0.9), np.full(8, 1 / 8)
    found = single_controller_commitment(game, start=start)
    assert found.upper - found.lower < 1e-3
    assert found.lower > 0.2 * feedback_value(game, start=start)  # both are losses
    mirrored = MarkovGame(game.rewards[::-1].swapaxes(2, 3), game.transitions.swapaxes(1, 2), 0.9)
    assert single_controller_commitment(mirrored, start=start, leader=1).upper == pytest.approx(found.upper)


def test_games_that_the_follower_moves_are_refused():
    rng = np.random.default_rng(0)
    game = MarkovGame(rng.standard_normal((2, 2, 2, 2)), rng.dirichlet(np.ones(2), (2, 2, 2)), 0.9)
    with pytest.raises(ValueError, match="take best_commitment"):
        single_controller_commitment(game)


def test_an_island_has_three_bays():
    with pytest.raises(ValueError, match="bays=2"):
        patrol_v0.tables(2, 1)
