"""The messages of recorded Binance streams, read into spools: symbols, clocks, what is left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.errors import DataError
from backtest.market.events import NO_TIME
from backtest.plugins.sources.binance.books import UNKNOWN
from backtest.plugins.sources.binance.depth_lines import DepthMessages
from backtest.plugins.sources.binance.depth_spools import DepthSpool
from backtest.plugins.sources.binance.grids import BinanceOptions, SymbolGrid
from backtest.plugins.sources.binance.lines import MessageRows, RowKind, read_rows
from backtest.plugins.sources.binance.spools import Spool
from backtest.plugins.sources.binance.symbols import symbol_name
from backtest.plugins.sources.shared.counts import EMPTY_SIDE, Counts
from backtest.plugins.sources.shared.packed import Packed

_QUANTILE = 100
"""A file's receipts are aligned at the quantile 1/100 of its latencies."""


class Reading:
    """All files, read once into spools.

    Args:
        source: the parameters.

    Attributes:
        counts: what became of the messages.
        symbols: what is known of each symbol.
        shifts: what is added to the receipts of each file, ns, by its label.
        spools: quotes and trades, with the names of their symbols.
        books: messages about books, by symbol.
    """

    def __init__(self, source: BinanceOptions) -> None:
        self._source = source
        self.symbols: dict[str, SymbolGrid] = {}
        self.shifts: dict[str, int] = {}
        self.counts = Counts()
        self.spools: list[tuple[str, Spool]] = []
        self.books: dict[str, list[DepthSpool]] = {}

    def read(self, label: str, file: Packed, folder: Path) -> None:
        """Read a file into spools in a folder.

        Args:
            label: its path below the input.

        Raises:
            DataError: it cannot be read, times of another unit or order, none to align it by.
        """
        spools: dict[tuple[str, RowKind], Spool] = {}
        books: dict[str, DepthSpool] = {}
        loose: list[DepthMessages] = []
        skews: list[Int64Array] = []
        count = len(self.spools) + sum(map(len, self.books.values()))
        depth = self._source.depth == "write"
        for found in read_rows(file, self._source.time_unit, self.counts.refused, depth=depth):
            place = folder / f"{count + len(spools) + len(books)}.arrow"
            if isinstance(found, DepthMessages):
                if not found.symbol:
                    loose.append(found)
                    continue
                name = self._named(found)
                if name not in books:
                    books[name] = DepthSpool(place, label, file.place)
                books[name].add(found)
                continue
            name = self._named(found)
            rows = self._sound(found, self.symbols[name])
            if not len(rows.line):
                continue
            self._widen(name, rows)
            if (name, rows.kind) not in spools:
                spools[name, rows.kind] = Spool(place, label, file.place, kind=rows.kind)
            spools[name, rows.kind].add(rows)
            if rows.venue[0] != NO_TIME:
                skews.append(rows.recv - rows.venue)
        for messages in loose:
            self._find_symbols(messages, books)
        for (name, _), spool in spools.items():
            spool.close()
            self.spools.append((name, spool))
        for name, book in books.items():
            book.close()
            self.books.setdefault(name, []).append(book)
        # Quotes and trades decide, as without depth, unless there are none.
        if spools or books:
            of_books = [skew for book in books.values() for skew in book.skews]
            self.shifts[label] = self._shift(file, skews or of_books)

    def _named(self, found: MessageRows | DepthMessages) -> str:
        """The name of the messages' symbol, which from now on is one of the dataset's."""
        name = symbol_name(found.symbol, found.market)
        self.symbols.setdefault(name, SymbolGrid(found.market))
        if isinstance(found, DepthMessages):
            self._widen(name, found)
        return name

    def _widen(self, name: str, found: MessageRows | DepthMessages) -> None:
        # The grid is the finest of all files, so rows wait in spools until every file is read.
        symbol = self.symbols[name]
        symbol.price_scale = max(symbol.price_scale, found.price_scale)
        if isinstance(found, DepthMessages):
            symbol.depth_size_scale = max(symbol.depth_size_scale, found.size_scale)
        else:
            symbol.quoted = True
            symbol.size_scale = max(symbol.size_scale, found.size_scale)

    def _find_symbols(self, found: DepthMessages, books: dict[str, DepthSpool]) -> None:
        """Give snapshots without a symbol to the one book whose updates they lie among."""
        for i, number in enumerate(found.last.tolist()):
            one = found.keep(np.arange(len(found.last)) == i)
            near = [
                name
                for name, book in books.items()
                if book.updates
                and (self.symbols[name].market == "spot") == (found.market == "spot")
                and book.first_previous <= number <= book.last
            ]
            if len(near) != 1:
                self.counts.refused[UNKNOWN] += 1
                continue
            self._widen(near[0], one)
            books[near[0]].add(one, late=True)

    def _shift(self, file: Packed, skews: list[Int64Array]) -> int:
        """What is added to a file's receipts, ns."""
        if self._source.clock == "keep":
            return 0
        if not skews:
            raise DataError(
                "no message carries the venue's time, to align the recorder's clock by",
                place=file.place,
                remedy="Record trades too, or trust the recorder with --set clock=keep.",
            )
        skew = np.concatenate(skews)
        place = (len(skew) - 1) // _QUANTILE
        return -int(np.partition(skew, place)[place])

    def _sound(self, rows: MessageRows, symbol: SymbolGrid) -> MessageRows:
        """The rows that are new and carry information; the others are counted."""
        last = symbol.updates.get(rows.kind, -1)
        # Recorders may repeat messages: only numbers above all earlier ones are new.
        largest = np.maximum.accumulate(np.append(last, rows.update))
        new = rows.update > largest[:-1]
        symbol.updates[rows.kind] = int(largest[-1])
        self.counts.refuse("repeated update", ~new)
        whole = (rows.price > 0) & (rows.size > 0)
        if rows.kind == "trade":
            self.counts.refuse("price or size of 0", new & ~whole[0])
            return rows.keep(new & whole[0])
        # An empty side is written as absent, so that the price before it is no longer in force.
        open_ = (rows.price[0] < rows.price[1]) | ~whole.all(axis=0)
        self.counts.refuse("locked or crossed", new & ~open_)
        self.counts.repair(EMPTY_SIDE, ~whole & new)
        rows.price[~whole] = 0
        return rows.keep(new & open_)

    @property
    def has_events(self) -> bool:
        """There are quotes or trades, or a book that quotes can be taken from."""
        return bool(self.spools) or any(
            spool.anchored for spools in self.books.values() for spool in spools
        )
