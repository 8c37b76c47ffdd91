"""From the messages of recorded Binance streams to a dataset: clocks, grids, order."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.data.canonical import CanonicalWriter
from backtest.data.card import Card, InstrumentTable
from backtest.data.reading.decode import Columns
from backtest.data.sources import IngestReport
from backtest.errors import DataError
from backtest.market.events import NO_PRICE, NO_TIME
from backtest.plugins.sources.binance.books import (
    BESIDE,
    GAPS,
    REPEATED,
    ROUNDED,
    STALE,
    UNKNOWN,
    BookReader,
    Change,
    Touch,
    depth_columns,
)
from backtest.plugins.sources.binance.depth_lines import DepthMessages
from backtest.plugins.sources.binance.depth_spools import DepthSpool
from backtest.plugins.sources.binance.grids import (
    BinanceOptions,
    SymbolGrid,
    grid_of,
    instruments_of,
)
from backtest.plugins.sources.binance.lines import MessageRows, RowKind, first_receipt, read_rows
from backtest.plugins.sources.binance.spools import Spool
from backtest.plugins.sources.shared.decimals import step_of, to_grid
from backtest.plugins.sources.shared.inputs import card_name, input_files
from backtest.plugins.sources.shared.lanes import Lane, among_depth, quotes, trades, write_lanes
from backtest.plugins.sources.shared.packed import Packed, unpacked
from backtest.plugins.sources.shared.sizes import on_their_grid

_QUANTILE = 100
"""A file's receipts are aligned at the quantile 1/100 of its latencies."""

_CHANGES = 1024
"""Changes of a book that are handled together."""

_BEFORE = "received before the event: ts_recv set to ts_event"
_EMPTY = "side with a price or size of 0: absent"


def ingest(source: BinanceOptions, input: Path, output: Path) -> IngestReport:
    """See ``BinanceStream``.

    Raises:
        DataError: a file that cannot be read, unsorted times, another unit, off-grid numbers.
    """
    reading = _Reading(source)
    with tempfile.TemporaryDirectory(dir=output, prefix="spool-") as spool:
        files, ignored = _files(input, source.ignore)
        for label, file in files:
            reading.read(label, file, Path(spool))
        names = sorted(reading.symbols)
        if not reading.has_events:
            raise DataError(
                "there are no quotes or trades, and no snapshot of a book to take quotes from",
                place=str(input),
            )
        instruments = instruments_of(source, reading.symbols)
        card = Card(
            name=card_name("binance", input),
            description="Best bid and ask, trades and depth, recorded from Binance's streams.",
            symbols=tuple(names),
            instruments=instruments,
            notes={"clock": {"policy": source.clock, "shift_ns": reading.shifts}},
        )
        with CanonicalWriter(output, card) as writer:
            write_lanes(writer, reading.lanes(names, instruments))
    return reading.report(writer, ignored)


def _files(input: Path, ignore: Sequence[str]) -> tuple[list[tuple[str, Packed]], dict[str, int]]:
    """The files with their paths below the input, and how many others are ignored, by reason.

    They come in the order of their first receipts, so that names change nothing.
    """
    found = input_files(input, None, ignore, noun="files")
    ignored = Counter(found.ignored)
    files = []
    for path in found.paths:
        label = path.name if path == input else path.relative_to(input).as_posix()
        for file in unpacked(path, None, ignore, ignored):
            files.append((label if file.member is None else f"{label}/{file.member}", file))
    return sorted(files, key=lambda item: (first_receipt(item[1]), item[0])), dict(ignored)


