"""From hftbacktest's events to a dataset."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from backtest.core.arrays import BoolArray, Int64Array
from backtest.data.canonical import CanonicalWriter
from backtest.data.card import Card, InstrumentTable
from backtest.data.reading.decode import Columns
from backtest.data.sources import IngestReport
from backtest.errors import DataError
from backtest.market.events import NO_PRICE
from backtest.plugins.hft_layout import (
    ADD,
    BBO,
    BUY,
    CLEAR,
    DEPTH,
    EXCHANGE,
    FILL,
    KIND,
    SELL,
    SNAPSHOT,
    TRADE,
)
from backtest.plugins.sources.hftbacktest.books import (
    BookChanges,
    BookError,
    BookRows,
    LevelChanges,
    OrderChanges,
)
from backtest.plugins.sources.hftbacktest.files import HftFile, hft_files, read_rows
from backtest.plugins.sources.hftbacktest.instruments import HftOptions, instrument
from backtest.plugins.sources.shared.counts import RECEIVED_BEFORE, Counts
from backtest.plugins.sources.shared.decimals import floats_to_grid
from backtest.plugins.sources.shared.inputs import card_name
from backtest.plugins.sources.shared.lanes import (
    Lane,
    among_depth,
    depth_rows,
    quotes,
    trades,
    write_lanes,
)
from backtest.plugins.sources.shared.rows import first_failure

_LOCAL = "row for the local side alone"
_BBO = "best bid and offer, which are no depth"
_BESIDE = "level beside orders"
_OTHER = "event of an unknown kind"
_NOTHING = "trade with a price or quantity of 0"
_RANKS = 3
"""``seq`` of a row's trade is three times its number, of its depth 1 and its touch 2 more."""


def ingest(source: HftOptions, input: Path, output: Path) -> IngestReport:
    """See ``HftBacktest``.

    Raises:
        DataError: files that are damaged or hold something else, unsorted times, off-grid numbers,
            files of orders beside files of levels.
    """
    files, ignored = hft_files(input, source.ignore, source.symbol)
    files = [file for file in files if file.first]
    if not files:
        raise DataError("there are no rows for the exchange", place=str(input))
    orders = any(file.orders for file in files)
    if source.depth and orders:
        for file in files:
            if file.levels and not file.orders:
                raise DataError(
                    "it has levels, and other files have orders",
                    place=file.packed.place,
                    remedy="Ingest them apart, or without depth: --set depth=false.",
                )
    symbols = sorted({file.symbol for file in files})
    tables = {symbol: instrument(source, files, symbol) for symbol in symbols}
    card = Card(
        name=card_name("hftbacktest", input),
        description="Trades and depth from hftbacktest's events.",
        symbols=tuple(symbols),
        instruments=tables,
    )
    counts = Counts()
    lanes = []
    for number, symbol in enumerate(symbols):
        # A symbol's files come one after another, since its book goes on in the next one.
        own = [file for file in files if file.symbol == symbol]
        reader = _Symbol(number, tables[symbol], source.depth, orders, counts)
        lanes.append(Lane(own[0].first, reader.chunks(own)))
    with CanonicalWriter(output, card) as writer:
        write_lanes(writer, lanes)
    return counts.report(writer, ignored)


