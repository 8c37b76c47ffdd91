"""From a file's record batches to numpy columns: checked, cut to the window, symbols as ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from backtest.core.arrays import BoolArray, Float32Array, Int32Array, Int64Array
from backtest.core.text import suggestion
from backtest.core.times import format_utc
from backtest.data.parquet import DAMAGED, RowGroup, mapped_errors
from backtest.data.prices import (
    SIDES,
    absent_prices,
    plain_prices,
    too_large,
    unusable_price,
    unusable_size,
    wrong_aggressor,
    wrong_aggressors,
)
from backtest.data.reading.matrices import (
    ROWS,
    nonfinite_cells,
    packed_matrix,
    wide_matrix,
    with_rows,
)
from backtest.data.schema import Layout
from backtest.errors import DataError
from backtest.market.events import ABSENT, NO_PRICE

Columns: TypeAlias = dict[str, NDArray[Any]]
"""Arrays of equal length by canonical name; ``features`` and ``targets`` are two-dimensional."""

Nonfinite: TypeAlias = Literal["refuse", "zero"]
"""What to do with NaN, infinity or null among the features: raise, or put 0 and count."""

Policy: TypeAlias = Nonfinite | Literal["keep"]
"""The same, or leave them, also among the targets: for describing data, not for strategies."""


@dataclass(frozen=True)
class Selection:
    """What is wanted of a dataset.

    Attributes:
        start, end: the half-open window, int64 ns; ``None`` where it is open.
        symbols: the symbol table.
        chosen: which of them, bool [S]; ``None`` for all.
        values: canonical names of the nullable columns to read.
        features: names of the features to read, in order.
        targets: names of the targets to read, in order.
        nonfinite: the policy for features.
        signed: which symbols' prices may be 0 or negative, bool [S]; ``None`` if no symbol's may.
    """

    start: int | None
    end: int | None
    symbols: tuple[str, ...]
    chosen: BoolArray | None
    values: tuple[str, ...]
    features: tuple[str, ...]
    targets: tuple[str, ...]
    nonfinite: Policy
    signed: BoolArray | None = None

    def file_columns(self, layout: Layout) -> list[str]:
        """Names of the columns to read from a file."""
        core = ("ts_event", "seq", "symbol", *self.values)
        wanted = [layout.core[name] for name in core if layout.has(name)]
        if self.features:
            wanted += [layout.packed] if layout.packed else list(self.features)
        return wanted + list(self.targets)


class Decoder:
    """Decodes one file's batches, which must come in order.

    Args:
        place: the file as a person would write it.
        layout: what the file holds.
        selection: what is wanted of it.
        compiled: use compiled loops, which are worth loading for many rows.

    Attributes:
        replaced: features that were set to 0, under the policy ``zero``.
        absent: numbers that are no prices, by column; see ``backtest.data.prices``.
    """

    def __init__(
        self, place: str, layout: Layout, selection: Selection, *, compiled: bool = False
    ) -> None:
        self.replaced = 0
        self.absent: Counter[str] = Counter()
        self._compiled = compiled
        self._place = place
        self._layout = layout
        self._selection = selection
        self._ids = {symbol: i for i, symbol in enumerate(selection.symbols)}
        self._dictionary: Any = None
        self._codes: Int32Array = np.empty(0, dtype=np.int32)
        self._last: tuple[int, int] | None = None

    def prepare(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The same batch with its features row by row in one column, in any order of batches."""
        names = self._selection.features
        if not names or self._layout.packed is not None:
            return batch
        matrix = wide_matrix(batch, names, compiled=self._compiled)
        return with_rows(batch, names, matrix)

    def decode_all(
        self, batches: Iterator[tuple[RowGroup, int, pa.RecordBatch]]
    ) -> Iterator[Columns]:
        """What ``parquet.scan`` gives, decoded."""
        return (self.decode(first_row, batch, group.times) for group, first_row, batch in batches)

    def decode(
        self, first_row: int, batch: pa.RecordBatch, times: tuple[int, int] | None = None
    ) -> Columns:
        """A prepared batch's rows inside the selection.

        Args:
            first_row: the batch's first row in the file.
            times: bounds of ts_event that the footer states.

        Raises:
            DataError: unsorted rows, a null where none may be, an unknown symbol, NaN or infinity,
                a negative size, prices or sizes beyond 2^62, an aggressor of no trade or other
                than -1, 0 and 1.
        """
        selection, layout = self._selection, self._layout
        ts = self._required("ts_event", batch, first_row)
        # Before anything is cut away: the window and the footer bounds rely on sorted times.
        self._check_sorted(ts, self._seq(batch, first_row), first_row)
        if times is not None and len(ts) and not times[0] <= ts[0] <= ts[-1] <= times[1]:
            row = int(np.argmax((ts < times[0]) | (ts > times[1])))
            raise DataError(
                f"row {first_row + row} has ts_event {ts[row]}, outside the times {times[0]} to"
                f" {times[1]} that the footer states",
                place=self._place,
                remedy=DAMAGED,
            )
        low = 0 if selection.start is None else int(np.searchsorted(ts, selection.start))
        high = len(ts) if selection.end is None else int(np.searchsorted(ts, selection.end))
        batch = batch.slice(low, max(high - low, 0))
        first_row += low
        rows: Int64Array | None = None
        ids = self._symbols(batch, first_row)
        # Rows of other symbols are dropped before any other column is converted.
        if selection.chosen is not None:
            keep = selection.chosen[ids]
            rows = np.flatnonzero(keep)
            ids = ids[rows]
            batch = batch.filter(pa.array(keep))
        columns: Columns = {
            "symbol": ids,
            "ts_event": integer_column(self._column("ts_event", batch)),
        }
        if layout.has("seq"):
            columns["seq"] = integer_column(self._column("seq", batch))
        self._values(columns, batch, first_row, rows)
        if selection.features:
            features = self._features(batch)
            bad = nonfinite_cells(features)
            if bad is not None and selection.nonfinite == "refuse":
                self._refuse(bad, features, selection.features, ids, first_row, rows)
            if bad is not None and selection.nonfinite == "zero":
                features = self._zeroed(features, bad)
            columns["features"] = features
        if selection.targets:
            targets = wide_matrix(batch, selection.targets)
            bad = nonfinite_cells(targets)
            if bad is not None and selection.nonfinite != "keep":
                self._refuse(bad, targets, selection.targets, ids, first_row, rows)
            columns["targets"] = targets
        return columns

    def _values(
        self, columns: Columns, batch: pa.RecordBatch, first_row: int, rows: Int64Array | None
    ) -> None:
        """Add the other columns wanted, checked, for selected rows of the file."""
        for name in self._selection.values:
            if self._layout.has(name):
                columns[name] = integer_column(self._column(name, batch), ABSENT[name])
        if "aggressor" in columns:  # before a price that is none makes its trade absent
            self._check_aggressors(columns, first_row, rows)
        self._check_quotes(columns, first_row, rows)

    def _column(self, canonical: str, batch: pa.RecordBatch) -> pa.Array:
        return batch.column(self._layout.core[canonical])

    def _required(self, canonical: str, batch: pa.RecordBatch, first_row: int) -> Int64Array:
        column = self._column(canonical, batch)
        if column.null_count:
            row = first_row + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
            raise DataError(
                f"row {row} has no {self._layout.core[canonical]}",
                place=self._place,
                remedy="Remove the row, or ingest the data again.",
            )
        return integer_column(column)

    def _seq(self, batch: pa.RecordBatch, first_row: int) -> Int64Array | None:
        return self._required("seq", batch, first_row) if self._layout.has("seq") else None

    def _check_sorted(self, ts: Int64Array, seq: Int64Array | None, first_row: int) -> None:
        if not len(ts):
            return
        # Files without seq are sorted by time alone: ties count as equal.
        order = np.zeros(len(ts), dtype=np.int64) if seq is None else seq
        if self._last is not None and (int(ts[0]), int(order[0])) < self._last:
            self._unsorted(first_row, self._last, (int(ts[0]), int(order[0])))
        self._last = int(ts[-1]), int(order[-1])
        # The common case needs no search for the place: both columns rise throughout.
        if (ts[1:] >= ts[:-1]).all() and (seq is None or (seq[1:] >= seq[:-1]).all()):
            return
        wrong = (ts[1:] < ts[:-1]) | ((ts[1:] == ts[:-1]) & (order[1:] < order[:-1]))
        if wrong.any():
            i = int(np.argmax(wrong))
            before, after = ((int(ts[k]), int(order[k])) for k in (i, i + 1))
            self._unsorted(first_row + i + 1, before, after)

    def _unsorted(self, row: int, before: tuple[int, int], after: tuple[int, int]) -> None:
        if before[0] == after[0]:
            problem = f"row {row} has seq {after[1]} after {before[1]} at the same ts_event"
        else:
            problem = (
                f"row {row} has ts_event {after[0]} ({format_utc(after[0])}) after {before[0]}"
                f" ({format_utc(before[0])})"
            )
        raise DataError(
            f"not sorted: {problem}",
            place=self._place,
            remedy="Sort the file by ts_event (stably), or ingest it: nothing is sorted silently.",
        )

    def _symbols(self, batch: pa.RecordBatch, first_row: int) -> Int32Array:
        column = self._column("symbol", batch)
        if column.null_count:
            row = first_row + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
            raise DataError(
                f"row {row} has no symbol",
                place=self._place,
                remedy="Remove the row: `backtest data validate --quarantine DIR`.",
            )
        # Row groups mostly share a dictionary, so its names are looked up once, not per batch.
        if self._dictionary is None or not column.dictionary.equals(self._dictionary):
            with mapped_errors(self._place):
                names = column.dictionary.to_pylist()
            self._codes = np.array([self._ids.get(name, -1) for name in names], dtype=np.int32)
            self._dictionary = column.dictionary
        indices = column.indices.to_numpy()
        ids: Int32Array = np.take(self._codes, indices)
        if (self._codes < 0).any() and (ids < 0).any():
            i = int(np.argmax(ids < 0))
            name = column.dictionary[int(indices[i])].as_py()
            raise DataError(
                f"row {first_row + i} has the unknown symbol {name!r}",
                place=self._place,
                remedy=suggestion(name, self._ids) or "Add it to the symbols of the card.",
            )
        return ids

    def _check_aggressors(self, columns: Columns, first_row: int, rows: Int64Array | None) -> None:
        aggressor = columns["aggressor"]
        wrong = wrong_aggressors(aggressor, columns["trade_price"])
        if wrong.any():
            i = int(np.argmax(wrong))
            where = self._row(i, columns["symbol"], first_row, rows)
            name = self._layout.core["aggressor"]
            raise wrong_aggressor(where, name, int(aggressor[i]), place=self._place)

    def _check_quotes(self, columns: Columns, first_row: int, rows: Int64Array | None) -> None:
        """Make absent what is no price, and refuse sizes and prices that cannot be counted."""
        for price, size in SIDES:
            ticks, lots = columns.get(price), columns.get(size)
            if ticks is not None and not plain_prices(ticks):
                absent = absent_prices(ticks, columns["symbol"], self._selection.signed)
                if absent is not None:
                    self.absent[price] += int(np.count_nonzero(absent))
                    columns[price] = np.where(absent, NO_PRICE, ticks)
                    lots = None if lots is None else np.where(absent, 0, lots)
                    if price == "trade_price" and "aggressor" in columns:
                        columns["aggressor"] = np.where(absent, np.int8(0), columns["aggressor"])
                wrong = unusable_price(columns[price])
                if wrong is not None:
                    value = int(columns[price][wrong])
                    where = self._row(wrong, columns["symbol"], first_row, rows)
                    raise too_large(where, self._layout.core[price], value, place=self._place)
            if lots is None:
                continue
            columns[size] = lots
            wrong = unusable_size(lots)
            if wrong is not None:
                self._refuse_size(
                    self._row(wrong, columns["symbol"], first_row, rows), size, int(lots[wrong])
                )

    def _refuse_size(self, where: str, size: str, lots: int) -> None:
        name = self._layout.core[size]
        if lots > 0:
            raise too_large(where, name, lots, place=self._place)
        raise DataError(
            f"{where} has {lots} in {name!r}: a size is never negative",
            place=self._place,
            remedy="Remove the row: `backtest data validate --quarantine DIR`.",
        )

    def _row(self, i: int, ids: Int32Array, first_row: int, rows: Int64Array | None) -> str:
        """The row of the file that a selected one is, with its symbol."""
        row = first_row + (i if rows is None else int(rows[i]))
        return f"row {row} ({self._selection.symbols[ids[i]]})"

    def _features(self, batch: pa.RecordBatch) -> Float32Array:
        layout, wanted = self._layout, self._selection.features
        if layout.packed is None:
            return packed_matrix(batch.column(ROWS), len(wanted))
        matrix = packed_matrix(batch.column(layout.packed), len(layout.features))
        if wanted == layout.features:
            return matrix
        return matrix[:, [layout.features.index(name) for name in wanted]]

    def _zeroed(self, matrix: Float32Array, bad: BoolArray) -> Float32Array:
        self.replaced += int(np.count_nonzero(bad))
        mended = matrix.copy(order="K")
        mended[bad] = 0
        return mended

    def _refuse(
        self,
        bad: BoolArray,
        matrix: Float32Array,
        names: Sequence[str],
        ids: Int32Array,
        first_row: int,
        rows: Int64Array | None,
    ) -> None:
        i = int(np.argmax(bad.any(axis=1)))
        k = int(np.argmax(bad[i]))
        raise DataError(
            f"{self._row(i, ids, first_row, rows)} has {matrix[i, k]} in {names[k]!r}",
            place=self._place,
            remedy="A NaN would corrupt a symbol's state for good: fix the data, or set"
            ' nonfinite = "zero" (features only).',
        )


def integer_column(column: pa.Array, absent: int | None = None) -> NDArray[Any]:
    """A column of integers or instants, of its type or int64, its nulls replaced by ``absent``."""
    if pa.types.is_timestamp(column.type):
        column = column.view(pa.int64())
    if absent is not None and column.null_count:
        column = pc.fill_null(column, absent)
    values: NDArray[Any] = column.to_numpy()
    return values
