"""The experiment on cooperation levels, with few games: its results, table and figures."""

import csv
import io

import numpy as np
import pytest
from matplotlib.figure import Figure

from rllib_biac.reproduce.cooperation import COVARIANCES, INTEGER_SPREAD, TRIALS, draw, draw_counts, run, table


@pytest.fixture(scope="module")
def results():
    return run(sizes=[3, 20], trials=30)


def of(results, size, spread=None):
    return [result for result in results if result.size == size and result.integer_spread == spread]


def test_every_size_has_every_covariance_with_both_kinds_of_payoffs(results):
    assert COVARIANCES[0] == -1 and COVARIANCES[-1] == 1 and 0 in COVARIANCES and 0.5 in COVARIANCES
    for size in (3, 20):
        for spread in (None, INTEGER_SPREAD):
            shown = of(results, size, spread)
            assert tuple(result.covariance for result in shown) == COVARIANCES
            assert {result.trials for result in shown} == {30}


def test_a_size_gives_the_same_whatever_else_is_run(results):
    assert repr(run(sizes=[20], trials=30)) == repr(of(results, 20) + of(results, 20, INTEGER_SPREAD))
    assert repr(run(sizes=[3], trials=30, seed=1)) != repr(of(results, 3) + of(results, 3, INTEGER_SPREAD))


def test_the_papers_claims():
    cooperative = next(result for result in run(sizes=[10]) if result.covariance == 1)
    assert cooperative.trials == TRIALS[10] == 2000
    for gain in (cooperative.leader_gain, cooperative.follower_gain):
        assert gain.mean > 0.5 and gain.mean > 10 * gain.standard_error
    assert cooperative.ne_count.mean > 5 and cooperative.se_count.mean == 1


def test_integers_have_several_se_and_continuous_payoffs_one(results):
    assert all(result.se_count.mean == 1 for result in of(results, 20))
    assert all(result.se_count.mean >= 1 for result in of(results, 20, INTEGER_SPREAD))
    assert any(result.several_se.mean > 0 for result in of(results, 20, INTEGER_SPREAD))


def test_progress_counts_to_the_end():
    seen = []
    run(sizes=[2], trials=1, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 2 * len(COVARIANCES)) for done in range(1, 2 * len(COVARIANCES) + 1)]


def test_table_goes_through_csv(results):
    columns, rows = table(results)
    assert len(rows) == len(results) and all(len(row) == len(columns) for row in rows)
    text = io.StringIO()
    csv.writer(text).writerows([columns, *rows])
    text.seek(0)
    for read, result in zip(csv.DictReader(text), results, strict=True):
        assert (int(read["size"]), float(read["covariance"])) == (result.size, result.covariance)
        assert read["payoffs"] == ("continuous" if result.integer_spread is None else "integer")
        for name in ("leader_se", "follower_gain", "ne_count"):
            estimate = getattr(result, name)
            np.testing.assert_allclose(float(read[name]), estimate.mean, atol=5e-5)
            np.testing.assert_allclose(float(read[f"{name}_error"]), estimate.standard_error, atol=5e-5)


def test_figures(results, tmp_path):
    for number, figure in enumerate((draw(results, 3), draw(results, 20), draw_counts(results))):
        assert isinstance(figure, Figure) and len(figure.axes) == 4
        assert all(axes.get_xlabel() and axes.get_ylabel() and axes.lines for axes in figure.axes)
        file = tmp_path / f"{number}.png"
        figure.savefig(file)
        assert file.stat().st_size > 0


def test_bad_input_is_refused(results):
    with pytest.raises(ValueError, match=r"trials must be given for sizes \[7\]"):
        run(sizes=[5, 7])
    with pytest.raises(ValueError, match="trials must be at least 1"):
        run(sizes=[5], trials=0)
    with pytest.raises(ValueError, match=r"size must be one of \[3, 20\]"):
        draw(results, 10)
