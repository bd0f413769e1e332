"""The best commitment: known games, linear programs, all policies of a grid, and what theory says of every game."""

import itertools

import numpy as np
import pytest

from rllib_biac.envs.entry_deterrence_v0 import DISCOUNT, REWARDS, TRANSITIONS
from rllib_biac.envs.matrix_game import ESCAPE, MAINTAIN
from rllib_biac.equilibria import MarkovGame, best_commitment, commitment_se, mixed_commitment, secured
from rllib_biac.equilibria.best_commitment import span, worths
from tests.equilibria.test_commitment import random_game

SIZES = [(2, 2, 2), (3, 2, 2), (2, 3, 2), (2, 2, 3)]


def starts(game):
    return np.full(game.num_states, 1 / game.num_states)


def test_known_games():
    maintain, escape = (MarkovGame.from_matrix(payoffs) for payoffs in (MAINTAIN, ESCAPE))
    found = best_commitment(maintain, mixed=True)
    assert found.lower <= 27.5 <= found.upper and found.upper - found.lower < 0.05
    found = best_commitment(maintain, mixed=True, announced=True)  # a mean of pure outcomes
    assert found.lower == pytest.approx(20) and found.upper - 20 < 0.05
    assert best_commitment(maintain, mixed=False).lower == 20
    assert best_commitment(escape, mixed=True).lower == pytest.approx(30)
    entry = MarkovGame(REWARDS, TRANSITIONS, DISCOUNT)
    for mixed in (False, True):
        found = best_commitment(entry, mixed=mixed)
        assert found.lower == pytest.approx(4) and found.upper == pytest.approx(4, abs=0.02)


def test_in_one_step_the_linear_program_lies_in_the_bracket():
    rng = np.random.default_rng(0)
    for leader in (0, 1):
        for _ in range(20):
            payoffs = rng.standard_normal((2, 3, 3))
            found = best_commitment(MarkovGame.from_matrix(payoffs), mixed=True, leader=leader)
            exact = mixed_commitment(payoffs, leader).leader_payoff
            assert found.lower - 1e-9 <= exact <= found.upper + 1e-9
            assert found.upper - found.lower < 2e-3 * np.ptp(payoffs[leader])


@pytest.mark.parametrize("announced", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_no_policy_of_a_grid_leaves_the_bracket(size, announced):
    rng = np.random.default_rng(1)
    states, leads, _ = size
    steps = np.linspace(0, 1, 7)
    simplex = [z for z in itertools.product(steps, repeat=leads) if abs(sum(z) - 1) < 1e-9]
    grid = np.array(list(itertools.product(simplex, repeat=states)))
    for _ in range(3):
        game = random_game(rng, *size)
        found = best_commitment(game, mixed=True, announced=announced, start=starts(game), max_nodes=4000)
        some = grid[rng.permutation(len(grid))[:40]]
        best = max(secured(game, z, announced=announced, start=starts(game)).leader_payoff for z in some)
        assert best <= found.upper + 1e-9
        if not announced:
            assert found.lower >= worths(game, grid, starts(game))[0].max() - 0.01 * span(game, starts(game))
        own = secured(game, found.policy, announced=announced, start=starts(game))
        assert own.leader_payoff == pytest.approx(found.lower, abs=1e-8)


@pytest.mark.parametrize("size", SIZES)
def test_pure_is_the_commitment_se_and_mixing_never_pays_less(size):
    rng = np.random.default_rng(2)
    for _ in range(5):
        game = random_game(rng, *size)
        pure, exact = best_commitment(game, mixed=False, start=1), commitment_se(game, start=1)
        assert (pure.lower, pure.upper) == pytest.approx((exact.pessimistic, exact.optimistic))
        for announced in (False, True):
            mixed = best_commitment(game, mixed=True, announced=announced, start=1, max_nodes=1000)
            assert mixed.lower >= pure.lower - 1e-12 and mixed.upper >= pure.lower


def test_many_policies_at_once_are_worth_what_each_is():
    rng = np.random.default_rng(3)
    for whole in (False, True):
        game = random_game(rng, states=3, leads=2, follows=3, whole=whole)
        z = rng.dirichlet(np.ones(2), (20, 3))
        z[10:] = np.rint(z[10:])
        worst, best = worths(game, z, starts(game))
        for k, own in enumerate(z):
            found = secured(game, own, announced=False, start=starts(game))
            assert (worst[k], best[k]) == pytest.approx((found.leader_payoff, found.optimistic))


def test_units_of_reward_do_not_matter():
    game = random_game(np.random.default_rng(4))
    one = best_commitment(game, mixed=True)
    for scale in (1e-6, 1e6):
        other = best_commitment(MarkovGame(scale * game.rewards, game.transitions, game.gamma), mixed=True)
        assert other.lower / scale == pytest.approx(one.lower, abs=2e-3) and other.nodes == pytest.approx(
            one.nodes, 0.2
        )
        assert (other.upper - other.lower) / scale == pytest.approx(one.upper - one.lower, rel=1e-3)


@pytest.mark.parametrize(
    ("mixed", "size", "message"), [(False, (16, 2, 2), "leader policies"), (True, (10, 1, 3), "answers are too many")]
)
def test_what_is_too_large_is_said(mixed, size, message):
    with pytest.raises(ValueError, match=message):
        best_commitment(random_game(np.random.default_rng(0), *size), mixed=mixed)
