"""From mapped columns to a dataset: units, grids, order."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backtest.core.text import suggestion_or_list
from backtest.data.canonical import CanonicalWriter
from backtest.data.card import Card, Features, Targets
from backtest.data.reading.decode import Columns
from backtest.data.reading.merge import SortedFile, stream
from backtest.data.schema import describe_difference
from backtest.data.sources import IngestReport
from backtest.errors import DataError
from backtest.market.events import EventBatch
from backtest.plugins.sources.hours import calendar_of
from backtest.plugins.sources.mapped_files import InputTable
from backtest.plugins.sources.mapped_instruments import Instruments, instruments_of
from backtest.plugins.sources.mapped_rows import Rows
from backtest.plugins.sources.mapped_times import EARLIEST
from backtest.plugins.sources.mapping import Mapping

_BATCH_ROWS = 65_536
_LANE_ROWS = 16_384
_SORTED = "out of time order: sorted"
_KINDS = (
    (r"u?int\d+", "a whole number"),
    (r"halffloat|float|double", "a number"),
    (r"decimal.*", "a decimal number"),
    (r"(large_)?string|string_view|dictionary<values=(large_)?string.*", "text"),
    (r"timestamp.*", "a timestamp"),
)
"""Types of which each file of an input may have its own width."""


class MappingOptions(Protocol):
    """Parameters of ``MappedCsv`` and ``MappedParquet``, which import this module to ingest."""

    @property
    def mapping(self) -> Path: ...

    @property
    def unsorted(self) -> str: ...

    @property
    def nonfinite(self) -> Literal["refuse", "zero"]: ...


def ingest(
    source: MappingOptions, mapping: Mapping, files: Sequence[InputTable], output: Path
) -> IngestReport:
    """See ``MappedCsv``.

    Raises:
        DataError: a mapping or file that cannot be used, columns that differ between files, times
            out of range or order, numbers off their grid, NaN under ``refuse``.
    """
    _check_columns(files, mapping)
    readers = [_Reader(file, mapping, source.nonfinite) for file in files]
    symbols = sorted(set().union(*(reader.symbols() for reader in readers)))
    if not symbols:
        raise DataError("there are no rows", place=files[0].place)
    instruments = instruments_of(mapping, symbols, source.mapping)
    card = Card(
        name=mapping.name,
        description=mapping.description,
        symbols=tuple(symbols),
        features=None if mapping.features is None else Features(columns=mapping.features.columns),
        targets=None if mapping.targets is None else Targets(columns=mapping.targets.columns),
        instruments=dict(instruments.tables),
        calendar=calendar_of(mapping, [r.first for r in readers], [r.last for r in readers]),
        notes={"mapping": _plain(mapping.model_dump(mode="json", exclude_none=True))},
    )
    # Not by name, so that renamed files give the same dataset.
    readers = sorted((r for r in readers if r.first is not None), key=_Reader.order)
    opened = [
        SortedFile(
            i,
            reader.first,
            reader.chunks(symbols, instruments, source.unsorted == "sort"),
            _LANE_ROWS,
        )
        for i, reader in enumerate(readers)
    ]
    with CanonicalWriter(output, card, nonfinite=source.nonfinite) as writer:
        for columns in stream(opened, _BATCH_ROWS):
            targets: Any = columns.pop("targets", None)
            writer.write(EventBatch(**columns), targets)
    repaired = sum((reader.rows.repaired for reader in readers), Counter[str]())
    repaired["features that were null, NaN or infinite, set to 0"] = writer.replaced
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
                f"the file has no column {', '.join(map(repr, missing))}",
                place=file.place,
                remedy=suggestion_or_list(missing[0], sorted(types), "Its columns"),
            )
        found = {name: _kind(types[name]) for name in mapping.columns()}
        for name in floats:
            if found[name] and not found[name].endswith("number"):
                raise DataError(f"column {name!r} is {types[name]}, not a number", place=file.place)
        difference = describe_difference(first, found) if first else ""
        if difference:
            raise DataError(
                f"its columns differ from those of {files[0].place}: {difference}",
                place=file.place,
            )
        first = found


def _kind(name: str) -> str:
    """What a column holds, by its type."""
    return next((kind for form, kind in _KINDS if re.fullmatch(form, name)), name)


class _Reader:
    """One file's rows as canonical columns.

    Attributes:
        rows: makes the columns, and counts what was changed.
        first, last: the least and the largest ts_event; ``None`` if there are no rows. Known
            after ``symbols``.
    """

    def __init__(
        self, file: InputTable, mapping: Mapping, nonfinite: Literal["refuse", "zero"]
    ) -> None:
        self.rows = Rows(file.place, mapping, nonfinite)
        self.first: int | None = None
        self.last: int | None = None
        self._file, self._mapping, self._first_symbol = file, mapping, ""

    def order(self) -> tuple[int, str, str]:
        """Files go by their first event."""
        return self.first or 0, self._first_symbol, self._file.place

    def symbols(self) -> set[str]:
        """The symbols of the file."""
        names = [*self._mapping.time.event]
        if self._mapping.symbol.column is not None:
            names.append(self._mapping.symbol.column)
        found: set[str] = set()
        row = 0
        for batch in self._file.batches(names, names):
            if not batch.num_rows:
                continue
            ts = self.rows.times(batch, row)
            self.first = min(int(ts.min()), int(ts[0]) if self.first is None else self.first)
            self.last = max(int(ts.max()), int(ts[0]) if self.last is None else self.last)
            text = self.rows.symbol(batch, row)
            self._first_symbol = self._first_symbol or text[0].as_py()
            found.update(pc.unique(text).to_pylist())
            row += batch.num_rows
        return found

    def chunks(self, symbols: list[str], instruments: Instruments, sort: bool) -> Iterator[Columns]:
        """The rows, in time order."""
        parts = self._decoded(pa.array(symbols), instruments)
        if sort:
            whole = [*parts]
            columns = {name: np.concatenate([part[name] for part in whole]) for name in whole[0]}
            self.rows.count(_SORTED, np.diff(columns["ts_event"]) < 0)
            order = np.argsort(columns["ts_event"], kind="stable")
            yield {name: values[order] for name, values in columns.items()}
            return
        last, row = EARLIEST, 0
        for columns in parts:
            ts = columns["ts_event"]
            back = np.diff(ts, prepend=last) < 0
            if back.any():
                raise DataError(
                    f"not sorted: row {row + int(np.argmax(back))} is earlier than the row before",
                    place=self._file.place,
                    remedy="Sort the file, or ask for --set unsorted=sort.",
                )
            last, row = int(ts[-1]), row + len(ts)
            yield columns

    def _decoded(self, symbols: pa.Array, instruments: Instruments) -> Iterator[Columns]:
        mapping = self._mapping
        text = {*mapping.texts(), *(column for column, _ in mapping.numbers().values())}
        if mapping.csv.thousands is not None:
            text.update(mapping.floats())
        row = 0
        for batch in self._file.batches(mapping.columns(), text):
            if batch.num_rows:
                yield self.rows.decoded(batch, symbols, instruments, row)
                row += batch.num_rows
