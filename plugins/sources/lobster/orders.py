"""LOBSTER's messages as rows of single orders, which add up to the book of the other file."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.market import depth
from backtest.plugins.sources.lobster.rows import ADD, DELETE, EXECUTE, HIDDEN, LobsterRows

Order: TypeAlias = tuple[int, int]
"""The side (0 bids, 1 asks) and price of its level."""

_SIGN = (depth.BID, depth.ASK)
_DEEPEST = -(2**62)
_HIDDEN_ID = 0
"""No order of LOBSTER has this number."""


class OrderRows:
    """One day's book of a symbol, order by order.

    What the book shows at a level beyond the orders that are known by their messages is one
    nameless order. Where it shows less, orders were cancelled while the level was deeper than the
    file's: the nameless one is reduced first, then the newest.
    """

    def __init__(self) -> None:
        self._orders: dict[int, Order] = {}
        self._levels: tuple[dict[int, dict[int, int]], ...] = ({}, {})
        """By side and price the lots of each order, in the order of their arrival."""
        self._sums: tuple[dict[int, int], ...] = ({}, {})
        self._unseen: list[set[int]] = [set(), set()]
        """Levels with orders that the book did not show last, as they were too deep."""
        self._worst = [_DEEPEST, _DEEPEST]
        self._shown: list[dict[int, int]] = [{}, {}]
        self._begun = False
        self._rows: list[tuple[int, ...]] = []
        self._at = 0

    def rows(self, rows: LobsterRows, ticks: Int64Array, prices: Int64Array) -> Int64Array:
        """Rows of depth.

        Args:
            rows: messages and the book.
            ticks: the messages' prices in ticks, [n]; 0 where the message is none of an order.
            prices: the book's, int64 [2, N, n].

        Returns:
            int64 [7, k]: number of the message among ``rows``, then ``market.depth.VALUES``.
        """
        self._rows = []
        columns = (rows.type, rows.order, rows.size, ticks, rows.direction)
        messages = zip(*(column.tolist() for column in columns), strict=True)
        books = zip(
            prices.transpose(2, 0, 1).tolist(), rows.sizes.transpose(2, 0, 1).tolist(), strict=True
        )
        for at, (message, book) in enumerate(zip(messages, books, strict=True)):
            self._at = at
            shown = [_levels(*side) for side in zip(*book, strict=True)]
            if not self._begun:
                self._begin(message, shown)
            else:
                self._apply(*message)
            touched = 0 if message[4] > 0 else 1
            for side in (0, 1):
                if side == touched or shown[side] != self._shown[side]:
                    self._agree(side, shown[side], len(book[0][side]), message[3])
            self._shown = shown
        return np.array(self._rows, dtype=np.int64).reshape(-1, 7).T

    def _begin(self, message: tuple[int, ...], shown: list[dict[int, int]]) -> None:
        """The first row: all that is shown but for the order that it adds."""
        kind, _, size, price, direction = message
        self._begun = True
        self._put(0, 0, 0, depth.CLEAR | depth.SNAPSHOT, 0, 0)
        for side in (0, 1):
            for level, lots in shown[side].items():
                added = size if (kind, _SIGN[side], level) == (ADD, direction, price) else 0
                self._nameless(side, level, lots - added)
        row = self._rows.pop()
        self._rows.append((*row[:4], row[4] | depth.SNAPSHOT | depth.LAST, *row[5:]))
        if kind == ADD:
            self._apply(*message)

    def _apply(self, kind: int, order: int, size: int, price: int, direction: int) -> None:
        """A message's order in the book, and its row."""
        side = 0 if direction > 0 else 1
        if kind == HIDDEN:
            if price:
                self._put(direction, price, size, 0, _HIDDEN_ID, depth.EXECUTE)
        elif kind == ADD:
            if order in self._orders:  # a number that is used again: its order must be gone
                old = self._orders[order]
                self._take(*old, order, self._levels[old[0]][old[1]][order])
            self._orders[order] = side, price
            self._change(side, price, order, size)
            self._put(direction, price, size, 0, order, depth.ADD)
        elif kind <= EXECUTE:
            if self._orders.get(order) != (side, price):
                order = _nameless_id(side, price)
                lacking = size - self._levels[side].get(price, {}).get(order, 0)
                self._nameless(side, price, lacking)
            there = self._levels[side][price][order]
            lots = there if kind == DELETE and order > 0 else min(size, there)
            action = depth.EXECUTE if kind == EXECUTE else depth.CANCEL
            self._change(side, price, order, -lots)
            self._put(direction, price, lots, 0, order, action)

    def _agree(self, side: int, shown: dict[int, int], levels: int, at: int) -> None:
        """Make the orders of a side add up to what the book shows after a message at a price."""
        sums, unseen, sign = self._sums[side], self._unseen[side], _SIGN[side]
        full = len(shown) == levels
        worst = min(sign * level for level in shown) if full else _DEEPEST
        left = (self._shown[side].keys() | {at}) - shown.keys()
        # What is not shown is deeper than what is; otherwise it is gone.
        doubtful = unseen | left if worst < self._worst[side] else left
        gone = sorted(level for level in doubtful - shown.keys() if sign * level > worst)
        for level in gone:
            self._reduce(side, level, sums.get(level, 0))
        unseen |= left & sums.keys()
        unseen -= {*gone}
        self._worst[side] = worst
        for price, lots in shown.items():
            there = sums.get(price, 0)
            if there < lots:
                self._nameless(side, price, lots - there)
            elif there > lots:
                self._reduce(side, price, there - lots)

    def _reduce(self, side: int, price: int, lots: int) -> None:
        """Take lots that were cancelled unseen from a level."""
        orders = self._levels[side].get(price, {})
        nameless = _nameless_id(side, price)
        for order in [nameless, *reversed([*orders])]:
            taken = min(lots, orders.get(order, 0))
            if taken:
                self._take(side, price, order, taken)
                lots -= taken

    def _take(self, side: int, price: int, order: int, lots: int) -> None:
        """Cancel lots of an order, which no message says."""
        self._change(side, price, order, -lots)
        self._put(_SIGN[side], price, lots, depth.SNAPSHOT, order, depth.CANCEL)

    def _nameless(self, side: int, price: int, lots: int) -> None:
        """Add lots to the nameless order of a level."""
        if lots <= 0:
            return
        order = _nameless_id(side, price)
        there = self._levels[side].get(price, {}).get(order, 0)
        self._change(side, price, order, lots)
        action = depth.MODIFY if there else depth.ADD
        self._put(_SIGN[side], price, there + lots, depth.SNAPSHOT, order, action)

    def _change(self, side: int, price: int, order: int, lots: int) -> None:
        """Add lots to an order, or take them from it; without any it is gone, as is its level."""
        orders = self._levels[side].setdefault(price, {})
        left = orders.get(order, 0) + lots
        total = self._sums[side].get(price, 0) + lots
        if left:
            orders[order] = left
        else:
            del orders[order]
            self._orders.pop(order, None)
        if total:
            self._sums[side][price] = total
        else:
            del self._sums[side][price], self._levels[side][price]

    def _put(self, sign: int, price: int, size: int, flags: int, order: int, action: int) -> None:
        self._rows.append((self._at, sign, price, size, flags, order, action))


def _levels(prices: list[int], sizes: list[int]) -> dict[int, int]:
    """Lots by price of the levels that are there."""
    return {price: lots for price, lots in zip(prices, sizes, strict=True) if price}


def _nameless_id(side: int, price: int) -> int:
    """The number of a level's nameless order, which is below 0."""
    return -(2 * price + side)
