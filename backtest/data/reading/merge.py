"""The rows of many sorted files as one stream in the total order (ts_event, seq, source).

Files that do not overlap in time stream one after another without a copy. Those that do are merged
in a window that reaches to the smallest of the keys read last from each file: below it nothing
more can come, so what lies below is joined and sorted, a stretch of time after another, and the
files that have little left are read on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import Any, TypeAlias

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.data.reading.buffer_pool import Space
from backtest.data.reading.decode import Columns

_SMALL = np.dtype(np.int32)

Key: TypeAlias = tuple[int, int, int]
"""(ts_event, seq, source) of a row; seq is 0 throughout if the files have none."""


class SortedFile:
    """One file's rows, a decoded piece at a time.

    Args:
        source: the file's place among the dataset's files.
        first: no row has a smaller ts_event; ``None`` if its footer does not state it.
        pieces: the file.
        least: rows to buffer: where files overlap, more rows mean fewer merges.
        pool: decodes the next piece while this one is merged; ``None``: when it is needed.

    Attributes:
        last: the key of the last row read.
        left: number of buffered rows.
    """

    def __init__(
        self,
        source: int,
        first: int | None,
        pieces: Iterator[Columns],
        least: int = 1,
        pool: Executor | None = None,
    ) -> None:
        self.source = source
        self.first = first
        self.last: Key = (0, 0, 0)
        self.left = 0
        self._least = least
        self._pieces = pieces
        self._pool = pool
        self._next: Future[Columns | None] | None = None
        self._held: deque[Columns] = deque()

    def refill(self) -> bool:
        """Buffer at least ``least`` rows if the file has them; false if it has no more."""
        while self.left < self._least and (columns := self._read()) is not None:
            if count := len(columns["ts_event"]):
                seq = int(columns["seq"][-1]) if "seq" in columns else 0
                self.last = int(columns["ts_event"][-1]), seq, self.source
                self.left += count
                self._held.append(columns)
        return self.left > 0

    def _read(self) -> Columns | None:
        if self._pool is None:
            return next(self._pieces, None)
        columns = next(self._pieces, None) if self._next is None else self._next.result()
        if columns is not None:
            self._next = self._pool.submit(next, self._pieces, None)
        return columns

    @property
    def time(self) -> int:
        """The ts_event of the first buffered row."""
        return int(self._held[0]["ts_event"][0])

    def up_to(self, bound: Key) -> int:
        """Number of buffered rows with keys up to the bound."""
        # The file with the smallest last key gives everything, without a search.
        if self.last <= bound:
            return self.left
        return self._count(lambda columns: self._up_to(columns, bound))

    def before(self, time: int) -> int:
        """Number of buffered rows that are earlier than an instant."""
        return self._count(lambda columns: int(np.searchsorted(columns["ts_event"], time)))

    def take(self, count: int) -> list[Columns]:
        """Remove and return the first buffered rows."""
        self.left -= count
        parts = []
        while count:
            columns = self._held.popleft()
            size = len(columns["ts_event"])
            if size > count:
                self._held.appendleft(rows_of(columns, slice(count, None)))
                columns = rows_of(columns, slice(count))
            parts.append(columns)
            count -= min(size, count)
        return parts

    def _count(self, of: Callable[[Columns], int]) -> int:
        total = 0
        for columns in self._held:
            count = of(columns)
            total += count
            if count < len(columns["ts_event"]):
                break
        return total

    def _up_to(self, columns: Columns, bound: Key) -> int:
        ts = columns["ts_event"]
        time, seq, source = bound
        low, high = int(np.searchsorted(ts, time)), int(np.searchsorted(ts, time, "right"))
        first = self.source <= source
        if "seq" not in columns:
            return high if first else low
        tied = columns["seq"][low:high]
        return low + int(np.searchsorted(tied, seq, "right" if first else "left"))


def stream(
    files: Sequence[SortedFile], batch_rows: int, *, compiled: bool = False
) -> Iterator[Columns]:
    """Rows of all files in the total order, in pieces of 1 to ``batch_rows``.

    A file is opened only when its first row may be due, so disjoint files are read one at a time.

    Args:
        files: the files.
        batch_rows: rows of a piece, at most; windows are about as large.
        compiled: find the order in a compiled loop, which is worth loading for many rows.
    """
    merger = _Merger(compiled)
    closed = sorted(files, key=lambda f: (f.first is not None, f.first or 0))
    live: list[SortedFile] = []
    while True:
        # With rows from every live file, the smallest of the last keys bounds what is complete.
        live = [file for file in live if file.refill()]
        while closed and (not live or _may_precede(closed[0], min(f.last for f in live))):
            file = closed.pop(0)
            if file.refill():
                live.append(file)
        if not live:
            return
        # The stable sort of the merger keeps this order among equal keys: source is the last key.
        live.sort(key=lambda f: f.source)
        for parts in _windows(live, min(file.last for file in live), batch_rows):
            columns = merger.merged(parts)
            for low in range(0, len(columns["ts_event"]), batch_rows):
                yield rows_of(columns, slice(low, low + batch_rows))


def _windows(live: Sequence[SortedFile], bound: Key, rows: int) -> Iterator[list[Columns]]:
    """The files' rows up to a bound, in intervals of time with about a given number of rows."""
    counts = [file.up_to(bound) for file in live]
    start = min(file.time for file in live)
    pieces = max(round(sum(counts) / rows), 1)
    for k in range(1, pieces + 1):
        time = start + (bound[0] - start) * k // pieces
        parts: list[Columns] = []
        for at, file in enumerate(live):
            # The last interval takes all that is left below the bound, ties in time included.
            count = counts[at] if k == pieces else min(file.before(time), counts[at])
            counts[at] -= count
            parts += file.take(count)
        if parts:
            yield parts


