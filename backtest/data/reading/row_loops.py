"""Interleaves columns, so that each row is contiguous."""

from __future__ import annotations

from numba import carray

from backtest.core.addresses import float32_at
from backtest.core.compiled import compiled_counting

_BLOCK = 2048
"""Rows that are filled by one column after another: they stay in cache until they are whole."""


@compiled_counting
def interleave(addresses, out):
    """Fill ``out`` (float32 [n, F], C order) with columns (float32 [n]) at ``addresses``.

    The columns must be contiguous and must be kept alive by the caller. Four at a time, since each
    store that waits for its place in cache then waits together with three others.
    """
    count, width = out.shape
    fours = width // 4 * 4
    for first in range(0, count, _BLOCK):
        last = min(first + _BLOCK, count)
        for k in range(0, fours, 4):
            a = carray(float32_at(addresses[k]), count)
            b = carray(float32_at(addresses[k + 1]), count)
            c = carray(float32_at(addresses[k + 2]), count)
            d = carray(float32_at(addresses[k + 3]), count)
            for i in range(first, last):
                out[i, k] = a[i]
                out[i, k + 1] = b[i]
                out[i, k + 2] = c[i]
                out[i, k + 3] = d[i]
        for k in range(fours, width):
            a = carray(float32_at(addresses[k]), count)
            for i in range(first, last):
                out[i, k] = a[i]
