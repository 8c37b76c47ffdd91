"""Books that a source walks through message by message: single orders or levels, and the touch.

Rows of levels that come as whole arrays are for ``books``, which is compiled.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import TypeAlias

from backtest.market.events import NO_PRICE

BID, ASK = 1, -1

Quote: TypeAlias = tuple[int, int, int, int]
"""Bid, ask (ticks; ``NO_PRICE`` where absent), bid size and ask size (lots)."""

NO_QUOTE: Quote = (NO_PRICE, NO_PRICE, 0, 0)


@dataclass
class BookSide:
    """The levels of one side.

    Args:
        sign: ``BID`` or ``ASK``.
    """

    sign: int
    levels: dict[int, int] = field(default_factory=dict)
    """Lots by price; none is 0."""
    _queue: list[int] = field(default_factory=list)
    """A heap of prices times -sign; those that are no level any more go when they come up."""

    def put(self, price: int, size: int) -> None:
        """Set what a level displays; 0 removes it."""
        if size <= 0:
            self.levels.pop(price, None)
            return
        if price not in self.levels:
            heappush(self._queue, -self.sign * price)
        self.levels[price] = size

    def add(self, price: int, size: int) -> None:
        """Add lots to a level, or take some from it (``size`` below 0)."""
        self.put(price, self.levels.get(price, 0) + size)

    def clear(self) -> None:
        """Remove all levels."""
        self.levels.clear()
        self._queue.clear()

    def best(self) -> tuple[int, int]:
        """The touch: its price, or ``NO_PRICE``, and its lots."""
        queue, levels = self._queue, self.levels
        while queue:
            price = -self.sign * queue[0]
            if price in levels:
                return price, levels[price]
            heappop(queue)
        return NO_PRICE, 0


class LevelBook:
    """Both sides, by level."""

    def __init__(self) -> None:
        self.bids, self.asks = BookSide(BID), BookSide(ASK)

    def side(self, sign: int) -> BookSide:
        """The levels of a side."""
        return self.bids if sign == BID else self.asks

    def quote(self) -> Quote:
        """What the touch displays."""
        bid, bid_size = self.bids.best()
        ask, ask_size = self.asks.best()
        return bid, ask, bid_size, ask_size

    def clear(self, sign: int = 0) -> None:
        """Remove a side; both by default."""
        for side in (self.bids, self.asks):
            if sign in (0, side.sign):
                side.clear()


class OrdersBook(LevelBook):
    """Both sides, by order: each is a side, a price and lots."""

    def __init__(self) -> None:
        super().__init__()
        self.orders: dict[int, tuple[int, int, int]] = {}

    def set(self, order: int, sign: int, price: int, size: int) -> None:
        """Put an order into the book, or change it; ``size`` 0 removes it."""
        self.remove(order)
        if size > 0:
            self.orders[order] = sign, price, size
            self.side(sign).add(price, size)

    def remove(self, order: int) -> None:
        """Take an order out; nothing if it is not there."""
        found = self.orders.pop(order, None)
        if found is not None:
            sign, price, size = found
            self.side(sign).add(price, -size)

    def reduce(self, order: int, size: int) -> int:
        """Take lots from an order; returns how many it had to give."""
        sign, price, left = self.orders[order]
        taken = min(size, left)
        self.side(sign).add(price, -taken)
        if taken == left:
            del self.orders[order]
        else:
            self.orders[order] = sign, price, left - taken
        return taken

    def clear(self, sign: int = 0) -> None:
        """Remove the orders of a side; of both by default."""
        super().clear(sign)
        self.orders = {k: v for k, v in self.orders.items() if sign not in (0, v[0])}
