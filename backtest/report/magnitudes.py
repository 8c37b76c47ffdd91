"""Counts of whole numbers by size: quantiles of any number of values, in memory of one size."""

from __future__ import annotations

from math import ceil

import numpy as np

from backtest.core.arrays import Float64Array, Int64Array

_FINE = 256
"""Bins of each power of two, so that one is at most 0.4 % wide."""

_BINS = 65 * _FINE


class Magnitudes:
    """Counts values of either sign by size; for each bin stands its value furthest from 0."""

    def __init__(self) -> None:
        self._counts = np.zeros(2 * _BINS + 1, dtype=np.int64)
        self._largest = np.zeros(2 * _BINS + 1)

    def add(self, values: Float64Array | Int64Array) -> None:
        """Count whole numbers below 2^64 [n]."""
        size = np.abs(values.astype(np.float64))
        fraction, exponent = np.frexp(size)  # 0.5 <= fraction < 1
        place = 1 + _FINE * exponent.astype(np.int64) + ((2 * fraction - 1) * _FINE).astype(int)
        place = _BINS + np.where(size == 0, 0, np.sign(values).astype(np.int64) * place)
        self._counts += np.bincount(place, minlength=len(self._counts))
        np.maximum.at(self._largest, place, size)

    def values(self) -> tuple[Float64Array, Int64Array]:
        """A value of each bin that has some, ascending, and how many it has."""
        found = np.flatnonzero(self._counts)
        return np.sign(found - _BINS) * self._largest[found], self._counts[found]

    def quantile(self, q: float) -> float | None:
        """The value at rank ceil(q n), counted from 1, to within 0.4 %; ``None`` without values.

        It is one that occurred; below 512, and where a bin holds equal values, it is exact.
        """
        values, counts = self.values()
        if not len(values):
            return None
        rank = max(ceil(q * int(counts.sum())), 1)
        return float(values[np.searchsorted(np.cumsum(counts), rank)])

    def histogram(self, edges: Float64Array) -> Int64Array:
        """How many are between edges [k + 1], int64 [k]; those beyond count at the ends."""
        values, counts = self.values()
        place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
        found = np.bincount(place, weights=counts, minlength=len(edges) - 1)
        return found.astype(np.int64)
