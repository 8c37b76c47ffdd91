"""Rows of a NautilusTrader catalogue's files, by kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backtest.core.arrays import Int8Array, Int64Array
from backtest.data.card import InstrumentTable
from backtest.data.reading.decode import Columns
from backtest.market.events import NO_PRICE
from backtest.plugins.sources.nautilus.books import DeltaBook, Deltas
from backtest.plugins.sources.nautilus.files import DELTAS, QUOTES, CatalogFile
from backtest.plugins.sources.nautilus.fixed_point import Numbers, numbers
from backtest.plugins.sources.shared.counts import RECEIVED_BEFORE, Counts
from backtest.plugins.sources.shared.decimals import step_of, to_grid
from backtest.plugins.sources.shared.lanes import quotes, trades
from backtest.plugins.sources.shared.sizes import on_their_grid
from backtest.plugins.sources.shared.time_order import TimeOrder

_ROUNDED = "number off its precision by a binary fraction: rounded"
_NO_SIZE = "side with an undefined price or a size of 0: absent"
_NO_TRADE = "trade without a price or size"


@dataclass
class Seen:
    """What the first reading found of an instrument.

    Attributes:
        price, size: the largest steps of 1e-16 that all prices and sizes are multiples of.
        lowest: price, in the same unit.
        ends: a delta had ``F_LAST``.
        orders: a level had several orders.
        levels: the order of each level.
    """

    price: int = 0
    size: int = 0
    lowest: int = 0
    ends: bool = False
    orders: bool = False
    levels: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Spanned:
    """A file, with the first and last ``ts_init`` and the least ``ts_event`` of its rows, ns."""

    file: CatalogFile
    first: int
    last: int
    least: int


@dataclass
class LaneReader:
    """Rows of one kind and instrument."""

    symbol: int
    kind: str
    table: InstrumentTable
    seen: Seen
    orders: bool
    counts: Counts

    def rows(self, chain: list[Spanned], order: TimeOrder) -> Iterator[Columns]:
        """All rows of some files, in time order."""
        book = DeltaBook(
            self.symbol, self.orders, self.seen.ends, bool(self.table.signed_prices), self.counts
        )
        last = 0
        for item in chain:
            for first, batch in item.file.batches():
                ts, recv = self._times(batch)
                last = max(last, int(recv.max()))
                if self.kind == DELTAS:
                    found = book.rows(self._read_deltas(item.file, batch, first, ts, recv))
                elif self.kind == QUOTES:
                    found = self._quotes(item.file, batch, first, ts, recv)
                else:
                    found = self._trades(item.file, batch, first, ts, recv)
                yield order.add(found, last)
        for rest in book.rest() if self.kind == DELTAS else ():
            yield order.add(rest, last)
        if (left := order.rest()) is not None:
            yield left

    def _times(self, batch: Any) -> tuple[Int64Array, Int64Array]:
        ts, recv = (batch.column(n).to_numpy().astype(np.int64) for n in ("ts_event", "ts_init"))
        self.counts.repair(RECEIVED_BEFORE, recv < ts)
        return ts, np.maximum(ts, recv)

    def _grid(self, file: CatalogFile, batch: Any, first: int, name: str) -> tuple[Any, Any]:
        """Ticks or lots, int64 [n], and which are undefined, bool [n]."""
        step = self.table.tick_size if "price" in name else self.table.lot_size
        assert step is not None  # _instrument sets both
        found = file_numbers(file, name, batch.column(name))
        self.counts.repair(_ROUNDED, found.rounded)
        with on_their_grid(file.place, f"rows {first} to {first + batch.num_rows - 1}: {name}: "):
            return to_grid(found.values, step_of(found.scale), step), found.absent

    def _quotes(
        self, file: CatalogFile, batch: Any, first: int, ts: Int64Array, recv: Int64Array
    ) -> Columns:
        sides = []
        for side in ("bid", "ask"):
            price, none = self._grid(file, batch, first, f"{side}_price")
            size, unsized = self._grid(file, batch, first, f"{side}_size")
            absent = none | unsized | (size == 0)
            self.counts.repair(_NO_SIZE, absent)
            sides.append((np.where(absent, NO_PRICE, price), np.where(absent, 0, size)))
        (bid, bid_size), (ask, ask_size) = sides
        times = {"ts_event": ts, "ts_recv": recv}
        return quotes(self.symbol, times, bid, ask, bid_size, ask_size, aggressors=True)

    def _trades(
        self, file: CatalogFile, batch: Any, first: int, ts: Int64Array, recv: Int64Array
    ) -> Columns:
        price, none = self._grid(file, batch, first, "price")
        size, unsized = self._grid(file, batch, first, "size")
        keep = ~none & ~unsized & (size > 0)
        keep &= (price > 0) | bool(self.table.signed_prices)
        self.counts.refuse(_NO_TRADE, ~keep)
        said = batch.column("aggressor_side").to_numpy()
        side: Int8Array = (said == 1).astype(np.int8) - (said == 2).astype(np.int8)
        times = {"ts_event": ts[keep], "ts_recv": recv[keep]}
        return trades(self.symbol, times, price[keep], size[keep], side[keep])

    def _read_deltas(
        self, file: CatalogFile, batch: Any, first: int, ts: Int64Array, recv: Int64Array
    ) -> Deltas:
        price, none = self._grid(file, batch, first, "price")
        size, unsized = self._grid(file, batch, first, "size")
        order = batch.column("order_id").to_numpy().astype(np.uint64).view(np.int64)
        action, side, flags = (
            batch.column(name).to_numpy().astype(np.int64) for name in ("action", "side", "flags")
        )
        price = np.where(none, NO_PRICE, price)
        return Deltas(ts, recv, action, side, price, np.where(unsized, 0, size), order, flags)


def file_numbers(file: CatalogFile, name: str, column: Any) -> Numbers:
    """The numbers of a column of prices or sizes."""
    price = "price" in name
    precision = file.price_precision if price else file.size_precision
    return numbers(column, precision, file.place, signed=price)
