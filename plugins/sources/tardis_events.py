"""From Tardis' files to a dataset: which quotes count, grids, order."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np

from backtest.core.arrays import BoolArray, Int64Array
from backtest.core.text import suggestion_or_list
from backtest.data.canonical import CanonicalWriter
from backtest.data.card import Card, InstrumentTable
from backtest.data.reading.decode import Columns
from backtest.data.sources import IngestReport
from backtest.errors import DataError
from backtest.market.events import NO_PRICE, NO_TIME
from backtest.plugins.sources.books import Book
from backtest.plugins.sources.decimals import money_unit, step_of, to_grid
from backtest.plugins.sources.lanes import Lane, card_name, quotes, trades, write_lanes
from backtest.plugins.sources.spools import Run, Scales, Spool, Spools
from backtest.plugins.sources.tardis_files import (
    TardisFile,
    TardisRows,
    read_rows,
    tardis_files,
)

_QUOTES = ("quotes", "book_ticker", "incremental_book_L2", "book_snapshot")
"""Data types that give quotes, the preferred one first."""

_LEFT_OUT = {
    "derivative_ticker": "derivative_ticker: funding, open interest, index and mark prices",
    "liquidations": "liquidations, which are among the trades",
    "options_chain": "options_chain",
}
_NEXT_KIND = 1 << 61
"""``seq`` of a quote: at one instant quotes come after trades."""

_SIDES = {"buy": 1, "sell": -1, "unknown": 0, "": 0}
_BOOK_SIDES = {"bid": 0, "ask": 1}
_FLAGS = {"false": 0, "true": 1}
_BEFORE = "received before the event: ts_recv set to ts_event"
_NO_VENUE_TIME = "no time of the venue: ts_event is local_timestamp, ts_recv unknown"
_SORTED = "out of the venue's time order: sorted"
_BOOK_BACK = "book row with an earlier time than a row before it: set to its time"
_EMPTY = "side with a price or size of 0: absent"
_EARLY = "book row before the first snapshot"
_SAME_TOUCH = "book row that leaves the touch as it was"
_WORSE = "quote from {} where there are those of another data type"

Key: TypeAlias = tuple[str, str]
"""Exchange and symbol."""


class TardisOptions(Protocol):
    """Parameters of ``Tardis``, which imports this module only when it ingests."""

    @property
    def currency(self) -> str: ...

    @property
    def untradable(self) -> tuple[str, ...]: ...

    @property
    def fee_rate(self) -> str: ...

    @property
    def ignore(self) -> tuple[str, ...]: ...

    def sizes(self, name: str) -> dict[str, Decimal]:
        """What ``tick_sizes``, ``lot_sizes`` or ``multipliers`` gives, by symbol."""


def ingest(source: TardisOptions, input: Path, output: Path) -> IngestReport:
    """See ``Tardis``.

    Raises:
        DataError: a file that cannot be read or is not one of Tardis', the same data twice,
            off-grid numbers.
    """
    files, ignored = tardis_files(input, source.ignore)
    with tempfile.TemporaryDirectory(dir=output, prefix="spool-") as folder:
        reading = _Reading(Spools(Path(folder)))
        for file in files:
            reading.read(file)
        reading.spools.flush()
        names = reading.names()
        if not names:
            raise DataError("there are no quotes or trades", place=str(input))
        instruments = _instruments(source, names, reading)
        card = Card(
            name=card_name("tardis", input),
            description="Quotes and trades from Tardis' files.",
            symbols=tuple(sorted(names.values())),
            instruments=instruments,
            notes={"files": dict(sorted(Counter(file.kind for file in files).items()))},
        )
        with CanonicalWriter(output, card) as writer:
            write_lanes(writer, reading.lanes(names, card.symbols, instruments))
    refused = {reason: count for reason, count in sorted(reading.refused.items()) if count}
    repaired = {what: count for what, count in sorted(reading.repaired.items()) if count}
    return IngestReport(reading.rows, writer.rows, refused, repaired, ignored)


class _Reading:
    """All files, read once into spools."""

    def __init__(self, spools: Spools) -> None:
        self.spools = spools
        self.rows = 0
        self.refused: Counter[str] = Counter()
        self.repaired: Counter[str] = Counter()
        self._books: dict[Key, Book] = {}
        self._spans: dict[tuple[str, ...], list[tuple[int, int, str]]] = {}

    def read(self, file: TardisFile) -> None:
        """Read a file's rows; those that are no events are counted."""
        first = self.rows
        spans: dict[Key, tuple[int, int]] = {}
        for count, groups in read_rows(file):
            self.rows += count
            if file.kind in _LEFT_OUT:
                self.refused[_LEFT_OUT[file.kind]] += count
                continue
            for rows in groups:
                key = rows.exchange, rows.symbol
                began = spans.get(key, (int(rows.recv[0]), 0))[0]
                spans[key] = began, int(rows.recv[-1])
                if file.kind == "trades":
                    self._trades(rows, first + rows.row)
                elif file.kind == "incremental_book_L2":
                    self._book(rows, first + rows.row)
                else:
                    self._quotes(rows, first + rows.row)
        if file.kind == "incremental_book_L2":
            for key in spans:
                self._touches(key, file, self._books[key].finish())
        for key, (began, ended) in spans.items():
            self._cover((*key, file.kind), began, ended, file)

    def names(self) -> dict[Key, str]:
        """What each symbol with quotes or trades is called."""
        keys = {(exchange, symbol) for (exchange, symbol, _), _ in self.spools.items()}
        several = len({exchange for exchange, _ in keys}) > 1
        return {key: f"{key[1]}.{key[0]}" if several else key[1] for key in sorted(keys)}

    def scales(self, key: Key) -> Scales:
        """The finest decimals of a symbol's prices and sizes."""
        found = [spool.scales for (*owner, _), spool in self.spools.items() if (*owner,) == key]
        return max(price for price, _ in found), max(size for _, size in found)

    def lanes(
        self, names: dict[Key, str], symbols: tuple[str, ...], tables: dict[str, InstrumentTable]
    ) -> list[Lane]:
        """The rows of all spools."""
        lanes = []
        for (exchange, symbol, kind), spool in self.spools.items():
            name = names[exchange, symbol]
            better = self._better((exchange, symbol), kind)
            self.repaired[_SORTED] += spool.unsorted
            for run in spool.runs:
                chunks = self._chunks(spool, run, kind, better, symbols.index(name), tables[name])
                lanes.append(Lane(run.first, chunks))
        return lanes

    def _trades(self, rows: TardisRows, number: Int64Array) -> None:
        (price,), price_scale = rows.decimals(("price",))
        (size,), size_scale = rows.decimals(("amount",))
        aggressor = rows.choice("side", _SIDES)
        whole = (price > 0) & (size > 0)
        self.refused["price or size of 0"] += int(np.count_nonzero(~whole))
        columns = {
            "ts_event": rows.ts,
            "ts_recv": rows.recv,
            "seq": number,
            "trade_price": price,
            "trade_size": size,
            "aggressor": aggressor,
        }
        kept = {name: values[whole] for name, values in columns.items()}
        self._add(rows, "trades", kept, (price_scale, size_scale))

    def _quotes(self, rows: TardisRows, number: Int64Array) -> None:
        names = rows.file.columns
        price, price_scale = rows.decimals(names[:2], empty=True)  # bid, ask
        size, size_scale = rows.decimals(names[2:], empty=True)
        self.repaired[_EMPTY] += int(np.count_nonzero((price > 0) != (size > 0)))
        there = (price > 0) & (size > 0)
        columns = _quote_columns(rows.ts, rows.recv, number, price * there, size * there)
        self._add(rows, rows.file.kind, columns, (price_scale, size_scale))

    def _book(self, rows: TardisRows, number: Int64Array) -> None:
        (price,), price_scale = rows.decimals(("price",))
        (size,), size_scale = rows.decimals(("amount",))
        side = rows.choice("side", _BOOK_SIDES)
        snapshot = rows.choice("is_snapshot", _FLAGS)
        book = self._books.setdefault((rows.exchange, rows.symbol), Book())
        table = np.stack([rows.ts, rows.recv, number, snapshot, side, price, size])
        try:
            found, early, back = book.update(table, (price_scale, size_scale))
        except ValueError as error:
            rows.file.refuse(int(rows.row[0]), f"or one after it: {error}")
        self.refused[_EARLY] += early
        self.refused[_SAME_TOUCH] += len(rows) - early
        self.repaired[_BOOK_BACK] += back
        self._touches((rows.exchange, rows.symbol), rows.file, found)

    def _touches(self, key: Key, file: TardisFile, found: Int64Array) -> None:
        """Keep quotes of a book, int64 [7, k] as ``book_loops.touches`` writes them."""
        if not found.shape[1]:
            return
        self.refused[_SAME_TOUCH] -= found.shape[1]  # a row of each is written
        ts, recv, number = found[:3]
        columns = _quote_columns(ts, recv, number, found[3:5], found[5:7])
        scales = self._books[key].scales
        self.spools.add((*key, file.kind), columns, scales, file.csv.place)

    def _add(self, rows: TardisRows, kind: str, columns: Columns, scales: Scales) -> None:
        key = (rows.exchange, rows.symbol, kind)
        self.spools.add(key, columns, scales, rows.file.csv.place)

    def _cover(self, key: tuple[str, ...], began: int, ended: int, file: TardisFile) -> None:
        """Note the time that a file covers, which no other file of the kind may."""
        spans = self._spans.setdefault(key, [])
        for first, last, place in spans:
            if began == first or max(began, first) < min(ended, last):
                raise DataError(
                    f"it holds {file.kind} of {key[1]} of the same time as {place}",
                    place=file.csv.place,
                    remedy="They would count twice: leave one out with --ignore PATTERN.",
                )
        spans.append((began, ended, file.csv.place))

    def _better(self, key: Key, kind: str) -> list[tuple[int, int]]:
        """Spans in which quotes of another data type come before those of this one."""
        kinds = _QUOTES[: _QUOTES.index(kind)] if kind in _QUOTES else ()
        return [(a, b) for other in kinds for a, b, _ in self._spans.get((*key, other), ())]

    def _chunks(
        self,
        spool: Spool,
        run: Run,
        kind: str,
        better: list[tuple[int, int]],
        symbol: int,
        instrument: InstrumentTable,
    ) -> Iterator[Columns]:
        tick, lot = instrument.tick_size, instrument.lot_size
        assert tick is not None  # _instruments sets both
        assert lot is not None
        for columns, scales, place in spool.pieces(run):
            kept = columns
            if better:
                worse = _within(columns["ts_recv"], better)
                self.refused[_WORSE.format(kind)] += int(np.count_nonzero(worse))
                kept = {name: values[~worse] for name, values in columns.items()}
            steps = (step_of(scales[0]), tick), (step_of(scales[1]), lot)
            try:
                grid = {
                    name: to_grid(kept[name], *steps[name.endswith("size")])
                    for name in kept
                    if name.startswith(("bid", "ask", "trade"))
                }
            except ValueError as error:
                raise DataError(
                    str(error),
                    place=place,
                    remedy="Correct tick_sizes or lot_sizes, or leave them to be inferred.",
                ) from None
            yield self._rows(symbol, kept, grid)

    def _rows(self, symbol: int, kept: Columns, grid: Columns) -> Columns:
        ts, recv = kept["ts_event"], kept["ts_recv"]
        self.repaired[_BEFORE] += int(np.count_nonzero(recv < ts))
        self.repaired[_NO_VENUE_TIME] += int(np.count_nonzero(recv == ts))
        times = {"ts_event": ts, "ts_recv": np.where(recv == ts, NO_TIME, np.maximum(recv, ts))}
        if "trade_price" in grid:
            sides = kept["aggressor"].astype(np.int8)
            made = trades(symbol, times, grid["trade_price"], grid["trade_size"], sides)
            return {**made, "seq": kept["seq"]}
        prices = [np.where(grid[name] > 0, grid[name], NO_PRICE) for name in ("bid", "ask")]
        made = quotes(symbol, times, *prices, grid["bid_size"], grid["ask_size"], aggressors=True)
        return {**made, "seq": kept["seq"] + _NEXT_KIND}


