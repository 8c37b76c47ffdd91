"""The orders that stand when a window begins, as the snapshot that its rows of depth begin with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.core.compiled import writable
from backtest.data.reading.decode import Columns
from backtest.market.depth import ADD, BOTH, CLEAR, LAST, SNAPSHOT

if TYPE_CHECKING:
    from backtest.core.arrays import BoolArray

ROOM = 1 << 14
"""Orders that are held at first, those that do not stand any more included."""

_ROW = ("symbol", "side", "price", "size", "flags", "order_id", "action")


def standing_orders(
    pieces: Iterator[Columns], start: int, symbols: Int64Array, count: int
) -> Columns:
    """A snapshot of each symbol at ``start``, after the rows before it.

    A symbol's begins with a clear, has its orders level by level in the order of their queues, and
    ends unless a clear before it was followed by no whole snapshot.

    Args:
        pieces: all rows of the symbols before ``start``, in order.
        start: the rows' ts_event, ns.
        symbols: ids of those wanted, in order.
        count: how many symbols the dataset has.
    """
    orders, known = _after(pieces, count)
    parts = [_snapshot(orders, symbol, known[symbol]) for symbol in symbols.tolist()]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    rows = len(columns["symbol"])
    columns["ts_event"] = np.full(rows, start, dtype=np.int64)
    columns["seq"] = np.full(rows, -1, dtype=np.int64)  # before all events of the window
    return columns


def _after(pieces: Iterator[Columns], symbols: int) -> tuple[Int64Array, BoolArray]:
    """The orders that stand after the rows, and which symbols' sides are known, bool [S, 2]."""
    from backtest.data.reading import standing_loops as at

    orders = np.zeros((ROOM, at.COLUMNS), dtype=np.int64)
    table = np.full(2 * ROOM, -1, dtype=np.int64)
    known = np.ones((symbols, 2), dtype=np.bool_)
    held = moment = 0
    for columns in pieces:
        rows = [writable(columns[name]) for name in _ROW]
        row = 0
        while True:
            row, held = at.follow(*rows, row, moment, table, orders, held, known)
            if row == len(rows[0]):
                break
            left = orders[:held][orders[:held, at.SIZE] > 0]
            room = len(orders) if 2 * len(left) <= len(orders) else 2 * len(orders)
            orders = np.zeros((room, at.COLUMNS), dtype=np.int64)
            held = len(left)
            orders[:held] = left
            table = np.full(2 * room, -1, dtype=np.int64)
            at.refill(held, table, orders)
        moment += len(rows[0])
    stand = orders[:held][orders[:held, at.SIZE] > 0]
    by_queue = (stand[:, at.MOMENT], stand[:, at.PRICE], stand[:, at.SIDE])
    return stand[np.lexsort(by_queue)], known


def _snapshot(orders: Int64Array, symbol: int, known: BoolArray) -> Columns:
    from backtest.data.reading import standing_loops as at

    own = orders[orders[:, at.SYMBOL] == symbol]
    flags = np.full(len(own) + 1, SNAPSHOT, dtype=np.uint8)
    flags[0] |= CLEAR
    if known.all():
        flags[-1] |= LAST

    def after(first: int, values: Any, dtype: Any) -> Any:
        return np.concatenate([[first], values]).astype(dtype)

    return {
        "symbol": np.full(len(flags), symbol, dtype=np.int32),
        "side": after(BOTH, own[:, at.SIDE], np.int8),
        "price": after(0, own[:, at.PRICE], np.int64),
        "size": after(0, own[:, at.SIZE], np.int64),
        "flags": flags,
        "order_id": after(0, own[:, at.ORDER], np.int64),
        "action": np.full(len(flags), ADD, dtype=np.int8),
    }
