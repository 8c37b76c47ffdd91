"""Events and rows of depth in one order, made one after another while a book is walked."""

from __future__ import annotations

from typing import Any

import numpy as np

from backtest.data.reading.decode import Columns
from backtest.market.depth import VALUES
from backtest.market.events import NO_PRICE
from backtest.plugins.sources.lanes import QUOTE
from backtest.plugins.sources.order_books import Quote

_TRADE = ("trade_price", "trade_size", "aggressor")
_TYPES: dict[str, Any] = {"symbol": np.int32, "aggressor": np.int8, "side": np.int8}
_TYPES |= {"flags": np.uint8, "action": np.int8, "is_event": np.bool_}
_NO_QUOTE = (NO_PRICE, NO_PRICE, 0, 0)
_NO_TRADE = (NO_PRICE, 0, 0)


class MarketRows:
    """Rows of a lane in which depth may stand among events, made one after another.

    Args:
        orders: the rows of depth are of single orders.

    Attributes:
        events: how many of the rows are events.
    """

    def __init__(self, *, orders: bool) -> None:
        self.events = 0
        values = VALUES if orders else VALUES[:4]
        self._names = ("symbol", "ts_event", "ts_recv", "is_event", *QUOTE, *_TRADE, *values)
        self._no_depth = (0,) * len(values)
        self._rows: list[tuple[int, ...]] = []
        self._head = (0, 0, 0)

    def at(self, symbol: int, ts_event: int, ts_recv: int) -> None:
        """Whose the next rows are, and when they happened and were received, ns."""
        self._head = symbol, ts_event, ts_recv

    def quote(self, quote: Quote) -> None:
        """An event: the touch is now this."""
        self._rows.append((*self._head, 1, *quote, *_NO_TRADE, *self._no_depth))
        self.events += 1

    def trade(self, price: int, size: int, aggressor: int) -> None:
        """An event: a trade, in ticks and lots."""
        row = (*self._head, 1, *_NO_QUOTE, price, size, aggressor, *self._no_depth)
        self._rows.append(row)
        self.events += 1

    def depth(self, *values: int) -> None:
        """A row of depth: ``backtest.market.depth.VALUES``, the last two on L3 alone."""
        self._rows.append((*self._head, 0, *_NO_QUOTE, *_NO_TRADE, *values))

    def columns(self) -> Columns:
        """All rows."""
        cells = np.array(self._rows, dtype=np.int64).reshape(-1, len(self._names))
        return {
            name: np.ascontiguousarray(cells[:, k]).astype(_TYPES.get(name, np.int64))
            for k, name in enumerate(self._names)
        }