def _quote_columns(
    ts: Int64Array, recv: Int64Array, number: Int64Array, price: Int64Array, size: Int64Array
) -> Columns:
    """Columns of a spool of quotes, of prices and sizes [2, n] of bid and ask."""
    return {
        "ts_event": ts,
        "ts_recv": recv,
        "seq": number,
        **dict(zip(("bid", "ask"), price, strict=True)),
        **dict(zip(("bid_size", "ask_size"), size, strict=True)),
    }


def _within(times: Int64Array, spans: list[tuple[int, int]]) -> BoolArray:
    """Which times lie in any span, ends included, bool [n]."""
    # Every time has as many ends before it as starts up to it, unless it lies in a span.
    starts = np.sort([first for first, _ in spans])
    ends = np.sort([last for _, last in spans])
    inside: BoolArray = np.searchsorted(starts, times, "right") > np.searchsorted(ends, times)
    return inside


def _instruments(
    source: TardisOptions, names: dict[Key, str], reading: _Reading
) -> dict[str, InstrumentTable]:
    given = {name: source.sizes(name) for name in ("tick_sizes", "lot_sizes", "multipliers")}
    for parameter, sizes in given.items():
        for unknown in sorted(sizes.keys() - {*names.values()}):
            raise DataError(
                f"{parameter} contains {unknown!r}, which is not a symbol of the data",
                remedy=suggestion_or_list(unknown, sorted(names.values()), "Symbols"),
            )
    tables = {}
    for key, name in names.items():
        price_scale, size_scale = reading.scales(key)
        tick = given["tick_sizes"].get(name, step_of(price_scale))
        lot = given["lot_sizes"].get(name, step_of(size_scale))
        multiplier = given["multipliers"].get(name, Decimal(1))
        place = "/".join(key)
        tables[name] = InstrumentTable(
            tick_size=tick,
            lot_size=lot,
            multiplier=multiplier,
            currency=source.currency,
            fee_rate=Decimal(source.fee_rate),
            tradable=not any(fnmatchcase(place, pattern) for pattern in source.untradable),
            money_unit=money_unit(tick, lot, multiplier),
        )
    return tables
