"""Statistics of seeds: means with bootstrap intervals, interquartile means, shares with exact intervals."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy import stats

RESAMPLES = 9_999
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