class _Reading:
    """All files, read once into spools."""

    def __init__(self, source: BinanceOptions) -> None:
        self.source = source
        self.symbols: dict[str, SymbolGrid] = {}
        self.shifts: dict[str, int] = {}
        self.refused: Counter[str] = Counter()
        self.repaired: Counter[str] = Counter()
        self._spools: list[tuple[str, Spool]] = []
        self._books: dict[str, list[DepthSpool]] = {}
        self._from_books = 0
        self._depth_counts: Counter[str] = Counter()

    def read(self, label: str, file: Packed, folder: Path) -> None:
        spools: dict[tuple[str, RowKind], Spool] = {}
        books: dict[str, DepthSpool] = {}
        loose: list[DepthMessages] = []
        skews: list[Int64Array] = []
        count = len(self._spools) + sum(map(len, self._books.values()))
        depth = self.source.depth == "write"
        for found in read_rows(file, self.source.time_unit, self.refused, depth=depth):
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
                spools[name, rows.kind] = Spool(place, rows.kind, label, file.place)
            spools[name, rows.kind].add(rows)
            if rows.venue[0] != NO_TIME:
                skews.append(rows.recv - rows.venue)
        for messages in loose:
            self._find_symbols(messages, books)
        for (name, _), spool in spools.items():
            spool.close()
            self._spools.append((name, spool))
        for name, book in books.items():
            book.close()
            self._books.setdefault(name, []).append(book)
        # Quotes and trades decide, as without depth, unless there are none.
        if spools or books:
            of_books = [skew for book in books.values() for skew in book.skews]
            self.shifts[label] = self._shift(file, skews or of_books)

    def _named(self, found: MessageRows | DepthMessages) -> str:
        """The name of the messages' symbol, which from now on is one of the dataset's."""
        name = f"{found.symbol}.um" if found.market == "um" else found.symbol
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
                self.refused[UNKNOWN] += 1
                continue
            self._widen(near[0], one)
            books[near[0]].add(one, late=True)

    def _shift(self, file: Packed, skews: list[Int64Array]) -> int:
        """What is added to a file's receipts, ns."""
        if self.source.clock == "keep":
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
        self.refused["repeated update"] += int(np.count_nonzero(~new))
        whole = (rows.price > 0) & (rows.size > 0)
        if rows.kind == "trade":
            self.refused["price or size of 0"] += int(np.count_nonzero(new & ~whole[0]))
            return rows.keep(new & whole[0])
        # An empty side is written as absent, so that the price before it is no longer in force.
        open_ = (rows.price[0] < rows.price[1]) | ~whole.all(axis=0)
        self.refused["locked or crossed"] += int(np.count_nonzero(new & ~open_))
        self.repaired[_EMPTY] += int(np.count_nonzero(~whole & new))
        rows.price[~whole] = 0
        return rows.keep(new & open_)

    @property
    def has_events(self) -> bool:
        """There are quotes or trades, or a book that quotes can be taken from."""
        return bool(self._spools) or any(
            spool.anchored for spools in self._books.values() for spool in spools
        )

    def lanes(self, names: list[str], instruments: dict[str, InstrumentTable]) -> list[Lane]:
        """Trades, quotes and depth, each by symbol; a file's events are one lane a kind."""
        events, depth = self._event_lanes(names, instruments), self._depth_lanes(names, instruments)
        if depth:
            events = [Lane(lane.first, map(among_depth, lane.chunks)) for lane in events]
        return events + depth

    def _event_lanes(self, names: list[str], instruments: dict[str, InstrumentTable]) -> list[Lane]:
        ordered = sorted(
            self._spools, key=lambda item: (item[1].kind != "trade", item[0], item[1].first_recv)
        )
        lanes = []
        for name, spool in ordered:
            shift = self.shifts[spool.label]
            known = spool.first_venue != NO_TIME
            first = spool.first_venue if known else spool.first_recv + shift
            chunks = self._chunks(names.index(name), spool, shift, instruments[name])
            lanes.append(Lane(first, chunks))
        quoted = {name for name, spool in self._spools if spool.kind == "bookTicker"}
        for name, books in sorted(self._books.items()):
            if name not in quoted and any(book.anchored for book in books):
                touches = self._touches(names.index(name), name, instruments[name])
                lanes.append(Lane(self._first(books), touches))
        return lanes

    def _depth_lanes(self, names: list[str], instruments: dict[str, InstrumentTable]) -> list[Lane]:
        return [
            Lane(self._first(books), self._depth(names.index(name), name, instruments[name]))
            for name, books in sorted(self._books.items())
        ]

    def _first(self, books: list[DepthSpool]) -> int:
        firsts = []
        for book in books:
            known = book.first_venue != NO_TIME
            firsts.append(book.first_venue if known else book.first_recv + self.shifts[book.label])
        return min(firsts)

    def _changes(
        self, name: str, instrument: InstrumentTable, counts: Counter[str]
    ) -> Iterator[Change]:
        """What happens to a symbol's book, file after file."""
        books = self._books[name]
        reader = BookReader(
            partial=not any(book.updates for book in books),
            whole=self.source.beyond == "empty",
            counts=counts,
        )
        for book in books:
            yield from reader.changes(book, grid_of(instrument, counts), self.shifts[book.label])

    def _depth(self, symbol: int, name: str, instrument: InstrumentTable) -> Iterator[Columns]:
        for some in _some(self._changes(name, instrument, self._depth_counts)):
            yield depth_columns(symbol, some)

    def _touches(self, symbol: int, name: str, instrument: InstrumentTable) -> Iterator[Columns]:
        """Quotes wherever the best levels of a book or their sizes change."""
        touch, last = Touch(), (NO_PRICE, NO_PRICE, 0, 0)
        spot = self.symbols[name].market == "spot"
        for some in _some(self._changes(name, instrument, Counter())):
            found = []
            for change in some:
                quote = touch.apply(change)
                if quote != last:
                    found.append((change.ts, change.recv, *quote))
                    last = quote
            if found:
                self._from_books += len(found)
                ts, recv, *quote_columns = np.array(found, dtype=np.int64).T
                unknown = np.full(len(ts), NO_TIME, dtype=np.int64)
                times = {"ts_event": ts, "ts_recv": unknown if spot else np.maximum(recv, ts)}
                yield quotes(symbol, times, *quote_columns, aggressors=True)

    def report(self, writer: CanonicalWriter, ignored: dict[str, int]) -> IngestReport:
        """What became of the lines."""
        counts = self._depth_counts
        refused = self.refused + Counter({what: counts[what] for what in (REPEATED, STALE, BESIDE)})
        repaired = self.repaired + Counter({what: counts[what] for what in (GAPS, ROUNDED)})
        depth = {
            "read": counts["read"],
            "written": writer.depth_rows,
            "quotes": self._from_books,
        }
        read = writer.rows - self._from_books + counts["read"] + refused.total()
        return IngestReport(
            read,
            writer.rows,
            {reason: count for reason, count in sorted(refused.items()) if count},
            {what: count for what, count in sorted(repaired.items()) if count},
            ignored,
            depth=depth if counts["read"] else {},
        )

    def _chunks(
        self, symbol: int, spool: Spool, shift: int, instrument: InstrumentTable
    ) -> Iterator[Columns]:
        tick, lot = instrument.tick_size, instrument.lot_size
        assert tick is not None  # _instruments sets both
        assert lot is not None
        for columns, (price_scale, size_scale) in spool.batches():
            times = self._times(columns["recv"] + shift, columns["venue"])
            price_unit, size_unit = step_of(price_scale), step_of(size_scale)
            sides = range(2 if spool.kind == "bookTicker" else 1)
            with on_their_grid(spool.place):
                prices = [to_grid(columns[f"price{i}"], price_unit, tick) for i in sides]
                sizes = [to_grid(columns[f"size{i}"], size_unit, lot) for i in sides]
            if spool.kind == "bookTicker":
                shown = [np.where(p > 0, p, NO_PRICE) for p in prices]
                yield quotes(symbol, times, *shown, *sizes, aggressors=True)
            else:
                yield trades(symbol, times, prices[0], sizes[0], columns["aggressor"])

    def _times(self, recv: Int64Array, venue: Int64Array) -> dict[str, Int64Array]:
        if venue[0] == NO_TIME:
            return {"ts_event": recv, "ts_recv": venue}
        self.repaired[_BEFORE] += int(np.count_nonzero(recv < venue))
        return {"ts_event": venue, "ts_recv": np.maximum(recv, venue)}


def _some(changes: Iterator[Change]) -> Iterator[list[Change]]:
    """Changes in lists."""
    while some := list(islice(changes, _CHANGES)):
        yield some