def rows_of(columns: Columns, rows: slice) -> Columns:
    """The same columns at some rows, as views."""
    return {name: array[rows] for name, array in columns.items()}


def _may_precede(file: SortedFile, bound: Key) -> bool:
    return file.first is None or file.first <= bound[0]


class _Merger:
    """Merges sorted parts, given in the order of their files, in space that it uses again."""

    def __init__(self, compiled: bool) -> None:
        self._compiled = compiled
        self._space = Space()

    def merged(self, parts: Sequence[Columns]) -> Columns:
        """The parts as one sorted piece."""
        if len(parts) == 1:
            return parts[0]
        joined = {name: self._joined([part[name] for part in parts]) for name in parts[0]}
        order = self._order(joined["ts_event"], joined.get("seq"))
        return {name: self._sorted(array, order) for name, array in joined.items()}

    def _joined(self, arrays: Sequence[Any]) -> Any:
        if arrays[0].ndim > 1:
            return np.concatenate(arrays)
        return np.concatenate(arrays, out=self._space.flat(arrays[0].dtype, sum(map(len, arrays))))

    def _order(self, ts: Int64Array, seq: Int64Array | None) -> Any:
        if self._compiled:
            from backtest.data.reading.merge_loops import by_time

            order = self._space.flat(_SMALL, len(ts))
            counts = self._space.flat(_SMALL, len(ts) + 2)
            counts[:] = 0
            if by_time(ts, ts[:0] if seq is None else seq, order, counts):
                return order
        # Both sorts are stable, which keeps the parts' order, and so the source, among equal keys.
        order = np.argsort(ts, kind="stable")
        if seq is not None and not np.diff(ts[order]).all():
            return np.lexsort((seq, ts))
        return order

    def _sorted(self, array: Any, order: Any) -> Any:
        if self._compiled and array.ndim == 1 and order.dtype == _SMALL:
            from backtest.data.reading.merge_loops import gather

            out = self._space.flat(array.dtype, len(order))
            gather(array, order, out)
            return out
        return np.take(array, order, axis=0)
