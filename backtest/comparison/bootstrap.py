"""Whether one run beat another by more than chance: paired differences and the block bootstrap.

Profits of neighbouring moments are correlated, so blocks of consecutive time buckets are resampled,
not single buckets. Both runs saw the same ticks, so only the difference of each bucket matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backtest.core.arrays import Float64Array

RESAMPLES = 9_999
CONFIDENCE = 0.95
_FEWEST_BLOCKS = 8

ROUNDING = 1e-12
"""Of all that both runs gained and lost; differences within it come from the order of sums."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A paired difference summed over the window, with what chance could make of it.

    Attributes:
        total: sum of the differences.
        low, high: its interval at ``CONFIDENCE``; ``None`` if there are too few blocks.
        p: two-sided probability of a total this far from 0 by chance; ``None`` likewise.
        block: length of the resampled blocks, in buckets.
        buckets: how many buckets there are.
    """

    total: float
    low: float | None
    high: float | None
    p: float | None
    block: int
    buckets: int


def block_length(x: Float64Array) -> int:
    """Length of the blocks to resample, in buckets, for a series [n].

    Politis and White (2004), "Automatic block-length selection for the dependent bootstrap", as
    corrected by Patton, Politis and White (2009), for the circular bootstrap, rounded up; at least
    1 and at most a third of the series.
    """
    n = len(x)
    if n < 9 or x.std() == 0:
        return 1
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
        return 1
    length = (2 * g**2 / (4 / 3 * spectrum**2)) ** (1 / 3) * n ** (1 / 3)
    return int(np.clip(np.ceil(length), 1, min(n // 3, np.ceil(3 * np.sqrt(n)))))


def paired_difference(x: Float64Array, y: Float64Array, *, seed: int = 0) -> Difference:
    """The total of x - y over buckets [n], by the circular block bootstrap.

    The interval is the percentile interval; p counts resampled totals, moved to a true difference
    of 0, at least as far from 0 as the one found (Davison and Hinkley, 1997, section 4.2).
    """
    d = np.asarray(x, dtype=np.float64) - np.asarray(y, dtype=np.float64)
    d[np.abs(d) <= ROUNDING * (np.abs(x).sum() + np.abs(y).sum())] = 0.0
    n, total = len(d), float(np.sum(d))
    length = block_length(d)
    if n < _FEWEST_BLOCKS * length:
        return Difference(total, None, None, None, length, n)
    if not d.any():
        return Difference(0.0, 0.0, 0.0, 1.0, length, n)
    whole, rest = divmod(n, length)
    # Sums of a block are differences of running totals around the circle.
    circle = np.concatenate([[0.0], np.cumsum(np.concatenate([d, d[:length]]))])
    random = np.random.default_rng(seed)
    starts = random.integers(0, n, size=(RESAMPLES, whole))
    sums = (circle[starts + length] - circle[starts]).sum(axis=1)
    # A last, shorter block makes every resample as long as the window.
    if rest:
        start = random.integers(0, n, size=RESAMPLES)
        sums += circle[start + rest] - circle[start]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(sums, [tail, 1 - tail])
    as_far = int(np.sum(np.abs(sums - total) >= abs(total)))
    return Difference(total, float(low), float(high), (1 + as_far) / (1 + RESAMPLES), length, n)


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
