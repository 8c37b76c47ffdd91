"""How much of the best run's Sharpe ratio comes from having tried many runs."""

from __future__ import annotations

from itertools import combinations
from math import e, inf, sqrt
from statistics import NormalDist

import numpy as np

from backtest.core.arrays import Float64Array

_NORMAL = NormalDist()
_EULER = 0.5772156649015329
_GROUPS = 16
"""Groups of consecutive buckets for the probability of overfitting, as in the paper's examples."""


def probabilistic_sharpe(
    ratio: float, count: float, *, skewness: float = 0.0, kurtosis: float = 3.0, than: float = 0.0
) -> float:
    """Probability that a true Sharpe ratio exceeds another, given its estimate.

    Bailey and López de Prado (2012), "The Sharpe ratio efficient frontier". Ratios are a bucket,
    not annualised.

    Args:
        ratio: the estimate.
        count: independent buckets that it comes from.
        skewness, kurtosis: of the profits; 0 and 3 for normal ones.
        than: the ratio to exceed.
    """
    error = sqrt(_spread(ratio, skewness, kurtosis) / max(count - 1, 1e-9))
    return _NORMAL.cdf((ratio - than) / error)


def least_track_record(
    ratio: float,
    *,
    skewness: float = 0.0,
    kurtosis: float = 3.0,
    than: float = 0.0,
    confidence: float = 0.95,
) -> float:
    """Independent buckets after which ``ratio`` exceeds ``than`` at a confidence.

    The minimum track record length of Bailey and López de Prado (2012). Infinite if ``ratio`` does
    not exceed ``than`` at all.
    """
    if ratio <= than:
        return inf
    bound = _NORMAL.inv_cdf(confidence) / (ratio - than)
    return 1 + _spread(ratio, skewness, kurtosis) * bound**2


def deflated_benchmark(variance: float, trials: float) -> float:
    """The highest Sharpe ratio to expect of trials that are worth nothing.

    Bailey and López de Prado (2014), "The deflated Sharpe ratio". ``probabilistic_sharpe`` than it
    is the deflated Sharpe ratio.

    Args:
        variance: of the trials' Sharpe ratios.
        trials: independent ones, see ``independent_trials``; 0 for one or fewer.
    """
    if trials <= 1:
        return 0.0
    first = _NORMAL.inv_cdf(1 - 1 / trials)
    second = _NORMAL.inv_cdf(1 - 1 / (trials * e))
    return sqrt(variance) * ((1 - _EULER) * first + _EULER * second)


def independent_trials(gains: Float64Array) -> float:
    """How many independent trials k correlated ones amount to: r + (1 - r) k.

    r is the mean correlation of their profits, at least 0 (Bailey and López de Prado, 2014, annex
    on the number of independent trials).

    Args:
        gains: profits of each trial in the same buckets, float64 [k, n]; those that do not vary
            are not counted.
    """
    gains = gains[gains.std(axis=1) > 0]
    k = len(gains)
    if k < 2:
        return float(k)
    correlation = np.corrcoef(gains)
    r = max(float((correlation.sum() - k) / (k * (k - 1))), 0.0)
    return r + (1 - r) * k


def overfitting_probability(gains: Float64Array, groups: int = _GROUPS) -> float | None:
    """How likely the best in one half of the window is no better than the median in the other half.

    Combinatorially symmetric cross-validation (Bailey, Borwein, López de Prado and Zhu, 2015, "The
    probability of backtest overfitting"): consecutive buckets form ``groups``, every half of which
    is once in sample, and the Sharpe ratio chooses.

    Args:
        gains: profits of each trial in the same buckets, float64 [k, n].
        groups: an even number; fewer are taken where buckets are few.

    Returns:
        ``None`` for fewer than 2 trials, or fewer than 4 groups of 4 buckets.
    """
    k, n = gains.shape
    groups = min(groups, n // 4 // 2 * 2)
    if k < 2 or groups < 4:
        return None
    size = n // groups
    # Groups are of one size; the earliest buckets that are too many are left out.
    parts = gains[:, n - groups * size :].reshape(k, groups, size)
    sums, squares = parts.sum(axis=2).T, (parts**2).sum(axis=2).T  # [groups, k]
    halves = list(combinations(range(groups), groups // 2))
    chosen = np.zeros((len(halves), groups))
    np.put_along_axis(chosen, np.array(halves), 1.0, axis=1)
    inside = _ratios(chosen @ sums, chosen @ squares, groups // 2 * size)
    # The halves come in complementary pairs, the last being the first one's complement.
    outside = inside[::-1]
    best = inside.argmax(axis=1)[:, None]
    mine = np.take_along_axis(outside, best, axis=1)
    rank = (outside < mine).sum(axis=1) + ((outside == mine).sum(axis=1) + 1) / 2
    return float(np.mean(rank / (k + 1) <= 0.5))


def moments(x: Float64Array) -> tuple[float, float, float]:
    """Sharpe ratio a bucket, skewness and kurtosis of profits [n] that vary."""
    u = x - x.mean()
    u /= u.std()
    return (
        float(x.mean() / x.std(ddof=1)),
        float(np.mean(u**3)),
        float(np.mean(u**4)),
    )


def _spread(ratio: float, skewness: float, kurtosis: float) -> float:
    """The variance of a Sharpe ratio's estimate, times the number of buckets."""
    # Samples have kurtosis >= 1 + skewness², so that it is never below 0 but for rounding.
    return max(1 - skewness * ratio + (kurtosis - 1) / 4 * ratio**2, 1e-12)


def _ratios(sums: Float64Array, squares: Float64Array, count: int) -> Float64Array:
    """Sharpe ratios from sums and sums of squares; those that do not vary have 0."""
    mean = sums / count
    variance = squares / count - mean**2
    still = variance <= 1e-12 * squares / count
    ratios: Float64Array = np.where(still, 0.0, mean / np.sqrt(np.where(still, 1.0, variance)))
    return ratios
