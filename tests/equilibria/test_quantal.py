"""A follower that errs: its response by plain value iteration, limits, units, and the best commitment to it."""

import numpy as np
import pytest

from rllib_biac.envs.matrix_game import MAINTAIN
from rllib_biac.equilibria import MarkovGame, mixed_commitment, quantal_commitment, quantal_response, secured
from tests.equilibria.test_commitment import random_game

T = 0.7


def random_case(seed, leads=2):
    rng = np.random.default_rng(seed)
    game = random_game(rng, states=3, leads=leads, follows=3)
    return game, rng.dirichlet(np.ones(leads), 3)


def test_the_response_is_that_of_soft_value_iteration():
    game, z = random_case(0)
    found = quantal_response(game, z, T, announced=False, start=1)
    rewards = np.einsum("isab,sa->isb", game.rewards, z)
    moves = np.einsum("sabt,sa->sbt", game.transitions, z)
    values = np.zeros(3)
    for _ in range(800):
        q = rewards[1] + game.gamma * moves @ values
        values = T * np.log(np.exp(q / T).sum(-1))
    np.testing.assert_allclose(found.response, np.exp((q - values[:, None]) / T), atol=1e-9)
    plain = np.zeros((2, 3))
    for _ in range(800):
        plain = np.einsum("isb,sb->is", rewards + game.gamma * np.einsum("sbt,it->isb", moves, plain), found.response)
    assert (found.leader_payoff, found.follower_payoff) == pytest.approx(plain[:, 1])


@pytest.mark.parametrize("announced", [False, True])
def test_a_cold_follower_best_responds_and_a_hot_one_plays_at_random(announced):
    game, z = random_case(1)
    exact = secured(game, z, announced=announced)
    cold = quantal_response(game, z, 1e-4, announced=announced)
    assert cold.leader_payoff == pytest.approx(exact.leader_payoff, abs=1e-3)
    assert cold.follower_payoff == pytest.approx(exact.follower_payoff, abs=1e-3)
    endless = game.transitions / game.transitions.sum(-1, keepdims=True)  # else who answers would see to a longer game
    hot = quantal_response(MarkovGame(game.rewards, endless, game.gamma), z, 1e6, announced=announced)
    np.testing.assert_allclose(hot.response, 1 / 3, atol=1e-4)
    for temperature in (0.1, 1.0, 10.0):
        assert quantal_response(game, z, temperature, announced=announced).follower_payoff < exact.follower_payoff


def test_rewards_and_temperature_in_other_units_give_the_same_play():
    game, z = random_case(2)
    one = quantal_response(game, z, T, announced=True)
    for scale in (1e-6, 1e6):
        other = MarkovGame(scale * game.rewards, game.transitions, game.gamma)
        found = quantal_response(other, z, scale * T, announced=True)
        np.testing.assert_allclose(found.response, one.response, atol=1e-9)
        assert found.leader_payoff == pytest.approx(scale * one.leader_payoff)


@pytest.mark.parametrize("leads", [2, 3])
def test_no_commitment_of_a_grid_leaves_the_bracket(leads):
    rng = np.random.default_rng(3)
    for temperature in (0.3, 1.0):
        payoffs = rng.standard_normal((2, leads, 3))
        found = quantal_commitment(payoffs, temperature, tolerance=0.01)
        game = MarkovGame.from_matrix(payoffs)
        for z in (found.policy, *rng.dirichlet(np.full(leads, 0.5), (300, 1))):
            worth = quantal_response(game, z, temperature, announced=False).leader_payoff
            assert worth <= found.upper + 1e-9
            assert worth <= found.lower + 0.01 * np.ptp(payoffs[0]) + 1e-9
        own = quantal_response(game, found.policy, temperature, announced=False).leader_payoff
        assert own == pytest.approx(found.lower) and found.upper - found.lower < 0.011 * np.ptp(payoffs[0])


def test_who_trains_against_the_wrong_temperature_loses():
    """Against a follower that errs, Maintain's edge is no place to be: A is played more than a quarter of the time."""
    edge = mixed_commitment(MAINTAIN).strategy[None]
    game, temperature = MarkovGame.from_matrix(MAINTAIN), 1.0
    found = quantal_commitment(MAINTAIN, temperature)
    at_edge = quantal_response(game, edge, temperature, announced=False).leader_payoff
    assert found.policy[0, 0] > 0.3 and at_edge < found.lower - 4
    assert quantal_commitment(MAINTAIN, 0.01).lower == pytest.approx(27.5, abs=0.2)
    assert quantal_commitment(MAINTAIN.swapaxes(1, 2)[::-1], temperature, leader=1).lower == pytest.approx(found.lower)


def test_what_does_not_fit_is_refused():
    game, z = random_case(0)
    for call in (
        lambda: quantal_response(game, z, 0.0, announced=False),
        lambda: quantal_commitment(MAINTAIN, -1.0),
        lambda: quantal_commitment(MAINTAIN, 1.0, leader=2),
    ):
        with pytest.raises(ValueError, match=r"temperature must|leader 0 or 1"):
            call()
