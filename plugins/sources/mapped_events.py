"""Mapped columns of events in canonical units, on grids, in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
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
from backtest.plugins.sources.decimals import floats_to_grid, parse_decimals, step_of, to_grid
from backtest.plugins.sources.mapped_files import InputTable
from backtest.plugins.sources.mapping import Mapping, Trades
from backtest.plugins.sources.rows import first_failure, refuse_nonfinite

_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_NS = 1_000_000_000
_EARLIEST, _LATEST = 631_152_000 * _NS, 4_102_444_800 * _NS  # 1990 and 2100
_BATCH_ROWS = 65_536
_LANE_ROWS = 16_384
_BEFORE = "received before the event: ts_recv set to ts_event"
_SORTED = "out of time order: sorted"
_NO_NUMBER = "{} that is NaN"
_FAULTS = (ValueError, ArithmeticError, pa.ArrowException)


@dataclass
class Reader:
    """One file's rows as canonical columns.

    Attributes:
        first: no row has a smaller ts_event; ``None`` if there are no rows. Known after
            ``symbols``.
        nonfinite: as ``MappedCsv.nonfinite``.
        repaired: values and rows that were changed, by what was done.
    """

    file: InputTable
    mapping: Mapping
    nonfinite: Literal["refuse", "zero"]
    first: int | None = None
    repaired: Counter[str] = field(default_factory=Counter)
    _first_symbol: str = ""

    def order(self) -> tuple[int, str, str]:
        """Files go by their first event."""
        return self.first or 0, self._first_symbol, self.file.place

    def symbols(self) -> set[str]:
        """The symbols of the file."""
        time, column = self.mapping.time.event, self.mapping.symbol.column
        names = [time] if column is None else [time, column]
        found: set[str] = set()
        row = 0
        for batch in self.file.batches(names, names):
            if not batch.num_rows:
                continue
            ts = self._times(batch.column(time), row)
            self.first = min(int(ts.min()), int(ts[0]) if self.first is None else self.first)
            text = self._symbol(batch, row)
            self._first_symbol = self._first_symbol or text[0].as_py()
            found.update(pc.unique(text).to_pylist())
            row += batch.num_rows
        return found

    def chunks(self, symbols: list[str], sort: bool) -> Iterator[Columns]:
        """The rows, in time order."""
        parts = self._decoded(pa.array(symbols))
        if sort:
            whole = [*parts]
            columns = {name: np.concatenate([part[name] for part in whole]) for name in whole[0]}
            self._count(_SORTED, np.diff(columns["ts_event"]) < 0)
            order = np.argsort(columns["ts_event"], kind="stable")
            yield {name: values[order] for name, values in columns.items()}
            return
        last, row = _EARLIEST, 0
        for columns in parts:
            ts = columns["ts_event"]
            back = np.diff(ts, prepend=last) < 0
            if back.any():
                raise DataError(
                    f"not sorted: row {row + int(np.argmax(back))} is earlier than the row before",
                    place=self.file.place,
                    remedy="Sort the file, or ask for --set unsorted=sort.",
                )
            last, row = int(ts[-1]), row + len(ts)
            yield columns

    def _decoded(self, symbols: pa.Array) -> Iterator[Columns]:
        mapping = self.mapping
        row = 0
        for batch in self.file.batches(mapping.columns(), mapping.texts()):
            if not batch.num_rows:
                continue
            ids = pc.index_in(self._symbol(batch, row), symbols)
            columns: Columns = {
                "symbol": ids.to_numpy(),
                "ts_event": self._times(batch.column(mapping.time.event), row),
            }
            if mapping.time.receive is not None:
                received = self._received(batch.column(mapping.time.receive), row)
                known, ts = received != NO_TIME, columns["ts_event"]
                self._count(_BEFORE, known & (received < ts))
                columns["ts_recv"] = np.where(known, np.maximum(received, ts), NO_TIME)
            for canonical in mapping.numbers():
                columns[canonical] = self._grid(batch, canonical, row)
            if mapping.trade is not None:
                traded = columns["trade_price"] != NO_PRICE
                columns["aggressor"] = self._aggressors(batch, mapping.trade, traded, row)
            for canonical, table in (("features", mapping.features), ("targets", mapping.targets)):
                if table is not None:
                    columns[canonical] = self._floats(batch, canonical, table.columns, row)
            yield columns
            row += batch.num_rows

    def _symbol(self, batch: pa.RecordBatch, first_row: int) -> pa.Array:
        name = self.mapping.symbol.column
        if name is None:
            return pa.array([self.mapping.symbol.value] * batch.num_rows, type=pa.string())
        column = batch.column(name)
        try:
            text = _text(column)
        except _FAULTS:
            row, error = first_failure(column, _text, _FAULTS)
            self._refuse(first_row + row, f"cannot be read: {name!r}: {error}")
        empty = pc.fill_null(pc.equal(text, ""), True)
        if pc.any(empty).as_py():
            self._refuse(first_row + pc.index(empty, True).as_py(), f"has no {name!r}")
        return text

    def _received(self, column: pa.Array, first_row: int) -> Int64Array:
        known = column.is_valid().to_numpy(zero_copy_only=False)
        ts = np.full(len(column), NO_TIME, dtype=np.int64)
        if known.any():
            rows = first_row + np.flatnonzero(known)
            ts[known] = self._instants(column.drop_null(), rows)
        return ts

    def _times(self, column: pa.Array, first_row: int) -> Int64Array:
        """Instants of events as int64 ns UTC, [n]."""
        if column.null_count:
            self._refuse(first_row + pc.index(column.is_null(), True).as_py(), "has no time")
        return self._instants(column, first_row + np.arange(len(column)))

    def _instants(self, column: pa.Array, rows: Int64Array) -> Int64Array:
        """Instants as int64 ns UTC, [n], of a column without nulls, whose rows are given."""
        unit, zone = self.mapping.time.unit, self.mapping.time.zone

        def convert(some: pa.Array) -> Int64Array:
            return _utc(some, unit, zone)

        try:
            ts = convert(column)
        except _FAULTS:
            row, error = first_failure(column, convert, _FAULTS)
            self._refuse(int(rows[row]), f"has a time that {str(error).splitlines()[0]:.200}")
        wrong = (ts < _EARLIEST) | (ts > _LATEST)
        if wrong.any():
            i = int(np.argmax(wrong))
            text = f"has the time {column[i].as_py()}, which is not in {unit}"
            self._refuse(int(rows[i]), text)
        return ts

    def _grid(self, batch: pa.RecordBatch, canonical: str, first_row: int) -> Int64Array:
        """Prices in ticks or sizes in lots, [n]; what is no price is absent, and counted."""
        return self._steps(batch, canonical, *self.mapping.numbers()[canonical], first_row)

    def _steps(
        self,
        batch: pa.RecordBatch,
        canonical: str,
        name: str,
        unit: Decimal,
        step: Decimal,
        first_row: int,
    ) -> Int64Array:
        is_size = canonical.endswith("size")
        column = batch.column(name)
        known = column.is_valid().to_numpy(zero_copy_only=False)
        rows = np.flatnonzero(known)
        try:
            numbers = _numbers(column.drop_null())
        except _FAULTS:
            row, error = first_failure(column.drop_null(), _numbers, _FAULTS)
            self._refuse(first_row + int(rows[row]), f"cannot be read: {name!r}: {error}")
        absent = self._absent(numbers, canonical)
        numbers, rows = numbers[~absent], rows[~absent]
        grid = floats_to_grid if numbers.dtype.kind == "f" else to_grid

        def convert(some: Any) -> Int64Array:
            return grid(some, unit, step)

        try:
            steps = convert(numbers)
        except _FAULTS:
            row, error = first_failure(numbers, convert, _FAULTS)
            self._refuse(first_row + int(rows[row]), f"cannot be converted: {name!r}: {error}")
        result = np.full(len(column), 0 if is_size else NO_PRICE, dtype=np.int64)
        result[rows] = steps
        return result

    def _aggressors(
        self, batch: pa.RecordBatch, trade: Trades, traded: BoolArray, first_row: int
    ) -> Int8Array:
        """Who initiated each trade, int8 [n]; 0 where there is none, or the cell is empty."""
        meaning = {"": 0} | trade.sides()
        sides = self._codes(batch, trade.aggressor, meaning, traded, "[trade]", first_row)
        return np.where(traded, sides, np.int8(0))

    def _codes(
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
            self._refuse(first_row + row, f"cannot be read: {name!r}: {error}")
        plain = pc.fill_null(pc.utf8_lower(pc.utf8_trim_whitespace(text)), "")
        places = pc.index_in(plain, pa.array([*meaning])).fill_null(-1).to_numpy()
        unlisted = np.flatnonzero(needed & (places < 0))
        if len(unlisted):
            i = int(unlisted[0])
            value = text[i].as_py()
            problem = f"has {value!r:.80} in {name!r}, which {table} does not list"
            self._refuse(first_row + i, problem)
        return np.array([*meaning.values()], dtype=np.int8)[places]

    def _absent(self, numbers: Any, canonical: str) -> BoolArray:
        """Which numbers as the file has them are no prices or sizes, bool [n]; they are counted."""
        unknown: BoolArray = np.isnan(numbers)
        if canonical.endswith("size"):
            self._count(_NO_NUMBER.format(canonical) + ", taken for 0", unknown)
            return unknown
        unknown |= np.isinf(numbers)
        self._count(_NO_NUMBER.format(canonical) + " or infinite: that side absent", unknown)
        price = self.mapping.price
        further = () if price is None else tuple(map(float, price.absent))
        none = is_marker(numbers, further)
        if not self.mapping.instrument.signed_prices:
            none |= numbers <= 0
        none &= ~unknown
        self._count(NO_PRICES.format(canonical), none)
        return unknown | none

    def _count(self, what: str, rows: BoolArray) -> None:
        self.repaired[what] += int(np.count_nonzero(rows))

    def _floats(self, batch: pa.RecordBatch, noun: str, columns: Sequence[str], row: int) -> Any:
        """Features or targets, float32 [n, F]."""
        with np.errstate(over="ignore"):
            matrix = wide_matrix(batch, columns)
        if noun == "targets" or self.nonfinite == "refuse":
            refuse_nonfinite(matrix, tuple(columns), row, place=self.file.place, noun=noun)
        return matrix

    def _refuse(self, row: int, problem: str) -> NoReturn:
        raise DataError(
            f"row {row} {problem}",
            place=self.file.place,
            remedy="Mend the row, or what the mapping states.",
        )


def _text(column: pa.Array) -> pa.Array:
    text = column.cast(pa.string())
    text.validate(full=True)
    return text


def _numbers(column: pa.Array) -> Any:
    """A column without nulls as int64 or float64 [n]; whole numbers beyond int64 as the latter."""
    if pa.types.is_integer(column.type):
        numbers = column.to_numpy(zero_copy_only=False)
        if numbers.dtype != np.uint64 or not len(numbers) or numbers.max() < 2**63:
            return numbers.astype(np.int64)
        return numbers.astype(np.float64)
    return column.cast(pa.float64()).to_numpy(zero_copy_only=False)


def _utc(column: pa.Array, unit: str, zone: str) -> Int64Array:
    """Instants as int64 ns UTC, [n].

    Raises:
        ValueError: not what the unit says, or a time that the zone's clocks skip or repeat.
    """
    if unit == "text":
        zoned = pc.match_substring_regex(column, r"(Z|[+-]\d\d:?\d\d)$")
        if pc.any(zoned).as_py() and not pc.all(zoned).as_py():
            ts = np.empty(len(column), dtype=np.int64)
            for mask in (zoned, pc.invert(zoned)):
                ts[mask.to_numpy(zero_copy_only=False)] = _utc(column.filter(mask), unit, zone)
            return ts
    local = _timestamps(column, unit)
    if local.type.tz is None:
        local = pc.assume_timezone(local, zone, ambiguous="raise", nonexistent="raise")
    return local.view(pa.int64()).to_numpy()


def _timestamps(column: pa.Array, unit: str) -> pa.Array:
    """Timestamps in ns, with a zone if the column states one.

    Raises:
        ValueError: the values do not match the unit.
    """
    stamp = pa.timestamp("ns")
    if unit == "timestamp":
        if not pa.types.is_timestamp(column.type):
            raise ValueError(f"is {column.type}, not a timestamp")
        return column.cast(pa.timestamp("ns", column.type.tz))
    if unit == "text":
        zoned = pc.all(pc.match_substring_regex(column, r"(Z|[+-]\d\d:?\d\d)$")).as_py()
        return column.cast(pa.timestamp("ns", "UTC") if zoned else stamp)
    if pa.types.is_integer(column.type):
        values, scale = column.cast(pa.int64()).to_numpy(), 0
    elif pa.types.is_string(column.type):
        values, scale = parse_decimals(column)
    else:
        raise ValueError(f"is {column.type}, which does not hold {unit} exactly")
    per_second = _PER_SECOND[unit]
    largest = _LATEST // _NS * per_second * 10**scale
    wrong = (values > largest) | (values < -largest)
    if wrong.any():
        raise ValueError(f"is {column[int(np.argmax(wrong))]}, which is not in {unit}")
    return pa.array(to_grid(values, step_of(scale), Decimal(per_second) / _NS)).view(stamp)
