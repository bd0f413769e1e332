"""Mixed commitment: known games, and what theory says of it in every game."""

import numpy as np
import pytest
from scipy.optimize import linprog

from rllib_biac.envs.matrix_game import ESCAPE, MAINTAIN
from rllib_biac.equilibria import mixed_commitment, pure_nash, stackelberg


def games(count=20, shape=(4, 3), seed=0):
    return np.random.default_rng(seed).standard_normal((count, 2, *shape))


def maximin(table):
    """The value of a zero-sum game to its row player, by its own linear program."""
    rows, columns = table.shape
    solution = linprog(
        np.r_[np.zeros(rows), -1],
        A_ub=np.c_[-table.T, np.ones(columns)],
        b_ub=np.zeros(columns),
        A_eq=np.r_[np.ones(rows), 0][None],
        b_eq=[1],
        bounds=[(0, None)] * rows + [(None, None)],
    )
    return -solution.fun


def test_maintain():
    """A quarter A and three quarters B make X and Y alike to the follower, (15, 0) against (0, 5)."""
    solution = mixed_commitment(MAINTAIN)
    assert solution.strategy == pytest.approx([0.25, 0.75, 0]) and solution.response == 0
    assert (solution.leader_payoff, solution.follower_payoff) == pytest.approx((27.5, 3.75))
    assert stackelberg(MAINTAIN).leader_payoff == 20


def test_escape_needs_no_mixing():
    for leader in (0, 1):
        solution = mixed_commitment(ESCAPE, leader)
        assert solution.strategy == pytest.approx([0, 0, 1]) and solution.response == 2
        assert solution.leader_payoff == pytest.approx(30)


def test_the_textbook_game():
    """Conitzer & Sandholm (2006): up is dominant, yet half down makes the follower go right."""
    payoffs = np.array([[[2, 4], [1, 3]], [[1, 0], [0, 1]]])
    solution = mixed_commitment(payoffs)
    assert solution.strategy == pytest.approx([0.5, 0.5]) and solution.response == 1
    assert (solution.leader_payoff, stackelberg(payoffs).leader_payoff) == (pytest.approx(3.5), 3)


@pytest.mark.parametrize("leader", [0, 1])
def test_never_below_the_pure_se_or_any_pure_nash(leader):
    for payoffs in [*games(), *np.rint(2 * games(seed=1))]:
        solution = mixed_commitment(payoffs, leader)
        assert solution.leader_payoff >= stackelberg(payoffs, leader).optimistic - 1e-9
        assert (solution.leader_payoff >= payoffs[leader][pure_nash(payoffs)] - 1e-9).all()


@pytest.mark.parametrize("leader", [0, 1])
def test_the_response_is_a_best_one_to_a_distribution(leader):
    for payoffs in games():
        solution = mixed_commitment(payoffs, leader)
        follows = payoffs[1] if leader == 0 else payoffs[0].T
        assert (solution.strategy >= 0).all() and solution.strategy.sum() == pytest.approx(1)
        assert solution.follower_payoff >= (solution.strategy @ follows).max() - 1e-7


def test_zero_sum_is_maximin():
    for payoffs in games():
        payoffs[1] = -payoffs[0]
        solution = mixed_commitment(payoffs)
        assert solution.leader_payoff == pytest.approx(maximin(payoffs[0]), abs=1e-7)
        assert solution.leader_payoff == pytest.approx((solution.strategy @ payoffs[0]).min(), abs=1e-7)


def test_common_payoff_is_the_global_maximum():
    for payoffs in games():
        payoffs[1] = payoffs[0]
        assert mixed_commitment(payoffs).leader_payoff == pytest.approx(payoffs.max())


def test_units_do_not_matter():
    for payoffs in games(5):
        for units in ([1e-10, 1e10], [1e10, 1e-10]):
            scaled = (payoffs + 3) * np.array(units)[:, None, None]
            assert mixed_commitment(scaled).strategy == pytest.approx(mixed_commitment(payoffs).strategy, abs=1e-5)


def test_constant_payoffs():
    solution = mixed_commitment(np.full((2, 3, 2), 7))
    assert (solution.leader_payoff, solution.follower_payoff, solution.response) == (7, 7, 0)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="payoffs must"):
        mixed_commitment(np.zeros((3, 2, 2, 2)))
    with pytest.raises(ValueError, match="leader must be"):
        mixed_commitment(ESCAPE, leader=2)
