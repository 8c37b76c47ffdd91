"""From files of data.binance.vision to a dataset: grids, numbers of the venue, order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Protocol

import numpy as np

from backtest.core.arrays import BoolArray, Int64Array
from backtest.core.text import first_of
from backtest.data.canonical import CanonicalWriter
from backtest.data.card import Card, InstrumentTable
from backtest.data.reading.decode import Columns
from backtest.data.sources import IngestReport
from backtest.errors import DataError
from backtest.market.events import NO_PRICE, NO_TIME
from backtest.plugins.sources.binance.symbols import Market, is_linear
from backtest.plugins.sources.binance_vision.files import (
    AGGREGATES,
    QUOTES,
    TRADES,
    VisionFile,
    VisionRows,
    vision_files,
)
from backtest.plugins.sources.shared.counts import EMPTY_SIDE, Counts
from backtest.plugins.sources.shared.decimals import money_unit, step_of, to_grid
from backtest.plugins.sources.shared.inputs import card_name
from backtest.plugins.sources.shared.lanes import Lane, quotes, trades, write_lanes
from backtest.plugins.sources.shared.sizes import SizeOptions, on_their_grid, sizes_of
from backtest.plugins.sources.shared.time_order import SLACK, TimeOrder

_REPEATED = "number not above all earlier ones"
_MOVED = "row earlier than the row before it: moved"


class VisionOptions(SizeOptions, Protocol):
    """Parameters of ``BinanceVision``, which imports this module only when it ingests."""

    @property
    def trades(self) -> str: ...

    @property
    def currency(self) -> str: ...

    @property
    def fee_rate(self) -> str: ...

    @property
    def ignore(self) -> tuple[str, ...]: ...


@dataclass
class _Symbol:
    """What is known of a symbol after the first reading: its market and finest decimals."""

    market: Market
    price_scale: int = 0
    size_scale: int = 0


@dataclass(frozen=True)
class _Span:
    """A file with its first and last time, ns, and how many rows it has."""

    file: VisionFile
    first: int
    last: int
    least: int
    rows: int


def ingest(source: VisionOptions, input: Path, output: Path) -> IngestReport:
    """See ``BinanceVision``.

    Raises:
        DataError: files that are damaged or in another format, that overlap, whose times go back
            by more than a second; off-grid numbers.
    """
    files, ignored = vision_files(input, source.ignore)
    other = AGGREGATES if source.trades == TRADES else TRADES
    both = {f.name for f in files if f.kind == source.trades}
    both &= {f.name for f in files if f.kind == other}
    if both:
        kept = [f for f in files if f.kind != other or f.name not in both]
        ignored[f"{other} of a symbol with {source.trades}"] += len(files) - len(kept)
        files = kept
    symbols: dict[str, _Symbol] = {}
    spans = [_surveyed(file, symbols) for file in files]
    spans = [span for span in spans if span.rows]
    if not spans:
        shown = first_of(sorted(ignored)) or "nothing"
        raise DataError(f"there are no quotes or trades, only {shown}", place=str(input))
    names = sorted(symbols)
    tables = _instruments(source, symbols)
    card = Card(
        name=card_name("binance-vision", input),
        description="Best bid and ask, and trades, of Binance's public dumps.",
        symbols=tuple(names),
        instruments=tables,
    )
    counts = Counts()
    orders: list[TimeOrder] = []
    with CanonicalWriter(output, card) as writer:
        write_lanes(writer, [*_lanes(spans, names, tables, counts, orders)])
        if not writer.rows:
            raise DataError(f"no row is an event: {counts.reasons()}", place=str(input))
    counts.repaired[_MOVED] += sum(order.moved for order in orders)
    counts.read = sum(span.rows for span in spans)
    return counts.report(writer, ignored)


def _surveyed(file: VisionFile, symbols: dict[str, _Symbol]) -> _Span:
    """The first reading of a file."""
    first = last = least = rows = 0
    for found in file.rows():
        symbol = symbols.setdefault(file.name, _Symbol(file.market))
        symbol.price_scale = max(symbol.price_scale, found.price_scale)
        symbol.size_scale = max(symbol.size_scale, found.size_scale)
        first = first if rows else int(found.ts[0])
        least = min(least, int(found.ts.min())) if rows else int(found.ts.min())
        highest = np.maximum.accumulate(np.append(last, found.ts))
        back = found.ts < highest[:-1] - SLACK
        if back.any():
            raise DataError(
                f"not sorted: row {found.first + int(np.argmax(back))} is more than a second before"
                " an earlier row",
                place=file.place,
                remedy="Sort the file's rows by time.",
            )
        last = int(highest[-1])
        rows += len(found.ts)
    return _Span(file, first, last, least, rows)


def _lanes(
    spans: list[_Span],
    names: list[str],
    tables: dict[str, InstrumentTable],
    counts: Counts,
    orders: list[TimeOrder],
) -> Iterator[Lane]:
    """Trades before quotes, then by symbol; a symbol's files follow each other.

    Raises:
        DataError: two files of the same kind and symbol hold the same time.
    """
    chains: dict[tuple[bool, str], list[_Span]] = defaultdict(list)
    for span in sorted(spans, key=lambda s: (s.first, s.last, s.file.place)):
        chain = chains[span.file.kind == QUOTES, span.file.name]
        if chain and chain[-1].last > span.first:
            raise DataError(
                f"it holds {span.file.kind} of the same time as {chain[-1].file.place}",
                place=span.file.place,
                remedy="Each row is to be there once: leave one file out with --ignore, such as the"
                " days of a month that is there, too.",
            )
        chain.append(span)
    for (_, name), chain in sorted(chains.items()):
        orders.append(TimeOrder(len(names), alone=True))
        reader = _LaneReader(names.index(name), tables[name], counts, orders[-1])
        yield Lane(min(span.least for span in chain), reader.rows(chain))


@dataclass
class _LaneReader:
    """Rows of one kind and symbol.

    Args:
        symbol: its place among the card's.
    """

    symbol: int
    table: InstrumentTable
    counts: Counts
    order: TimeOrder
    _number: int = -1
    """The largest number of a row so far."""

    def rows(self, chain: list[_Span]) -> Iterator[Columns]:
        """All rows, in time order."""
        last = 0
        for span in chain:
            for found in span.file.rows():
                last = max(last, int(found.ts.max()))
                columns = self._columns(span.file, found)
                yield self.order.add(columns, last)
        if (rest := self.order.rest()) is not None:
            yield rest

    def _columns(self, file: VisionFile, found: VisionRows) -> Columns:
        largest = np.maximum.accumulate(np.append(self._number, found.number))
        new: BoolArray = found.number > largest[:-1]
        self._number = int(largest[-1])
        self.counts.refuse(_REPEATED, ~new)
        price = self._grid(file, found.price, found.price_scale, self.table.tick_size, found.first)
        size = self._grid(file, found.size, found.size_scale, self.table.lot_size, found.first)
        whole = (price > 0) & (size > 0)
        if file.kind != QUOTES:
            self.counts.refuse("price or size of 0", new & ~whole[0])
            keep = new & whole[0]
            times = _times(found.ts[keep])
            return trades(self.symbol, times, price[0][keep], size[0][keep], found.aggressor[keep])
        # An empty side is written as absent, so that the price before it is no longer in force.
        apart = (price[0] < price[1]) | ~whole.all(axis=0)
        self.counts.refuse("locked or crossed", new & ~apart)
        self.counts.repair(EMPTY_SIDE, ~whole & new)
        keep = new & apart
        shown = np.where(whole, price, NO_PRICE)[:, keep]
        lots = np.where(whole, size, 0)[:, keep]
        times = _times(found.ts[keep])
        return quotes(self.symbol, times, *shown, *lots, aggressors=True)

    @staticmethod
    def _grid(
        file: VisionFile, values: Int64Array, scale: int, step: Decimal | None, first: int
    ) -> Int64Array:
        assert step is not None  # _instruments sets both
        with on_their_grid(file.place, f"rows {first} to {first + values.shape[1] - 1}: "):
            return to_grid(values.reshape(-1), step_of(scale), step).reshape(values.shape)


def _times(ts: Int64Array) -> dict[str, Int64Array]:
    return {"ts_event": ts, "ts_recv": np.full(len(ts), NO_TIME, dtype=np.int64)}


def _instruments(source: VisionOptions, symbols: dict[str, _Symbol]) -> dict[str, InstrumentTable]:
    given = sizes_of(source, symbols)
    tables = {}
    for name, symbol in symbols.items():
        linear = is_linear(name, symbol.market, source.currency)
        tick = given["tick_sizes"].get(name, step_of(symbol.price_scale))
        lot = given["lot_sizes"].get(name, step_of(symbol.size_scale))
        tables[name] = InstrumentTable(
            tick_size=tick,
            lot_size=lot,
            currency=source.currency,
            fee_rate=Decimal(source.fee_rate),
            tradable=linear,
            money_unit=money_unit(tick, lot, Decimal(1)),
        )
    return tables
