"""Makers of random rows of depth between the rows of a market, which seldom agree with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

from tests.depth_records import DepthRow, OrderAction
from tests.oracle import is_crossed
from tests.order_records import Row

SIZES = (1, 1, 2, 3, 5, 8, 9)


@dataclass
class Maker:
    """Makes the rows of depth between the rows of a market."""

    rnd: Random
    rows: tuple[Row, ...]
    made: list[DepthRow] = field(default_factory=list)
    follows: int = 0
    ts: int = 0

    def between(self) -> tuple[DepthRow, ...]:
        """Rows for every gap of the market, its beginning and end included."""
        rnd = self.rnd
        n = len(self.rows)
        symbols = sorted({row.symbol for row in self.rows})
        first, last = self.rows[0].ts, self.rows[-1].ts
        for self.follows in range(n + 1):
            before = self.rows[self.follows - 1].ts if self.follows else first - 2
            after = self.rows[self.follows].ts if self.follows < n else last + 3
            self.ts = before
            if self.follows == 0:
                for symbol in symbols:
                    if rnd.random() < 0.7:
                        self.snapshot(symbol)
            for _ in range(rnd.choice((0, 0, 1, 1, 2, 3))):
                self.ts = rnd.choice((self.ts, self.ts, after, rnd.randint(self.ts, after)))
                self.make(rnd.choice(symbols))
        return tuple(self.made)

    def make(self, symbol: int) -> None:
        """One row, or a snapshot."""
        what = self.rnd.random()
        if what < 0.03:
            self.add(symbol, self.rnd.choice((0, 1, -1)), 100, 7, clear=True)
            self.forget(symbol, self.made[-1].side)
        elif what < 0.07:
            self.snapshot(symbol)
        else:
            self.one(symbol)

    def add(self, symbol: int, side: int, price: int = 0, size: int = 0, **more: object) -> None:
        """Put a row at the end."""
        row = DepthRow(symbol, self.ts, self.follows, side, price, size)
        self.made.append(replace(row, **more))  # type: ignore[arg-type]  # by name

    def quote(self, symbol: int) -> Row:
        """The symbol's quote before the gap, or the one after it."""
        near = self.rows[max(0, self.follows - 3) : self.follows + 3]
        found = [row for row in near if row.symbol == symbol]
        default = Row(symbol, 0, 100, 101, 6, 6)
        return self.rnd.choice(found) if found else default

    def price(self, symbol: int, side: int) -> int:
        """A price at or behind a touch, at times better."""
        quote = self.quote(symbol)
        touch = quote.bid if side > 0 else quote.ask
        if touch is None:
            touch = 100 if side > 0 else 101
        return touch - side * self.rnd.choice((0, 0, 0, 1, 1, 1, 2, 3, -1))

    def snapshot(self, symbol: int) -> None:
        """What was there, after a clear or not, and at times without an end."""
        rnd = self.rnd
        cleared = rnd.choice((None, 0, 0, 0, 1, -1))
        ends = rnd.random() < 0.85
        rows = self.restated(symbol, cleared)
        if cleared is not None:
            alone = not rows or rnd.random() < 0.05
            self.add(symbol, cleared, clear=True, snapshot=alone and ends, last=alone and ends)
            self.forget(symbol, cleared)
            if alone:
                return
        for i, say in enumerate(rows):
            say(ends and i == len(rows) - 1)

    def restated(self, symbol: int, cleared: int | None) -> list[Callable[[bool], None]]:
        """What says each row of a snapshot."""
        raise NotImplementedError

    def one(self, symbol: int) -> None:
        """One row that is no clear and of no snapshot."""
        raise NotImplementedError

    def forget(self, symbol: int, side: int) -> None:
        """A clear was said."""


@dataclass
class LevelMaker(Maker):
    """Rows that state levels."""

    size: dict[tuple[int, int, int], int] = field(default_factory=dict)

    def say(self, symbol: int, side: int, price: int, size: int, **more: object) -> None:
        """State a level."""
        self.size[symbol, side, price] = size
        self.add(symbol, side, price, size, **more)

    def forget(self, symbol: int, side: int) -> None:
        for level in [*self.size]:
            if level[0] == symbol and side in (0, level[1]):
                del self.size[level]

    def restated(self, symbol: int, cleared: int | None) -> list[Callable[[bool], None]]:
        rnd = self.rnd
        levels = {
            (side, self.price(symbol, side)): rnd.choice(SIZES)
            for side in (1, -1)
            if cleared in (None, 0, side)
            for _ in range(rnd.choice((0, 1, 2, 3)))
        }

        def of(level: tuple[int, int]) -> Callable[[bool], None]:
            known = self.size.get((symbol, *level))
            size = known if known and rnd.random() < 0.5 else levels[level]
            return lambda last: self.say(symbol, *level, size, snapshot=True, last=last)

        return [of(level) for level in levels]

    def one(self, symbol: int) -> None:
        rnd = self.rnd
        side = rnd.choice((1, -1))
        known = [level[2] for level in self.size if level[:2] == (symbol, side)]
        quote = self.quote(symbol)
        touch = (quote.bid, quote.bid_size) if side > 0 else (quote.ask, quote.ask_size)
        what = rnd.random()
        if what < 0.25 and touch[0] is not None and not is_crossed(quote.event()):
            self.say(symbol, side, touch[0], touch[1])
        elif what < 0.7 and known:
            price = rnd.choice(known)
            size = self.size[symbol, side, price]
            printed = quote.trade_size if quote.trade_price == price else rnd.randint(0, 4)
            self.say(symbol, side, price, max(0, size - printed))
        else:
            self.say(symbol, side, self.price(symbol, side), rnd.choice((0, *SIZES)))


