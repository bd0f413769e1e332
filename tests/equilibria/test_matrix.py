"""Equilibria of matrix games: the paper's two games, and properties that hold in every game."""

import numpy as np
import pytest

from rllib_biac.envs.matrix_game import ESCAPE, MAINTAIN
from rllib_biac.equilibria import leader_regret, pure_nash, response_regret, stackelberg

A, B, C = X, Y, Z = 0, 1, 2


def games(batch=200, shape=(5, 4), rho=0.0, seed=0):
    """Normal payoffs, the players' correlated by rho (paper, Fig. 2); (batch, 2, |A_1|, |A_2|)."""
    rng = np.random.default_rng(seed)
    first, own = rng.standard_normal((2, batch, *shape))
    return np.stack([first, rho * first + np.sqrt(1 - rho**2) * own], axis=1)


def cells(mask):
    return {tuple(cell) for cell in np.argwhere(mask).tolist()}


@pytest.mark.parametrize(
    ("payoffs", "leader", "play", "responses"),
    [
        (ESCAPE, 0, (C, Z), [X, X, Z]),
        (ESCAPE, 1, (Z, C), [A, A, C]),
        (MAINTAIN, 0, (A, X), [X, Y, Z]),
        (MAINTAIN, 1, (Z, C), [B, B, C]),
    ],
)
def test_stackelberg_of_table_1(payoffs, leader, play, responses):
    solution = stackelberg(payoffs, leader)
    assert (solution.leader_action, solution.follower_action) == play
    assert solution.responses.tolist() == responses
    joint = play if leader == 0 else play[::-1]
    assert (solution.leader_payoff, solution.follower_payoff) == (
        payoffs[(leader, *joint)],
        payoffs[(1 - leader, *joint)],
    )


def test_nash_of_table_1():
    assert cells(pure_nash(ESCAPE)) == {(A, X), (B, Y), (C, Z)}  # B-Y is weak: both are indifferent to leaving
    assert cells(pure_nash(MAINTAIN)) == {(B, Y), (C, Z)}


def test_margins_of_table_1():
    escape, maintain = stackelberg(ESCAPE), stackelberg(MAINTAIN)
    # Escape: A-Y and the like are ties of the follower, but none of them lures the leader away from 30
    assert escape.leader_margin == 15 and escape.response_margin == 20 and escape.margin == 15
    # Maintain: answering B by X costs the follower 5 and would lure the leader to 30
    assert maintain.leader_margin == 10 and maintain.response_margin == 5 and maintain.margin == 5


@pytest.mark.parametrize("leader", [0, 1])
@pytest.mark.parametrize("rho", [-0.5, 0.0, 0.9])
def test_errors_below_half_the_margin_never_change_the_play(rho, leader):
    payoffs, rng = games(rho=rho), np.random.default_rng(1)
    exact = stackelberg(payoffs, leader)
    assert (exact.margin > 0).all()
    signs = rng.choice([-1.0, 1.0], size=(50, *payoffs.shape))
    perturbed = stackelberg(payoffs + 0.499 * exact.margin[:, None, None, None] * signs, leader)
    assert (perturbed.leader_action == exact.leader_action).all()
    assert (perturbed.follower_action == exact.follower_action).all()


@pytest.mark.parametrize("leader", [0, 1])
def test_the_margin_is_the_largest_such_number(leader):
    payoffs = games(shape=(3, 3))
    exact = stackelberg(payoffs, leader)
    changed = np.zeros(len(payoffs), bool)
    batch = np.arange(len(payoffs))
    # the worst error for every target (a, b): all that speaks for it and against everything else
    for cell in np.ndindex(payoffs.shape[-2:]):
        error = -np.ones_like(payoffs)
        error[batch, :, cell[0], cell[1]] = 1
        solution = stackelberg(payoffs + 0.501 * exact.margin[:, None, None, None] * error, leader)
        changed |= solution.leader_action != exact.leader_action
        changed |= solution.follower_action != exact.follower_action
    assert changed.all()


def test_ties_go_to_the_lowest_index_and_bound_the_leaders_value():
    payoffs = np.array([[[1.0, 5.0], [2.0, 2.0]], [[0.0, 0.0], [1.0, 0.0]]])
    solution = stackelberg(payoffs)
    assert solution.responses.tolist() == [0, 0] and solution.leader_action == 1
    assert (solution.pessimistic, solution.leader_payoff, solution.optimistic) == (2, 2, 5)
    assert solution.margin == 0
    flat = stackelberg(np.zeros((2, 3, 3)))
    assert (flat.leader_action, flat.follower_action, flat.margin) == (0, 0, 0)


