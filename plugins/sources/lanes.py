"""Trades and quotes as sorted lanes, merged into events that carry the prevailing quote."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from backtest.core.arrays import BoolArray, Int8Array, Int64Array
from backtest.data.canonical import CanonicalWriter
from backtest.data.reading.decode import Columns
from backtest.data.reading.merge import SortedFile, rows_of, stream
from backtest.market.depth import DepthBatch, DepthRows
from backtest.market.events import NO_PRICE, EventBatch

BATCH_ROWS = 65_536
QUOTE = ("bid", "ask", "bid_size", "ask_size")
LANE_ROWS = 16_384


@dataclass(frozen=True, slots=True)
class Lane:
    """Rows of one kind in time order.

    Attributes:
        first: no row has a smaller ts_event, int64 ns.
        chunks: the rows, made when they are due: ``quotes`` or ``trades`` give each.
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


def write_lanes(writer: CanonicalWriter, lanes: Sequence[Lane], depth: Sequence[Lane] = ()) -> None:
    """Write all lanes as one stream by ts_event; at equal times, in the order of ``lanes``.

    A trade carries the quote before it, so give trades before quotes. Rows of depth come after all
    events of their time.

    Args:
        depth: lanes with the columns of ``DepthRows``.
    """
    last = LastQuotes(len(writer.card.symbols))
    beside = Beside(stream(_files(depth), BATCH_ROWS))
    for columns in stream(_files(lanes), BATCH_ROWS):
        batch = EventBatch(**last.filled(columns))
        writer.write(batch, depth=beside.before(batch.ts_event))
    for rows in beside.rest():
        writer.write_depth(rows)


def _files(lanes: Sequence[Lane]) -> list[SortedFile]:
    return [
        SortedFile(source, lane.first, lane.chunks, LANE_ROWS) for source, lane in enumerate(lanes)
    ]


class Beside:
    """Rows of depth in time order, taken with the events."""

    def __init__(self, pieces: Iterator[Columns]) -> None:
        self._pieces = pieces
        self._held: Columns | None = None

    def before(self, ts: Int64Array) -> DepthBatch | None:
        """The rows before the last of these events, after those that are not later than they are.

        Rows at the last event's time wait: more events may have it.
        """
        parts: list[Columns] = []
        while (piece := self._held or next(self._pieces, None)) is not None:
            count = int(np.searchsorted(piece["ts_event"], ts[-1]))
            parts.append(rows_of(piece, slice(count)))
            self._held = rows_of(piece, slice(count, None))
            if count < len(piece["ts_event"]):
                break
            self._held = None
        if not parts:
            return None
        columns: dict[str, Any] = {
            name: np.concatenate([part[name] for part in parts]) for name in parts[0]
        }
        return DepthBatch(**columns, follows=np.searchsorted(ts, columns["ts_event"], "right"))

    def rest(self) -> Iterator[DepthRows]:
        """What is left."""
        for piece in chain([] if self._held is None else [self._held], self._pieces):
            columns: dict[str, Any] = {**piece}
            yield DepthRows(**columns)


def card_name(prefix: str, path: Path) -> str:
    """A name for the card of what was read from a path."""
    stem = re.sub(r"[^A-Za-z0-9._-]", "-", path.name.split(".")[0])
    return stem if stem.startswith(prefix) else f"{prefix}-{stem}"


class LastQuotes:
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
