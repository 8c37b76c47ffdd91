"""Tardis' files, read once: quotes, trades and levels go to spools, by symbol and data type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.data.reading.decode import Columns
from backtest.errors import DataError
from backtest.market.depth import ASK, BID, CLEAR, SNAPSHOT
from backtest.plugins.sources.shared.books import Book, LevelRows, View
from backtest.plugins.sources.shared.counts import EMPTY_SIDE, Counts
from backtest.plugins.sources.shared.spools import Scales, Spools
from backtest.plugins.sources.tardis.files import TardisFile, TardisRows, read_rows

DEPTH_OF = "depth of "
"""What the kind of a spool with rows of depth begins with, before the data type."""

QUOTES = ("quotes", "book_ticker", "incremental_book_L2", "book_snapshot")
"""Data types that give quotes, the preferred one first."""

BOOKS = QUOTES[2:]
"""Those that give depth."""

_LEFT_OUT = {
    "derivative_ticker": "derivative_ticker: funding, open interest, index and mark prices",
    "liquidations": "liquidations, which are among the trades",
    "options_chain": "options_chain",
}
_RANK = 1 << 60
"""``seq`` is a row's number in the input, twice; at one instant trades come first, then, by this
much more, books (the touch after its rows) and then quotes."""

_SIDES = {"buy": 1, "sell": -1, "unknown": 0, "": 0}
_BOOK_SIDES = {"bid": 0, "ask": 1}
_FLAGS = {"false": 0, "true": 1}
_BOOK_BACK = "book row with an earlier time than a row before it: set to its time"
_EARLY = "book row before the first snapshot"
_SAME_TOUCH = "book row that leaves the touch as it was"

Key: TypeAlias = tuple[str, str]
"""Exchange and symbol."""


class Reading:
    """All files, read once into spools, whose keys are exchange, symbol and data type.

    Args:
        spools: an empty one.
        depth: keep levels as rows of depth.

    Attributes:
        counts: what became of the rows read so far.
        levels: how many rows of a symbol and data type became depth, if it is kept.
    """

    def __init__(self, spools: Spools, *, depth: bool) -> None:
        self.spools = spools
        self.counts = Counts()
        self.levels: Counter[tuple[str, ...]] = Counter()
        self._depth = depth
        self._books: dict[Key, Book] = {}
        self._levels: dict[Key, LevelRows] = {}
        self._views: dict[Key, View] = {}
        self._times: dict[Key, int] = {}
        self._spans: dict[tuple[str, ...], list[tuple[int, int, str]]] = {}

    def read(self, file: TardisFile) -> None:
        """Read a file's rows; those that are no events are counted."""
        first = self.counts.read
        spans: dict[Key, tuple[int, int]] = {}
        for count, groups in read_rows(file):
            self.counts.read += count
            if file.kind in _LEFT_OUT:
                self.counts.refused[_LEFT_OUT[file.kind]] += count
                continue
            for rows in groups:
                key = rows.exchange, rows.symbol
                began = spans.get(key, (int(rows.recv[0]), 0))[0]
                spans[key] = began, int(rows.recv[-1])
                self._add_rows(key, rows, first + rows.row)
        if file.kind == "incremental_book_L2":
            for key in spans:
                self._add_touches(key, file, self._books[key].finish())
                self._add_levels(key, file, self._levels[key].finish())
        for key, (began, ended) in spans.items():
            self._cover((*key, file.kind), began, ended, file)

    @property
    def events(self) -> int:
        """Quotes and trades read so far."""
        kept = (s.rows for (_, _, kind), s in self.spools.items() if not kind.startswith(DEPTH_OF))
        return sum(kept)

    def names(self) -> dict[Key, str]:
        """What each symbol with quotes or trades is called."""
        keys = {(exchange, symbol) for (exchange, symbol, _), _ in self.spools.items()}
        several = len({exchange for exchange, _ in keys}) > 1
        return {key: f"{key[1]}.{key[0]}" if several else key[1] for key in sorted(keys)}

    def scales(self) -> dict[Key, Scales]:
        """The finest decimals of each symbol's prices and sizes."""
        finest: dict[Key, Scales] = {}
        for (exchange, symbol, _), spool in self.spools.items():
            price, size = finest.get((exchange, symbol), (0, 0))
            scales = max(price, spool.scales[0]), max(size, spool.scales[1])
            finest[exchange, symbol] = scales
        return finest

    def spans(self, key: Key, kinds: tuple[str, ...]) -> list[tuple[int, int]]:
        """The times of receipt that files of some data types cover, ns, both ends included."""
        return [(a, b) for kind in kinds for a, b, _ in self._spans.get((*key, kind), ())]

    def _add_rows(self, key: Key, rows: TardisRows, number: Int64Array) -> None:
        if rows.file.kind == "trades":
            self._add_trades(key, rows, number)
        elif rows.file.kind == "incremental_book_L2":
            self._add_book(key, rows, number)
        else:
            self._add_quotes(key, rows, number)

    def _add_trades(self, key: Key, rows: TardisRows, number: Int64Array) -> None:
        (price,), price_scale = rows.decimals(("price",))
        (size,), size_scale = rows.decimals(("amount",))
        aggressor = rows.choice("side", _SIDES)
        whole = (price > 0) & (size > 0)
        self.counts.refuse("price or size of 0", ~whole)
        columns = {
            "ts_event": rows.ts,
            "ts_recv": rows.recv,
            "seq": 2 * number,
            "trade_price": price,
            "trade_size": size,
            "aggressor": aggressor,
        }
        kept = {name: values[whole] for name, values in columns.items()}
        self._add(key, "trades", kept, (price_scale, size_scale), rows.file)

    def _add_quotes(self, key: Key, rows: TardisRows, number: Int64Array) -> None:
        names, kind = rows.file.columns, rows.file.kind
        half = len(names) // 2
        price, price_scale = rows.decimals(names[:half], empty=True)  # bids, then asks
        size, size_scale = rows.decimals(names[half:], empty=True)
        self.counts.repair(EMPTY_SIDE, (price > 0) != (size > 0))
        there = (price > 0) & (size > 0)
        price, size = (part.reshape(2, -1, len(rows)) for part in (price * there, size * there))
        scales = price_scale, size_scale
        ts = self._rising(key, rows.ts) if kind in BOOKS else rows.ts
        seq = _RANK * (1 if kind in BOOKS else 2) + 2 * number + 1
        touch = _quotes(ts, rows.recv, seq, price[:, 0], size[:, 0])
        self._add(key, kind, touch, scales, rows.file)
        if kind in BOOKS and self._depth:
            self._add_view(key, rows.file, (ts, seq - 1), price, size, scales)

    def _add_view(
        self,
        key: Key,
        file: TardisFile,
        of: tuple[Int64Array, Int64Array],
        price: Int64Array,
        size: Int64Array,
        scales: Scales,
    ) -> None:
        """Keep what snapshots say of levels, int64 [2, N, n], at times and with numbers [n]."""
        view = self._views.setdefault(key, View())
        self.levels[*key, file.kind] += len(of[0])
        try:
            at, side, ticks, lots, clear = view.update(price, size, scales)
        except ValueError as error:
            raise DataError(str(error), place=file.csv.place) from None
        columns: Columns = {
            "ts_event": of[0][at],
            "seq": of[1][at],
            "side": np.where(side == 0, BID, ASK),
            "price": ticks,
            "size": lots,
            "flags": SNAPSHOT + CLEAR * clear,
        }
        self._add(key, DEPTH_OF + file.kind, columns, view.scales, file)

    def _add_book(self, key: Key, rows: TardisRows, number: Int64Array) -> None:
        (price,), price_scale = rows.decimals(("price",))
        (size,), size_scale = rows.decimals(("amount",))
        side = rows.choice("side", _BOOK_SIDES)
        snapshot = rows.choice("is_snapshot", _FLAGS)
        if not price.all():
            rows.file.refuse(int(rows.row[np.argmin(price)]), "has a price of 0")
        book = self._books.setdefault(key, Book())
        levels = self._levels.setdefault(key, LevelRows())
        ts = self._rising(key, rows.ts)
        table = np.stack([ts, rows.recv, number, snapshot, side, price, size])
        scales = price_scale, size_scale
        try:
            found, early = book.update(table.copy(), scales)
        except ValueError as error:
            rows.file.refuse(int(rows.row[0]), f"or one after it: {error}")
        self.counts.refused[_EARLY] += early
        if self._depth:
            self.levels[*key, rows.file.kind] += len(rows) - early
        else:
            self.counts.refused[_SAME_TOUCH] += len(rows) - early
        self._add_touches(key, rows.file, found)
        self._add_levels(key, rows.file, levels.add(table[:, early:], scales))

    def _add_touches(self, key: Key, file: TardisFile, found: Int64Array) -> None:
        """Keep quotes of a book, int64 [7, k] as ``book_loops.touches`` writes them."""
        if not found.shape[1]:
            return
        if not self._depth:
            self.counts.refused[_SAME_TOUCH] -= found.shape[1]  # a row of each is written
        ts, recv, number = found[:3]
        columns = _quotes(ts, recv, _RANK + 2 * number + 1, found[3:5], found[5:7])
        self._add(key, file.kind, columns, self._books[key].scales, file)

    def _add_levels(
        self, key: Key, file: TardisFile, found: Iterator[tuple[Columns, Scales]]
    ) -> None:
        """Keep rows of levels, with the rows' numbers."""
        for columns, scales in found:
            if self._depth:
                ranked = columns | {"seq": _RANK + 2 * columns["seq"]}
                self._add(key, DEPTH_OF + file.kind, ranked, scales, file)

    def _add(self, key: Key, kind: str, columns: Columns, scales: Scales, file: TardisFile) -> None:
        self.spools.add((*key, kind), columns, scales, file.csv.place)

    def _rising(self, key: Key, ts: Int64Array) -> Int64Array:
        """A book's times: they never go back, since it is built in the order of its rows."""
        least = self._times.get(key, int(ts[0]))
        rising = np.maximum.accumulate(np.maximum(ts, least))
        self.counts.repair(_BOOK_BACK, rising != ts)
        self._times[key] = int(rising[-1])
        return rising

    def _cover(self, key: tuple[str, ...], began: int, ended: int, file: TardisFile) -> None:
        """Note the time that a file covers, which no other file of the data type may."""
        spans = self._spans.setdefault(key, [])
        for first, last, place in spans:
            if began == first or max(began, first) < min(ended, last):
                raise DataError(
                    f"it holds {file.kind} of {key[1]} of the same time as {place}",
                    place=file.csv.place,
                    remedy="They would count twice: leave one out with --ignore PATTERN.",
                )
        spans.append((began, ended, file.csv.place))


def _quotes(
    ts: Int64Array, recv: Int64Array, seq: Int64Array, price: Int64Array, size: Int64Array
) -> Columns:
    """Columns of a spool of quotes, of prices and sizes [2, n] of bid and ask."""
    return {
        "ts_event": ts,
        "ts_recv": recv,
        "seq": seq,
        **dict(zip(("bid", "ask"), price, strict=True)),
        **dict(zip(("bid_size", "ask_size"), size, strict=True)),
    }
