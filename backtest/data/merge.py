"""The rows of many sorted files as one stream in the total order (ts_event, seq, source).

Files that do not overlap in time stream one after another without a copy. Those that do are merged
in a window that reaches to the smallest of the keys read last from each file: below it nothing
more can come, so what lies below is joined and sorted, and the file that bounds it is read on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from backtest.data.decode import Columns
from backtest.events import Int64Array

Key: TypeAlias = tuple[int, int, int]
"""(ts_event, seq, source) of a row; seq is 0 throughout if the files have none."""


@dataclass
class SortedFile:
    """One file's rows, a decoded chunk at a time.

    Attributes:
        source: the file's place among the dataset's files.
        first: no row has a smaller ts_event; ``None`` if its footer does not say.
        chunks: the rest of the file.
        least: rows to have at hand: where files overlap, the more the fewer the merges.
        columns: the chunk at hand, less the rows taken from it.
        last: the key of the last row read.
    """

    source: int
    first: int | None
    chunks: Iterator[Columns]
    least: int = 1
    columns: Columns = field(default_factory=dict)
    last: Key = (0, 0, 0)

    def refill(self) -> bool:
        """Have at least ``least`` rows at hand if the file has them; false if it has no more."""
        while self._rows() < self.least:
            columns = next(self.chunks, None)
            if columns is None:
                break
            if len(columns["ts_event"]):
                seq = int(columns["seq"][-1]) if "seq" in columns else 0
                self.last = int(columns["ts_event"][-1]), seq, self.source
                self.columns = _joined([self.columns, columns]) if self._rows() else columns
        return self._rows() > 0

    def _rows(self) -> int:
        return len(self.columns["ts_event"]) if self.columns else 0

    def take(self, bound: Key) -> Columns | None:
        """The rows at hand with keys up to the bound, which leave; ``None`` if there are none."""
        ts = self.columns["ts_event"]
        count = len(ts)
        if self.last > bound:
            time, seq, source = bound
            low, high = int(np.searchsorted(ts, time)), int(np.searchsorted(ts, time, "right"))
            first = self.source <= source
            if "seq" in self.columns:
                tied = self.columns["seq"][low:high]
                count = low + int(np.searchsorted(tied, seq, "right" if first else "left"))
            else:
                count = high if first else low
        taken = rows_of(self.columns, slice(0, count))
        self.columns = rows_of(self.columns, slice(count, None))
        return taken if count else None


def stream(files: Sequence[SortedFile], batch_rows: int) -> Iterator[Columns]:
    """Rows of all files in the total order, in pieces of 1 to ``batch_rows``.

    A file is opened only when its first row may be due, so disjoint files are read one at a time.
    """
    closed = sorted(files, key=lambda f: (f.first is not None, f.first or 0))
    live: list[SortedFile] = []
    while True:
        live = [file for file in live if file.refill()]
        while closed and (not live or _may_precede(closed[0], min(f.last for f in live))):
            file = closed.pop(0)
            if file.refill():
                live.append(file)
        if not live:
            return
        bound = min(file.last for file in live)
        live.sort(key=lambda f: f.source)
        columns = _merge([part for file in live if (part := file.take(bound)) is not None])
        for low in range(0, len(columns["ts_event"]), batch_rows):
            yield rows_of(columns, slice(low, low + batch_rows))


def rows_of(columns: Columns, rows: slice) -> Columns:
    """The same columns at some rows, as views."""
    return {name: array[rows] for name, array in columns.items()}


def _may_precede(file: SortedFile, bound: Key) -> bool:
    return file.first is None or file.first <= bound[0]


def _merge(parts: Sequence[Columns]) -> Columns:
    """Sorted parts, given in the order of their files, as one sorted piece."""
    if len(parts) == 1:
        return parts[0]
    joined = _joined(parts)
    order = _order(joined["ts_event"], joined.get("seq"))
    return {name: _permuted(array, order) for name, array in joined.items()}


def _joined(parts: Sequence[Columns]) -> Columns:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _order(ts: Int64Array, seq: Int64Array | None) -> Int64Array:
    # Both sorts are stable, which keeps the parts' order, and so the source, among equal keys.
    order = np.argsort(ts, kind="stable")
    if seq is not None and not np.diff(ts[order]).all():
        return np.lexsort((seq, ts))
    return order


def _permuted(array: Any, order: Int64Array) -> Any:
    if array.ndim == 2 and not array.flags.c_contiguous:  # filled column by column: [F, n] below
        return np.take(array.T, order, axis=1).T
    return np.take(array, order, axis=0)
