"""What rows of hftbacktest's events say of a book: rows of depth, and the touch that they leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from backtest.core.arrays import BoolArray, Int64Array
from backtest.data.reading.decode import Columns
from backtest.market import depth
from backtest.plugins.hft_layout import ADD, CANCEL, CLEAR, FILL, MODIFY, SNAPSHOT
from backtest.plugins.sources.shared.books import Book

_BIDS, _ASKS = 0, 1
_SIGN = (depth.BID, depth.ASK)


@dataclass(frozen=True)
class BookRows:
    """Rows that change a book.

    Attributes:
        row: their numbers in the file, int64 [n].
        ts: int64 ns [n].
        group: the same for rows with the same times, rising, int64 [n].
        kind: as in ``hft_layout``, int64 [n].
        side: 1 buy, -1 sell, 0 none, int64 [n].
        price, size: ticks and lots, int64 [n].
        order: numbers of orders, int64 [n].
    """

    row: Int64Array
    ts: Int64Array
    group: Int64Array
    kind: Int64Array
    side: Int64Array
    price: Int64Array
    size: Int64Array
    order: Int64Array

    def __len__(self) -> int:
        return len(self.row)


class BookError(Exception):
    """A row that the book does not allow."""

    def __init__(self, row: int, problem: str) -> None:
        super().__init__(problem)
        self.row = row
        self.problem = problem


class BookChanges(Protocol):
    """A book that goes on from one block of rows to the next."""

    def apply(self, rows: BookRows) -> tuple[Columns, Int64Array]:
        """Apply rows, of which the next block does not continue the last group.

        Returns:
            Rows of depth, ``row`` (the number of the row that each comes from) and the values of
            ``market.depth``; and touches, int64 [7, k] as ``book_loops.touches`` writes them.

        Raises:
            BookError: a row that cannot be applied.
        """


class LevelChanges:
    """A book of levels (L2)."""

    def __init__(self) -> None:
        self._book = Book(known=True)

    def apply(self, rows: BookRows) -> tuple[Columns, Int64Array]:
        """See ``BookChanges``."""
        clears = rows.kind == CLEAR
        _check(
            rows, ~clears & ((rows.side == 0) | (rows.price <= 0)), "level without side or price"
        )
        touches: list[Int64Array] = []
        parts: list[tuple[Int64Array, ...]] = []
        cuts = np.flatnonzero(clears)
        for low, high in zip([0, *(cuts + 1)], [*cuts, len(rows)], strict=True):
            some = slice(low, high)
            flags = np.where(rows.kind[some] == SNAPSHOT, depth.SNAPSHOT, 0)
            columns = rows.row[some], rows.side[some], rows.price[some], rows.size[some]
            parts.append((*columns, flags))
            at = np.arange(low, high)
            touches.append(self._update(rows, at, *(values for values in columns[1:])))
            if high < len(rows):
                said, gone = self._cleared(rows, high)
                parts.append(said)
                at = np.full(len(gone[0]), high)
                touches.append(self._update(rows, at, *gone))
        touches.append(self._book.finish())
        joined = [np.concatenate(values) for values in zip(*parts, strict=True)]
        names = ("row", "side", "price", "size", "flags")
        return dict(zip(names, joined, strict=True)), np.concatenate(touches, axis=1)

    def _update(
        self, rows: BookRows, at: Int64Array, side: Int64Array, price: Int64Array, size: Int64Array
    ) -> Int64Array:
        """Apply levels that rows state, and return touches."""
        codes = np.where(side > 0, _BIDS, _ASKS)
        table = [rows.ts[at], rows.group[at], rows.row[at], np.zeros_like(at), codes, price, size]
        return self._book.update(np.stack(table), (0, 0))[0]

    def _cleared(
        self, rows: BookRows, at: int
    ) -> tuple[tuple[Int64Array, ...], tuple[Int64Array, ...]]:
        """What a clear says, of all levels or of those of a side from the best to its price.

        Returns:
            Rows of depth: the side is cleared, and what is deeper than the price is stated anew,
            so that orders which wait there keep their places. And the levels that are gone: their
            sides, prices and sizes of 0.
        """
        row, side, price = int(rows.row[at]), int(rows.side[at]), int(rows.price[at])
        said = [(row, side, 0, 0, depth.CLEAR | depth.SNAPSHOT)]
        gone = []
        for code in (_BIDS, _ASKS):
            sign = _SIGN[code]
            if side in (0, sign):
                for level, size in self._book.levels(code):
                    if side and sign * level < sign * price:
                        said.append((row, sign, level, size, depth.SNAPSHOT))
                    else:
                        gone.append((sign, level, 0))
        return _columns(said, 5), _columns(gone, 3)


class OrderChanges:
    """A book of orders (L3)."""

    def __init__(self) -> None:
        self._book = Book(known=True)
        self._orders: dict[int, tuple[int, int, int]] = {}
        self._sums: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self._levels: list[tuple[int, ...]] = []
        self._rows: list[tuple[int, ...]] = []

    def apply(self, rows: BookRows) -> tuple[Columns, Int64Array]:
        """See ``BookChanges``."""
        self._levels, self._rows = [], []
        columns = (rows.kind, rows.side, rows.price, rows.size, rows.order)
        cells = zip(*(column.tolist() for column in columns), strict=True)
        for at, (kind, side, price, size, order) in enumerate(cells):
            if kind == CLEAR:
                self._clear(at, side)
            elif kind == ADD:
                if self._orders.get(order, (0, 0, 0))[2]:
                    raise BookError(int(rows.row[at]), f"adds the order {order} again")
                if not side or price <= 0 or not size:
                    raise BookError(int(rows.row[at]), "adds an order without side, price or lots")
                self._orders.pop(order, None)
                self._set(at, order, 0 if side > 0 else 1, price, size)
                self._rows.append((at, side, price, size, 0, order, depth.ADD))
            elif order not in self._orders:
                raise BookError(int(rows.row[at]), f"is of the order {order}, which is not there")
            else:
                self._change(at, kind, price, size, order)
        number, *level = _columns(self._levels, 4)
        zeros = np.zeros_like(number)
        table = [rows.ts[number], rows.group[number], rows.row[number], zeros, *level]
        touches = [self._book.update(np.stack(table), (0, 0))[0], self._book.finish()]
        places, *values = _columns(self._rows, 7)
        found = dict(zip(depth.VALUES, values, strict=True))
        return {"row": rows.row[places], **found}, np.concatenate(touches, axis=1)

    def _clear(self, at: int, side: int) -> None:
        """An empty book, or side of it, of which everything is known."""
        flags = depth.CLEAR | depth.SNAPSHOT | depth.LAST
        self._rows.append((at, side, 0, 0, flags, 0, depth.ADD))
        for code in (_BIDS, _ASKS):
            if side in (0, _SIGN[code]):
                self._levels += [(at, code, price, 0) for price in self._sums[code]]
                self._sums[code].clear()
                self._orders = {k: o for k, o in self._orders.items() if o[0] != code}

    def _change(self, at: int, kind: int, price: int, size: int, order: int) -> None:
        """A row of an order that is there."""
        code, level, there = self._orders[order]
        sign = _SIGN[code]
        if kind == MODIFY and (price, size) != (level, there):
            self._set(at, order, code, price, size)
            self._rows.append((at, sign, price, size, 0, order, depth.MODIFY))
        elif kind == CANCEL:
            self._set(at, order, code, level, 0)
            del self._orders[order]
            if there:
                self._rows.append((at, sign, level, there, 0, order, depth.CANCEL))
        elif kind == FILL and size:
            self._set(at, order, code, level, max(there - size, 0))
            self._rows.append((at, sign, level, size, 0, order, depth.EXECUTE))

    def _set(self, at: int, order: int, code: int, price: int, size: int) -> None:
        """Give an order, which may be new, a price and lots."""
        sums = self._sums[code]
        _, before, there = self._orders.get(order, (code, price, 0))
        self._orders[order] = code, price, size
        for level, lots in ((before, -there), (price, size)):
            sums[level] = sums.get(level, 0) + lots
        for level in {before, price}:
            self._levels.append((at, code, level, sums[level]))
            if not sums[level]:
                del sums[level]


def _columns(cells: Sequence[tuple[int, ...]], width: int) -> tuple[Int64Array, ...]:
    return tuple(np.array(cells, dtype=np.int64).reshape(-1, width).T)


def _check(rows: BookRows, wrong: BoolArray, problem: str) -> None:
    if wrong.any():
        raise BookError(int(rows.row[np.argmax(wrong)]), f"is a {problem}")
