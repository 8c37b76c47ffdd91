"""Checks of the rows of depth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from backtest.core.arrays import BoolArray
from backtest.data.depth_checks import depth_faults
from backtest.data.quality.price_checks import RowFlags
from backtest.data.quality.rules import RowChecks, in_sessions
from backtest.data.reading.decode import Columns, integer_column
from backtest.market.depth import VALUES
from backtest.market.events import NO_TIME


class DepthChecks(RowChecks):
    """The same for the rows of one file of depth."""

    def _values(self, batch: pa.RecordBatch, columns: Columns) -> None:
        for name in VALUES:
            if self._layout.has(name):
                columns[name] = integer_column(batch.column(name), 0)

    def _errors(
        self, batch: pa.RecordBatch, columns: Columns, good: BoolArray
    ) -> Iterator[RowFlags]:
        yield from self._order_errors(batch, columns, good)
        for name in VALUES:
            if self._layout.has(name) and batch.column(name).null_count:
                null = batch.column(name).is_null().to_numpy(zero_copy_only=False)
                yield "null", null, _says(f"no {name}")
        rows = np.flatnonzero(good)  # which have symbols
        known = {name: columns[name][rows] for name in VALUES if name in columns}
        for fault in depth_faults(known, columns["symbol"][rows], self._signed):
            broken = np.zeros(len(good), dtype=np.bool_)
            broken[rows[fault.rows]] = True
            yield "depth", broken, _cell(fault.column, columns[fault.column], fault.problem)

    def _warnings(self, columns: Columns, good: BoolArray) -> Iterator[RowFlags]:
        ts = columns["ts_event"]
        yield from self._time_warnings(ts, good)
        if self._sessions is not None:
            outside = good & (ts != NO_TIME) & ~in_sessions(ts, self._sessions)
            yield "outside", outside, _cell("ts_event", ts, "no session is open")


def _says(text: str) -> Callable[[int], str]:
    return lambda _: text


def _cell(name: str, values: NDArray[Any], problem: str) -> Callable[[int], str]:
    return lambda i: f"{values[i]} in {name!r}: {problem}"
