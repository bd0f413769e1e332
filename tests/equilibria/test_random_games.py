"""Random games: the draw, the number of SE, and what theory says of SE and NE at either end of cooperation."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from rllib_biac.equilibria import pure_nash, stackelberg
from rllib_biac.equilibria.random_games import Comparison, compare, sample_payoffs, strong_stackelberg


def rng(seed=0):
    return np.random.default_rng(seed)


def near(estimate, expected):
    """Within four standard errors: about one seed in 16,000 would fail."""
    return abs(estimate.mean - expected) < 4 * estimate.standard_error


def expected_maximum(count):
    """Of that many independent standard normals."""
    return quad(lambda x: x * count * norm.pdf(x) * norm.cdf(x) ** (count - 1), -10, 10, limit=200)[0]


def loops(game):
    """The pure strong SE and the pure NE of one game, as lists of cells, by the definitions."""
    leads, follows = game.tolist()
    actions = range(len(leads))
    answers = [(a, b) for a in actions for b in actions if follows[a][b] == max(follows[a])]
    best = max(leads[a][b] for a, b in answers)
    return (
        [(a, b) for a, b in answers if leads[a][b] == best],
        [(a, b) for a, b in answers if leads[a][b] == max(leads[other][b] for other in actions)],
    )


@pytest.mark.parametrize("integer_spread", [None, 1.5])
@pytest.mark.parametrize("covariance", [-0.9, 0.0, 0.7])
def test_vectorised_form_equals_loops(covariance, integer_spread):
    result = compare(60, 4, covariance, rng(), integer_spread)
    games = sample_payoffs(60, 4, covariance, rng(), integer_spread)
    solved = [loops(game) for game in games]

    for mask, index in ((strong_stackelberg(games), 0), (pure_nash(games), 1)):
        assert [[tuple(cell) for cell in np.argwhere(one).tolist()] for one in mask] == [s[index] for s in solved]

    def average(player, index):
        """One number per game that has a pure NE."""
        return np.array(
            [
                np.mean([game[player][cell] for cell in cells[index]])
                for game, cells in zip(games, solved, strict=True)
                if cells[1]
            ]
        )

    for player, name in enumerate(("leader", "follower")):
        se, ne = average(player, 0), average(player, 1)
        everywhere = [np.mean([game[player][cell] for cell in se]) for game, (se, _) in zip(games, solved, strict=True)]
        for estimate, values in (
            (getattr(result, f"{name}_se"), everywhere),
            (getattr(result, f"{name}_se_paired"), se),
            (getattr(result, f"{name}_ne"), ne),
            (getattr(result, f"{name}_gain"), se - ne),
        ):
            assert estimate.mean == pytest.approx(np.mean(values))
            assert estimate.standard_error == pytest.approx(np.std(values, ddof=1) / np.sqrt(len(values)))
    assert result.se_count.mean == pytest.approx(np.mean([len(se) for se, _ in solved]))
    assert result.ne_count.mean == pytest.approx(np.mean([len(ne) for _, ne in solved]))
    assert result.several_se.mean == pytest.approx(np.mean([len(se) > 1 for se, _ in solved]))
    assert result.several_ne.mean == pytest.approx(np.mean([len(ne) > 1 for _, ne in solved]))
    assert result.games_with_ne == sum(bool(ne) for _, ne in solved) == round(result.has_ne.mean * 60)


def test_games_do_not_depend_on_how_many_are_drawn_at_once(monkeypatch):
    one = rng()
    parts = [sample_payoffs(trials, 3, 0.4, one) for trials in (2, 5)]
    np.testing.assert_array_equal(np.concatenate(parts), sample_payoffs(7, 3, 0.4, rng()))
    whole = compare(50, 6, 0.4, rng())
    monkeypatch.setattr("rllib_biac.equilibria.random_games._BLOCK", 3 * 6**2)
    assert compare(50, 6, 0.4, rng()) == whole


@pytest.mark.parametrize("covariance", [-1.0, -0.3, 0.0, 0.8, 1.0])
def test_sampled_payoffs_have_the_moments_asked_for(covariance):
    first, second = np.swapaxes(sample_payoffs(4000, 5, covariance, rng()), 0, 1).reshape(2, -1)  # 100,000 cells
    np.testing.assert_allclose([first.mean(), second.mean()], 0, atol=0.02)
    np.testing.assert_allclose(np.cov(first, second), [[1, covariance], [covariance, 1]], atol=0.03)
    if abs(covariance) == 1:
        np.testing.assert_array_equal(second, covariance * first)


def test_integer_payoffs_are_the_same_games_rounded():
    integers, exact = sample_payoffs(20, 4, 0.5, rng(), integer_spread=3), sample_payoffs(20, 4, 0.5, rng())
    np.testing.assert_array_equal(integers, np.round(3 * exact))


@pytest.mark.parametrize("covariance", [-0.5, 0.0, 0.5, 0.95])
def test_se_is_unique_and_no_pure_ne_gives_the_leader_more(covariance):
    payoffs = sample_payoffs(300, 6, covariance, rng())
    se, solution = strong_stackelberg(payoffs), stackelberg(payoffs)
    assert (se.sum((-1, -2)) == 1).all()
    assert se[np.arange(300), solution.leader_action, solution.follower_action].all()
    leads = payoffs[:, 0]
    assert (np.where(pure_nash(payoffs), leads, -np.inf) <= solution.leader_payoff[:, None, None]).all()


def test_zero_sum_se_is_maximin():
    payoffs = sample_payoffs(200, 5, -1, rng())
    np.testing.assert_array_equal(stackelberg(payoffs).leader_payoff, payoffs[:, 0].min(-1).max(-1))
    np.testing.assert_array_equal(
        np.where(strong_stackelberg(payoffs), payoffs[:, 0], 0).sum((-1, -2)), payoffs[:, 0].min(-1).max(-1)
    )


def test_cooperative_se_is_the_global_maximum():
    payoffs = sample_payoffs(200, 5, 1, rng())
    np.testing.assert_array_equal(
        strong_stackelberg(payoffs), payoffs[:, 0] == payoffs[:, 0].max((-1, -2), keepdims=True)
    )


@pytest.mark.parametrize("size", [1, 3, 10])
def test_theory_at_covariance_1(size):
    """A cell is an NE if it is the largest of the 2n - 1 in its row and column; the SE is the largest of all."""
    result = compare(2000, size, 1, rng())
    assert result.ne_count.mean == 1 if size == 1 else near(result.ne_count, size**2 / (2 * size - 1))
    assert near(result.leader_se, expected_maximum(size**2))
    assert result.leader_se == result.follower_se == result.leader_se_paired
    assert result.has_ne.mean == 1


@pytest.mark.parametrize("size", [3, 10])
def test_theory_at_covariance_0(size):
    """Responses do not depend on the leader's payoffs: it takes the largest of n, and the follower has that too."""
    result = compare(4000, size, 0, rng())
    assert near(result.ne_count, 1)
    assert near(result.leader_se, expected_maximum(size))
    assert near(result.follower_se, expected_maximum(size))
    assert near(result.follower_gain, 0)
    assert result.leader_gain.mean > 10 * result.leader_gain.standard_error


