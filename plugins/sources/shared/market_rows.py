"""Events and rows of depth in one order, made one after another while a book is walked."""

from __future__ import annotations

from typing import Any

import numpy as np

from backtest.data.reading.decode import Columns
from backtest.market.depth import VALUES
from backtest.market.events import NO_PRICE, NO_TIME
from backtest.plugins.sources.shared.lanes import DEPTH_TYPES, QUOTE
from backtest.plugins.sources.shared.order_books import NO_QUOTE, Quote

_EVENT = ("symbol", "ts_event", "ts_recv", *QUOTE, "trade_price", "trade_size", "aggressor")
_TYPES: dict[str, Any] = {"symbol": np.int32, "aggressor": np.int8, **DEPTH_TYPES}
_ABSENT = {"ts_recv": NO_TIME, "bid": NO_PRICE, "ask": NO_PRICE, "trade_price": NO_PRICE}
_NO_TRADE = (NO_PRICE, 0, 0)


class MarketRows:
    """Rows of a lane in which depth may stand among events.

    Args:
        orders: the rows of depth are of single orders.
    """

    def __init__(self, *, orders: bool) -> None:
        self._values = VALUES if orders else VALUES[:4]
        self._events: list[tuple[int, ...]] = []
        self._depth: list[tuple[int, ...]] = []
        self._head = (0, 0, 0)

    def at(self, symbol: int, ts_event: int, ts_recv: int) -> None:
        """Whose the next rows are, and when they happened and were received, ns."""
        self._head = symbol, ts_event, ts_recv

    def quote(self, quote: Quote) -> None:
        """An event: the touch is now this."""
        self._events.append((self._place(), *self._head, *quote, *_NO_TRADE))

    def trade(self, price: int, size: int, aggressor: int) -> None:
        """An event: a trade, in ticks and lots."""
        self._events.append((self._place(), *self._head, *NO_QUOTE, price, size, aggressor))

    def depth(self, *values: int) -> None:
        """A row of depth: ``backtest.market.depth.VALUES``, the last two on L3 alone."""
        symbol, ts, _ = self._head
        self._depth.append((self._place(), symbol, ts, *values))

    def columns(self) -> Columns:
        """All rows."""
        events = np.array(self._events, dtype=np.int64).reshape(-1, len(_EVENT) + 1).T
        names = ("symbol", "ts_event", *self._values)
        depth = np.array(self._depth, dtype=np.int64).reshape(-1, len(names) + 1).T
        n = events.shape[1] + depth.shape[1]
        whole: Columns = {"is_event": np.zeros(n, dtype=np.bool_)}
        whole["is_event"][events[0]] = True
        for name in (*_EVENT, *self._values):
            whole[name] = np.full(n, _ABSENT.get(name, 0), dtype=_TYPES.get(name, np.int64))
        for rows, of in ((events, _EVENT), (depth, names)):
            for k, name in enumerate(of, 1):
                whole[name][rows[0]] = rows[k]
        return whole

    def _place(self) -> int:
        return len(self._events) + len(self._depth)
