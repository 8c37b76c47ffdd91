"""Intervals for what a run earns in a time bucket, and for its Sharpe ratio.

Profits of neighbouring buckets are correlated, and their distribution has heavy tails. All
intervals here rest on one estimate of the variance of a mean: the average square of the first few
cosine transforms of the series, with Student's t for that number of terms (Lazarus, Lewis, Stock
and Watson, 2018, "HAR inference: recommendations for practice"). Few terms make the intervals a
little wider, and let them hold under correlation. What correlation is left over the frequencies of
these terms is undone by that of a first-order autoregression (Andrews and Monahan, 1992, "An
improved heteroskedasticity and autocorrelation consistent covariance matrix estimator").

``benchmarks/coverage.py`` measures how often the intervals hold the true value.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from backtest.comparison.student import critical, two_sided
from backtest.core.arrays import Float64Array

CONFIDENCE = 0.95
"""How often an interval is meant to hold the true value."""

FEWEST = 15
"""Buckets that must differ from the most common value, such as no profit."""

_ROUNDING = 1e-12
"""Of all that both runs gained and lost; differences within it come from the order of sums."""

_STRONGEST = 0.97
"""Correlation of neighbouring buckets from which on a window is one single stretch."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval.

    Attributes:
        value: the figure.
        low, high: its interval at ``CONFIDENCE``; ``None`` if none would hold.
        p: two-sided probability of a figure this far from 0 by chance; ``None`` likewise.
        buckets: how many buckets it comes from.
        reason: why there is no interval; ``None`` if there is one.
    """

    value: float
    low: float | None
    high: float | None
    p: float | None
    buckets: int
    reason: str | None = None


def mean_estimate(x: Float64Array) -> Estimate:
    """The mean of a series [n]. One that is 0 throughout has the interval from 0 to 0."""
    x = np.asarray(x, dtype=np.float64)
    n = len(x)
    mean = float(x.mean()) if n else 0.0
    if n and not x.any():
        return Estimate(0.0, 0.0, 0.0, 1.0, n)
    reason = why_none(x)
    if reason:
        return _absent(mean, n, reason)
    t, freedom, error = t_of_mean(x)
    reach = critical(CONFIDENCE, freedom) * error
    return Estimate(mean, mean - reach, mean + reach, two_sided(t, freedom), n)


def total_difference(x: Float64Array, y: Float64Array) -> Estimate:
    """The sum of x - y over the same buckets [n].

    Both runs saw the same ticks, so only the difference in each bucket matters.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    d = x - y
    d[np.abs(d) <= _ROUNDING * (np.abs(x).sum() + np.abs(y).sum())] = 0.0
    found, n = mean_estimate(d), len(d)
    total = float(d.sum())
    if found.low is None or found.high is None:
        return replace(found, value=total)
    return replace(found, value=total, low=n * found.low, high=n * found.high)


def sharpe_estimate(x: Float64Array, periods: float = 1.0) -> Estimate | None:
    """The Sharpe ratio of a series [n]: mean over sample standard deviation, annualised.

    The interval holds the ratios that a test does not reject, each with the variance that the
    estimate would have if that ratio were the true one (the delta method, as in Lo, 2002, "The
    statistics of Sharpe ratios"; the inversion as in Fieller, 1954).

    Args:
        x: profits.
        periods: buckets in a year; the ratio is multiplied by its root.

    Returns:
        ``None`` if the series does not vary.
    """
    x = np.asarray(x, dtype=np.float64)
    n = len(x)
    spread = float(x.std(ddof=1)) if n > 1 else 0.0
    # A constant has a spread of rounding errors.
    if spread <= 1e-12 * float(np.abs(x).max(initial=0.0)):
        return None
    ratio, scale = float(x.mean()) / spread, float(np.sqrt(periods))
    u = (x - x.mean()) / spread
    # How far a bucket moves the ratio, at a true ratio of s: u - s / 2 (u² - 1).
    moved = u - ratio / 2 * (u**2 - 1)
    reason = _too_few(x) or _too_alike(moved)
    if reason:
        return _absent(ratio * scale, n, reason)
    freedom = terms_of(_telling(x))
    cosines, weights = _cosines(n, freedom), _weights(moved, freedom)
    linear = np.sqrt(weights) * (cosines @ u)
    # Squares are correlated in their own way, mostly less.
    square = np.sqrt(_weights(u**2, freedom)) * (cosines @ u**2) / 2
    first, cross, last = (float(np.mean(v)) / n for v in (linear**2, linear * square, square**2))
    # (ratio - s)² <= t² (first - 2 s cross + s² last), solved for s.
    t2 = critical(CONFIDENCE, freedom) ** 2
    a, b, c = 1 - t2 * last, ratio - t2 * cross, ratio**2 - t2 * first
    if a <= 0 or b**2 < a * c:
        return _absent(ratio * scale, n, "a few buckets make up most of the variance")
    reach = float(np.sqrt(b**2 - a * c))
    p = two_sided(ratio / float(np.sqrt(first)), freedom)
    return Estimate(ratio * scale, (b - reach) / a * scale, (b + reach) / a * scale, p, n)


