"""Small random markets whose orders queue as at a real venue: first in, first out.

The same market is told by single orders (L3) and by levels (L2); its quotes are the touch of its
orders, its trades their executions, before, among or after the rows of depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import zip_longest
from random import Random

from tests.depth_play import split
from tests.depth_records import DepthRow, OrderAction
from tests.order_markets import Fees, OrderMarket
from tests.order_records import OrderRules, Row

Table = list[Row | DepthRow]
"""Rows of both tables in bus order."""


@dataclass
class Street:
    """One symbol's orders and what became of them; ``by_order`` and ``by_level`` tell the same.

    With ``apart`` no two things happen at one instant; ``snapshots`` is how often all is restated.
    """

    rnd: Random
    symbol: int
    apart: bool = False
    snapshots: float = 0
    ts: int = 0
    ids: int = 0
    orders: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    """id → side, price, size, in the order of their places."""
    by_order: Table = field(default_factory=list)
    by_level: Table = field(default_factory=list)

    def touch(self, side: int) -> int | None:
        """The best price of a side."""
        prices = [price for one, price, _ in self.orders.values() if one == side]
        return max(prices, key=lambda price: side * price, default=None)

    def sum(self, side: int, price: int | None) -> int:
        """Lots at a price."""
        return sum(size for one, at, size in self.orders.values() if (one, at) == (side, price))

    def quote(self) -> Row:
        """The touch of both sides."""
        bid, ask = self.touch(1), self.touch(-1)
        return Row(self.symbol, self.ts, bid, ask, self.sum(1, bid), self.sum(-1, ask))

    def begin(self) -> None:
        """A snapshot of some orders, then the quote."""
        self.orders |= {1: (1, 99, 3), 2: (-1, 102, 3)}
        self.ids = self.rnd.randint(4, 9)
        for number in range(3, self.ids + 1):
            side = self.rnd.choice((1, -1))
            price = (100 if side > 0 else 101) - side * self.rnd.choice((0, 0, 1, 2))
            self.orders[number] = side, price, self.rnd.choice((1, 2, 3, 5))
        self.restate()
        for table in (self.by_order, self.by_level):
            table.append(self.quote())

    def restate(self, *cleared: DepthRow) -> None:
        """A snapshot of all orders."""
        levels = {(side, price) for side, price, _ in self.orders.values()}
        of_orders = [self.row("add", number, *order) for number, order in self.orders.items()]
        of_levels = [self.level(side, price) for side, price in sorted(levels)]
        for table, rows in ((self.by_order, of_orders), (self.by_level, of_levels)):
            shown = [replace(row, snapshot=True, last=row is rows[-1]) for row in rows]
            table.extend((*cleared, *shown))

    def row(self, action: OrderAction, number: int, side: int, price: int, size: int) -> DepthRow:
        """What became of an order."""
        at = DepthRow(self.symbol, self.ts, 0, side, price, size)
        return replace(at, order_id=number, action=action)

    def level(self, side: int, price: int) -> DepthRow:
        """What a level displays now."""
        return DepthRow(self.symbol, self.ts, 0, side, price, self.sum(side, price))

    def tell(self, told: list[tuple[Row | DepthRow, list[Row | DepthRow]]], events: Table) -> None:
        """Put rows of depth, those of the levels with them, and events into one order."""
        last = next((row for row in reversed(self.by_order) if isinstance(row, Row)), None)
        quote = self.quote()
        shown = events[-1] if events else last
        if shown is None or replace(quote, ts=0) != plain(shown):
            events = [*events, quote]
        order = self.rnd.choice(("depth first", "events first", "in turn", "in turn"))
        if order == "in turn":
            for pair in zip_longest(told, events):
                if pair[0] is not None:
                    self.by_order.append(pair[0][0])
                    self.by_level += pair[0][1]
                if pair[1] is not None:
                    self.by_order.append(pair[1])
                    self.by_level.append(pair[1])
            return
        first = events if order == "events first" else []
        after = events if order == "depth first" else []
        self.by_order += [*first, *(row for row, _ in told), *after]
        self.by_level += [*first, *(row for _, rows in told for row in rows), *after]

    def act(self) -> None:
        """Something happens."""
        rnd = self.rnd
        self.ts += 1 if self.apart else rnd.choice((0, 0, 1, 1, 2))
        what = rnd.random()
        if rnd.random() < self.snapshots and self.orders:
            clear = DepthRow(self.symbol, self.ts, 0, 0, clear=True)
            self.restate(*([clear] if rnd.random() < 0.6 else []))
        elif what < 0.35 or len(self.orders) < 3:
            self.ids += 1
            self.place("add", self.ids, rnd.choice((1, -1)), rnd.choice((1, 2, 3, 5, 8)))
        elif what < 0.65:
            self.take(rnd.choice((1, -1)), rnd.choice((1, 2, 3, 5, 9)))
        else:
            self.change(rnd.choice([*self.orders]), rnd.random())

    def change(self, number: int, what: float) -> None:
        """An order is cancelled, cut, or put to the end of a queue."""
        side, price, size = self.orders[number]
        if what < 0.5:
            lots = size if what < 0.3 else self.rnd.randint(1, size)
            self.shrink(number, lots)
            row = self.row("cancel", number, side, price, lots)
            self.tell([(row, [self.level(side, price)])], [])
        elif what < 0.7:
            left = self.rnd.randint(1, size)
            self.shrink(number, size - left)
            row = self.row("modify", number, side, price, left)
            self.tell([(row, [self.level(side, price)])], [])
        else:
            del self.orders[number]
            self.place("modify", number, side, size + self.rnd.choice((0, 0, 2)), price, size)

    def place(
        self, action: OrderAction, number: int, side: int, size: int,
        old: int | None = None, had: int = 0,
    ) -> None:  # fmt: skip
        """Put an order at the end of the queue of a price that meets nobody."""
        touch, other = self.touch(side), self.touch(-side)
        start = touch if touch is not None else (100 if side > 0 else 101)
        price = start - side * self.rnd.choice((0, 0, 0, 1, 1, 2, -1))
        if other is not None and side * (price - other) >= 0:
            price = other - side
        if old == price:
            size = max(size, had + 1)  # so that it moves
        self.orders[number] = side, price, size
        levels: list[Row | DepthRow] = [self.level(side, price)]
        if old not in (None, price):
            assert old is not None
            levels.insert(0, self.level(side, old))
        self.tell([(self.row(action, number, side, price, size), levels)], [])

    def shrink(self, number: int, lots: int) -> None:
        """Take lots off an order, which keeps its place."""
        side, price, size = self.orders[number]
        if lots < size:
            self.orders[number] = side, price, size - lots
        else:
            del self.orders[number]

    def take(self, aggressor: int, lots: int) -> None:
        """A taker executes the other side's orders, the best price and the first place first."""
        told: list[tuple[Row | DepthRow, list[Row | DepthRow]]] = []
        prints: list[Row] = []
        quotes_late = self.rnd.random() < 0.4
        stands = self.quote()
        while lots > 0 and (touch := self.touch(-aggressor)) is not None:
            if abs(touch - 100) > 6:
                break
            number = next(n for n, o in self.orders.items() if o[:2] == (-aggressor, touch))
            some = min(lots, self.orders[number][2])
            lots -= some
            self.shrink(number, some)
            row = self.row("execute", number, -aggressor, touch, some)
            told.append((row, [self.level(-aggressor, touch)]))
            quote = stands if quotes_late else self.quote()
            done = replace(quote, trade_price=touch, trade_size=some, aggressor=aggressor)
            prints.append(done)
        if len({row.trade_price for row in prints}) == 1 and self.rnd.random() < 0.4:
            whole = sum(row.trade_size for row in prints)
            prints = [replace(prints[-1], trade_size=whole)]
        if told:
            self.tell(told, [*prints])


def plain(row: Row | DepthRow) -> Row | DepthRow:
    """An event's quote alone, at no time."""
    assert isinstance(row, Row)
    return replace(row, ts=0, trade_price=None, trade_size=0, aggressor=None)


def random_street(
    rnd: Random, symbol: int = 0, *, apart: bool = False, snapshots: float = 0
) -> Street:
    """A market of one symbol."""
    street = Street(rnd, symbol, apart, snapshots)
    street.begin()
    for _ in range(rnd.randint(5, 50)):
        street.act()
    return street


def told(streets: Sequence[Street], *, orders: bool) -> Table:
    """All symbols' rows, by time."""
    tables = [street.by_order if orders else street.by_level for street in streets]
    return sorted((row for table in tables for row in table), key=lambda row: row.ts)


def market_of(table: Table, *, orders: bool) -> OrderMarket:
    """A market of one symbol without messages or fees."""
    rows, depth = split(table, orders=orders)
    free = Fees(Fraction(0), 0, (1,))
    return OrderMarket(
        rows=tuple(rows),
        messages=(),
        rules=OrderRules(end=1000),
        response_of_row=(0,) * len(rows),
        impact=Fraction(0),
        value=(1,),
        maker=free,
        taker=free,
        depth=depth,
    )
