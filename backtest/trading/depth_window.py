"""The rows of depth that venues have yet to handle: numbered, and linked by symbol."""

from __future__ import annotations

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.core.compiled import writable
from backtest.market.depth import DepthBatch
from backtest.market.window import Window
from backtest.trading import depth_layout as dl

_COLUMNS = ("symbol", "ts_event", "follows", "side", "price", "size", "flags")

_ROWS = 1 << 16
"""Rows that there is room for at the beginning."""


class DepthWindow:
    """Rows of depth for the venues of a run.

    Those of a symbol are numbered in bus order; rows that came together lie symbol by symbol.

    Args:
        symbols: size of the symbol table.
        orders: whether rows are of single orders (L3), or of levels (L2).

    Attributes:
        orders: the same.
        heads: number of each symbol's first row among those that came last; -1: none, int64 [S].
    """

    def __init__(self, symbols: int, *, orders: bool, rows: int = _ROWS) -> None:
        from backtest.trading import depth_row_loops

        self._loops = depth_row_loops
        self._window = Window({"row": (np.int64, dl.ROW_SIZE)}, rows)
        self.orders = orders
        self._newest = np.full(symbols, -1, dtype=np.int64)
        self.heads = np.full(symbols, -1, dtype=np.int64)

    @property
    def rows(self) -> Int64Array:
        """The rows, int64 [n, ROW_SIZE], those without meaning at the end included."""
        return self._window["row"]

    @property
    def first(self) -> int:
        """Number of the first row."""
        return self._window.first

    @property
    def stop(self) -> int:
        """Number after that of the newest row."""
        return self._window.stop

    def extend(self, batch: DepthBatch) -> None:
        """Take in rows; each venue is to be told before the next (``OrderVenue.follow_depth``)."""
        number, loops = self._window.stop, self._loops
        self._window.extend(len(batch))
        rows, first = self.rows, self.first
        symbol, *columns = (writable(getattr(batch, name)) for name in _COLUMNS)
        places = np.empty(len(batch), dtype=np.int64)
        loops.place_rows(number, first, symbol, self._newest, self.heads, places, rows)
        loops.put_rows(places, *columns, rows)
        if self.orders:
            loops.put_orders(places, writable(batch.order_id), writable(batch.action), rows)

    def release(self, number: int) -> None:
        """Give up the rows before a number."""
        self._window.release(number)
