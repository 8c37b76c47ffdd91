"""The books that depth makes of a venue's symbols, and how far they have come."""

from __future__ import annotations

from typing import Any

import numpy as np

from backtest.core.arrays import BoolArray, Int32Array, Int64Array
from backtest.trading import depth_layout as dl
from backtest.trading.depth_window import DepthWindow

_LEVELS = 1 << 8
"""Levels, and entries of orders, that there is room for at the beginning."""


class DepthBooks:
    """What a venue knows of the depth of its symbols.

    Args:
        window: the rows.
        followed: which symbols own orders may reach, bool [S]; the others have no book.
    """

    def __init__(self, window: DepthWindow, followed: BoolArray) -> None:
        from backtest.trading import depth_entry_loops, depth_row_loops
        from backtest.trading.depth_level_loops import Depth

        self._window = window
        self._followed = followed
        self._rows, self._entries = depth_row_loops, depth_entry_loops
        symbols = len(followed)
        state = np.zeros(dl.STATE_SIZE, dtype=np.int64)
        state[dl.BY_ORDER] = window.orders
        books = np.zeros((symbols, dl.BOOK_SIZE), dtype=np.int64)
        books[:, [dl.NEXT_ROW, dl.NEXT_EVENT]] = -1
        sides = np.zeros((2 * symbols, dl.SIDE_SIZE), dtype=np.int64)
        sides[:, dl.COMPLETE] = window.orders
        sides[:, dl.STATED_PRICE] = dl.VOID
        entries = _LEVELS if window.orders else 0
        self._depth: Any = Depth(
            state=state,
            rows=window.rows,
            books=books,
            sides=sides,
            levels=np.zeros((_LEVELS, dl.LEVEL_SIZE), dtype=np.int64),
            entries=np.zeros((entries, dl.ENTRY_SIZE), dtype=np.int64),
        )
        self._heads = np.empty(symbols, dtype=np.int64)

    @property
    def current(self) -> Any:
        """``Depth``, with the rows that are there now."""
        self._depth.state[dl.FIRST] = self._window.first
        self._depth = self._depth._replace(rows=self._window.rows)
        return self._depth

    @property
    def needs(self) -> int:
        """The oldest row that is yet to be handled."""
        waiting = self._depth.books[:, dl.NEXT_ROW]
        return int(waiting[waiting >= 0].min(initial=self._window.stop))

    @property
    def oldest_event(self) -> Int64Array:
        """The events that are yet to change a book, of each symbol the first one, int64 [k]."""
        events: Int64Array = self._depth.books[:, dl.NEXT_EVENT]
        return events[events >= 0]

    @property
    def most_levels(self) -> int:
        """Levels of the side that has the most."""
        return int(self._depth.sides[:, dl.COUNT].max(initial=0))

    def follow_rows(self) -> None:
        """Take note of the rows that came last."""
        self._note(dl.NEXT_ROW, self._window.heads)

    def follow_events(self, first: int, symbol: Int32Array) -> None:
        """Take note of events, which begin with number ``first``; [n]."""
        if self._window.orders:
            return  # quotes say nothing of these books
        self._heads.fill(-1)
        self._rows.find_heads(first, symbol, self._heads)
        self._note(dl.NEXT_EVENT, self._heads)

    def _note(self, column: int, heads: Int64Array) -> None:
        books = self._depth.books
        new = (books[:, column] < 0) & (heads >= 0) & self._followed
        books[new, column] = heads[new]

    def grow(self) -> None:
        """Make room for what a row or a quote may add."""
        depth = self._depth
        wanted = 4 * int(depth.sides[:, dl.CAPACITY].max(initial=0)) + 8
        if depth.state[dl.USED] + wanted > len(depth.levels):
            more = np.zeros((len(depth.levels) + wanted, dl.LEVEL_SIZE), dtype=np.int64)
            self._depth = self._depth._replace(levels=np.concatenate([depth.levels, more]))
        entries = depth.entries
        if self._window.orders and 2 * depth.state[dl.HELD] >= len(entries):
            live = self._entries.count_live(depth.sides, entries)
            size = 2 * len(entries) if 4 * live > len(entries) else len(entries)
            larger = np.zeros((size, dl.ENTRY_SIZE), dtype=np.int64)
            self._entries.rehash(entries, larger, depth.sides, depth.state)
            self._depth = self._depth._replace(entries=larger)
