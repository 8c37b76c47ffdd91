"""From a NautilusTrader catalogue to a dataset: grids, times, quotes of books."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from math import gcd
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from backtest.core.text import first_of
from backtest.data.canonical import CanonicalWriter
from backtest.data.card import Card, InstrumentTable
from backtest.data.sources import IngestReport
from backtest.errors import DataError
from backtest.plugins.sources.nautilus.books import F_LAST, of_orders
from backtest.plugins.sources.nautilus.files import (
    DELTAS,
    QUOTES,
    TRADES,
    CatalogFile,
    InstrumentFacts,
    read_catalog,
)
from backtest.plugins.sources.nautilus.rows import (
    LaneReader,
    Seen,
    Spanned,
    file_numbers,
)
from backtest.plugins.sources.shared.counts import Counts
from backtest.plugins.sources.shared.decimals import common_step, money_unit, step_of
from backtest.plugins.sources.shared.inputs import card_name
from backtest.plugins.sources.shared.lanes import Lane, among_depth, write_lanes
from backtest.plugins.sources.shared.sizes import SizeOptions, sizes_of
from backtest.plugins.sources.shared.time_order import TimeOrder

_MOVED = "row earlier than its instrument's row before it: moved"
_FINEST = 16
_ADDING = (1, 2)
"""Actions of deltas that put something into the book."""


class CatalogOptions(SizeOptions, Protocol):
    """Parameters of ``NautilusCatalog``, which imports this module only when it ingests."""

    @property
    def quotes(self) -> str: ...

    @property
    def depth(self) -> str: ...

    @property
    def currency(self) -> str: ...

    @property
    def ignore(self) -> tuple[str, ...]: ...


def ingest(source: CatalogOptions, input: Path, output: Path) -> IngestReport:
    """See ``NautilusCatalog``.

    Raises:
        DataError: files that cannot be read or are not sorted, that overlap, or numbers off the
            grid that was given.
    """
    catalog = read_catalog(input, source.ignore)
    files = catalog.files
    with_books = {file.instrument for file in files if file.kind == DELTAS}
    if source.quotes == "book":
        left = [f for f in files if f.kind == QUOTES and f.instrument in with_books]
        why = "quotes of an instrument with order book deltas"
    else:
        left, why = [f for f in files if f.kind == DELTAS], "order book deltas (quotes=files)"
    if left:
        catalog.ignored[why] += len(left)
        files = [file for file in files if file not in left]
    if not files:
        kinds = first_of(sorted(catalog.ignored)) or "instruments alone"
        raise DataError(
            f"there are no rows of quotes, trades or deltas, only {kinds}", place=str(input)
        )
    reading = _Reading(source.depth)
    spanned = [reading.survey(file) for file in files]
    symbols = sorted(reading.seen)
    given = sizes_of(source, symbols, "instrument")
    facts = catalog.instruments
    tables = {
        name: _instrument(source, given, name, reading.seen[name], facts.get(name), files)
        for name in symbols
    }
    card = Card(
        name=card_name("nautilus", input),
        description="Market data of a NautilusTrader catalogue.",
        symbols=tuple(symbols),
        instruments=tables,
    )
    with CanonicalWriter(output, card) as writer:
        lanes = reading.lanes(spanned, symbols, tables)
        write_lanes(writer, lanes)
        if not writer.rows:
            why = reading.counts.reasons() or "no book is known before a snapshot or a clearing"
            raise DataError(f"no row is an event: {why}", place=str(input))
    reading.counts.repaired[_MOVED] += reading.moved()
    reading.counts.read = sum(f.rows for f in files)
    return reading.counts.report(writer, catalog.ignored)


def _instrument(
    source: CatalogOptions,
    given: dict[str, dict[str, Decimal]],
    name: str,
    seen: Seen,
    facts: InstrumentFacts | None,
    files: list[CatalogFile],
) -> InstrumentTable:
    """What an instrument is: by the parameters, its file, the precisions, and its numbers."""
    facts = facts or InstrumentFacts()
    own = [file for file in files if file.instrument == name]
    tick = facts.tick or step_of(max(file.price_precision for file in own))
    lot = facts.lot or step_of(max(file.size_precision for file in own))
    tick = given["tick_sizes"].get(name) or _finer(tick, seen.price)
    lot = given["lot_sizes"].get(name) or _finer(lot, seen.size)
    return InstrumentTable(
        tick_size=tick,
        lot_size=lot,
        multiplier=facts.multiplier,
        currency=facts.currency or source.currency,
        fee_rate=facts.taker_fee,
        maker_fee_rate=facts.maker_fee,
        tradable=False if facts.inverse else None,
        signed_prices=seen.lowest < 0 or None,
        money_unit=money_unit(tick, lot, facts.multiplier or Decimal(1)),
    )


def _finer(step: Decimal, seen: int) -> Decimal:
    """The step, or the largest one that numbers between its multiples are multiples of, too."""
    unit = step_of(_FINEST)
    return (unit * gcd(int(step / unit), seen)).normalize() if seen else step


class _Reading:
    """Two readings of all files: the first for grids and books, the second for rows."""

    def __init__(self, depth: str) -> None:
        self.seen: dict[str, Seen] = defaultdict(Seen)
        self.counts = Counts()
        self._depth = depth
        self._orders: list[TimeOrder] = []

    def moved(self) -> int:
        """Rows whose time was raised."""
        return sum(order.moved for order in self._orders)

    def survey(self, file: CatalogFile) -> Spanned:
        """Read a file for the first time."""
        seen = self.seen[file.instrument]
        first = last = least = -1
        for _, batch in file.batches():
            ts = batch.column("ts_event").to_numpy().astype(np.int64)
            recv = batch.column("ts_init").to_numpy()
            first = int(recv[0]) if first < 0 else first
            last = max(last, int(recv.max()))
            least = int(ts.min()) if least < 0 else min(least, int(ts.min()))
            for name in batch.schema.names:
                if "price" in name or name.endswith("size"):
                    self._steps(seen, file, name, batch.column(name))
            if file.kind == DELTAS:
                self._deltas(seen, file, batch)
        return Spanned(file, first, last, least)

    @staticmethod
    def _steps(seen: Seen, file: CatalogFile, name: str, column: Any) -> None:
        found = file_numbers(file, name, column)
        scale = 10 ** (_FINEST - found.scale)
        step = common_step(found.values) * scale
        if "price" in name:
            seen.price = gcd(seen.price, step)
            seen.lowest = min(seen.lowest, int(found.values.min()) * scale)
        else:
            seen.size = gcd(seen.size, step)

    def _deltas(self, seen: Seen, file: CatalogFile, batch: Any) -> None:
        seen.ends |= bool((batch.column("flags").to_numpy() & F_LAST).any())
        if self._depth != "auto" or seen.orders:
            return
        action, side = (batch.column(n).to_numpy().astype(np.int64) for n in ("action", "side"))
        put = np.isin(action, _ADDING)
        price = file_numbers(file, "price", batch.column("price")).values
        order = batch.column("order_id").to_numpy().astype(np.uint64).view(np.int64)
        seen.orders = of_orders(order[put], side[put], price[put], seen.levels)

    def lanes(
        self, spanned: list[Spanned], symbols: list[str], tables: dict[str, InstrumentTable]
    ) -> list[Lane]:
        """All rows: trades first, then by instrument; files of a kind follow each other."""
        found: dict[tuple[bool, str, str], list[Spanned]] = defaultdict(list)
        for item in sorted(spanned, key=lambda s: (s.first, s.last, s.file.place)):
            chain = found[item.file.kind != TRADES, item.file.kind, item.file.instrument]
            if chain and chain[-1].last > item.first:
                raise DataError(
                    f"it holds {item.file.kind} of the same time as {chain[-1].file.place}",
                    place=item.file.place,
                    remedy="Each row is to be there once: leave one file out with --ignore.",
                )
            chain.append(item)
        with_depth = any(item.file.kind == DELTAS for item in spanned)
        orders = self._depth == "orders" or any(seen.orders for seen in self.seen.values())
        lanes = []
        for (_, kind, name), chain in sorted(found.items()):
            lane = LaneReader(
                symbols.index(name), kind, tables[name], self.seen[name], orders, self.counts
            )
            order = TimeOrder(len(symbols), alone=True)
            self._orders.append(order)
            rows = lane.rows(chain, order)
            if with_depth and kind != DELTAS:
                rows = (among_depth(columns, orders=orders) for columns in rows)
            lanes.append(Lane(min(item.least for item in chain), rows))
        return lanes
