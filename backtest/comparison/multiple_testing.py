"""Whether the best of many still beats chance: corrected probabilities and bootstrap tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backtest.comparison.intervals import errors_of_means, terms_of
from backtest.core.arrays import BoolArray, Float64Array, Int64Array

RESAMPLES = 1_000


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Probabilities corrected for having made several comparisons, in the order given.

    Holm (1979), "A simple sequentially rejective multiple test procedure". ``None`` stays, and is
    not counted.
    """
    known = sorted((value, k) for k, value in enumerate(p) if value is not None)
    corrected: list[float | None] = [None] * len(p)
    highest = 0.0
    for rank, (value, k) in enumerate(known):
        # Never below the value of a smaller p: corrected probabilities keep the order.
        highest = max(highest, min(1.0, (len(known) - rank) * value))
        corrected[k] = highest
    return corrected


def block_length(x: Float64Array) -> float:
    """Mean length of the blocks that a stationary bootstrap of a series [n] draws, in buckets.

    Politis and White (2004), "Automatic block-length selection for the dependent bootstrap", as
    corrected by Patton, Politis and White (2009); at least 1 and at most a third of the series.
    """
    n = len(x)
    if n < 9 or x.std() == 0:
        return 1.0
    x = x - x.mean()
    insignificant = max(5, int(np.sqrt(np.log10(n))))
    most = int(np.ceil(np.sqrt(n))) + insignificant
    covariance = np.array([x[: n - k] @ x[k:] / n for k in range(most + 1)])
    small = np.abs(covariance[1:] / covariance[0]) < 2 * np.sqrt(np.log10(n) / n)
    runs = [k for k in range(most - insignificant + 1) if small[k : k + insignificant].all()]
    large = np.flatnonzero(~small)
    last = runs[0] if runs else (int(large[-1]) + 1 if len(large) else 1)
    m = min(2 * max(last, 1), most)
    lags = np.arange(1, m + 1)
    taper = np.clip(2 * (1 - lags / m), 0, 1)  # flat top: 1 up to m / 2, then down to 0
    g = 2 * float(np.sum(taper * lags * covariance[1 : m + 1]))
    spectrum = covariance[0] + 2 * float(np.sum(taper * covariance[1 : m + 1]))
    if spectrum == 0:
        return 1.0
    length = (g**2 / spectrum**2) ** (1 / 3) * n ** (1 / 3)
    return float(np.clip(length, 1, min(n / 3, np.ceil(3 * np.sqrt(n)))))


@dataclass(frozen=True, slots=True)
class BestOfMany:
    """Probabilities that the best of many strategies looks this good by chance.

    Attributes:
        reality_check: White's; every strategy is taken to be no worse than the benchmark.
        spa: Hansen's consistent one; strategies that are clearly worse do not count.
        block: mean length of the resampled blocks, in buckets.
    """

    reality_check: float
    spa: float
    block: float


def best_of_many(
    gains: Float64Array,
    *,
    block: float | None = None,
    published: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> BestOfMany | None:
    """Whether the best of k strategies beats the benchmark by more than the luck of having tried k.

    White (2000), "A reality check for data snooping", and Hansen (2005), "A test for superior
    predictive ability": the largest mean over its standard error, against those of a stationary
    bootstrap (Politis and Romano, 1994). Hansen's does not move strategies to a mean of 0 that are
    so bad that they cannot be the best.

    As published, standard errors are computed once, and worthless strategies pass Hansen's test at
    5 % in 11 to 20 % of windows of 500 buckets whose neighbours are correlated by 0.3 to 0.8. They
    are therefore those of ``intervals``, computed anew in each resample (Gonçalves and Vogelsang,
    2011, "Block bootstrap HAC robust tests"), which makes it 5 to 8 %.

    Args:
        gains: what each strategy earned over the benchmark in each bucket, float64 [k, n].
        block: mean length of the resampled blocks; by default the median of ``block_length``.
        published: the tests to the letter: standard errors from the bootstrap's own variance, once,
            and none in White's.
        resamples, seed: of the bootstrap.

    Returns:
        ``None`` for fewer than 16 buckets, or if no strategy's gains vary.
    """
    gains = np.asarray(gains, dtype=np.float64)
    gains = gains[gains.std(axis=1) > 0]
    k, n = gains.shape
    if not k or n < 16:
        return None
    if block is None:
        block = float(np.median([block_length(x) for x in gains]))
    mean, random = gains.mean(axis=1), np.random.default_rng(seed)
    drawn = _draws(n, block, resamples, random)
    if published:
        errors = np.sqrt(_variances(gains, block) / n)
        means = np.stack([gains[:, at].mean(axis=1) for at in drawn])
        moved, best = means - mean, mean.max()
        reality_check = _share(moved.max(axis=1) > best)
        moved = moved / errors
    else:
        errors = errors_of_means(gains, terms_of(n))
        moved = np.stack([_ratios(gains[:, at], mean) for at in drawn])
        reality_check = _share(moved.max(axis=1) > (mean / errors).max())
    ratio = mean / errors
    # Hansen's threshold: whose mean is below it cannot be the best, and is left where it is.
    hopeless = np.where(ratio < -np.sqrt(2 * np.log(np.log(n))), ratio, 0.0)
    highest = np.maximum((moved + hopeless).max(axis=1), 0.0)
    spa = _share(highest > max(ratio.max(), 0.0))
    return BestOfMany(reality_check, spa, block)


def _share(better: BoolArray) -> float:
    """Of resamples, with what was found counted among them: it is never 0."""
    return (1 + int(better.sum())) / (1 + len(better))


def _ratios(x: Float64Array, mean: Float64Array) -> Float64Array:
    """How far the means of a resample [k, n] are from ``mean`` [k], in its own standard errors."""
    errors = errors_of_means(x, terms_of(x.shape[1]))
    # A resample may miss every bucket in which a strategy earned something.
    ratios: Float64Array = np.divide(
        x.mean(axis=1) - mean, errors, out=np.zeros_like(mean), where=errors > 0
    )
    return ratios


def _draws(n: int, block: float, resamples: int, random: np.random.Generator) -> Int64Array:
    """The buckets of each resample of a stationary bootstrap, int64 [resamples, n]."""
    starts = random.integers(0, n, size=(resamples, n))
    begins = random.random((resamples, n)) < 1 / block
    begins[:, 0] = True
    places = np.arange(n)
    begun = np.maximum.accumulate(np.where(begins, places, 0), axis=1)
    drawn: Int64Array = (np.take_along_axis(starts, begun, axis=1) + places - begun) % n
    return drawn


def _variances(gains: Float64Array, block: float) -> Float64Array:
    """Variances of root n times the means of series [k, n] under the stationary bootstrap, exactly.

    Politis and Romano (1994), lemma 1.
    """
    n = gains.shape[1]
    centred = gains - gains.mean(axis=1, keepdims=True)
    power = np.abs(np.fft.rfft(centred, axis=1)) ** 2 / n
    circular = np.fft.irfft(power, n, axis=1)  # covariance around the circle, by lag
    lags = np.arange(1, n)
    stay = 1 - 1 / block
    weights = (1 - lags / n) * stay**lags
    # The circular covariance of lag i joins those of lags i and n - i.
    variances: Float64Array = circular[:, 0] + 2 * circular[:, 1:] @ weights
    return variances