class _Symbol:
    """One symbol's files, one after another."""

    def __init__(
        self, number: int, table: InstrumentTable, depth: bool, orders: bool, counts: Counts
    ) -> None:
        self._number = number
        self._table = table
        self._depth = depth
        self._orders = orders
        self._counts = counts
        self._changes: BookChanges = OrderChanges() if orders else LevelChanges()
        self._rows = 0

    def chunks(self, files: list[HftFile]) -> Iterator[Columns]:
        """Events and rows of depth, by (ts_event, seq)."""
        for file in files:
            for rows, block in self._groups(file):
                parts = [*self._parts(file, rows, block)]
                if self._depth:
                    parts = [
                        part if "is_event" in part else among_depth(part, orders=self._orders)
                        for part in parts
                    ]
                joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
                order = np.argsort(joined["seq"], kind="stable")
                yield {name: values[order] for name, values in joined.items()}
            self._rows += file.rows

    def _groups(self, file: HftFile) -> Iterator[tuple[Int64Array, Any]]:
        """Rows for the exchange with their numbers; those with the same two times stay together."""
        held: tuple[Int64Array, Any] | None = None
        for first, every in read_rows(file):
            self._counts.read += len(every)
            seen = (every["ev"] & EXCHANGE) != 0
            self._counts.refuse(_LOCAL, ~seen)
            rows, block = first + np.flatnonzero(seen), every[seen]
            if held is not None:
                rows = np.concatenate([held[0], rows])
                block = np.concatenate([held[1], block])
            new = np.flatnonzero(_begins(block))
            cut = int(new[-1]) if len(new) else 0
            held = rows[cut:], block[cut:]
            if cut:
                yield rows[:cut], block[:cut]
        if held is not None and len(held[0]):
            yield held

    def _parts(self, file: HftFile, rows: Int64Array, block: Any) -> Iterator[Columns]:
        kind = (block["ev"] & KIND).astype(np.int64)
        is_trade, is_book = kind == TRADE, self._of_book(kind)
        known = is_trade | is_book
        self._counts.repair(RECEIVED_BEFORE, (block["local_ts"] < block["exch_ts"])[known])
        price, size = self._grids(file, rows, block, kind)
        side = ((block["ev"] & BUY) != 0).astype(np.int64) - ((block["ev"] & SELL) != 0)
        table = BookRows(
            rows[is_book],
            block["exch_ts"][is_book],
            np.cumsum(_begins(block), dtype=np.int64)[is_book],
            kind[is_book],
            side[is_book],
            price[is_book],
            size[is_book],
            block["order_id"].view(np.int64)[is_book],
        )
        times = {
            "ts_event": block["exch_ts"],
            "ts_recv": np.maximum(block["exch_ts"], block["local_ts"]),
        }
        seq = _RANKS * (self._rows + rows)
        yield self._trades(is_trade, times, price, size, side, seq)
        try:
            depth, touch = self._changes.apply(table)
        except BookError as error:
            file.refuse(error.row, error.problem)
        # A touch is told after all rows with the two times of the one that changed it last.
        ends = np.append(np.flatnonzero(_begins(block))[1:], len(block)) - 1
        changed = np.searchsorted(rows, touch[2])
        yield self._quotes(times, seq, ends[np.searchsorted(ends, changed)], touch)
        if self._depth:
            at = np.searchsorted(rows, depth.pop("row"))
            ts, numbers = times["ts_event"][at], seq[at] + 1
            yield depth_rows(self._number, ts, depth, numbers)

    def _of_book(self, kind: Int64Array) -> BoolArray:
        """Which rows change the book, bool [n]; the others but trades are counted as left out."""
        orders = (kind >= ADD) & (kind <= FILL)
        levels = (kind == DEPTH) | (kind == SNAPSHOT)
        clear = kind == CLEAR
        self._counts.refuse(_BBO, kind == BBO)
        other = ~(orders | levels | clear) & (kind != BBO) & (kind != TRADE)
        self._counts.refuse(_OTHER, other)
        if self._orders:
            self._counts.refuse(_BESIDE, levels)
        book: BoolArray = (orders if self._orders else levels) | clear
        self._counts.depth += int(np.count_nonzero(book))
        return book

    def _grids(
        self, file: HftFile, rows: Int64Array, block: Any, kind: Int64Array
    ) -> tuple[Int64Array, Int64Array]:
        """Prices in ticks and quantities in lots, int64 [n]; 0 for rows that state none."""
        tick, lot = self._table.tick_size, self._table.lot_size
        assert tick is not None  # instrument() sets both
        assert lot is not None
        found = []
        for name, step in (("px", tick), ("qty", lot)):
            stated = (kind == TRADE) | (kind == DEPTH) | (kind == SNAPSHOT) | (kind >= ADD)
            # A clear without a side, and most of other kinds, state no price.
            stated |= (kind == CLEAR) & (name == "px") & np.isfinite(block["px"])
            values = block[name][stated]
            grid = np.zeros(len(block), dtype=np.int64)

            def convert(some: Any, step: Decimal = step) -> Int64Array:
                return floats_to_grid(some, Decimal(1), step)

            try:
                grid[stated] = convert(values)
            except ValueError:
                at, error = first_failure(values, convert, (ValueError,))
                row = int(rows[stated][at])
                file.refuse(row, f"has a number that is off the grid: {name!r}: {error}")
            found.append(grid)
        return found[0], found[1]

    def _trades(
        self,
        some: BoolArray,
        times: Columns,
        price: Int64Array,
        size: Int64Array,
        side: Int64Array,
        seq: Int64Array,
    ) -> Columns:
        whole = some & (price > 0) & (size > 0)
        self._counts.refuse(_NOTHING, some & ~whole)
        at = {name: values[whole] for name, values in times.items()}
        sides = side[whole].astype(np.int8)
        return {**trades(self._number, at, price[whole], size[whole], sides), "seq": seq[whole]}

    def _quotes(
        self, times: Columns, seq: Int64Array, at: Int64Array, touch: Int64Array
    ) -> Columns:
        """Touches, int64 [7, k] as ``book_loops.touches`` writes them, of rows at places [k]."""
        self._counts.quotes += len(at)
        bid, ask, bid_size, ask_size = touch[3:]
        shown = [np.where(price > 0, price, NO_PRICE) for price in (bid, ask)]
        when = {name: values[at] for name, values in times.items()}
        made = quotes(self._number, when, *shown, bid_size, ask_size, aggressors=True)
        return {**made, "seq": seq[at] + 2}


def _begins(block: Any) -> BoolArray:
    """Where another pair of times begins, bool [n]."""
    begins = np.ones(len(block), dtype=np.bool_)
    for k, name in enumerate(("exch_ts", "local_ts")):
        other = block[name][1:] != block[name][:-1]
        begins[1:] = other if k == 0 else begins[1:] | other
    return begins
