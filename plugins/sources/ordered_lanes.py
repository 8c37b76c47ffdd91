"""Lanes merged by time, with rows of depth among their events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.data.canonical import CanonicalWriter
from backtest.data.reading.decode import Columns
from backtest.data.reading.merge import SortedFile, stream
from backtest.market.depth import VALUES, DepthBatch
from backtest.market.events import NO_PRICE, EventBatch
from backtest.plugins.sources.lanes import BATCH_ROWS, LANE_ROWS, Lane, LastQuotes, trades

_LEAST_ROWS = 256
_BUFFERED_ROWS = 1 << 22
"""Of all lanes together: of very many, each buffers less."""

_TYPES: dict[str, Any] = {
    **{"side": np.int8, "price": np.int64, "size": np.int64, "flags": np.uint8},
    **{"order_id": np.int64, "action": np.int8},
}


def depth_rows(
    symbol: int,
    ts: Int64Array,
    values: dict[str, Any],
    seq: Int64Array,
    *,
    receipts: bool = True,
) -> Columns:
    """Rows of a lane that are depth.

    Args:
        symbol: index into the card's symbols.
        ts: when they happened, int64 ns [n].
        values: by name those of ``backtest.market.depth.VALUES``, the last two on L3 alone.
        seq: their column ``seq``, int64 [n].
        receipts: the events have them.
    """
    n = len(ts)
    absent, nothing = np.full(n, NO_PRICE, dtype=np.int64), np.zeros(n, dtype=np.int64)
    times = {"ts_event": ts, "ts_recv": absent} if receipts else {"ts_event": ts}
    none = trades(symbol, times, absent, nothing)
    columns = {**none, "aggressor": np.zeros(n, dtype=np.int8)}
    columns |= {"is_event": np.zeros(n, dtype=np.bool_), "seq": seq}
    return columns | {name: values[name].astype(_TYPES[name]) for name in values}


def among_depth(events: Columns, *, orders: bool = False) -> Columns:
    """Rows of a lane that are events, in lanes of which others have rows of depth.

    Args:
        events: of ``quotes`` or ``trades``, with aggressors.
        orders: the depth is of single orders.
    """
    n = len(events["ts_event"])
    names = VALUES if orders else VALUES[:4]
    empty = {name: np.zeros(n, dtype=_TYPES[name]) for name in names}
    return {**events, "is_event": np.ones(n, dtype=np.bool_), **empty}


def write_in_order(writer: CanonicalWriter, lanes: Sequence[Lane]) -> None:
    """Write all lanes as one stream by time; a trade carries the quote before it.

    Args:
        writer: takes the events, and the rows of depth with their places among them.
        lanes: the rows of one instant are ordered by their column ``seq``, or, if no lane has it,
            by lanes and then as they are. If one has rows of depth (``depth_rows``,
            ``MarketRows``), all others have their columns (``among_depth``).
    """
    least = min(LANE_ROWS, max(_LEAST_ROWS, _BUFFERED_ROWS // max(len(lanes), 1)))
    files = [
        SortedFile(source, lane.first, lane.chunks, least) for source, lane in enumerate(lanes)
    ]
    last = LastQuotes(len(writer.card.symbols))
    for columns in stream(files, BATCH_ROWS):
        columns.pop("seq", None)
        events, depth = _split(columns) if "is_event" in columns else (columns, None)
        if len(events["ts_event"]):
            events = last.filled(events)
        writer.write(EventBatch(**events), depth=depth)


def _split(columns: Columns) -> tuple[Columns, DepthBatch]:
    """The events, and the rows of depth with their places among them."""
    is_event = columns["is_event"]
    depth = {
        name: columns[name][~is_event]
        for name in ("symbol", "ts_event", *VALUES)
        if name in columns
    }
    events = {
        name: column[is_event]
        for name, column in columns.items()
        if name not in VALUES and name != "is_event"
    }
    return events, DepthBatch(follows=np.cumsum(is_event)[~is_event], **depth)
