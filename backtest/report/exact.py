"""Sums of int64 money that may be longer than 64 bits."""

from __future__ import annotations

import numpy as np

from backtest.core.arrays import Int64Array

_FITS = 2.0**62


def exact_sum(values: Int64Array) -> int:
    """The sum of values [n], n below 2^31, whatever its size."""
    high, low = values >> 32, values & 0xFFFFFFFF
    return (int(high.sum()) << 32) + int(low.sum())


def exact_product(a: Int64Array, b: Int64Array) -> int:
    """The sum of the products of a [n] and b [n], whatever its size."""
    if float(np.abs(a.astype(np.float64)) @ np.abs(b.astype(np.float64))) < _FITS:
        return int(a @ b)
    return sum(x * y for x, y in zip(a.tolist(), b.tolist(), strict=True))
