"""Mapped columns of events in canonical units, on grids, in order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backtest.data.reading.decode import Columns
from backtest.errors import DataError
from backtest.plugins.sources.mapped.files import InputTable
from backtest.plugins.sources.mapped.instruments import Instruments
from backtest.plugins.sources.mapped.mapping import Mapping
from backtest.plugins.sources.mapped.rows import Rows
from backtest.plugins.sources.mapped.times import EARLIEST

_SORTED = "out of time order: sorted"


class Reader:
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
        self.file, self.mapping, self._first_symbol = file, mapping, ""

    def order(self) -> tuple[int, str, str]:
        """Files go by their first event."""
        return self.first or 0, self._first_symbol, self.file.place

    def symbols(self) -> set[str]:
        """The symbols of the file."""
        names = [*self.mapping.time.event]
        if self.mapping.symbol.column is not None:
            names.append(self.mapping.symbol.column)
        found: set[str] = set()
        row = 0
        for batch in self.file.batches(names, names):
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
                    place=self.file.place,
                    remedy="Sort the file, or ask for --set unsorted=sort.",
                )
            last, row = int(ts[-1]), row + len(ts)
            yield columns

    def _decoded(self, symbols: pa.Array, instruments: Instruments) -> Iterator[Columns]:
        mapping = self.mapping
        text = {*mapping.texts(), *(column for column, _ in mapping.numbers().values())}
        if mapping.csv.thousands is not None:
            text.update(mapping.floats())
        row = 0
        for batch in self.file.batches(mapping.columns(), text):
            if batch.num_rows:
                yield self.rows.decoded(batch, symbols, instruments, row)
                row += batch.num_rows