def why_none(x: Float64Array) -> str | None:
    """Why a series' mean gets no interval; ``None`` if it gets one."""
    return _too_few(x) or _too_alike(x)


def t_of_mean(x: Float64Array) -> tuple[float, int, float]:
    """The t ratio of a series' mean, its degrees of freedom, and the mean's standard error."""
    terms = terms_of(_telling(x))
    error = float(errors_of_means(x, terms))
    return float(x.mean()) / error, terms, error


def variance_of_mean(x: Float64Array) -> tuple[float, int] | None:
    """The variance of a series' mean [n], and the degrees of freedom of that estimate.

    Returns:
        ``None`` where a mean would get no interval.
    """
    if why_none(x):
        return None
    _, freedom, error = t_of_mean(x)
    return error**2, freedom


def terms_of(buckets: int) -> int:
    """How many cosines for so many telling buckets: few enough that they see only slow changes."""
    return max(4, round(buckets**0.4))


def errors_of_means(x: Float64Array, terms: int) -> Float64Array:
    """Standard errors of the means of series [..., n], from their first cosine transforms."""
    d = x - x.mean(axis=-1, keepdims=True)
    squares = (d @ _cosines(x.shape[-1], terms).T) ** 2
    errors: Float64Array = np.sqrt(np.mean(_weights(x, terms) * squares, axis=-1) / x.shape[-1])
    return errors


def independent_buckets(x: Float64Array) -> float:
    """How many independent buckets tell as much of the mean as a series [n] does; at most n.

    n (1 - r) / (1 + r) at a correlation r >= 0 of neighbouring buckets.
    """
    r = float(np.clip(_correlation(np.asarray(x, dtype=np.float64)), 0.0, _STRONGEST))
    return len(x) * (1 - r) / (1 + r)


def _absent(value: float, buckets: int, reason: str) -> Estimate:
    return Estimate(value, None, None, None, buckets, reason)


def _telling(x: Float64Array) -> int:
    """Buckets that differ from the most common value."""
    if not len(x):
        return 0
    # Differences of running totals carry rounding errors.
    rounded = np.round(x / (np.abs(x).max() or 1.0), 9)
    return len(x) - int(np.unique(rounded, return_counts=True)[1].max())


def _too_few(x: Float64Array) -> str | None:
    telling = _telling(x)
    if telling >= FEWEST:
        return None
    return f"{telling} of {len(x)} buckets differ from the rest, {FEWEST} are needed"


def _too_alike(x: Float64Array) -> str | None:
    if float(_upper_correlation(x)) < _STRONGEST:
        return None
    return f"{len(x)} buckets are too few independent stretches"


@lru_cache(maxsize=64)
def _cosines(n: int, terms: int) -> Float64Array:
    """The first orthonormal cosines of a series, float64 [terms, n]; each sums to 0."""
    middles = (np.arange(n) + 0.5) / n
    found = np.sqrt(2 / n) * np.cos(np.pi * np.outer(np.arange(1, terms + 1), middles))
    found.flags.writeable = False
    return found


def _weights(x: Float64Array, terms: int) -> Float64Array:
    """A first-order autoregression's spectrum at 0 over those at the cosines' frequencies.

    Of series [..., n], float64 [..., terms].
    """
    r = np.clip(_upper_correlation(x), 0.0, _STRONGEST)[..., None]
    frequencies = np.pi * np.arange(1, terms + 1) / x.shape[-1]
    weights: Float64Array = (1 + r**2 - 2 * r * np.cos(frequencies)) / (1 - r) ** 2
    return weights


def _correlation(x: Float64Array) -> Float64Array:
    """Of neighbouring buckets, with the bias of a short series removed (Kendall, 1954).

    Of series [..., n]; 0 for those that do not vary.
    """
    d = x - x.mean(axis=-1, keepdims=True)
    squares = np.einsum("...n,...n", d, d)
    products = np.einsum("...n,...n", d[..., 1:], d[..., :-1])
    r = np.divide(products, squares, out=np.zeros_like(squares), where=squares > 0)
    corrected: Float64Array = r + (1 + 3 * r) / x.shape[-1]
    return corrected


def _upper_correlation(x: Float64Array) -> Float64Array:
    """One standard error above the estimate, since too low a one makes intervals too narrow."""
    r = _correlation(x)
    upper: Float64Array = r + np.sqrt(np.maximum(1 - r**2, 0.0) / x.shape[-1])
    return upper
