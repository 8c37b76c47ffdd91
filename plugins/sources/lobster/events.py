"""From LOBSTER's messages and books to a dataset."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from backtest.core.arrays import BoolArray, Int64Array
from backtest.core.times import format_utc
from backtest.data.canonical import CanonicalWriter
from backtest.data.card import Calendar, Card, InstrumentTable
from backtest.data.reading.decode import Columns
from backtest.data.sources import IngestReport
from backtest.market.depth import ASK, BID, CLEAR, VALUES
from backtest.market.events import NO_PRICE
from backtest.plugins.sources.lobster.files import LobsterFile, lobster_files
from backtest.plugins.sources.lobster.orders import OrderRows
from backtest.plugins.sources.lobster.rows import (
    CROSS,
    DELETE,
    EXECUTE,
    HALT,
    HIDDEN,
    LobsterRows,
    read_rows,
)
from backtest.plugins.sources.shared.books import View
from backtest.plugins.sources.shared.counts import Counts
from backtest.plugins.sources.shared.decimals import money_unit
from backtest.plugins.sources.shared.inputs import card_name
from backtest.plugins.sources.shared.lanes import (
    Lane,
    among_depth,
    depth_rows,
    quotes,
    trades,
    write_lanes,
)

_MS = 1_000_000
_OFF_TICK = "hidden execution off the tick"
_CROSS = "cross trade"
_HALT = "message about a trading halt"
_RANKS = 3
"""``seq`` of a message's trade is three times its number, of its depth 1 and its quote 2 more."""


class LobsterOptions(Protocol):
    """Parameters of ``Lobster``, which imports this module only when it ingests."""

    @property
    def depth(self) -> Literal["orders", "levels", "none"]: ...

    @property
    def zone(self) -> str: ...

    @property
    def tick_size(self) -> str: ...

    @property
    def tick(self) -> int: ...

    @property
    def currency(self) -> str: ...

    @property
    def fee_per_share(self) -> str: ...

    @property
    def ignore(self) -> tuple[str, ...]: ...


def ingest(source: LobsterOptions, input: Path, output: Path) -> IngestReport:
    """See ``Lobster``.

    Raises:
        DataError: files that are damaged, misnamed, alone or not in the format.
    """
    files, ignored = lobster_files(input, source.ignore, source.zone)
    symbols = sorted({file.symbol for file in files})
    tick = Decimal(source.tick_size)
    card = Card(
        name=card_name("lobster", input),
        description="Quotes, trades and orders of NASDAQ stocks from LOBSTER's files.",
        symbols=tuple(symbols),
        instruments={
            "default": InstrumentTable(
                tick_size=tick,
                lot_size=Decimal(1),
                currency=source.currency,
                fee_per_lot=Decimal(source.fee_per_share),
                money_unit=money_unit(tick, Decimal(1), Decimal(1)),
            )
        },
        calendar=Calendar.model_validate({"zone": source.zone, "sessions": _sessions(files)}),
        notes={"levels": {file.symbol: file.levels for file in files}},
    )
    counts = Counts()
    with CanonicalWriter(output, card) as writer:
        write_lanes(
            writer,
            [
                Lane(file.midnight, _Day(source, file, symbols.index(file.symbol), counts).chunks())
                for file in files
            ],
        )
    return counts.report(writer, ignored)


