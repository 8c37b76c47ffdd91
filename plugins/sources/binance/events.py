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
from backtest.plugins.sources.binance.books import BookReader, Change, Touch, depth_columns
from backtest.plugins.sources.binance.depth_spools import DepthSpool
from backtest.plugins.sources.binance.grids import (
    BinanceOptions,
    grid_of,
    instruments_of,
)
from backtest.plugins.sources.binance.lines import first_receipt
from backtest.plugins.sources.binance.reading import Reading
from backtest.plugins.sources.binance.spools import Spool
from backtest.plugins.sources.shared.counts import RECEIVED_BEFORE, Counts
from backtest.plugins.sources.shared.decimals import step_of, to_grid
from backtest.plugins.sources.shared.inputs import card_name, input_files
from backtest.plugins.sources.shared.lanes import Lane, among_depth, quotes, trades, write_lanes
from backtest.plugins.sources.shared.packed import Packed, unpacked
from backtest.plugins.sources.shared.sizes import on_their_grid

_CHANGES = 1024
"""Changes of a book that are handled together."""


def ingest(source: BinanceOptions, input: Path, output: Path) -> IngestReport:
    """See ``BinanceStream``.

    Raises:
        DataError: a file that cannot be read, unsorted times, another unit, off-grid numbers.
    """
    reading = Reading(source)
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
            write_lanes(writer, _Lanes(source, reading, names, instruments).lanes())
    counts = reading.counts
    counts.read = writer.rows - counts.quotes + counts.depth + counts.refused.total()
    return counts.report(writer, ignored)


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


class _Lanes:
    """What was read, as lanes on their grids; what is left out or changed here is counted, too."""

    def __init__(
        self,
        source: BinanceOptions,
        reading: Reading,
        names: list[str],
        instruments: dict[str, InstrumentTable],
    ) -> None:
        self._source = source
        self._reading = reading
        self._counts = reading.counts
        self._shifts = reading.shifts
        self._names = names
        self._instruments = instruments

    def lanes(self) -> list[Lane]:
        """Trades, quotes and depth, each by symbol; a file's events are one lane a kind."""
        events, depth = self._event_lanes(), self._depth_lanes()
        if depth:
            events = [Lane(lane.first, map(among_depth, lane.chunks)) for lane in events]
        return events + depth

    def _event_lanes(self) -> list[Lane]:
        ordered = sorted(
            self._reading.spools,
            key=lambda item: (item[1].kind != "trade", item[0], item[1].first_recv),
        )
        lanes = []
        for name, spool in ordered:
            shift = self._shifts[spool.label]
            known = spool.first_venue != NO_TIME
            first = spool.first_venue if known else spool.first_recv + shift
            chunks = self._chunks(self._names.index(name), spool, shift, self._instruments[name])
            lanes.append(Lane(first, chunks))
        quoted = {name for name, spool in self._reading.spools if spool.kind == "bookTicker"}
        for name, books in sorted(self._reading.books.items()):
            if name not in quoted and any(book.anchored for book in books):
                touches = self._touches(name)
                lanes.append(Lane(self._first(books), touches))
        return lanes

    def _depth_lanes(self) -> list[Lane]:
        return [
            Lane(
                self._first(books),
                self._depth(name),
            )
            for name, books in sorted(self._reading.books.items())
        ]

    def _first(self, books: list[DepthSpool]) -> int:
        firsts = []
        for book in books:
            known = book.first_venue != NO_TIME
            firsts.append(book.first_venue if known else book.first_recv + self._shifts[book.label])
        return min(firsts)

    def _changes(self, name: str, counts: Counts) -> Iterator[Change]:
        """What happens to a symbol's book, file after file."""
        books = self._reading.books[name]
        reader = BookReader(
            partial=not any(book.updates for book in books),
            whole=self._source.beyond == "empty",
            counts=counts,
        )
        grid = grid_of(self._instruments[name], counts)
        for book in books:
            yield from reader.changes(book, grid, self._shifts[book.label])

    def _depth(self, name: str) -> Iterator[Columns]:
        symbol = self._names.index(name)
        for some in _some(self._changes(name, self._counts)):
            yield depth_columns(symbol, some)

    def _touches(self, name: str) -> Iterator[Columns]:
        """Quotes wherever the best levels of a book or their sizes change."""
        symbol = self._names.index(name)
        touch, last = Touch(), (NO_PRICE, NO_PRICE, 0, 0)
        spot = self._reading.symbols[name].market == "spot"
        for some in _some(self._changes(name, Counts())):
            found = []
            for change in some:
                quote = touch.apply(change)
                if quote != last:
                    found.append((change.ts, change.recv, *quote))
                    last = quote
            if found:
                self._counts.quotes += len(found)
                ts, recv, *quote_columns = np.array(found, dtype=np.int64).T
                unknown = np.full(len(ts), NO_TIME, dtype=np.int64)
                times = {"ts_event": ts, "ts_recv": unknown if spot else np.maximum(recv, ts)}
                yield quotes(symbol, times, *quote_columns, aggressors=True)

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
        self._counts.repair(RECEIVED_BEFORE, recv < venue)
        return {"ts_event": venue, "ts_recv": np.maximum(recv, venue)}


def _some(changes: Iterator[Change]) -> Iterator[list[Change]]:
    """Changes in lists."""
    while some := list(islice(changes, _CHANGES)):
        yield some
