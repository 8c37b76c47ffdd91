"""Rows of mapped columns as canonical columns: what each cell means, or why the row is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Any, Literal, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backtest.core.arrays import BoolArray, Int8Array, Int64Array
from backtest.data.canonical import NO_PRICES
from backtest.data.prices import is_marker
from backtest.data.reading.decode import Columns
from backtest.data.reading.matrices import wide_matrix
from backtest.errors import DataError
from backtest.market.events import NO_PRICE, NO_TIME
from backtest.plugins.sources.mapped.instruments import Instruments
from backtest.plugins.sources.mapped.mapping import Mapping
from backtest.plugins.sources.mapped.mapping_tables import Trades
from backtest.plugins.sources.mapped.steps import as_floats, numbers_of, plain_numbers, steps_of
from backtest.plugins.sources.mapped.times import EARLIEST, LATEST, instants, joined
from backtest.plugins.sources.shared.counts import RECEIVED_BEFORE
from backtest.plugins.sources.shared.rows import first_failure, refuse_nonfinite

_NO_NUMBER = "{} that is NaN"
_FAULTS = (ValueError, ArithmeticError, pa.ArrowException)


@dataclass
class Rows:
    """Makes canonical columns of the rows of one file.

    Attributes:
        place: what the file is called in messages.
        mapping: what its columns mean.
        nonfinite: as ``MappedCsv.nonfinite``.
        repaired: values and rows that were changed, by what was done.
    """

    place: str
    mapping: Mapping
    nonfinite: Literal["refuse", "zero"]
    repaired: Counter[str] = field(default_factory=Counter)

    def decoded(
        self, batch: pa.RecordBatch, symbols: pa.Array, instruments: Instruments, row: int
    ) -> Columns:
        """All columns of a batch.

        Args:
            batch: its rows, at least one.
            symbols: of the dataset, in order.
            instruments: theirs.
            row: the number of the first row.

        Raises:
            DataError: naming the row that cannot be used.
        """
        mapping = self.mapping
        ids = pc.index_in(self.symbol(batch, row), symbols)
        columns: Columns = {"symbol": ids.to_numpy(), "ts_event": self.times(batch, row)}
        if mapping.time.receive is not None:
            received = self._received(_joined(batch, mapping.time.receive), row)
            known, ts = received != NO_TIME, columns["ts_event"]
            self.count(RECEIVED_BEFORE, known & (received < ts))
            columns["ts_recv"] = np.where(known, np.maximum(received, ts), NO_TIME)
        for canonical, (name, _) in mapping.numbers().items():
            grids = instruments.grids(canonical, columns["symbol"])
            columns[canonical] = self.grid(batch, canonical, name, grids, row)
        if mapping.trade is not None:
            traded = columns["trade_price"] != NO_PRICE
            columns["aggressor"] = self._aggressors(batch, mapping.trade, traded, row)
        for canonical, table in (("features", mapping.features), ("targets", mapping.targets)):
            if table is not None:
                columns[canonical] = self._floats(batch, canonical, table.columns, row)
        return columns

    def symbol(self, batch: pa.RecordBatch, first_row: int) -> pa.Array:
        """The symbol of each row, as text [n]."""
        name = self.mapping.symbol.column
        if name is None:
            return pa.array([self.mapping.symbol.value] * batch.num_rows, type=pa.string())
        column = batch.column(name)
        try:
            text = _text(column)
        except _FAULTS:
            row, error = first_failure(column, _text, _FAULTS)
            self.refuse(first_row + row, f"cannot be read: {name!r}: {error}")
        empty = pc.fill_null(pc.equal(text, ""), True)
        if pc.any(empty).as_py():
            self.refuse(first_row + pc.index(empty, True).as_py(), f"has no {name!r}")
        return text

    def _received(self, column: pa.Array, first_row: int) -> Int64Array:
        known = column.is_valid().to_numpy(zero_copy_only=False)
        ts = np.full(len(column), NO_TIME, dtype=np.int64)
        if known.any():
            rows = first_row + np.flatnonzero(known)
            ts[known] = self._instants(column.drop_null(), rows)
        return ts

    def times(self, batch: pa.RecordBatch, first_row: int) -> Int64Array:
        """Instants of events as int64 ns UTC, [n]."""
        column = _joined(batch, self.mapping.time.event)
        if column.null_count:
            self.refuse(first_row + pc.index(column.is_null(), True).as_py(), "has no time")
        return self._instants(column, first_row + np.arange(len(column)))

    def _instants(self, column: pa.Array, rows: Int64Array) -> Int64Array:
        """Instants as int64 ns UTC, [n], of a column without nulls, whose rows are given."""
        time = self.mapping.time

        def convert(some: pa.Array) -> Int64Array:
            return instants(some, time)

        try:
            ts = convert(column)
        except _FAULTS:
            row, error = first_failure(column, convert, _FAULTS)
            self.refuse(int(rows[row]), f"has a time that {str(error).splitlines()[0]:.200}")
        wrong = (ts < EARLIEST) | (ts > LATEST)
        if wrong.any():
            i = int(np.argmax(wrong))
            shown = column.slice(i, 1).cast(pa.string())[0].as_py()
            text = f"has the time {shown}, which is not in {time.unit}"
            self.refuse(int(rows[i]), text)
        return ts

    def grid(
        self,
        batch: pa.RecordBatch,
        canonical: str,
        name: str,
        grids: Sequence[tuple[Decimal, BoolArray | None]],
        first_row: int,
    ) -> Int64Array:
        """Prices in ticks or sizes in lots, [n]; what is no price is absent, and counted.

        Args:
            canonical: which; those that end in ``size`` are sizes.
            name: of the column.
            grids: each grid with its rows, as ``Instruments.grids`` gives them.
        """
        table = self.mapping.size if canonical.endswith("size") else self.mapping.price
        assert table is not None  # or the mapping has no such column
        unit, column = table.unit, batch.column(name)
        known = column.is_valid().to_numpy(zero_copy_only=False)
        rows = np.flatnonzero(known)

        def read(some: pa.Array) -> Any:
            numbers = numbers_of(some)
            if isinstance(numbers, pa.Array):
                numbers = plain_numbers(numbers, self.mapping.csv)
            return numbers, as_floats(numbers)

        try:
            numbers, floats = read(column.drop_null())
        except _FAULTS:
            row, error = first_failure(column.drop_null(), read, _FAULTS)
            self.refuse(first_row + int(rows[row]), f"cannot be read: {name!r}: {error}")
        present = ~self._absent(floats, canonical)
        numbers, rows = _taken(numbers, present), rows[present]
        result = np.full(len(column), 0 if canonical.endswith("size") else NO_PRICE, dtype=np.int64)
        for step, of_symbols in grids:
            some, places = numbers, rows
            if of_symbols is not None:
                chosen = of_symbols[rows]
                some, places = _taken(numbers, chosen), rows[chosen]
            convert = partial(steps_of, unit=unit, step=step)
            try:
                result[places] = convert(some)
            except _FAULTS:
                row, error = first_failure(some, convert, _FAULTS)
                self.refuse(first_row + int(places[row]), f"cannot be converted: {name!r}: {error}")
        return result

    def _aggressors(
        self, batch: pa.RecordBatch, trade: Trades, traded: BoolArray, first_row: int
    ) -> Int8Array:
        """Who initiated each trade, int8 [n]; 0 where there is none, or the cell is empty."""
        meaning = {"": 0} | trade.sides()
        sides = self.codes(batch, trade.aggressor, meaning, traded, "[trade]", first_row)
        return np.where(traded, sides, np.int8(0))

    def codes(
        self,
        batch: pa.RecordBatch,
        name: str,
        meaning: dict[str, int],
        needed: BoolArray,
        table: str,
        first_row: int,
    ) -> Int8Array:
        """What each value of a column means, int8 [n]; it must be listed where it is needed."""
        column = batch.column(name)
        try:
            text = _text(column)
        except _FAULTS:
            row, error = first_failure(column, _text, _FAULTS)
            self.refuse(first_row + row, f"cannot be read: {name!r}: {error}")
        plain = pc.fill_null(pc.utf8_lower(pc.utf8_trim_whitespace(text)), "")
        places = pc.index_in(plain, pa.array([*meaning])).fill_null(-1).to_numpy()
        unlisted = np.flatnonzero(needed & (places < 0))
        if len(unlisted):
            i = int(unlisted[0])
            value = text[i].as_py()
            self.refuse(
                first_row + i, f"has {value!r:.80} in {name!r}, which {table} does not list"
            )
        return np.array([*meaning.values()], dtype=np.int8)[places]

    def _absent(self, numbers: Any, canonical: str) -> BoolArray:
        """Which numbers as the file has them are no prices or sizes, bool [n]; they are counted."""
        unknown: BoolArray = np.isnan(numbers)
        if canonical.endswith("size"):
            self.count(_NO_NUMBER.format(canonical) + ", taken for 0", unknown)
            return unknown
        unknown |= np.isinf(numbers)
        self.count(_NO_NUMBER.format(canonical) + " or infinite: that side absent", unknown)
        price = self.mapping.price
        further = () if price is None else tuple(map(float, price.absent))
        none = is_marker(numbers, further)
        if not self.mapping.instrument.signed_prices:
            none |= numbers <= 0
        none &= ~unknown
        self.count(NO_PRICES.format(canonical), none)
        return unknown | none

    def count(self, what: str, rows: BoolArray) -> None:
        """Count rows that were changed."""
        self.repaired[what] += int(np.count_nonzero(rows))

    def _floats(self, batch: pa.RecordBatch, noun: str, columns: Sequence[str], row: int) -> Any:
        """Features or targets, float32 [n, F]."""
        with np.errstate(over="ignore"):
            matrix = wide_matrix(self._as_numbers(batch, columns, row), columns)
        if noun == "targets" or self.nonfinite == "refuse":
            refuse_nonfinite(matrix, tuple(columns), row, place=self.place, noun=noun)
        return matrix

    def _as_numbers(
        self, batch: pa.RecordBatch, columns: Sequence[str], first_row: int
    ) -> pa.RecordBatch:
        """Some columns, those that are text as float64."""

        def read(some: pa.Array) -> pa.Array:
            plain = plain_numbers(pc.utf8_trim_whitespace(some.cast(pa.string())), self.mapping.csv)
            return plain.cast(pa.float64())

        arrays = []
        for name in columns:
            column = batch.column(name)
            if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
                try:
                    column = read(column)
                except _FAULTS:
                    row, error = first_failure(column, read, _FAULTS)
                    self.refuse(first_row + row, f"cannot be read: {name!r}: {error}")
            arrays.append(column)
        return pa.record_batch(arrays, names=list(columns))

    def refuse(self, row: int, problem: str) -> NoReturn:
        """Refuse a row.

        Raises:
            DataError: always.
        """
        raise DataError(
            f"row {row} {problem}",
            place=self.place,
            remedy="Mend the row, or what the mapping states.",
        )


def _text(column: pa.Array) -> pa.Array:
    text = column.cast(pa.string())
    text.validate(full=True)
    return text


def _joined(batch: pa.RecordBatch, names: Sequence[str]) -> pa.Array:
    return joined([batch.column(name) for name in names])


def _taken(numbers: Any, chosen: BoolArray) -> Any:
    """Some of the numbers, or of their text."""
    return numbers.filter(pa.array(chosen)) if isinstance(numbers, pa.Array) else numbers[chosen]
