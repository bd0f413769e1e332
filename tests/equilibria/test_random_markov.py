"""How often random Markov games have no feedback SE, or several."""

import numpy as np
import pytest

from rllib_biac.equilibria import MarkovGame, commitment_se, feedback_se, iterate
from rllib_biac.equilibria.random_markov import TRANSITIONS, fixed_point_shares, sample_markov_games


@pytest.mark.parametrize("transitions", TRANSITIONS)
def test_shares_equal_those_of_games_one_by_one(transitions):
    rewards, moves = sample_markov_games(40, 2, 2, np.random.default_rng(0), transitions)
    shares = fixed_point_shares(rewards, moves, 0.7)
    games = [MarkovGame(r, m, 0.7) for r, m in zip(rewards, moves, strict=True)]
    leads = [feedback_se(game).leader_value[:, 0] for game in games]
    committed = [commitment_se(game).leader_payoff - 1e-9 for game in games]
    both = list(zip(leads, committed, strict=True))
    assert shares.none.mean == pytest.approx(np.mean([len(values) == 0 for values in leads]))
    assert shares.several.mean == pytest.approx(np.mean([len(values) > 1 for values in leads]))
    assert shares.below.mean == pytest.approx(np.mean([len(v) > 0 and max(v) < best for v, best in both]))
    assert shares.misleading.mean == pytest.approx(np.mean([len(v) > 0 and min(v) < best for v, best in both]))
    assert shares.unsettled.mean == pytest.approx(np.mean([iterate(game).period != 1 for game in games]))
    assert shares.unsettled.mean >= shares.none.mean


@pytest.mark.parametrize(
    ("transitions", "none", "several", "below"),
    [("deterministic", 0.064, 0.102, 0.033), ("ending", 0.114, 0.100, 0.031), ("dirichlet", 0.050, 0.067, 0.030)],
)
def test_documented_shares(transitions, none, several, below):
    """The shares of 30,000 games, in docs/theory.md, within four standard errors of 600."""
    rewards, moves = sample_markov_games(600, 2, 2, np.random.default_rng(1), transitions)
    shares = fixed_point_shares(rewards, moves, 0.9)
    for found, documented in ((shares.none, none), (shares.several, several), (shares.below, below)):
        assert abs(found.mean - documented) < 4 * found.standard_error
    assert shares.none.standard_error == pytest.approx(np.sqrt(shares.none.mean * (1 - shares.none.mean) / 600))


def test_transitions_are_as_named():
    for kind, total in (("deterministic", 1.0), ("dirichlet", 1.0), ("ending", 3 / 4)):
        rewards, moves = sample_markov_games(2000, 3, 2, np.random.default_rng(0), kind)
        assert rewards.shape == (2000, 2, 3, 2, 2) and moves.shape == (2000, 3, 2, 2, 3)
        assert moves.sum(-1).mean() == pytest.approx(total, abs=0.02)
        assert np.isin(moves, (0, 1)).all() == (kind != "dirichlet")


def test_bad_arguments_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="at least 1"):
        sample_markov_games(0, 2, 2, rng)
    with pytest.raises(ValueError, match="transitions must be one of"):
        sample_markov_games(1, 2, 2, rng, "none")
    with pytest.raises(ValueError, match="gamma must lie"):
        fixed_point_shares(*sample_markov_games(1, 2, 2, rng), 1.0)
