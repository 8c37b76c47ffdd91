"""Trades, quotes and depth as sorted lanes, merged into one stream by time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backtest.core.arrays import BoolArray, Int8Array, Int64Array
from backtest.data.canonical import CanonicalWriter
from backtest.data.reading.decode import Columns
from backtest.data.reading.merge import SortedFile, stream
from backtest.market.depth import VALUES, DepthBatch
from backtest.market.events import NO_PRICE, EventBatch

QUOTE = ("bid", "ask", "bid_size", "ask_size")
DEPTH_TYPES: dict[str, Any] = {
    **{"side": np.int8, "price": np.int64, "size": np.int64, "flags": np.uint8},
    **{"order_id": np.int64, "action": np.int8},
}
"""Of ``backtest.market.depth.VALUES``."""

_BATCH_ROWS = 65_536
_LANE_ROWS = 16_384
_LEAST_ROWS = 256
_BUFFERED_ROWS = 1 << 22
"""Of all lanes together: of very many, each buffers less."""


@dataclass(frozen=True, slots=True)
class Lane:
    """Rows in time order, as a rule of one kind.

    Attributes:
        first: no row has a smaller ts_event, int64 ns.
        chunks: the rows, made when they are due: ``quotes``, ``trades``, ``depth_rows`` or
            ``MarketRows`` give each.
    """

    first: int
    chunks: Iterator[Columns]


def quotes(
    symbol: int, times: dict[str, Int64Array], *quote: Int64Array, aggressors: bool = False
) -> Columns:
    """Rows of a lane that set the quote: bid, ask (ticks), bid size and ask size (lots), [n].

    Args:
        aggressors: the lanes of trades say who initiated them; all lanes have the same columns.
    """
    n = len(times["ts_event"])
    return {
        "symbol": np.full(n, symbol, dtype=np.int32),
        **times,
        **dict(zip(QUOTE, quote, strict=True)),
        "trade_price": np.full(n, NO_PRICE, dtype=np.int64),
        "trade_size": np.zeros(n, dtype=np.int64),
        **({"aggressor": np.zeros(n, dtype=np.int8)} if aggressors else {}),
    }


def trades(
    symbol: int,
    times: dict[str, Int64Array],
    price: Int64Array,
    size: Int64Array,
    aggressor: Int8Array | None = None,
) -> Columns:
    """Rows of a lane that are trades: price in ticks, size in lots, aggressor if known, [n]."""
    n = len(price)
    absent, nothing = np.full(n, NO_PRICE, dtype=np.int64), np.zeros(n, dtype=np.int64)
    return {
        "symbol": np.full(n, symbol, dtype=np.int32),
        **times,
        **dict(zip(QUOTE, (absent, absent, nothing, nothing), strict=True)),
        "trade_price": price,
        "trade_size": size,
        **({} if aggressor is None else {"aggressor": aggressor}),
    }


def depth_rows(
    symbol: int,
    ts: Int64Array,
    values: dict[str, Any],
    seq: Int64Array | None = None,
    *,
    receipts: bool = True,
) -> Columns:
    """Rows of a lane that are depth.

    Args:
        symbol: index into the card's symbols.
        ts: when they happened, int64 ns [n].
        values: by name those of ``backtest.market.depth.VALUES``, the last two on L3 alone.
        seq: their column ``seq``, int64 [n], if the lanes have one.
        receipts: the events have them.
    """
    n = len(ts)
    absent, nothing = np.full(n, NO_PRICE, dtype=np.int64), np.zeros(n, dtype=np.int64)
    times = {"ts_event": ts, "ts_recv": absent} if receipts else {"ts_event": ts}
    none = trades(symbol, times, absent, nothing)
    columns = {**none, "aggressor": np.zeros(n, dtype=np.int8)}
    columns |= {"is_event": np.zeros(n, dtype=np.bool_)}
    columns |= {} if seq is None else {"seq": seq}
    return columns | {name: values[name].astype(DEPTH_TYPES[name]) for name in values}


def among_depth(events: Columns, *, orders: bool = False) -> Columns:
    """Rows of a lane that are events, in lanes of which others have rows of depth.

    Args:
        events: of ``quotes`` or ``trades``, with aggressors.
        orders: the depth is of single orders.
    """
    n = len(events["ts_event"])
    names = VALUES if orders else VALUES[:4]
    empty = {name: np.zeros(n, dtype=DEPTH_TYPES[name]) for name in names}
    return {**events, "is_event": np.ones(n, dtype=np.bool_), **empty}


def write_lanes(writer: CanonicalWriter, lanes: Sequence[Lane]) -> None:
    """Write all lanes as one stream by time; a trade carries the quote before it.

    Args:
        writer: takes the events, and the rows of depth with their places among them.
        lanes: the rows of one instant are ordered by their column ``seq``, or, if no lane has it,
            by lanes and then as they are: give trades before quotes, and depth last. If one has
            rows of depth (``depth_rows``, ``MarketRows``), all others have their columns
            (``among_depth``).
    """
    least = min(_LANE_ROWS, max(_LEAST_ROWS, _BUFFERED_ROWS // max(len(lanes), 1)))
    files = [
        SortedFile(source, lane.first, lane.chunks, least) for source, lane in enumerate(lanes)
    ]
    last = _LastQuotes(len(writer.card.symbols))
    for columns in stream(files, _BATCH_ROWS):
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


class _LastQuotes:
    """The last quote of every symbol, which is added to the trades that follow it."""

    def __init__(self, symbols: int) -> None:
        self._last = {
            name: np.full(symbols, 0 if name.endswith("size") else NO_PRICE, dtype=np.int64)
            for name in QUOTE
        }

    def filled(self, columns: Columns) -> Columns:
        symbol = columns["symbol"]
        is_quote: BoolArray = columns["trade_price"] == NO_PRICE
        order = np.argsort(symbol, kind="stable")
        grouped = symbol[order]
        place = np.arange(len(order))
        first = np.searchsorted(grouped, grouped)  # [n]: where the row's symbol begins
        latest = np.maximum.accumulate(np.where(is_quote[order], place, -1))
        known = latest >= first
        row = order[np.where(known, latest, 0)]
        ends = np.flatnonzero(np.append(grouped[1:] != grouped[:-1], True))
        filled = dict(columns)
        for name in QUOTE:
            last = self._last[name]
            values = np.where(known, columns[name][row], last[grouped])  # [n], by symbol
            filled[name] = np.empty_like(values)
            filled[name][order] = values
            last[grouped[ends]] = values[ends]
        return filled
