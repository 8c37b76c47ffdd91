"""The touch of books of price levels, which arrive as rows in changing decimals."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.data.reading.decode import Columns
from backtest.market.depth import ASK, BID, CLEAR, LAST, SNAPSHOT
from backtest.plugins.sources.shared.spools import Scales, rescaled

_FIRST_LEVELS = 1024


class Book:
    """One symbol's levels.

    Args:
        known: rows count from the first one on, without a snapshot.

    Attributes:
        scales: decimals of its prices and sizes, the finest so far.
    """

    def __init__(self, *, known: bool = False) -> None:
        self.scales: Scales = (0, 0)
        self._keys = np.zeros((2, _FIRST_LEVELS), dtype=np.int64)
        self._sizes = np.zeros((2, _FIRST_LEVELS), dtype=np.int64)
        self._count = np.zeros(2, dtype=np.int64)
        self._state = np.zeros(6, dtype=np.int64)
        self._touch = np.zeros(4, dtype=np.int64)
        self._state[0] = known  # book_loops.KNOWN

    def levels(self, side: int) -> list[tuple[int, int]]:
        """Prices and sizes of a side's levels (0 bids, 1 asks), the best last."""
        count = self._count[side]
        prices = self._keys[side, :count] * (-1 if side else 1)
        return [*zip(prices.tolist(), self._sizes[side, :count].tolist(), strict=True)]

    def update(self, rows: Int64Array, scales: Scales) -> tuple[Int64Array, int]:
        """Apply rows, in the order of the file.

        Args:
            rows: as ``book_loops.touches`` takes them, int64 [7, n].
            scales: decimals of their prices and sizes.

        Returns:
            Touches, int64 [7, k] as ``book_loops.touches`` writes them, in the units that
            ``self.scales`` state; and how many rows came before the first snapshot.

        Raises:
            ValueError: more digits than int64 holds.
        """
        from backtest.plugins.sources.shared.book_loops import touches

        self._refine(scales)
        rows = np.ascontiguousarray(rows)
        rows[5] = rescaled(rows[5], self.scales[0] - scales[0])
        rows[6] = rescaled(rows[6], self.scales[1] - scales[1])
        self._grow(int(self._count.max()) + rows.shape[1])
        out = np.empty((7, rows.shape[1] + 1), dtype=np.int64)
        count, early = touches(
            rows, self._keys, self._sizes, self._count, self._state, self._touch, out
        )
        return out[:, :count], early

    def finish(self) -> Int64Array:
        """End a file: the touch after its last message, int64 [7, 1], or [7, 0] if it is the same.

        A snapshot with which the next file begins is a new one.
        """
        from backtest.plugins.sources.shared.book_loops import OPEN, SNAPSHOT, close

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


class LevelRows:
    """One symbol's rows of levels as rows of depth: a snapshot begins with a clear."""

    def __init__(self) -> None:
        self._before = 0
        self._held: tuple[Columns, Scales] | None = None

    def add(self, rows: Int64Array, scales: Scales) -> Iterator[tuple[Columns, Scales]]:
        """Rows of depth and their scales, of rows as ``Book.update`` takes them, none too early.

        Whether a snapshot ends with a row only shows in the next one, so one may be held.
        """
        if not rows.shape[1]:
            return
        ts, _, number, snapshot, side, price, size = rows
        if not snapshot[0]:
            yield from self.finish()
        elif self._held is not None:
            yield self._held
        begins = np.flatnonzero(np.diff(snapshot, prepend=self._before) > 0)
        ends = np.diff(snapshot, append=1) < 0
        columns: Columns = {
            "ts_event": ts,
            "seq": number,
            "side": np.where(side == 0, BID, ASK),
            "price": price,
            "size": size,
            "flags": snapshot * SNAPSHOT + ends * LAST,
        }
        for name, values in columns.items():
            if name in ("ts_event", "seq"):
                added = values[begins]
            else:
                added = np.full(len(begins), CLEAR + SNAPSHOT if name == "flags" else 0)
            columns[name] = np.insert(values, begins, added)
        self._before = int(snapshot[-1])
        self._held = None
        if snapshot[-1]:
            self._held = {name: values[-1:] for name, values in columns.items()}, scales
            columns = {name: values[:-1] for name, values in columns.items()}
        yield columns, scales

    def finish(self) -> Iterator[tuple[Columns, Scales]]:
        """End a file, and with it a snapshot."""
        if self._held is not None:
            columns, scales = self._held
            yield {**columns, "flags": columns["flags"] + LAST}, scales
        self._before, self._held = 0, None


class View:
    """One symbol's best levels, as snapshots show them.

    Attributes:
        scales: decimals of its prices and sizes, the finest so far.
    """

    def __init__(self) -> None:
        self.scales: Scales = (0, 0)
        self._seen = np.zeros((2, 0), dtype=np.int64)
        self._shown = np.zeros((2, 0), dtype=np.int64)

    def update(self, prices: Int64Array, sizes: Int64Array, scales: Scales) -> Int64Array:
        """What snapshots say of each level, int64 [5, k] as ``book_loops.restated`` writes it.

        Args:
            prices: int64 [2, N, n], bids and asks from the best; 0 where there is no level.
            sizes: int64 [2, N, n].
            scales: decimals of both; the result has those of ``self.scales``.

        Raises:
            ValueError: more digits than int64 holds.
        """
        from backtest.plugins.sources.shared.book_loops import restated

        finest = max(self.scales[0], scales[0]), max(self.scales[1], scales[1])
        self._seen = rescaled(self._seen, finest[0] - self.scales[0])
        self._shown = rescaled(self._shown, finest[1] - self.scales[1])
        self.scales = finest
        prices = np.ascontiguousarray(rescaled(prices, finest[0] - scales[0]))
        sizes = np.ascontiguousarray(rescaled(sizes, finest[1] - scales[1]))
        _, levels, n = prices.shape
        out = np.zeros((5, 2 + (2 + 4 * levels) * n), dtype=np.int64)
        cleared = 0
        if levels != self._seen.shape[1]:
            # With another number of levels, those that were seen are not to be told from new ones.
            out[1, :2], out[4, :2], cleared = (0, 1), 1, 2
            self._seen = np.zeros((2, levels), dtype=np.int64)
            self._shown = np.zeros((2, levels), dtype=np.int64)
        return out[:, : restated(prices, sizes, self._seen, self._shown, out, cleared)]