def test_one_action_each_decides_nothing():
    solution = stackelberg(np.ones((2, 1, 1)))
    assert solution.leader_margin == solution.response_margin == np.inf


def test_a_batch_equals_its_games_one_by_one():
    payoffs = games(batch=12).reshape(3, 4, 2, 5, 4)
    whole = stackelberg(payoffs, 1)
    nash = pure_nash(payoffs)
    assert nash.shape == (3, 4, 5, 4) and whole.responses.shape == (3, 4, 4)
    for index in np.ndindex(3, 4):
        one = stackelberg(payoffs[index], 1)
        for field in ("leader_action", "follower_action", "leader_payoff", "follower_payoff", "margin", "optimistic"):
            assert getattr(whole, field)[index] == getattr(one, field)
        np.testing.assert_array_equal(nash[index], pure_nash(payoffs[index]))


def test_exchanging_the_players_exchanges_the_leader():
    payoffs = games()
    swapped = np.swapaxes(payoffs[:, ::-1], -1, -2)
    np.testing.assert_array_equal(stackelberg(payoffs, 1).responses, stackelberg(swapped, 0).responses)
    np.testing.assert_array_equal(stackelberg(payoffs, 1).leader_payoff, stackelberg(swapped, 0).leader_payoff)


@pytest.mark.parametrize("rho", [-1.0, 0.0, 0.5, 1.0])
def test_the_leader_gets_at_least_its_best_pure_nash_payoff(rho):
    payoffs = games(batch=500, rho=rho)
    at_nash = np.where(pure_nash(payoffs), payoffs[:, 0], -np.inf).max((-1, -2))
    assert (stackelberg(payoffs).leader_payoff >= at_nash).all()


def test_common_payoffs_make_the_equilibrium_the_best_cell():
    payoffs = games(rho=1.0)
    solution = stackelberg(payoffs)
    np.testing.assert_array_equal(solution.leader_payoff, payoffs[:, 0].max((-1, -2)))
    np.testing.assert_array_equal(solution.follower_payoff, solution.leader_payoff)


def test_number_of_nash_equilibria_under_common_payoffs():
    n, batch = 5, 4000
    count = pure_nash(games(batch=batch, shape=(n, n), rho=1.0)).sum((-1, -2))
    # a cell is an NE if it is the largest of the 2n - 1 cells of its row and column
    assert abs(count.mean() - n**2 / (2 * n - 1)) < 5 * count.std() / np.sqrt(batch)


@pytest.mark.parametrize("leader", [0, 1])
def test_regrets_vanish_at_the_equilibrium_only(leader):
    payoffs = games()
    solution = stackelberg(payoffs, leader)
    assert (leader_regret(payoffs, solution.leader_action, solution.responses, leader) == 0).all()
    assert (response_regret(payoffs, solution.responses, leader) == 0).all()
    wrong = (solution.responses + 1) % payoffs.shape[-1 if leader == 0 else -2]
    assert (response_regret(payoffs, wrong, leader) > 0).all()
    other = (solution.leader_action + 1) % payoffs.shape[-2 if leader == 0 else -1]
    assert (leader_regret(payoffs, other, solution.responses, leader) >= solution.leader_margin).all()


def test_regrets_of_maintain():
    assert leader_regret(MAINTAIN, B, [X, Y, Z]) == 10
    assert leader_regret(MAINTAIN, B, [X, X, Z]) == -10  # the follower's mistake favours the leader
    assert response_regret(MAINTAIN, [X, X, Z]).tolist() == [0, 5, 0]


@pytest.mark.parametrize(
    "payoffs", [np.zeros((3, 2, 2)), np.zeros((2, 2)), np.zeros((2, 0, 2)), np.full((2, 2, 2), np.nan)]
)
def test_unfit_payoffs_are_refused(payoffs):
    for solve in (stackelberg, pure_nash):
        with pytest.raises(ValueError, match="payoffs must"):
            solve(payoffs)


def test_unknown_leaders_are_refused():
    with pytest.raises(ValueError, match="leader must be 0"):
        stackelberg(ESCAPE, leader=2)
