"""Statistics of seeds: means with bootstrap intervals, interquartile means, shares with exact intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from scipy import stats

RESAMPLES = 9_999
CURVE_RESAMPLES = 2_000
_SEED = 2_020


def mean_interval(values: Iterable[float]) -> tuple[float, float, float]:
    """Returns the mean and its 95% interval (bootstrap, percentiles of 9,999 resamples, from a fixed seed).

    One value, or values that are all equal, have an interval of width 0: the bootstrap cannot know of others.

    Raises:
        ValueError: if there is no value.
    """
    array = np.asarray(list(values), float)
    if not array.size:
        raise ValueError("no value to take the mean of.")
    mean = float(array.mean())
    if np.ptp(array) == 0.0:
        return mean, mean, mean
    interval = stats.bootstrap(
        (array,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(_SEED)
    ).confidence_interval
    return mean, float(interval.low), float(interval.high)


def mean_bands(curves: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the mean of curves (n, points) at each point, and its 95% interval: three arrays (points,).

    As `mean_interval`, at each point by itself, with 2,000 resamples. One curve has no interval: NaN.
    """
    mean = curves.mean(axis=0)
    if len(curves) < 2:
        return mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    interval = stats.bootstrap(
        (curves,),
        np.mean,
        axis=0,
        n_resamples=CURVE_RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(_SEED),
    ).confidence_interval
    return mean, interval.low, interval.high


def probability_of_improvement(ours: Iterable[float], theirs: Iterable[float]) -> tuple[float, float, float]:
    """Returns the probability that a run of ours gets more than one of theirs, and its 95% interval.

    P(X > Y) + P(X = Y) / 2, the statistic of Mann and Whitney over n * m (Agarwal et al. 2021, "Deep Reinforcement
    Learning at the Edge of the Statistical Precipice"); the interval is a percentile bootstrap over both sets of runs.
    With one run on a side it is NaN.

    Raises:
        ValueError: if a side has no value.
    """
    both = np.asarray(list(ours), float), np.asarray(list(theirs), float)
    if not all(side.size for side in both):
        raise ValueError("no value to compare.")

    def statistic(x: np.ndarray, y: np.ndarray, axis: int = -1) -> np.ndarray:
        x, y = np.moveaxis(x, axis, -1)[..., :, None], np.moveaxis(y, axis, -1)[..., None, :]
        return ((x > y) + 0.5 * (x == y)).mean(axis=(-2, -1))

    found = float(statistic(*both))
    if min(side.size for side in both) < 2:
        return found, math.nan, math.nan
    interval = stats.bootstrap(
        both, statistic, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(_SEED)
    ).confidence_interval
    return found, float(interval.low), float(interval.high)


def interquartile_mean(values: Iterable[float]) -> float:
    """Returns the mean of the middle half of the values."""
    return float(stats.trim_mean(np.asarray(list(values), float), 0.25))


def share_interval(hits: int, total: int) -> tuple[float, float]:
    """Returns the exact 95% interval of a share (Clopper-Pearson), in [0, 1]."""
    interval = stats.binomtest(hits, total).proportion_ci(0.95, "exact")
    return float(interval.low), float(interval.high)


def mean_text(values: Iterable[float], digits: int = 2) -> str:
    """Returns `28.50 [27.15, 29.55]`: mean and 95% interval."""
    mean, low, high = mean_interval(values)
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def share_text(hits: int, total: int) -> str:
    """Returns `90 of 100 [82.4%, 95.1%]`: a count and the exact 95% interval of its share."""
    low, high = share_interval(hits, total)
    return f"{hits} of {total} [{100 * low:.1f}%, {100 * high:.1f}%]"
