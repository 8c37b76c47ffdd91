"""Whether the best of many still beats chance: corrected probabilities and bootstrap tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backtest.core.arrays import Float64Array

RESAMPLES = 2_000


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
    gains: Float64Array, *, block: float | None = None, resamples: int = RESAMPLES, seed: int = 0
) -> BestOfMany | None:
    """Whether the best of k strategies beats the benchmark by more than the luck of having tried k.

    White (2000), "A reality check for data snooping": the largest mean, against those of a
    stationary bootstrap (Politis and Romano, 1994). Hansen (2005), "A test for superior predictive
    ability": means over their standard errors, and without the strategies so bad that they cannot
    be the best.

    Args:
        gains: what each strategy earned over the benchmark in each bucket, float64 [k, n].
        block: mean length of the resampled blocks; by default the median of ``block_length``.
        resamples, seed: of the bootstrap.

    Returns:
        ``None`` if no strategy's gains vary, or there are fewer than 9 buckets.
    """
    gains = np.asarray(gains, dtype=np.float64)
    gains = gains[gains.std(axis=1) > 0]
    k, n = gains.shape
    if not k or n < 9:
        return None
    if block is None:
        block = float(np.median([block_length(x) for x in gains]))
    mean = gains.mean(axis=1)
    error = np.sqrt(_variances(gains, block))
    counts = _draws(n, block, resamples, np.random.default_rng(seed))
    drawn = np.sqrt(n) * (counts @ gains.T / n - mean)  # [resamples, k]
    best = np.sqrt(n) * mean.max()
    reality_check = float(np.mean(drawn.max(axis=1) > best))
    ratio = np.sqrt(n) * mean / error
    # Hansen's threshold: whose mean is below it cannot be the best, and is left where it is.
    hopeless = np.where(ratio < -np.sqrt(2 * np.log(np.log(n))), ratio, 0.0)
    highest = np.maximum((drawn / error + hopeless).max(axis=1), 0.0)
    spa = float(np.mean(highest > max(ratio.max(), 0.0)))
    return BestOfMany(reality_check, spa, block)


def _draws(n: int, block: float, resamples: int, random: np.random.Generator) -> Float64Array:
    """How often each bucket is drawn in each resample of a stationary bootstrap [resamples, n]."""
    starts = random.integers(0, n, size=(resamples, n))
    begins = random.random((resamples, n)) < 1 / block
    begins[:, 0] = True
    places = np.arange(n)
    begun = np.maximum.accumulate(np.where(begins, places, 0), axis=1)
    drawn = (np.take_along_axis(starts, begun, axis=1) + places - begun) % n
    drawn += n * np.arange(resamples)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=resamples * n)
    return counts.reshape(resamples, n).astype(np.float64)


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
