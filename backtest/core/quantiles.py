"""Quantiles of whole numbers that are seen once, piece by piece, in bounded memory."""

from __future__ import annotations

import numpy as np

from backtest.core.arrays import Float64Array, Int64Array

_MANTISSA = 12
"""Bits that a bin keeps of a value: values up to 8191 have one each, larger ones share theirs with
others that differ by less than a 4096th."""

_BINS = (64 - _MANTISSA) << _MANTISSA


def bins_of(values: Int64Array, mantissa: int) -> Int64Array:
    """The ascending bins of values [n] that are not negative, ``mantissa`` bits of each kept."""
    shift = np.maximum(np.frexp(values.astype(np.float64))[1].astype(np.int64) - mantissa - 1, 0)
    return (shift << mantissa) + (values >> shift)


class Quantiles:
    """Quantiles of values that are not negative; each is a value that occurred."""

    def __init__(self) -> None:
        self._counts: Int64Array = np.zeros(_BINS, dtype=np.int64)
        self._most: Int64Array = np.zeros(_BINS, dtype=np.int64)

    def add(self, values: Int64Array) -> None:
        """Count values [n]."""
        bins = bins_of(values, _MANTISSA)
        np.add.at(self._counts, bins, 1)
        np.maximum.at(self._most, bins, values)

    def at(self, quantiles: Float64Array) -> Int64Array | None:
        """By the inverted distribution function, within a 4096th; ``None``: there is no value.

        Args:
            quantiles: of [0, 1], float64 [q].
        """
        if not self.count:
            return None
        return self.ranked(np.maximum(np.ceil(quantiles * self.count), 1).astype(np.int64))

    @property
    def count(self) -> int:
        """How many values were added."""
        return int(self._counts.sum())

    def ranked(self, ranks: Int64Array) -> Int64Array:
        """The values of some ranks, from 1 to ``count``, within a 4096th, int64 [r]."""
        return self._most[np.searchsorted(np.cumsum(self._counts), ranks)]
