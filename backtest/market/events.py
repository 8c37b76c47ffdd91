"""Events as the engine sees them: columns of many market events in the bus's total order.

Times are int64 nanoseconds since the Unix epoch, UTC. Prices are integer ticks and sizes integer
lots of the symbol's instrument, so that nothing downstream ever rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtest.core.arrays import BoolArray, Float32Array, Int8Array, Int32Array, Int64Array

NO_PRICE = int(np.iinfo(np.int64).min)
"""A side of the quote, or a trade, that is absent."""

NO_TIME = int(np.iinfo(np.int64).min)
"""An instant that never came, or was not recorded."""

ABSENT = {
    "ts_recv": NO_TIME,
    "bid": NO_PRICE,
    "ask": NO_PRICE,
    "bid_size": 0,
    "ask_size": 0,
    "trade_price": NO_PRICE,
    "trade_size": 0,
    "aggressor": 0,
}
"""The columns whose values may be absent, and what each holds in a row that has none."""


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Columns of ``n`` events in time order. Targets are never among them.

    Attributes:
        symbol: index into the dataset's symbol table, int32 [n].
        ts_event: when it happened at the venue, int64 ns [n].
        ts_recv: when the recorder received it, int64 ns [n]; ``NO_TIME`` where unknown; ``None``
            if the dataset has no such column.
        bid, ask: the symbol's quote after the event, int64 ticks [n]; ``NO_PRICE`` where that side
            is absent; ``None`` if the dataset has no quotes.
        bid_size, ask_size: displayed size at the touch, int64 lots [n], or ``None``.
        trade_price, trade_size: the trade, if the event is one, int64 ticks and lots [n];
            ``NO_PRICE`` and 0 where it is not; ``None`` if the dataset has no trades.
        aggressor: who initiated the trade, int8 [n]: 1 the buyer, -1 the seller; 0 where that is
            unknown or the event is no trade; ``None`` if the dataset has no such column.
        features: float32 [n, F] view in any memory order, or ``None`` if not asked for.
    """

    symbol: Int32Array
    ts_event: Int64Array
    ts_recv: Int64Array | None = None
    bid: Int64Array | None = None
    ask: Int64Array | None = None
    bid_size: Int64Array | None = None
    ask_size: Int64Array | None = None
    trade_price: Int64Array | None = None
    trade_size: Int64Array | None = None
    aggressor: Int8Array | None = None
    features: Float32Array | None = None

    def __len__(self) -> int:
        return len(self.ts_event)

    def select(self, rows: slice | Int64Array | BoolArray) -> EventBatch:
        """The same columns at some rows (a view for a slice, a copy for an index array)."""
        columns = [getattr(self, name) for name in COLUMNS]
        taken: Any = (None if column is None else column[rows] for column in columns)
        return EventBatch(*taken)

    def read_only(self) -> EventBatch:
        """The same columns, as views that nobody can write to."""
        columns = [getattr(self, name) for name in COLUMNS]
        views: Any = (None if column is None else locked(column) for column in columns)
        return EventBatch(*views)

    def valid_quote(self) -> BoolArray:
        """Rows with a two-sided, uncrossed quote, bool [n]; all false without quotes."""
        if self.bid is None or self.ask is None:
            return np.zeros(len(self), dtype=np.bool_)
        return (self.bid != NO_PRICE) & (self.ask != NO_PRICE) & (self.bid <= self.ask)


COLUMNS = tuple(f.name for f in fields(EventBatch))
"""Names of an event's columns, in the order in which ``EventBatch`` takes them."""


def locked(column: NDArray[Any]) -> NDArray[Any]:
    """A view that nobody can write to."""
    view = column.view()
    view.flags.writeable = False
    return view


def concatenate(batches: Sequence[EventBatch]) -> EventBatch:
    """One batch of all the rows, in order.

    Raises:
        ValueError: there is no batch.
    """
    if not batches:
        raise ValueError("no batches to concatenate")
    if len(batches) == 1:
        return batches[0]
    columns = [[getattr(batch, name) for batch in batches] for name in COLUMNS]
    joined: Any = (None if of[0] is None else np.concatenate(of) for of in columns)
    return EventBatch(*joined)
