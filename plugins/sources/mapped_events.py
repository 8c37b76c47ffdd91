"""From mapped columns to a dataset: units, grids, order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NoReturn, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backtest.core.arrays import Int64Array
from backtest.data.canonical import CanonicalWriter
from backtest.data.card import Card, Features, Targets
from backtest.data.reading.decode import Columns
from backtest.data.reading.matrices import wide_matrix
from backtest.data.reading.merge import SortedFile, stream
from backtest.data.schema import describe_difference
from backtest.data.sources import IngestReport
from backtest.errors import DataError
from backtest.market.events import NO_PRICE, NO_TIME, EventBatch
from backtest.plugins.sources.decimals import floats_to_grid, parse_decimals, step_of, to_grid
from backtest.plugins.sources.mapped_files import InputTable
from backtest.plugins.sources.mapping import Mapping, read_mapping

_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_NS = 1_000_000_000
_EARLIEST, _LATEST = 631_152_000 * _NS, 4_102_444_800 * _NS  # 1990 and 2100
_BATCH_ROWS = 65_536
_LANE_ROWS = 16_384
_BEFORE = "received before the event: ts_recv set to ts_event"
_SORTED = "out of time order: sorted"


class MappingOptions(Protocol):
    """Parameters of ``MappedCsv`` and ``MappedParquet``, which import this module to ingest."""

    @property
    def mapping(self) -> Path: ...

    @property
    def unsorted(self) -> str: ...

    @property
    def nonfinite(self) -> Literal["refuse", "zero"]: ...


def ingest(source: MappingOptions, files: Sequence[InputTable], output: Any) -> IngestReport:
    """See ``MappedCsv``.

    Raises:
        DataError: a mapping or file that cannot be used, columns that differ between files, times
            out of range or order, numbers off their grid, NaN under ``refuse``.
    """
    mapping = read_mapping(source.mapping)
    _check_columns(files, mapping)
    readers = [_Reader(file, mapping) for file in files]
    symbols = sorted(set().union(*(reader.symbols() for reader in readers)))
    if not symbols:
        raise DataError("there are no rows", place=str(files[0].path))
    price, size = mapping.price, mapping.size
    steps = {} if price is None else {"tick_size": price.tick_size}
    steps |= {} if size is None else {"lot_size": size.lot_size}
    card = Card(
        name=mapping.name,
        description=mapping.description,
        symbols=tuple(symbols),
        features=None if mapping.features is None else Features(columns=mapping.features.columns),
        targets=None if mapping.targets is None else Targets(columns=mapping.targets.columns),
        instruments={"default": mapping.instrument.model_copy(update=steps)},
        notes={"mapping": _plain(mapping.model_dump(mode="json", exclude_none=True))},
    )
    # Not by name, so that renamed files give the same dataset.
    readers = sorted((r for r in readers if r.first is not None), key=_Reader.order)
    opened = [
        SortedFile(i, reader.first, reader.chunks(symbols, source.unsorted == "sort"), _LANE_ROWS)
        for i, reader in enumerate(readers)
    ]
    with CanonicalWriter(output, card, nonfinite=source.nonfinite) as writer:
        for columns in stream(opened, _BATCH_ROWS):
            targets: Any = columns.pop("targets", None)
            writer.write(EventBatch(**columns), targets)
    repaired = {
        _BEFORE: sum(reader.clamped for reader in readers),
        _SORTED: sum(reader.moved for reader in readers),
        "features that were null, NaN or infinite, set to 0": writer.replaced,
    }
    counted = {what: count for what, count in repaired.items() if count}
    return IngestReport(writer.rows, writer.rows, repaired=counted)


def _plain(table: dict[str, Any]) -> dict[str, Any]:
    return {k: _plain(v) if isinstance(v, dict) else v for k, v in table.items() if v != {}}


def _check_columns(files: Sequence[InputTable], mapping: Mapping) -> None:
    """Every file must have the columns, of the same types; their order is free."""
    floats = set(mapping.floats())
    first: dict[str, str] = {}
    for file in files:
        types = file.types()
        missing = [name for name in mapping.columns() if name not in types]
        if missing:
            raise DataError(
                f"no column {', '.join(map(repr, missing))}",
                place=str(file.path),
                remedy=f"It has: {', '.join(sorted(types))}.",
            )
        found = {name: types[name] for name in mapping.columns()}
        for name in floats:
            if found[name] and not found[name].startswith(("float", "double", "half", "int", "u")):
                raise DataError(
                    f"column {name!r} is {found[name]}, not a number", place=str(file.path)
                )
        difference = describe_difference(first, found) if first else ""
        if difference:
            raise DataError(
                f"its columns differ from those of {files[0].path}: {difference}",
                place=str(file.path),
            )
        first = found


@dataclass
class _Reader:
    """One file's rows as canonical columns.

    Attributes:
        first: no row has a smaller ts_event; ``None`` if there are no rows. Known after
            ``symbols``.
        clamped, moved: receipts set to their event, rows that were out of order.
    """

    file: InputTable
    mapping: Mapping
    first: int | None = None
    clamped: int = 0
    moved: int = 0
    _first_symbol: str = ""

    def order(self) -> tuple[int, str, str]:
        """Files go by their first event."""
        return self.first or 0, self._first_symbol, str(self.file.path)

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
            self.moved = int(np.count_nonzero(np.diff(columns["ts_event"]) < 0))
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
                    place=str(self.file.path),
                    remedy="Sort the file, or use --set unsorted=sort.",
                )
            last, row = int(ts[-1]), row + len(ts)
            yield columns

    def _decoded(self, symbols: pa.Array) -> Iterator[Columns]:
        mapping = self.mapping
        text = [mapping.time.event, mapping.time.receive, mapping.symbol.column]
        row = 0
        for batch in self.file.batches(mapping.columns(), {name for name in text if name}):
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
                self.clamped += int(np.count_nonzero(known & (received < ts)))
                columns["ts_recv"] = np.where(known, np.maximum(received, ts), NO_TIME)
            for canonical in mapping.numbers():
                columns[canonical] = self._grid(batch, canonical, row)
            for canonical, table in (("features", mapping.features), ("targets", mapping.targets)):
                if table is not None:
                    with np.errstate(over="ignore"):
                        columns[canonical] = wide_matrix(batch, table.columns)
            yield columns
            row += batch.num_rows

    def _symbol(self, batch: pa.RecordBatch, first_row: int) -> pa.Array:
        name = self.mapping.symbol.column
        if name is None:
            return pa.array([self.mapping.symbol.value] * batch.num_rows, type=pa.string())
        column = batch.column(name).cast(pa.string())
        try:
            column.validate(full=True)
        except pa.ArrowInvalid as error:
            self._refuse(first_row, f"or one after it: {name!r}: {error}")
        empty = pc.fill_null(pc.equal(column, ""), True)
        if pc.any(empty).as_py():
            self._refuse(first_row + pc.index(empty, True).as_py(), f"has no {name!r}")
        return column

    def _received(self, column: pa.Array, first_row: int) -> Int64Array:
        known = column.is_valid().to_numpy(zero_copy_only=False)
        ts = np.full(len(column), NO_TIME, dtype=np.int64)
        if known.any():
            ts[known] = self._times(column.drop_null(), first_row)
        return ts

    def _times(self, column: pa.Array, first_row: int) -> Int64Array:
        """Instants as int64 ns UTC, [n]."""
        if column.null_count:
            self._refuse(first_row + pc.index(column.is_null(), True).as_py(), "has no time")
        unit, zone = self.mapping.time.unit, self.mapping.time.zone
        try:
            local = _timestamps(column, unit)
            if local.type.tz is None:
                local = pc.assume_timezone(local, zone, ambiguous="raise", nonexistent="raise")
        except (ValueError, pa.ArrowException) as error:
            self._refuse(first_row, f"or one after it: time {str(error).splitlines()[0]}")
        ts: Int64Array = local.view(pa.int64()).to_numpy()
        wrong = (ts < _EARLIEST) | (ts > _LATEST)
        if wrong.any():
            i = int(np.argmax(wrong))
            self._refuse(first_row + i, f"has the time {column[i].as_py()}, which is not in {unit}")
        return ts

    def _grid(self, batch: pa.RecordBatch, canonical: str, row: int) -> Int64Array:
        """Prices in ticks or sizes in lots, [n]."""
        name, unit, step = self.mapping.numbers()[canonical]
        column = batch.column(name)
        absent = 0 if canonical.endswith("size") else NO_PRICE
        result = np.full(len(column), absent, dtype=np.int64)
        if pa.types.is_floating(column.type):
            column = pc.if_else(pc.is_nan(column), None, column)
        known = column.is_valid().to_numpy(zero_copy_only=False)
        values = column.drop_null()
        try:
            if pa.types.is_integer(values.type):
                steps = to_grid(values.cast(pa.int64()).to_numpy(), unit, step)
            else:
                steps = floats_to_grid(values.cast(pa.float64()).to_numpy(), unit, step)
        except (ValueError, pa.ArrowException) as error:
            self._refuse(row, f"or one after it: {name!r}: {error}")
        result[known] = steps
        return result

    def _refuse(self, row: int, problem: str) -> NoReturn:
        raise DataError(
            f"row {row} {problem}",
            place=str(self.file.path),
            remedy="Fix the row, or correct the units in the mapping.",
        )


def _timestamps(column: pa.Array, unit: str) -> pa.Array:
    """Timestamps in ns, with a zone if the column states one.

    Raises:
        ValueError: not what the unit says.
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
