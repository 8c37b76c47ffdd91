"""The stretch of a stream that somebody still needs: columns in buffers that are used again.

Events are numbered from 0 in bus order over the whole run. The event with number ``e`` lies in row
``e - first`` of every column. Rows are added at the end and given up at the beginning; the rows
that are left slide to the front when the columns are full, so memory follows what is in
flight, not the length of the history.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

ColumnType: TypeAlias = Any
"""A dtype, or a pair of dtype and width."""

ROWS = 1 << 17
"""Rows of a window at the beginning; it grows where more than half of them stay needed."""


class Window:
    """Columns of consecutive events.

    Args:
        columns: name to dtype of each column, or to dtype and width of a matrix.
        rows: the initial capacity, in rows.

    Attributes:
        first: number of the event in row 0. It changes only within ``extend``.
        stop: number after that of the newest event.
        needed: events before this number are not needed any more.
        slides: how often rows have moved, perhaps into other arrays.
    """

    def __init__(self, columns: Mapping[str, ColumnType], rows: int = ROWS) -> None:
        self._columns: dict[str, NDArray[Any]] = {}
        for name, of in columns.items():
            dtype, shape = of if isinstance(of, tuple) else (of, None)
            self._columns[name] = np.zeros(rows if shape is None else (rows, shape), dtype=dtype)
        self._rows = rows
        self.first = self.stop = self.needed = self.slides = 0

    def __getitem__(self, name: str) -> NDArray[Any]:
        """A whole column, rows without meaning at its end included. ``extend`` may replace it."""
        return self._columns[name]

    def __contains__(self, name: str) -> bool:
        return name in self._columns

    @property
    def count(self) -> int:
        """Rows in use."""
        return self.stop - self.first

    def rows(self, first: int, stop: int) -> slice:
        """The rows of the events ``first`` to ``stop - 1``."""
        return slice(first - self.first, stop - self.first)

    def extend(self, count: int) -> slice:
        """Append ``count`` events; returns their rows, whose contents are undefined."""
        if self.count + count > self._rows:
            self._slide(count)
        rows = slice(self.count, self.count + count)
        self.stop += count
        return rows

    def release(self, number: int) -> None:
        """Declare that no event before ``number`` is needed any more; this cannot be undone."""
        self.needed = max(self.needed, min(number, self.stop))

    def _slide(self, count: int) -> None:
        """Move the needed rows to the front, into larger columns if they fill more than half."""
        kept = slice(self.needed - self.first, self.count)
        left = self.stop - self.needed
        while 2 * (left + count) > self._rows:
            self._rows *= 2
        for name, column in self._columns.items():
            moved = column
            if len(column) < self._rows:
                moved = np.zeros((self._rows, *column.shape[1:]), dtype=column.dtype)
            moved[:left] = column[kept]  # numpy copies overlapping rows as if by way of a buffer
            self._columns[name] = moved
        self.first = self.needed
        self.slides += 1