@dataclass
class OrderMaker(Maker):
    """Rows of single orders; the same ids in every symbol."""

    there: dict[tuple[int, int], tuple[int, int, int]] = field(default_factory=dict)
    """(symbol, id) → side, price, size."""
    cleared: dict[tuple[int, int], tuple[int, int, int]] = field(default_factory=dict)
    """The same of those that a clear took."""
    ids: int = 0

    def say(
        self, symbol: int, number: int, action: OrderAction, order: tuple[int, int, int],
        **more: object,
    ) -> None:  # fmt: skip
        """Something becomes of an order; sizes are those that a row of the action has."""
        side, price, size = order
        key = symbol, number
        if action in ("add", "modify"):
            self.there[key] = order
            if size == 0:
                del self.there[key]
        elif key in self.there:
            left = self.there[key][2] - size
            if left > 0:
                self.there[key] = (*self.there[key][:2], left)
            else:
                del self.there[key]
        self.add(symbol, side, price, size, action=action, order_id=number, **more)

    def forget(self, symbol: int, side: int) -> None:
        for key, order in [*self.there.items()]:
            if key[0] == symbol and side in (0, order[0]):
                self.cleared[key] = self.there.pop(key)

    def restated(self, symbol: int, cleared: int | None) -> list[Callable[[bool], None]]:
        rnd = self.rnd
        old = {**self.there} if cleared is None else {**self.cleared, **self.there}
        orders = {
            number: order
            for (of, number), order in sorted(old.items())
            if of == symbol and cleared in (None, 0, order[0]) and rnd.random() < 0.8
        }
        for number, (side, price, size) in [*orders.items()]:
            if rnd.random() < 0.1:
                orders[number] = side, price + rnd.choice((0, 0, 1)), rnd.choice((size, *SIZES))
        for side in (1, -1):
            if cleared in (0, side):
                for _ in range(rnd.choice((0, 1, 2))):
                    self.ids += 1
                    orders[self.ids] = side, self.price(symbol, side), rnd.choice(SIZES)

        def of_order(number: int) -> Callable[[bool], None]:
            return lambda last: self.say(
                symbol, number, "add", orders[number], snapshot=True, last=last
            )

        return [of_order(number) for number in orders]

    def one(self, symbol: int) -> None:
        rnd = self.rnd
        known = sorted(number for of, number in self.there if of == symbol)
        what = rnd.random()
        if what < 0.35 or not known:
            side = rnd.choice((1, -1))
            self.ids += 1
            action: OrderAction = "add" if rnd.random() < 0.9 else "modify"
            order = side, self.price(symbol, side), rnd.choice(SIZES)
            self.say(symbol, self.ids, action, order)
            return
        number = rnd.choice(known)
        side, price, size = self.there[symbol, number]
        if rnd.random() < 0.05:  # rows that say another side or price than the order has
            side = rnd.choice((side, -side))
            price += rnd.choice((0, 1))
        if what < 0.43:  # an execution of an order that nobody saw, or a cancel of none
            action = "execute" if rnd.random() < 0.7 else "cancel"
            self.say(symbol, 999, action, (side, price, rnd.choice(SIZES)))
        elif what < 0.63:
            lots = rnd.choice((size, size, size + 2, *range(1, size + 1)))
            self.say(symbol, number, "execute", (side, price, lots))
        elif what < 0.83:
            lots = rnd.choice((size, size + 1, rnd.randint(1, size)))
            self.say(symbol, number, "cancel", (side, price, lots))
        else:
            moved = price + rnd.choice((0, 0, 0, 1, -1))
            action = "modify" if rnd.random() < 0.8 else "add"
            self.say(symbol, number, action, (side, moved, rnd.choice((size, 0, *SIZES))))