class _Day:
    """One symbol's day."""

    def __init__(
        self, source: LobsterOptions, file: LobsterFile, symbol: int, counts: Counts
    ) -> None:
        self._depth = source.depth
        self._tick = source.tick
        self._file = file
        self._symbol = symbol
        self._counts = counts
        self._orders = OrderRows()
        self._view = View()
        self._quote = (0, 0, 0, 0)
        self._halted = 0
        self._halts = np.zeros(0, dtype=np.bool_)
        self._was_halted = False

    def chunks(self) -> Iterator[Columns]:
        """Events and rows of depth, by (ts_event, seq)."""
        for rows in read_rows(self._file):
            parts = [*self._parts(rows)]
            if self._depth != "none":
                parts = [
                    part
                    if "is_event" in part
                    else among_depth(part, orders=self._depth == "orders")
                    for part in parts
                ]
            joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            order = np.argsort(joined["seq"], kind="stable")
            yield {name: values[order] for name, values in joined.items()}

    def _parts(self, rows: LobsterRows) -> Iterator[Columns]:
        counts, kind = self._counts, rows.type
        counts.read += len(rows)
        counts.depth += int(np.count_nonzero(kind <= DELETE))
        counts.refuse(_CROSS, kind == CROSS)
        counts.refuse(_HALT, kind == HALT)
        prices = self._ticks(rows)
        seq = _RANKS * (rows.first + np.arange(len(rows)))
        off = rows.price % self._tick != 0
        whole = np.where(off | (kind > HIDDEN), 0, rows.price // self._tick)
        yield self._trades(rows, whole, off, seq)
        yield self._quotes(rows, prices, seq + 2)
        if self._depth == "orders":
            at, *values = self._orders.rows(rows, whole, prices)
            named = dict(zip(VALUES, values, strict=True))
            yield depth_rows(self._symbol, rows.ts[at], named, seq[at] + 1, receipts=False)
        elif self._depth == "levels":
            yield from self._levels(rows, prices, seq + 1)

    def _levels(self, rows: LobsterRows, prices: Int64Array, seq: Int64Array) -> Iterator[Columns]:
        halted = self._halts
        resumed = np.flatnonzero(halted[:-1] & ~halted[1:]) + 1
        cuts = [0, *resumed.tolist(), len(rows)]
        for low, high in itertools.pairwise(cuts):
            if low or (self._was_halted and not halted[0]):
                self._view = View()  # the quote that was absent removed all levels
            some = slice(low, high)
            found = self._view.update(prices[:, :, some], rows.sizes[:, :, some], (0, 0))
            at, side, price, size, clear = found
            sides = np.where(side == 0, BID, ASK)
            named = dict(zip(VALUES[:4], (sides, price, size, clear * CLEAR), strict=True))
            times, numbers = rows.ts[some][at], seq[some][at]
            yield depth_rows(self._symbol, times, named, numbers, receipts=False)
        self._was_halted = bool(halted[-1])

    def _ticks(self, rows: LobsterRows) -> Int64Array:
        """The book's prices in ticks, int64 [2, N, n]."""
        off = (rows.prices % self._tick != 0).any(axis=(0, 1))
        displayed = (rows.type <= EXECUTE) & (rows.price % self._tick != 0)
        for wrong, book in ((off, True), (displayed, False)):
            if wrong.any():
                row = rows.first + int(np.argmax(wrong))
                tick = Decimal(self._tick) / 10_000
                problem = f"displays a price that is not a multiple of {tick}: state tick_size"
                self._file.refuse(row, problem, book=book)
        return rows.prices // self._tick

    def _trades(
        self, rows: LobsterRows, price: Int64Array, off: BoolArray, seq: Int64Array
    ) -> Columns:
        executed = (rows.type == EXECUTE) | (rows.type == HIDDEN)
        self._counts.refuse(_OFF_TICK, executed & off)
        some = executed & ~off
        sides = -rows.direction[some].astype(np.int8)
        times = {"ts_event": rows.ts[some]}
        made = trades(self._symbol, times, price[some], rows.size[some], sides)
        return {**made, "seq": seq[some]}

    def _quotes(self, rows: LobsterRows, prices: Int64Array, seq: Int64Array) -> Columns:
        """The touch where it changed; none while trading is halted."""
        halted = self._halts = self._standing(rows)
        touch = np.concatenate([prices[:, 0], rows.sizes[:, 0]])  # [4, n]: bid, ask, their sizes
        touch = np.where(halted, 0, touch)
        before = np.concatenate([np.array(self._quote)[:, None], touch[:, :-1]], axis=1)
        changed = (touch != before).any(axis=0)
        self._quote = tuple(touch[:, -1].tolist())
        self._counts.quotes += int(np.count_nonzero(changed))
        bid, ask, bid_size, ask_size = touch[:, changed]
        shown = [np.where(price > 0, price, NO_PRICE) for price in (bid, ask)]
        times = {"ts_event": rows.ts[changed]}
        made = quotes(self._symbol, times, *shown, bid_size, ask_size, aggressors=True)
        return {**made, "seq": seq[changed]}

    def _standing(self, rows: LobsterRows) -> BoolArray:
        """Where trading is halted after the row: from price -1 until price 1, bool [n]."""
        tells = (rows.type == HALT) & (rows.price != 0)
        last = np.maximum.accumulate(np.where(tells, np.arange(len(rows)), -1))
        halted = np.where(last < 0, self._halted, rows.price[last] < 0)
        self._halted = int(halted[-1])
        standing: BoolArray = halted.astype(np.bool_)
        return standing


def _sessions(files: list[LobsterFile]) -> list[list[str]]:
    """The times that files cover, joined where they overlap or touch."""
    spans = sorted((f.midnight + f.start * _MS, f.midnight + f.end * _MS) for f in files)
    joined: list[list[int]] = []
    for start, end in spans:
        if joined and start <= joined[-1][1]:
            joined[-1][1] = max(joined[-1][1], end)
        else:
            joined.append([start, end])
    return [[format_utc(instant) for instant in span] for span in joined]
