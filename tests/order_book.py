"""What rows of quotes and trades do to own resting orders, apart from the engine.

Event by event, with dicts and exact fractions, slow and obvious. Sells mirror buys, so a rule is
written once with ``side * (price - other)``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import floor, inf

from tests.oracle import Rows, Side, is_crossed, shown
from tests.order_records import Fill, Kind, Order, OrderRules, Place, Report, Row, Stood

STEP = 2**20
"""``ahead`` is a whole number of lots / STEP."""


def aggressors(row: Row, before: Row | None, inside: str) -> tuple[int, ...]:
    """Who started the row's print: nobody known, one, or both; the seller first."""
    if row.trade_price is None or row.trade_size <= 0:
        return ()
    if row.aggressor:
        return (row.aggressor,)
    bid, ask = (None, None) if before is None else (before.bid, before.ask)
    buyer = ask is not None and row.trade_price >= ask
    seller = bid is not None and row.trade_price <= bid
    if buyer != seller:
        return (1,) if buyer else (-1,)
    return (-1, 1) if inside == "both" else ()


def credit(model: str, ahead: Fraction, before: int, c: int) -> Fraction:
    """Lots ahead that a fall of ``c`` unexplained lots takes away, in whole 1 / STEP lots."""
    if not model.startswith("power:") or c == 0 or ahead == 0:
        return Fraction(0)
    if before - ahead <= 0:
        return Fraction(c)
    a, b = float(ahead), float(before - ahead)
    power_a, power_b = a, b
    for _ in range(int(model.removeprefix("power:")) - 1):
        power_a, power_b = power_a * a, power_b * b
    return Fraction(floor(c * power_a / (power_a + power_b) * STEP), STEP)


def near(side: int) -> Side:
    """The side of the quote that an own order of ``side`` queues on."""
    return "bid" if side > 0 else "ask"


def far(side: int) -> Side:
    """The side of the quote that an own order of ``side`` trades against."""
    return near(-side)


