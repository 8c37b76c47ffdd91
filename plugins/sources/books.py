"""The touch of books of price levels, which arrive as rows in changing decimals."""

from __future__ import annotations

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.plugins.sources.spools import Scales, rescaled

_FIRST_LEVELS = 1024


class Book:
    """One symbol's levels.

    Attributes:
        scales: decimals of its prices and sizes, the finest so far.
    """

    def __init__(self) -> None:
        self.scales: Scales = (0, 0)
        self._keys = np.zeros((2, _FIRST_LEVELS), dtype=np.int64)
        self._sizes = np.zeros((2, _FIRST_LEVELS), dtype=np.int64)
        self._count = np.zeros(2, dtype=np.int64)
        self._state = np.zeros(6, dtype=np.int64)
        self._touch = np.zeros(4, dtype=np.int64)

    def update(self, rows: Int64Array, scales: Scales) -> tuple[Int64Array, int, int]:
        """Apply rows, in the order of the file.

        Args:
            rows: as ``book_loops.touches`` takes them, int64 [7, n].
            scales: decimals of their prices and sizes.

        Returns:
            Touches, int64 [7, k] as ``book_loops.touches`` writes them, in the units that
            ``self.scales`` state; how many rows came before the first snapshot; and how many
            others have an earlier time than a row before them.

        Raises:
            ValueError: more digits than int64 holds.
        """
        from backtest.plugins.sources.book_loops import touches

        self._refine(scales)
        rows = np.ascontiguousarray(rows)
        rows[5] = rescaled(rows[5], self.scales[0] - scales[0])
        rows[6] = rescaled(rows[6], self.scales[1] - scales[1])
        self._grow(int(self._count.max()) + rows.shape[1])
        out = np.empty((7, rows.shape[1] + 1), dtype=np.int64)
        count, early, back = touches(
            rows, self._keys, self._sizes, self._count, self._state, self._touch, out
        )
        return out[:, :count], early, back

    def finish(self) -> Int64Array:
        """End a file: the touch after its last message, int64 [7, 1], or [7, 0] if it is the same.

        A snapshot with which the next file begins is a new one.
        """
        from backtest.plugins.sources.book_loops import OPEN, SNAPSHOT, close

        out = np.empty((7, 1), dtype=np.int64)
        self._state[SNAPSHOT] = 0
        if not self._state[OPEN]:
            return out[:, :0]
        count = close(self._keys, self._sizes, self._count, self._state, self._touch, out, 0)
        return out[:, :count]

    def _refine(self, scales: Scales) -> None:
        finest = max(self.scales[0], scales[0]), max(self.scales[1], scales[1])
        by_price, by_size = finest[0] - self.scales[0], finest[1] - self.scales[1]
        for side, count in enumerate(self._count):
            self._keys[side, :count] = rescaled(self._keys[side, :count], by_price)
            self._sizes[side, :count] = rescaled(self._sizes[side, :count], by_size)
        self._touch[:2] = rescaled(self._touch[:2], by_price)
        self._touch[2:] = rescaled(self._touch[2:], by_size)
        self.scales = finest

    def _grow(self, levels: int) -> None:
        capacity = self._keys.shape[1]
        if levels <= capacity:
            return
        wider = ((0, 0), (0, max(levels, 2 * capacity) - capacity))
        self._keys = np.pad(self._keys, wider)
        self._sizes = np.pad(self._sizes, wider)
