"""Depth in bus order: what the files hold, with each row's place among a stream's events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from backtest.core.arrays import Int64Array
from backtest.core.compiled import writable
from backtest.core.prefetch import ahead
from backtest.data.depth_checks import first_fault
from backtest.data.reading.bus import selection_of
from backtest.data.reading.decode import Columns, Decoder, Selection, integer_column
from backtest.data.reading.merge import rows_of
from backtest.data.reading.plan import Scan
from backtest.data.reading.standing import standing_orders
from backtest.errors import DataError, UsageError
from backtest.market.depth import VALUES, DepthBatch, concatenate_depth

if TYPE_CHECKING:
    from backtest.data.dataset import Dataset, DepthTable

DEPTH_ROWS = 65_536
"""Rows of a batch at most."""

_BATCHES_AHEAD = 2
_NO_TIMES = np.empty(0, dtype=np.int64)


class DepthDecoder(Decoder):
    """The same for files of depth, whose values are never absent."""

    def _values(
        self, columns: Columns, batch: pa.RecordBatch, first_row: int, rows: Int64Array | None
    ) -> None:
        names = [name for name in self._selection.values if self._layout.has(name)]
        for name in names:
            column = batch.column(name)
            if column.null_count:
                i = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
                raise DataError(
                    f"{self._row(i, columns['symbol'], first_row, rows)} has no {name}",
                    place=self._place,
                    remedy="Rows of depth have all of their columns: write the data again.",
                )
            columns[name] = integer_column(column)
        found = first_fault(columns, columns["symbol"], self._selection.signed)
        if found is not None:
            fault, i = found
            where = self._row(i, columns["symbol"], first_row, rows)
            raise fault.error(where, int(columns[fault.column][i]), place=self._place)


def stream_depth(
    dataset: Dataset,
    *,
    start: int | None = None,
    end: int | None = None,
    symbols: Sequence[str] | None = None,
    limit: int | None = None,
    read_ahead: bool = True,
) -> Iterator[DepthBatch]:
    """A window's rows of depth in bus order, in batches of 1 to ``DEPTH_ROWS``, in bounded memory.

    Where one batch ends and the next begins follows the files, so nothing may depend on it. A
    window of orders (L3) that begins after rows of the dataset begins with a snapshot of the orders
    that stand then, symbol by symbol, for which all rows before are read.

    Args:
        dataset: the dataset.
        start, end: half-open window of ts_event, int64 ns; ``None`` where it is open.
        symbols: names of the symbols wanted; ``None`` for all.
        limit: how many events the stream has at most; if it has as many, rows after the last of
            them are left out.
        read_ahead: decode on another thread, a bounded number of batches ahead.

    Raises:
        UsageError: the dataset has no depth; an unknown symbol; a window that ends before it
            starts.
        DataError: files that cannot be read, unsorted rows, unknown symbols, damaged pages, or
            what ``backtest.data.depth_checks`` names.
    """
    depth = dataset.depth
    if depth is None:
        raise UsageError(
            "the dataset has no depth",
            place=f"dataset {dataset.name!r}",
            remedy="`backtest docs data` says how depth is written.",
        )
    selection = selection_of(dataset, start, end, symbols, values=VALUES)
    scan = Scan.of(depth, selection, DepthDecoder)
    rows = scan.stream(scan.decoders(), DEPTH_ROWS)
    opening = _standing(dataset, depth, start, symbols)
    keys = _keys(dataset, selection_of(dataset, start, end, symbols), limit)
    batches = _placed(chain(opening, rows), keys, limit)
    return ahead(batches, _BATCHES_AHEAD) if read_ahead else batches


class DepthFeed:
    """A stream's rows of depth, taken with its events.

    Args:
        batches: the rows, in bus order.
    """

    def __init__(self, batches: Iterator[DepthBatch]) -> None:
        self._batches = batches
        self._held: DepthBatch | None = None

    def among(self, first: int, stop: int) -> DepthBatch | None:
        """The next rows that lie before the event ``stop``, if there are any.

        Their ``follows`` count events from the one with the number ``first`` on, which is where
        the call before stopped.
        """
        parts: list[DepthBatch] = []
        while (batch := self._held or next(self._batches, None)) is not None:
            count = int(np.searchsorted(batch.follows, stop))
            if count:
                parts.append(batch.select(slice(count)))
            self._held = batch.select(slice(count, None)) if count < len(batch) else None
            if self._held is not None:
                break
        if not parts:
            return None
        rows = concatenate_depth(parts)
        return replace(rows, follows=rows.follows - first)

    def rest(self) -> Iterator[DepthBatch]:
        """All rows that are left."""
        held, self._held = self._held, None
        return chain([] if held is None else [held], self._batches)


def _keys(
    dataset: Dataset, selection: Selection, limit: int | None
) -> Iterator[tuple[Int64Array, Int64Array]]:
    """(ts_event, seq) of the stream's events, piece by piece."""
    scan = Scan.of(dataset, selection)
    left = limit
    for columns in scan.stream(scan.decoders(), DEPTH_ROWS):
        ts, seq = columns["ts_event"][:left], columns["seq"][:left]
        yield writable(ts), writable(seq)
        left = None if left is None else left - len(ts)
        if left == 0:
            return


def _placed(
    pieces: Iterator[Columns], keys: Iterator[tuple[Int64Array, Int64Array]], limit: int | None
) -> Iterator[DepthBatch]:
    """The rows with their places among the events."""
    from backtest.data.reading.depth_loops import count_preceding

    passed, at, more = 0, 0, True
    event_ts, event_seq = _NO_TIMES, _NO_TIMES
    for columns in pieces:
        ts, seq = writable(columns["ts_event"]), writable(columns.pop("seq"))
        follows = np.empty(len(ts), dtype=np.int64)
        row = 0
        while row < len(ts) and more:
            row, at = count_preceding(event_ts, event_seq, passed, at, ts, seq, row, follows)
            if row < len(ts):  # all events of the piece precede it
                passed += len(event_ts)
                at = 0
                event_ts, event_seq = next(keys, (_NO_TIMES, _NO_TIMES))
                more = len(event_ts) > 0
        if not more and passed == limit:
            if row:
                yield _batch(rows_of(columns, slice(row)), follows[:row])
            return
        follows[row:] = passed
        yield _batch(columns, follows)


def _standing(
    dataset: Dataset, depth: DepthTable, start: int | None, symbols: Sequence[str] | None
) -> Iterator[Columns]:
    """Snapshots of the orders that stand when a window begins, if there are rows before it."""
    groups = (group for footer in depth.footers for group in footer.row_groups)
    if (
        start is None
        or not depth.orders
        or not any(group.times is None or group.times[0] < start for group in groups)
    ):
        return
    selection = selection_of(dataset, None, start, symbols, values=VALUES)
    scan = Scan.of(depth, selection, DepthDecoder)
    chosen, count = selection.chosen, len(selection.symbols)
    wanted = np.arange(count) if chosen is None else np.flatnonzero(chosen)
    if not len(wanted):
        return
    pieces = scan.stream(scan.decoders(), DEPTH_ROWS)
    whole = standing_orders(pieces, start, wanted, count)
    for low in range(0, len(whole["symbol"]), DEPTH_ROWS):
        yield rows_of(whole, slice(low, low + DEPTH_ROWS))


def _batch(columns: Columns, follows: Int64Array) -> DepthBatch:
    return DepthBatch(**columns, follows=follows)