def test_expected_maximum_of_ten_normals():
    assert expected_maximum(10) == pytest.approx(1.539, abs=5e-4)  # tabulated


def test_ties_make_several_se():
    # Row 0: the follower is indifferent and so is the leader. Row 1: the tied answer b = 1 is worse for the leader.
    payoffs = np.array([[[4, 4], [4, 0]], [[1, 1], [2, 2]]])
    assert strong_stackelberg(payoffs).tolist() == [[True, True], [True, False]]
    result = compare(500, 5, 0, rng(), integer_spread=3)
    assert 0 < result.several_se.mean < 1 and result.se_count.mean > 1


def test_numbers_over_no_game_are_nan():
    alone = compare(1, 4, 0, rng())
    assert np.isfinite(alone.leader_se.mean) and np.isnan(alone.leader_se.standard_error)
    without = compare(5, 30, -1, rng())  # a saddle point in pure actions is all but impossible
    assert without.games_with_ne == 0 and without.ne_count.mean == 0
    assert np.isnan(without.leader_ne.mean) and np.isnan(without.leader_gain.mean)
    assert np.isfinite(without.leader_se.mean)
    assert isinstance(without, Comparison)


@pytest.mark.parametrize("function", [sample_payoffs, compare])
@pytest.mark.parametrize(
    ("trials", "size", "covariance", "integer_spread", "message"),
    [
        (0, 3, 0.5, None, "trials must be at least 1"),
        (10, 0, 0.5, None, "size must be at least 1"),
        (10, 3, 1.01, None, r"covariance must lie in \[-1, 1\]"),
        (10, 3, -2, None, r"covariance must lie in \[-1, 1\]"),
        (10, 3, float("nan"), None, r"covariance must lie in \[-1, 1\]"),
        (10, 3, 0.5, 0, "integer_spread must be positive, such as 3"),
        (10, 3, 0.5, float("inf"), "integer_spread must be positive, such as 3"),
    ],
)
def test_bad_input_is_refused(function, trials, size, covariance, integer_spread, message):
    with pytest.raises(ValueError, match=message):
        function(trials, size, covariance, rng(), integer_spread)
