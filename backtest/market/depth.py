"""Depth as the venue sees it: what the levels below the touch display, or the orders in them.

A row of L2 states what one level displays; a row of L3 what became of one order. Rows lie between
events in one order through both, the bus's: (ts_event, seq). Quotes stay in the events: whoever
writes depth also writes an event whenever the touch or its size changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np

from backtest.core.arrays import BoolArray, Int8Array, Int32Array, Int64Array, UInt8Array

BID = 1
ASK = -1
BOTH = 0
"""The side of a ``CLEAR`` that takes both."""

SNAPSHOT = 1
"""The row restates what was there."""

CLEAR = 2
"""All levels of the side are gone, and what it displays is unknown from here on."""

LAST = 4
"""Beside ``SNAPSHOT``: with this row the symbol's snapshot ends, and both its sides are known."""

ADD = 0
EXECUTE = 1
CANCEL = 2
MODIFY = 3
ACTIONS = ("add", "execute", "cancel", "modify")
"""What became of an order, by code."""

MOST_DISPLAYED = 1 << 42
"""Lots of a row at most, so that places in queues can be counted in fractions of a lot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthRows:
    """Columns of ``n`` rows in time order.

    Attributes:
        symbol: index into the dataset's symbol table, int32 [n].
        ts_event: when it happened at the venue, int64 ns [n].
        side: int8 [n], ``BID`` or ``ASK``; ``BOTH`` with ``CLEAR`` alone.
        price: int64 ticks [n]; without meaning with ``CLEAR``.
        size: int64 lots [n]. L2: what the level displays from now on, 0 where it is gone. L3: the
            lots added, executed or cancelled, or the order's lots from now on (``MODIFY``).
        flags: uint8 [n], the sum of ``SNAPSHOT``, ``CLEAR`` and ``LAST`` where they hold. A row
            with ``CLEAR`` states no level and no order, and clears before ``LAST`` counts.
        order_id: int64 [n] on L3; ``None`` on L2.
        action: int8 [n] on L3, ``ADD``, ``EXECUTE``, ``CANCEL`` or ``MODIFY``; ``None`` on L2.
    """

    symbol: Int32Array
    ts_event: Int64Array
    side: Int8Array
    price: Int64Array
    size: Int64Array
    flags: UInt8Array
    order_id: Int64Array | None = None
    action: Int8Array | None = None

    def __len__(self) -> int:
        return len(self.ts_event)

    @property
    def orders(self) -> bool:
        """The rows are of single orders (L3)."""
        return self.order_id is not None

    def select(self, rows: slice | Int64Array | BoolArray) -> Self:
        """The same columns at some rows (a view for a slice, a copy for an index array)."""
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        taken: Any = {name: None if of is None else of[rows] for name, of in columns.items()}
        return type(self)(**taken)


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthBatch(DepthRows):
    """The same, with the rows' places among the events of a stream.

    Attributes:
        follows: int64 [n], how many of the stream's events precede the row in bus order: it lies
            after the event with number ``follows - 1`` and before the one with number ``follows``.
    """

    follows: Int64Array


VALUES = ("side", "price", "size", "flags", "order_id", "action")
"""What rows say besides whose and when."""


def concatenate_depth(batches: Sequence[DepthBatch]) -> DepthBatch:
    """One batch of all the rows, in order.

    Raises:
        ValueError: there is no batch.
    """
    if not batches:
        raise ValueError("no batches to concatenate")
    columns = {f.name: [getattr(batch, f.name) for batch in batches] for f in fields(DepthBatch)}
    joined: Any = {n: None if of[0] is None else np.concatenate(of) for n, of in columns.items()}
    return DepthBatch(**joined)