@dataclass
class Book:
    """One symbol's own open orders, and what the rows of its market do to them."""

    everything: Sequence[Row]
    symbol: int
    rules: OrderRules
    response_of_row: Sequence[int]
    impact: Fraction = Fraction(0)
    open: dict[int, Order] = field(default_factory=dict)
    fills: list[Fill] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.history = Rows([row.event() for row in self.everything], self.symbol)
        self.rows = [self.everything[i] for i in self.history.numbers]
        self.rows_done = 0
        self.taken: dict[tuple[Side, int], int] = {}  # own lots, as `execute` keeps them
        self.printed: Counter[tuple[int, int]] = Counter()  # (ts, aggressor) → lots
        self.stood: dict[int, list[Stood]] = {1: [], -1: []}

    def of_side(self, side: int) -> list[Order]:
        """Open orders of a side, best price first, then in the order of their places."""
        found = [order for order in self.open.values() if order.side == side]
        return sorted(found, key=lambda order: (-side * order.price, order.place))

    def all_open(self) -> list[Order]:
        """Open orders, buys first."""
        return self.of_side(1) + self.of_side(-1)

    def touch(self, place: int, side: Side) -> tuple[int, int] | None:
        """(price, size) of a valid side of the quote after a row."""
        if place < 0 or is_crossed(self.history.events[place]):
            return None
        return shown(self.history.events[place], side)

    def note_standing(self, t: int) -> None:
        """Keep how own orders stand from an instant on."""
        for side, stood in self.stood.items():
            orders = self.of_side(side)
            touch = self.touch(self.rows_done - 1, near(side))
            where = "none"
            if orders and (touch is None or side * (orders[0].price - touch[0]) > 0):
                where = "better"
            elif orders and touch is not None:
                where = "at" if orders[0].price == touch[0] else "behind"
            alone = " than no touch" if orders and touch is None else ""
            self.counts[f"stood {where}{alone}"] += 1
            stood.append(Stood(t, where, sum(order.open for order in orders)))

    # What the trader hears, and fills

    def report(
        self, t: int, order: int, kind: Kind, response: int, lots: int = 0, price: int = 0,
        *, maker: bool = False, number: int | None = None,
    ) -> None:  # fmt: skip
        """Send a report; none overtakes another of the symbol."""
        known = max([t + response] + [report.known for report in self.reports[-1:]])
        made = Report(self.symbol, t, known, order, kind, lots, price, maker, number)
        self.reports.append(made)

    def withdraw(
        self, order: Order, t: int, kind: Kind, response: int, number: int | None = None
    ) -> None:
        """Take an open order out and say so."""
        del self.open[order.id]
        self.report(t, order.id, kind, response, order.open, order.price, number=number)

    def fill_resting(self, order: Order, lots: int, place: int) -> None:
        """Fill a resting order at its own price, by a row."""
        number = self.history.numbers[place]
        self.fill(order, lots, self.rows[place].ts, number, self.response_of_row[number])

    def fill(
        self, order: Order, lots: int, t: int, row: int, response: int, depth: int | None = None
    ) -> None:
        """Fill a resting order at its own price."""
        price = 2 * order.price
        order.filled += lots
        self.fills.append(
            Fill(
                self.symbol, order.id, t, order.side * lots, price, True,
                *order.instants, order.arrival, row=row, depth=depth, ahead=order.joined,
                printed=None if order.joined is None else order.printed,
            )
        )  # fmt: skip
        self.report(t, order.id, "filled", response, lots, order.price, maker=True)
        if order.open == 0:
            del self.open[order.id]

    # Rows

    def on_row(self, place: int) -> None:
        """Handle a row: its print, then its quote against own prices, then the queues."""
        row = self.rows[place]
        before = self.rows[place - 1] if place > 0 else None
        for aggressor in aggressors(row, before, self.rules.inside):
            self.printed[row.ts, aggressor] += row.trade_size
            self.on_print(place, -aggressor)
        self.on_cross(place, 1)
        self.on_cross(place, -1)
        self.on_quotes(place)

    def on_quotes(self, place: int) -> None:
        """Move the queues by the quote of a row."""
        row = self.rows[place]
        for side in (1, -1):
            touch = self.touch(place, near(side))
            for order in self.of_side(side):
                if touch is not None and self.rules.model not in ("through", "optimistic"):
                    self.on_quote(order, *touch, row.ts)
                self.note_place(order, place)

    def on_print(self, place: int, side: int) -> None:
        """Fill own orders of a side by a print that the other side started."""
        row = self.rows[place]
        assert row.trade_price is not None
        budget = row.trade_size
        for order in self.of_side(side):
            if side * (order.price - row.trade_price) > 0:
                if self.rules.through_fill == "full":
                    self.counts["through, full"] += 1
                    self.fill_resting(order, order.open, place)
                    continue
                lots = min(order.open, budget)
                if lots < order.open:
                    self.counts["budget used up through"] += 1
                if lots > 0:
                    self.counts["through"] += 1
                    budget -= lots
                    self.fill_resting(order, lots, place)
        for order in self.of_side(side):
            if order.price == row.trade_price:
                budget -= self.print_at(order, row.trade_size, budget, place)

    def print_at(self, order: Order, lots: int, budget: int, place: int) -> int:
        """A print of ``lots`` at an order's own price; returns the lots that it filled."""
        order.printed += lots
        if self.rows[place].ts > order.paid_until:
            order.paid = order.fallen = 0
        used = min(order.paid, lots)
        if used > 0:
            self.counts["paid unknown" if order.paid == inf else "paid consumed"] += 1
        order.paid -= used
        left = lots - Fraction(used)
        explained = min(order.fallen, lots)
        order.fallen -= explained
        order.traded += lots - explained
        if explained > 0:
            self.counts["fall explained later"] += 1
        if order.ahead is None or self.rules.model == "through":
            self.counts["print at a price that cannot fill"] += 1
            return 0
        reached = max(0, floor(left - order.ahead))
        filled = min(order.open, reached, budget)
        if filled < min(order.open, reached):
            self.counts["budget used up at the price"] += 1
        if order.ahead > 0 and filled > 0:
            self.counts["queue used up"] += 1
        order.ahead = max(Fraction(0), order.ahead - left)
        if filled > 0:
            self.counts["filled at the price"] += 1
            self.fill_resting(order, filled, place)
        return filled

    def on_cross(self, place: int, side: int) -> None:
        """Fill own orders of a side that the quote's other side has reached."""
        hit = self.touch(place, far(side))
        if hit is None or self.rules.cross == "none":
            return
        price, size = hit
        previous = self.touch(place - 1, far(side))
        printed = self.printed[self.rows[place].ts, -side]
        already = 0
        for order in self.of_side(side):
            if side * (order.price - price) < 0:
                continue
            lots = order.open
            if self.rules.cross == "displayed":
                shown_before = 0
                if previous is not None and side * (order.price - previous[0]) >= 0:
                    shown_before = previous[1]
                lots = min(lots, size - shown_before - printed - already)
            if lots <= 0:
                self.counts["crossed without an increase"] += 1
                continue
            self.counts["cross " + self.rules.cross] += 1
            already += lots
            self.deplete(place, far(side), lots)
            self.fill_resting(order, lots, place)

    def deplete(self, place: int, side: Side, lots: int) -> None:
        """Take lots off a touch, so that own takers do not find them any more."""
        appearance = (side, self.history.since(place, side))
        self.taken[appearance] = self.taken.get(appearance, 0) + lots

    def on_quote(self, order: Order, price: int, size: int, ts: int) -> None:
        """Move an order's place by the valid touch of its own side."""
        gap = order.side * (price - order.price)
        lowered: Fraction | float = 0
        c = 0
        if gap > 0:
            order.away = True
            return
        if order.ahead is None:
            order.joined, order.printed = 0 if gap < 0 else size, 0
        if gap < 0:
            self.counts["jumped behind" + ("" if order.ahead else ", unknown or none")] += 1
            lowered = inf if order.ahead is None else order.ahead
            order.ahead = Fraction(0)
            order.away = True
        elif order.ahead is None:
            self.counts["unknown becomes known"] += 1
            order.ahead = Fraction(size)
            order.seen, order.traded, order.away = size, 0, False
        elif order.away:
            lowered = max(Fraction(0), order.ahead - size)
            self.counts["returned" + (", capped" if lowered else "")] += 1
            order.ahead -= lowered
            order.seen, order.traded, order.away = size, 0, False
        elif size < order.seen:
            lowered, c = self.fall(order, size)
        elif size > order.seen:
            order.seen, order.traded = size, 0
        self.pay(order, lowered, c, ts)

    def fall(self, order: Order, size: int, counted: str = "") -> tuple[Fraction, int]:
        """Move a known place by a fall of what its price displays, to ``size`` lots.

        Returns the lots by which it moved, and those of the fall that no print explains.
        """
        assert order.ahead is not None
        c = max(0, order.seen - size - order.traded)
        given = min(order.ahead, credit(self.rules.model, order.ahead, order.seen, c))
        after = min(order.ahead - given, Fraction(size))
        self.counts[f"{counted}credit"] += given > 0
        self.counts[f"{counted}capped"] += after < order.ahead - given
        lowered = order.ahead - after
        order.ahead = after
        order.seen, order.traded = size, 0
        return lowered, c

    def pay(self, order: Order, lowered: Fraction | float, c: int, ts: int) -> None:
        """Keep what a row took off ``ahead``, and the fall that it saw, for prints to explain."""
        if lowered > 0 or c > 0:
            if ts > order.paid_until:
                order.paid = order.fallen = 0
            order.paid += lowered
            order.fallen += c
            order.paid_until = ts + self.rules.pairing

    def note_place(self, order: Order, place: int) -> None:
        """Keep what the tests of queue positions look at."""
        touch = self.touch(place, near(order.side))
        shown_there = touch[1] if touch is not None and touch[0] == order.price else None
        number = self.history.numbers[place]
        where = Place(self.symbol, order.id, order.place, number, order.ahead, shown_there)
        self.places.append(where)
