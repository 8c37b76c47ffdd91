"""The venue of the oracle on depth: what levels tell own resting orders, and what takers find.

Rows of depth lie among those of quotes and trades in the order of the bus. The touch stays that of
the last quote; the levels say who is ahead of an order and what a taker finds behind the touch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, inf

from tests.depth_book import Levels
from tests.depth_records import Depth, DepthRow
from tests.oracle import Execution, Side, is_crossed, shown
from tests.order_book import near
from tests.order_matching import Venue
from tests.order_records import Order, Place


@dataclass
class DepthVenue(Venue):
    """The venue of one symbol whose levels are known (L2)."""

    depth: Depth = field(default_factory=Depth)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.levels = Levels(self.depth.orders)
        self.numbered = [
            (k, row) for k, row in enumerate(self.depth.rows) if row.symbol == self.symbol
        ]
        self.depth_done = 0
        self.crossed: list[tuple[int, int, int]] = []  # (side, price, lots) of an event's row

    # Order in time

    def next_depth(self) -> DepthRow | None:
        """The next row, if it is one of depth."""
        if self.depth_done == len(self.numbered):
            return None
        row = self.numbered[self.depth_done][1]
        numbers = self.history.numbers
        comes = self.rows_done == len(numbers) or row.follows <= numbers[self.rows_done]
        return row if comes else None

    def next_row_at(self) -> float:
        """When the next row of either table happens."""
        row = self.next_depth()
        return super().next_row_at() if row is None else row.ts

    def handle_row(self) -> None:
        """Handle the next row of either table."""
        row = self.next_depth()
        if row is None:
            super().handle_row()
        else:
            self.depth_done += 1
            self.on_depth(self.numbered[self.depth_done - 1][0], row)

    # What is displayed

    def displayed(self, side: int, price: int) -> int | None:
        """Lots displayed at a price; ``None`` where nobody knows."""
        touch = self.touch(self.rows_done - 1, near(side))
        if touch is not None and side * (price - touch[0]) > 0:
            return 0
        if (side, price) in self.levels.size:
            return self.levels.size[side, price]
        return 0 if self.levels.complete[side] and touch is not None else None

    def look(self, order: Order) -> None:
        """See who is ahead of an order that joins."""
        order.moment = self.depth_done
        found = self.displayed(order.side, order.price)
        touch = self.touch(self.rows_done - 1, near(order.side))
        self.counts["depth: joined " + ("unknown" if found is None else "known")] += 1
        if touch is not None and order.side * (order.price - touch[0]) < 0:
            self.counts["depth: joined behind the touch"] += found is not None
        self.counts["depth: joined without a touch"] += touch is None and found is not None
        order.ahead = None if found is None else Fraction(found)
        order.seen = found or 0

    def meet(self, t: int, lots: int, limit: int, *, deplete: bool) -> list[Execution]:
        """What a taker of signed lots finds from the touch up to its limit, level by level."""
        side = -1 if lots > 0 else 1
        touch = self.touch(self.rows_done - 1, near(side))
        quote = self.history.standing(t)
        assert touch is not None
        assert quote is not None
        found = []
        left = abs(lots)
        for price, size, taken in [*self.levels.ladder(side, touch[0], limit)]:
            some = min(left, size - taken)
            if some <= 0:
                continue
            left -= some
            step = ceil(self.impact * quote.spread * some / size)
            found.append(Execution(some, price, step, size, taken))
            if deplete:
                self.counts["depth: took behind the touch"] += price != touch[0]
                self.counts["depth: took what was left of a level"] += taken > 0
                self.levels.take(side, price, some)
        return found

    def deplete(self, place: int, side: Side, lots: int) -> None:
        """Remember what a crossing quote gave, until its row has stated the touch."""
        touch = self.touch(place, side)
        assert touch is not None
        self.crossed.append((1 if side == "bid" else -1, touch[0], lots))

    # Rows of quotes and trades

    def on_quotes(self, place: int) -> None:
        """State the touch to the levels and to own orders, then take what was crossed."""
        for side in (1, -1):
            if self.says(place, near(side)):
                touch = self.touch(place, near(side))
                self.levels.quote(side, touch)
                for order in self.of_side(side):
                    self.touch_says(order, touch, self.rows[place].ts)
        self.take_crossed()
        self.note_places()

    def touch_says(self, order: Order, touch: tuple[int, int] | None, ts: int) -> None:
        """What the touch of an own order's side says of its price."""
        if touch is None or order.side * (order.price - touch[0]) > 0:
            self.counts["depth: gone by a quote"] += 1
            self.state(order, 0, ts)
        elif order.price == touch[0]:
            self.counts["depth: stated by a quote"] += 1
            self.state(order, touch[1], ts)

    def says(self, place: int, side: Side) -> bool:
        """Whether a quote says something new of a side; a crossed one says nothing."""
        events = self.history.events
        if is_crossed(events[place]):
            return False
        if place == 0 or is_crossed(events[place - 1]):
            return True
        return shown(events[place], side) != shown(events[place - 1], side)

    def take_crossed(self) -> None:
        """Take what a crossing quote gave off the level, as the row leaves it."""
        for side, price, lots in self.crossed:
            self.counts["depth: crossed a level"] += (side, price) in self.levels.size
            self.levels.take(side, price, lots)
        self.crossed = []

    # Rows of depth

    def on_depth(self, number: int, row: DepthRow) -> None:
        """Handle a row of depth."""
        if row.clear:
            self.counts["depth: clear"] += 1
            self.levels.clear(row.side)
        else:
            self.on_statement(number, row)
        if row.snapshot and row.last:
            self.counts["depth: snapshot ends"] += 1
            self.levels.complete = {1: True, -1: True}
            self.on_last(row)
        self.note_places()

    def on_statement(self, number: int, row: DepthRow) -> None:
        """A row states a level: first the book, then the queue there."""
        self.levels.state(row.side, row.price, row.size)
        for order in [*self.at(row.side, row.price)]:
            if row.snapshot:
                self.cap(order, row.size, row.ts)
            else:
                self.state(order, row.size, row.ts)

    def on_last(self, row: DepthRow) -> None:
        """A snapshot ends: what it does not name is gone."""
        for order in self.all_open():
            if (order.side, order.price) not in self.levels.size:
                self.cap(order, 0, row.ts)

    def at(self, side: int, price: int) -> Iterator[Order]:
        """Own orders at a price, by place."""
        return (order for order in self.of_side(side) if order.price == price)

    def state(self, order: Order, size: int, ts: int) -> None:
        """A row says that an own order's price displays that many lots."""
        if self.rules.model in ("through", "optimistic"):
            return
        lowered: Fraction | float = 0
        c = 0
        if order.ahead is None:
            self.counts["depth: unknown becomes known"] += size > 0
            self.counts["depth: unknown becomes 0"] += size == 0
            lowered = 0 if size > 0 else inf
            order.ahead, order.joined, order.printed = Fraction(size), size, 0
            order.seen, order.traded = size, 0
        elif size < order.seen:
            lowered, c = self.fall(order, size, "depth: ")
        elif size > order.seen:
            order.seen, order.traded = size, 0
        self.pay(order, lowered, c, ts)

    def cap(self, order: Order, size: int, ts: int) -> None:
        """A snapshot says that an own order's price displays that many lots."""
        if self.rules.model in ("through", "optimistic"):
            return
        if order.ahead is None:
            self.counts["depth: unknown until a snapshot"] += 1
            self.pay(order, 0 if size > 0 else inf, 0, ts)
            order.ahead, order.joined, order.printed = Fraction(size), size, 0
        self.counts["depth: capped by a snapshot"] += order.ahead > size
        order.ahead = min(order.ahead, Fraction(size))
        order.seen, order.traded = size, 0

    # Places

    def note_places(self) -> None:
        """Keep what the tests of queue positions look at, after a row."""
        for order in self.all_open():
            self.note_place(order, self.rows_done - 1)

    def note_place(self, order: Order, place: int) -> None:
        """Keep where an order stands."""
        shown_there = self.levels.size.get((order.side, order.price))
        number = self.history.numbers[place]
        where = Place(self.symbol, order.id, order.place, number, order.ahead, shown_there)
        self.places.append(where)
