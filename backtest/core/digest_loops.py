"""The loop behind ``backtest.core.value_digest``."""

from __future__ import annotations

import numpy as np

from backtest.core.compiled import compiled

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND, _THIRD = (
    np.uint64(number) for number in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93)
)
_R27, _R30, _R31, _R32 = (np.uint64(number) for number in (27, 30, 31, 32))
_ONE = np.uint64(1)


@compiled
def add_values(values, first, sums):
    """Add some values of a column to its two sums, modulo 2^64.

    Args:
        values: uint64 [n].
        first: number of the first of them within the column, uint64.
        sums: of all before, uint64 [2]; updated.
    """
    one = two = np.uint64(0)
    at = first * _STEP
    for k in range(len(values)):
        # A value's place is part of what is mixed, so that no order of values is like another.
        at += _STEP
        mixed = values[k] + at
        mixed = (mixed ^ (mixed >> _R30)) * _FIRST
        mixed = (mixed ^ (mixed >> _R27)) * _SECOND
        mixed ^= mixed >> _R31
        one += mixed
        # The second sum mixes once more: a change that leaves the first one as it was changes it.
        mixed *= _THIRD
        two += mixed ^ (mixed >> _R32)
    sums[0] += one
    sums[1] += two
