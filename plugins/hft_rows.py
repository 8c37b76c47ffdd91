"""Quotes, trades and rows of depth of one symbol as rows of hftbacktest's events."""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import Protocol, TypeAlias

from backtest.market import depth
from backtest.market.events import NO_PRICE
from backtest.plugins.hft_layout import (
    ADD,
    BUY,
    CANCEL,
    CLEAR,
    DEPTH,
    FILL,
    MODIFY,
    SELL,
    SNAPSHOT,
)

Row: TypeAlias = tuple[int, int, int, int]
"""Kind and side, price in ticks, lots, and the number of an order."""

FLAG = {depth.BID: BUY, depth.ASK: SELL, depth.BOTH: 0}
"""hftbacktest's flag of a side, or of who initiated a trade."""


class BookRows(Protocol):
    """A symbol's book on its way from one format to the other."""

    def quote(self, bid: int, ask: int, bid_size: int, ask_size: int) -> list[Row]:
        """What a quote changes: ticks, ``NO_PRICE`` where a side is absent, and lots."""

    def depth(
        self, side: int, price: int, size: int, flags: int, order: int, action: int
    ) -> list[Row]:
        """What a row of depth changes."""


class LevelRows:
    """Levels (L2), or quotes alone: a quote states its touch, and that nothing is better."""

    def __init__(self) -> None:
        self._sizes: dict[int, dict[int, int]] = {depth.BID: {}, depth.ASK: {}}
        self._keys: dict[int, list[int]] = {depth.BID: [], depth.ASK: []}
        """Prices times the side, rising, so the best is last."""

    def quote(self, bid: int, ask: int, bid_size: int, ask_size: int) -> list[Row]:
        """See ``BookRows``. A crossed quote says nothing."""
        if NO_PRICE not in (bid, ask) and bid > ask:
            return []
        rows: list[Row] = []
        for side, price, size in ((depth.BID, bid, bid_size), (depth.ASK, ask, ask_size)):
            if price != NO_PRICE and self._sizes[side].get(price, 0) != size:
                rows += self._set(side, price, size, DEPTH)
            keys = self._keys[side]
            first = 0 if price == NO_PRICE else bisect_left(keys, side * price + 1)
            for key in reversed(keys[first:]):
                rows += self._set(side, side * key, 0, DEPTH)
        return rows

    def depth(
        self, side: int, price: int, size: int, flags: int, order: int, action: int
    ) -> list[Row]:
        """See ``BookRows``."""
        if not flags & depth.CLEAR:
            return self._set(side, price, size, SNAPSHOT if flags & depth.SNAPSHOT else DEPTH)
        worst = 0
        if side:
            if not self._keys[side]:
                return []
            worst = side * self._keys[side][0]  # hftbacktest clears a side up to a price
        for cleared in (side,) if side else (depth.BID, depth.ASK):
            self._sizes[cleared].clear()
            self._keys[cleared].clear()
        return [(CLEAR | FLAG[side], worst, 0, 0)]

    def _set(self, side: int, price: int, size: int, kind: int) -> list[Row]:
        sizes, keys, key = self._sizes[side], self._keys[side], side * price
        if size and price not in sizes:
            insort(keys, key)
        if size:
            sizes[price] = size
        elif sizes.pop(price, 0):
            del keys[bisect_left(keys, key)]
        return [(kind | FLAG[side], price, size, 0)]


class OrderRows:
    """Orders (L3). Quotes say nothing that the orders do not."""

    def __init__(self) -> None:
        self._orders: dict[int, tuple[int, int, int]] = {}

    def quote(self, bid: int, ask: int, bid_size: int, ask_size: int) -> list[Row]:
        """See ``BookRows``."""
        return []

    def depth(
        self, side: int, price: int, size: int, flags: int, order: int, action: int
    ) -> list[Row]:
        """See ``BookRows``. hftbacktest's fill leaves the order to the row after it."""
        if flags & depth.CLEAR:
            self._orders = {k: o for k, o in self._orders.items() if side not in (0, o[0])}
            return [(CLEAR | FLAG[side], 0, 0, 0)]
        there = self._orders.get(order)
        if there is None:
            if action in (depth.CANCEL, depth.EXECUTE) or not size:
                return []  # of a hidden order, which the trade beside it tells
            self._orders[order] = side, price, size
            return [(ADD | FLAG[side], price, size, order)]
        side, level, lots = there
        if action in (depth.ADD, depth.MODIFY):
            return self._left(order, side, price, size)
        filled = [(FILL | FLAG[side], level, min(size, lots), order)]
        left = self._left(order, side, level, max(lots - size, 0))
        return filled + left if action == depth.EXECUTE else left

    def _left(self, order: int, side: int, price: int, size: int) -> list[Row]:
        """An order's price and lots from now on."""
        if size:
            self._orders[order] = side, price, size
            return [(MODIFY | FLAG[side], price, size, order)]
        del self._orders[order]
        return [(CANCEL | FLAG[side], price, 0, order)]
