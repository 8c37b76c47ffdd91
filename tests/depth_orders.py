"""The venue of the oracle where every order of the book is known (L3), and the model ``l3``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from tests.depth_book import Resting, moves
from tests.depth_matching import DepthVenue
from tests.depth_records import Depth, DepthRow
from tests.order_book import near
from tests.order_matching import Venue
from tests.order_records import Order, OrderRules, Row


def venue_of(
    rows: Sequence[Row],
    symbol: int,
    rules: OrderRules,
    response_of_row: Sequence[int],
    impact: Fraction,
    depth: Depth | None,
) -> Venue:
    """The venue of one symbol, with what is known of its depth."""
    if rules.model == "l3" and (depth is None or not depth.orders):
        raise ValueError("l3 needs depth with orders")
    if depth is None:
        return Venue(rows, symbol, rules, response_of_row, impact)
    kind = OrdersVenue if depth.orders else DepthVenue
    return kind(rows, symbol, rules, response_of_row, impact, depth=depth)


@dataclass
class OrdersVenue(DepthVenue):
    """The venue of one symbol whose orders are known one by one.

    A level is the sum of its orders, which is known where the side is complete. Quotes say nothing
    of levels. Under ``l3`` executions of orders are the prints.
    """

    def displayed(self, side: int, price: int) -> int | None:
        """Lots displayed at a price; ``None`` where nobody knows."""
        touch = self.touch(self.rows_done - 1, near(side))
        if touch is not None and side * (price - touch[0]) > 0:
            return 0
        there = self.levels.size.get((side, price), 0)
        if self.levels.complete[side]:
            return there
        self.counts["orders: joined a part of a level"] += there > 0
        return None

    def on_print(self, place: int, side: int) -> None:
        """Fill own orders by a print, unless executions do so."""
        if self.rules.model != "l3":
            super().on_print(place, side)

    def on_quotes(self, place: int) -> None:
        """Take what was crossed off the levels."""
        self.take_crossed()
        self.note_places()

    def on_statement(self, number: int, row: DepthRow) -> None:
        """Something became of an order: first fills by its execution, then the book and queues."""
        before = self.levels.resting.get(row.order_id)
        if self.rules.model == "l3" and row.action == "execute":
            self.on_execution(number, row, before)
        after = self.levels.after(row, self.depth_done)
        self.levels.put(row.order_id, after)
        if self.rules.model == "l3":
            if before is not None:
                self.leave(before, after, executed=row.action == "execute")
            return
        changed = [(o.side, o.price) for o in (before, after) if o is not None]
        for side, price in dict.fromkeys(changed):
            if self.levels.complete[side] and not row.snapshot:
                for order in [*self.at(side, price)]:
                    self.state(order, self.levels.size.get((side, price), 0), row.ts)

    def on_last(self, row: DepthRow) -> None:
        """A snapshot ends: all levels are known."""
        for order in self.all_open():
            self.cap(order, self.levels.size.get((order.side, order.price), 0), row.ts)

    # The model l3

    def is_ahead(self, other: Resting | None, order: Order) -> bool:
        """Whether an order of the book stands before an own one at its price, or may do so."""
        if other is None or (other.side, other.price) != (order.side, order.price):
            return False
        return other.restated or other.moment <= order.moment

    def on_execution(self, number: int, row: DepthRow, executed: Resting | None) -> None:
        """Fill own orders by an execution against their side: one budget, the best price first."""
        budget = row.size

        def fill(order: Order, lots: int) -> None:
            response = self.response_of_row[self.history.numbers[self.rows_done - 1]]
            self.fill(order, lots, row.ts, row.follows, response, depth=number)

        for order in self.of_side(row.side):
            if row.side * (order.price - row.price) > 0:
                if self.rules.through_fill == "full":
                    self.counts["l3: through, full"] += 1
                    fill(order, order.open)
                    continue
                lots = min(order.open, budget)
                if lots > 0:
                    self.counts["l3: through"] += 1
                    budget -= lots
                    fill(order, lots)
        for order in [*self.at(row.side, row.price)]:
            order.printed += row.size
            if order.ahead is None:
                self.counts["l3: at an unknown place"] += 1
                continue
            ahead = self.is_ahead(executed, order)
            reached = max(0, row.size - int(order.ahead)) if ahead else row.size
            lots = min(order.open, reached, budget)
            if lots > 0:
                self.counts["l3: past those ahead" if ahead else "l3: behind"] += 1
                budget -= lots
                fill(order, lots)

    def leave(self, before: Resting, after: Resting | None, *, executed: bool) -> None:
        """An order of the book has shrunk, moved or gone: own ones behind it advance.

        Of one that was restated after an own order had its place, nobody knows where it stood: if
        it is not executed, it stood behind, but nobody is behind more than is displayed.
        """
        lots = before.size
        if after is not None and not moves(before, after):
            lots -= after.size
        level = before.side, before.price
        for order in self.at(*level):
            if order.ahead is None or not self.is_ahead(before, order):
                continue
            stands = max(Fraction(0), order.ahead - lots)
            if not executed and before.moment > order.moment:
                there = self.levels.size.get(level, 0)
                self.counts["l3: left from behind"] += stands < order.ahead
                capped = min(order.ahead, Fraction(there))
                stands = capped if self.levels.complete[before.side] else order.ahead
            self.counts["l3: advanced"] += stands < order.ahead
            order.ahead = stands

    def note_place(self, order: Order, place: int) -> None:
        """Keep where an order stands; a part of a level is not what is displayed."""
        super().note_place(order, place)
        if not self.levels.complete[order.side]:
            self.places[-1] = replace(self.places[-1], displayed=None)
