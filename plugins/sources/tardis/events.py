"""From Tardis' files to a dataset: which quotes count, grids, order."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol

import numpy as np

from backtest.core.arrays import BoolArray, Int64Array
from backtest.data.canonical import CanonicalWriter
from backtest.data.card import Card, InstrumentTable
from backtest.data.reading.decode import Columns
from backtest.data.sources import IngestReport
from backtest.errors import DataError
from backtest.market.events import NO_PRICE, NO_TIME
from backtest.plugins.sources.shared.counts import RECEIVED_BEFORE
from backtest.plugins.sources.shared.decimals import money_unit, step_of
from backtest.plugins.sources.shared.inputs import card_name
from backtest.plugins.sources.shared.lanes import (
    Lane,
    among_depth,
    depth_rows,
    quotes,
    trades,
    write_lanes,
)
from backtest.plugins.sources.shared.sizes import SizeOptions, on_their_grid, sizes_of
from backtest.plugins.sources.shared.spools import Run, Scales, Spool, Spools, on_grid
from backtest.plugins.sources.tardis.files import tardis_files
from backtest.plugins.sources.tardis.reading import BOOKS, DEPTH_OF, QUOTES, Key, Reading

_NO_VENUE_TIME = "no time of the venue: ts_event is local_timestamp, ts_recv unknown"
_SORTED = "out of the venue's time order: sorted"
_WORSE = "quote from {} where there are those of another data type"


class TardisOptions(SizeOptions, Protocol):
    """Parameters of ``Tardis``, which imports this module only when it ingests."""

    @property
    def depth(self) -> bool: ...

    @property
    def currency(self) -> str: ...

    @property
    def untradable(self) -> tuple[str, ...]: ...

    @property
    def fee_rate(self) -> str: ...

    @property
    def ignore(self) -> tuple[str, ...]: ...


def ingest(source: TardisOptions, input: Path, output: Path) -> IngestReport:
    """See ``Tardis``.

    Raises:
        DataError: a file that cannot be read or is not one of Tardis', the same data twice,
            off-grid numbers.
    """
    files, ignored = tardis_files(input, source.ignore, depth=source.depth)
    with tempfile.TemporaryDirectory(dir=output, prefix="spool-") as folder:
        reading = Reading(Spools(Path(folder)), depth=source.depth)
        for file in files:
            reading.read(file)
        reading.spools.flush()
        names = reading.names()
        if not reading.events:
            raise DataError("there are no quotes or trades", place=str(input))
        instruments = _instruments(source, names, reading.scales())
        card = Card(
            name=card_name("tardis", input),
            description="Quotes, trades and order books from Tardis' files.",
            symbols=tuple(sorted(names.values())),
            instruments=instruments,
            notes={"files": dict(sorted(Counter(file.kind for file in files).items()))},
        )
        lanes = _Lanes(reading, names, card.symbols, instruments)
        with CanonicalWriter(output, card) as writer:
            write_lanes(writer, lanes.lanes())
    return reading.counts.report(writer, ignored)


class _Lanes:
    """What was read, as lanes on their grids; what is left out or changed here is counted, too."""

    def __init__(
        self,
        reading: Reading,
        names: dict[Key, str],
        symbols: tuple[str, ...],
        tables: dict[str, InstrumentTable],
    ) -> None:
        self._reading = reading
        self._names = names
        self._symbols = symbols
        self._tables = tables
        self._counts = reading.counts
        self._has_depth = any(map(self._gives_depth, reading.levels))

    def lanes(self) -> list[Lane]:
        """The rows of all spools."""
        reading, lanes = self._reading, []
        for (exchange, symbol, kind), spool in reading.spools.items():
            key = exchange, symbol
            if kind.startswith(DEPTH_OF):
                data_type = kind.removeprefix(DEPTH_OF)
                if not self._gives_depth((*key, data_type)):
                    continue
                self._counts.depth += reading.levels[*key, data_type]
            self._counts.repaired[_SORTED] += spool.unsorted
            better = reading.spans(key, QUOTES[: QUOTES.index(kind)] if kind in QUOTES else ())
            for run in spool.runs:
                chunks = self._chunks(spool, run, (*key, kind), better)
                lanes.append(Lane(run.first, chunks))
        return lanes

    def _gives_depth(self, key: tuple[str, ...]) -> bool:
        """Rows of a symbol and data type become depth: a whole book comes before snapshots."""
        *of, data_type = key
        before = BOOKS[: BOOKS.index(data_type)] if data_type in BOOKS else BOOKS
        return bool(self._reading.levels[key]) and not any(
            self._reading.levels[*of, other] for other in before
        )

    def _chunks(
        self, spool: Spool, run: Run, key: tuple[str, ...], better: list[tuple[int, int]]
    ) -> Iterator[Columns]:
        exchange, symbol, kind = key
        name = self._names[exchange, symbol]
        number, table = self._symbols.index(name), self._tables[name]
        beside = self._gives_depth(key)
        assert table.tick_size is not None  # _instruments sets both
        assert table.lot_size is not None
        for columns, scales, place in spool.pieces(run):
            kept = columns
            if better:
                worse = _within(columns["ts_recv"], better)
                if not beside:
                    self._counts.refuse(_WORSE.format(kind), worse)
                kept = {name: values[~worse] for name, values in columns.items()}
            with on_their_grid(place):
                grid = on_grid(kept, scales, table.tick_size, table.lot_size)
            if kind.startswith(DEPTH_OF):
                values = {"side": kept["side"], **grid, "flags": kept["flags"]}
                yield depth_rows(number, kept["ts_event"], values, kept["seq"])
            else:
                self._counts.quotes += len(kept["seq"]) * beside
                events = {**self._events(number, kept, grid), "seq": kept["seq"]}
                yield among_depth(events) if self._has_depth else events

    def _events(self, symbol: int, kept: Columns, grid: Columns) -> Columns:
        ts, recv = kept["ts_event"], kept["ts_recv"]
        self._counts.repair(RECEIVED_BEFORE, recv < ts)
        self._counts.repair(_NO_VENUE_TIME, recv == ts)
        times = {"ts_event": ts, "ts_recv": np.where(recv == ts, NO_TIME, np.maximum(recv, ts))}
        if "trade_price" in grid:
            sides = kept["aggressor"].astype(np.int8)
            return trades(symbol, times, grid["trade_price"], grid["trade_size"], sides)
        prices = [np.where(grid[name] > 0, grid[name], NO_PRICE) for name in ("bid", "ask")]
        sizes = grid["bid_size"], grid["ask_size"]
        return quotes(symbol, times, *prices, *sizes, aggressors=True)


def _within(times: Int64Array, spans: list[tuple[int, int]]) -> BoolArray:
    """Which times lie in any span, ends included, bool [n]."""
    # A time lies in as many spans as began up to it and did not end before it.
    starts = np.sort([first for first, _ in spans])
    ends = np.sort([last for _, last in spans])
    inside: BoolArray = np.searchsorted(starts, times, "right") > np.searchsorted(ends, times)
    return inside


def _instruments(
    source: TardisOptions, names: dict[Key, str], scales: dict[Key, Scales]
) -> dict[str, InstrumentTable]:
    given = sizes_of(source, names.values())
    tables = {}
    for key, name in names.items():
        price_scale, size_scale = scales[key]
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
