"""Datasets as hftbacktest's event files, so that both engines run on the same ticks."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtest.core.atomic import new_folder
from backtest.core.interrupts import raise_if_interrupted
from backtest.core.text import suggestion_or_list
from backtest.data.dataset import Dataset
from backtest.data.reading.bus import EventBus
from backtest.data.reading.stream import Stream
from backtest.errors import DataError, UsageError
from backtest.market.depth import VALUES
from backtest.market.events import ABSENT, NO_PRICE, NO_TIME, EventBatch
from backtest.market.instruments import Instrument
from backtest.plugins.hft_layout import ARRAY, EVENT, EXCHANGE, LOCAL, MARKER, TRADE
from backtest.plugins.hft_rows import FLAG, BookRows, LevelRows, OrderRows, Row

_QUOTE = ("bid", "ask", "bid_size", "ask_size")
_BLOCK_ROWS = 1 << 16
_COPY_BYTES = 1 << 22
_NAME = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True)
class Exported:
    """What was written of a symbol.

    Attributes:
        file: its name in the folder.
        rows: how many events of hftbacktest it has.
        raised: receipts that were earlier than one before them, and set to it.
        tick_size, lot_size: what hftbacktest is to be told.
    """

    file: str
    rows: int
    raised: int
    tick_size: str
    lot_size: str


def export(
    dataset: Dataset,
    output: Path,
    *,
    symbols: tuple[str, ...] | None = None,
    start: int | None = None,
    end: int | None = None,
    overwrite: bool = False,
) -> dict[str, Exported]:
    """Write ``SYMBOL.npz`` into a new folder for each symbol with events, whole or not at all.

    Trades become trade events, with their initiator's side where it is known. Of a dataset without
    depth, or with levels, each touch becomes depth events: its size, and 0 for levels better than
    it; levels become depth, snapshot and clear events. Of one with orders, these become events of
    orders. The receipt is local_ts, or the event's time where it is unknown.

    Args:
        dataset: with quotes and their sizes.
        output: the folder to make.
        symbols: those to write; all by default.
        start, end: the half-open window of ts_event, ns.
        overwrite: replace a folder that is there.

    Returns:
        What was written of each symbol.

    Raises:
        UsageError: no event lies in the window, or a symbol is not one of the dataset's.
        DataError: the dataset has no quotes with sizes or cannot be read, or the folder cannot be
            written.
    """
    if not dataset.has_quotes or not dataset.layout.has("bid_size"):
        raise DataError(
            "the dataset has no quotes with sizes, which hftbacktest's book is made of",
            place=dataset.name,
        )
    wanted = dataset.card.symbols if symbols is None else symbols
    unknown = sorted({*wanted} - {*dataset.card.symbols})
    if unknown:
        raise UsageError(
            f"the dataset has no symbol {unknown[0]!r}",
            remedy=suggestion_or_list(unknown[0], sorted(dataset.card.symbols), "Symbols"),
        )
    instruments = dict(zip(dataset.card.symbols, dataset.card.resolved_instruments(), strict=True))
    names = {symbol: _NAME.sub("-", symbol) + ".npz" for symbol in wanted}
    if len({*names.values()}) < len(names):
        raise DataError("two symbols would have files of the same name", place=dataset.name)
    found: dict[str, Exported] = {}
    with new_folder(output, marker=MARKER, overwrite=overwrite) as folder:
        for symbol in wanted:
            stream = Stream(dataset, start=start, end=end, symbols=(symbol,))
            rows = _Rows(stream, instruments[symbol])
            count = _write(folder / names[symbol], rows)
            if not count:
                (folder / names[symbol]).unlink()
                continue
            tick, lot = instruments[symbol].tick_size, instruments[symbol].lot_size
            found[symbol] = Exported(names[symbol], count, rows.raised, f"{tick:f}", f"{lot:f}")
        if not found:
            raise UsageError("no event lies in the window", place=f"dataset {dataset.name!r}")
        told = {symbol: asdict(what) for symbol, what in found.items()}
        (folder / MARKER).write_text(json.dumps(told, indent=1) + "\n")
    return found


class _Rows:
    """One symbol's events and depth as hftbacktest's rows.

    Attributes:
        raised: receipts that were raised, so that they never go back.
    """

    def __init__(self, stream: Stream, instrument: Instrument) -> None:
        self.raised = 0
        self._stream = stream
        self._bus = EventBus(
            stream.dataset,
            features=False,
            symbols=stream.symbols,
            start=stream.start,
            end=stream.end,
        )
        self._orders = stream.dataset.has_depth and stream.dataset.depth_orders
        self._book: BookRows = OrderRows() if self._orders else LevelRows()
        self._steps = Fraction(instrument.tick_size), Fraction(instrument.lot_size)
        self._quote: tuple[int, ...] = ()
        self._latency = 0
        self._local = 0
        self._rows: list[tuple[int, ...]] = []

    def blocks(self) -> Iterator[NDArray[Any]]:
        """Arrays of ``EVENT``, [n], with rising times of both sides."""
        passed = 0
        depth = _Depth(self._stream)
        for batch in self._bus:
            raise_if_interrupted()
            events = zip(*_columns(batch), strict=True)
            for number, event in enumerate(events, passed):
                local = self._receipt(*event[:2])
                for row in depth.before(number):
                    same = row[0] == event[0]
                    self._add_depth(local if same else min(row[0] + self._latency, local), *row)
                    if len(self._rows) >= _BLOCK_ROWS:
                        yield self._taken()
                self._add_event(local, *event)
                if len(self._rows) >= _BLOCK_ROWS:
                    yield self._taken()
            passed += len(batch)
        for row in depth.before(None):
            self._add_depth(row[0] + self._latency, *row)
            if len(self._rows) >= _BLOCK_ROWS:
                yield self._taken()
        yield self._taken()

    def _receipt(self, ts: int, recv: int) -> int:
        return max(recv, ts) if recv != NO_TIME else ts

    def _add_event(self, local: int, ts: int, recv: int, *values: int) -> None:
        *quote, price, lots, aggressor = values
        self._latency = local - ts
        self.raised += local < self._local
        self._local = max(self._local, local)
        if price != NO_PRICE and lots > 0:
            self._put(ts, (TRADE | FLAG[aggressor], price, lots, 0))
        if (*quote,) != self._quote:
            self._quote = (*quote,)
            for row in self._book.quote(*quote):
                self._put(ts, row)

    def _add_depth(self, local: int, ts: int, *values: int) -> None:
        # Depth has no receipt of its own: it comes with the next event if that is of the same
        # instant; otherwise as late as the event before it did, and not later than the next.
        self._local = max(self._local, local)
        for row in self._book.depth(*values):
            self._put(ts, row)

    def _put(self, ts: int, row: Row) -> None:
        kind, *numbers = row
        self._rows.append((kind, ts, self._local, *numbers))

    def _taken(self) -> NDArray[Any]:
        cells = np.array(self._rows, dtype=np.int64).reshape(-1, 6).T
        self._rows = []
        rows = np.zeros(cells.shape[1], dtype=EVENT)
        rows["ev"] = cells[0] | EXCHANGE | LOCAL
        rows["exch_ts"], rows["local_ts"] = cells[1], cells[2]
        for name, step, values in zip(("px", "qty"), self._steps, cells[3:5], strict=True):
            # The nearest float64, as reading the decimal number would give it.
            rows[name] = values * float(step.numerator) / float(step.denominator)
        rows["order_id"] = cells[5].view(np.uint64)
        return rows


class _Depth:
    """The rows of depth, taken with the events that they precede."""

    def __init__(self, stream: Stream) -> None:
        self._rows = self._all(stream) if stream.dataset.has_depth else iter(())
        self._next = next(self._rows, None)

    def before(self, event: int | None) -> Iterator[tuple[int, ...]]:
        """Those before the event with this number; the rest for ``None``: ts, then ``VALUES``."""
        while self._next is not None and (event is None or self._next[0] <= event):
            yield self._next[1:]
            self._next = next(self._rows, None)

    @staticmethod
    def _all(stream: Stream) -> Iterator[tuple[int, ...]]:
        for batch in stream.depth():
            zeros = np.zeros(len(batch), dtype=np.int64)
            values = [getattr(batch, name) for name in VALUES]
            columns = [zeros if column is None else column for column in values]
            cells = [batch.follows, batch.ts_event, *columns]
            yield from zip(*(column.tolist() for column in cells), strict=True)


def _columns(batch: EventBatch) -> list[list[int]]:
    """Times, quote and trade of each event, absent ones as ``ABSENT`` has them."""
    names = ("ts_recv", *_QUOTE, "trade_price", "trade_size", "aggressor")
    columns = [batch.ts_event.tolist()]
    for name in names:
        column = getattr(batch, name)
        columns.append([ABSENT[name]] * len(batch) if column is None else column.tolist())
    return columns


def _write(path: Path, rows: _Rows) -> int:
    """Write an ``.npz`` file with one array; returns its number of rows."""
    count = 0
    with tempfile.TemporaryFile(dir=path.parent) as aside:
        for block in rows.blocks():
            aside.write(block.tobytes())
            count += len(block)
        aside.seek(0)
        # The header comes first and states the number of rows.
        with (
            zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive,
            archive.open(f"{ARRAY}.npy", "w", force_zip64=True) as member,
        ):
            about = {
                "descr": np.lib.format.dtype_to_descr(EVENT),
                "fortran_order": False,
                "shape": (count,),
            }
            np.lib.format.write_array_header_1_0(member, about)
            shutil.copyfileobj(aside, member, _COPY_BYTES)
    return count
