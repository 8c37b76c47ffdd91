"""Resting limit orders on quotes and trades, written down a second time and apart from the engine.

Event by event, with dicts and exact fractions, slow and obvious. Prices of orders and quotes are
ticks, prices of fills half ticks, sizes lots, times ns. ``side`` is +1 for buys and -1 for sells;
sells mirror buys, so a rule is written once with ``side * (price - other)``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import floor, inf
from typing import Literal

from tests.oracle import Event, Rows, Sessions, Side, execute, is_crossed, is_open, shown

Action = Literal["new", "cancel", "cancel_all", "replace"]
Tif = Literal["gtc", "ioc", "fok"]
PostOnly = Literal["no", "reject", "slide"]
Kind = Literal["accepted", "rejected", "filled", "cancelled", "replaced", "expired", "late"]

STEP = 2**20
"""``ahead`` is a whole number of lots / STEP."""


@dataclass(frozen=True)
class Row:
    """A row of a market in bus order: first a print, if it has one, then the quote after it.

    ``aggressor`` is +1 for the buyer, -1 for the seller; 0 and ``None`` are unknown.
    """

    symbol: int
    ts: int
    bid: int | None
    ask: int | None
    bid_size: int
    ask_size: int
    trade_price: int | None = None
    trade_size: int = 0
    aggressor: int | None = None

    def event(self) -> Event:
        """The quote of the row."""
        return Event(self.symbol, self.ts, self.bid, self.ask, self.bid_size, self.ask_size)


@dataclass(frozen=True)
class Message:
    """What a trader sends; ``instants`` are t0 to t3, all ``sent`` where they are not given.

    ``side`` is 0 for both sides in ``cancel_all``; ``latency`` is that of this message to the venue
    and ``response`` that of the venue's reports on it.
    """

    symbol: int
    sent: int
    action: Action
    id: int = 0
    side: int = 0
    price: int = 0
    total: int = 0
    tif: Tif = "gtc"
    post_only: PostOnly = "no"
    latency: int = 0
    response: int = 0
    instants: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class OrderRules:
    """How the venue fills; ``model`` is through, trades, power:1 to power:4 or optimistic."""

    model: str = "trades"
    through_fill: Literal["volume", "full"] = "volume"
    cross: Literal["displayed", "none", "full"] = "displayed"
    inside: Literal["none", "both"] = "none"
    pairing: int = 0
    stp: Literal["cancel-resting", "reject"] = "cancel-resting"
    sessions: Sessions | None = None
    end: int = 2**62


@dataclass(frozen=True)
class Fill:
    """A fill, in signed lots; the terms from ``cash`` on are money, 0 until they are booked.

    ``row`` is the number of the row that filled a resting order; ``None`` for takers and for the
    position that the window's end closes, whose ``id`` is 0.
    """

    symbol: int
    id: int
    ts: int
    lots: int
    price_half_ticks: int
    maker: bool
    t0: int
    t1: int
    t2: int
    t3: int
    t4: int
    impact_half_ticks: int = 0
    row: int | None = None
    cash: int = 0
    decision: int = 0
    feed: int = 0
    queueing: int = 0
    service: int = 0
    entry: int = 0
    rest: int = 0
    spread: int = 0
    impact: int = 0
    fees: int = 0


@dataclass(frozen=True)
class Report:
    """What the trader hears at ``known``; ``price`` in ticks, ``lots`` unsigned.

    ``lots`` is the total of an order accepted or replaced, the lots of a fill, and the open lots of
    an order cancelled or expired; lots and price are 0 in rejected and late. ``number`` is that of
    the message, counted by symbol from 0, that this answers or results from; ``None`` for fills of
    resting orders and for expiry.
    """

    symbol: int
    ts: int
    known: int
    id: int
    kind: Kind
    lots: int = 0
    price: int = 0
    maker: bool = False
    number: int | None = None


@dataclass
class Order:
    """An open order; what is below ``place`` belongs to its place in the queue."""

    id: int
    side: int
    price: int
    total: int
    post_only: PostOnly
    close: int | None
    instants: tuple[int, int, int, int]
    filled: int = 0
    arrival: int = 0
    place: int = -1
    """Order of arrival of the message that gave the place."""
    ahead: Fraction | None = None
    """Lots before it at its price; ``None`` while unknown."""
    seen: int = 0
    traded: int = 0
    away: bool = True
    paid: Fraction | float = 0
    """Lots by which quotes lowered ``ahead`` and that a print may still explain; may be inf."""
    fallen: int = 0
    paid_until: int = 0

    @property
    def open(self) -> int:
        """Lots that are not filled."""
        return self.total - self.filled


@dataclass(frozen=True)
class Place:
    """Where an order stood in the queue after row ``row`` or, on joining, after the row before."""

    symbol: int
    id: int
    place: int
    row: int
    ahead: Fraction | None
    displayed: int | None
    """Size shown at its price; ``None`` where its price is not the valid touch."""


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
class Venue:
    """The venue of one symbol: give it messages as they are sent, then let time pass."""

    everything: Sequence[Row]
    symbol: int
    rules: OrderRules
    response_of_row: Sequence[int]
    impact: Fraction = Fraction(0)
    open: dict[int, Order] = field(default_factory=dict)
    inbox: list[tuple[int, Message]] = field(default_factory=list)
    """(arrival, message) of all that was sent, in order of sending."""
    fills: list[Fill] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.history = Rows([row.event() for row in self.everything], self.symbol)
        self.rows = [self.everything[i] for i in self.history.numbers]
        self.rows_done = self.messages_done = self.places_given = 0
        self.taken: dict[tuple[Side, int], int] = {}  # own lots, as `execute` keeps them
        self.printed: Counter[tuple[int, int]] = Counter()  # (ts, aggressor) → lots

    def send(self, message: Message) -> int:
        """Put a message on its way; returns its number. Nothing overtakes within the symbol."""
        arrival = message.sent + message.latency
        if self.inbox:
            arrival = max(arrival, self.inbox[-1][0])
        self.inbox.append((arrival, message))
        return len(self.inbox) - 1

    def advance(self, until: int) -> None:
        """Handle all rows until then and all messages that arrive until then."""
        until = min(until, self.rules.end)
        while True:
            row_at = self.rows[self.rows_done].ts if self.rows_done < len(self.rows) else inf
            waits = self.messages_done < len(self.inbox)
            message_at = self.inbox[self.messages_done][0] if waits else inf
            if min(row_at, message_at) > until:
                break
            self.expire(min(row_at, message_at))
            if row_at <= message_at:
                self.rows_done += 1
                self.on_row(self.rows_done - 1)
            else:
                self.messages_done += 1
                self.on_message(self.messages_done - 1)
        self.expire(until)

    def finish(self) -> None:
        """Let time pass to the window's end, where what is still open expires."""
        self.advance(self.rules.end)
        for order in self.all_open():
            self.withdraw(order, self.rules.end, "expired", 0)
            self.counts["expired at the end"] += 1

    def expire(self, now: float) -> None:
        """End the orders of sessions that have closed by then."""
        for order in self.all_open():
            if order.close is not None and order.close <= now:
                self.withdraw(order, order.close, "expired", 0)
                self.counts["expired at a close"] += 1

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
        row = self.rows[place]
        number = self.history.numbers[place]
        price = 2 * order.price
        order.filled += lots
        self.fills.append(
            Fill(
                self.symbol, order.id, row.ts, order.side * lots, price, True,
                *order.instants, order.arrival, row=number,
            )
        )  # fmt: skip
        response = self.response_of_row[number]
        self.report(row.ts, order.id, "filled", response, lots, order.price, maker=True)
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
            appearance = (far(side), self.history.since(place, far(side)))
            self.taken[appearance] = self.taken.get(appearance, 0) + lots
            self.fill_resting(order, lots, place)

    def on_quote(self, order: Order, price: int, size: int, ts: int) -> None:
        """Move an order's place by the valid touch of its own side."""
        gap = order.side * (price - order.price)
        lowered: Fraction | float = 0
        c = 0
        if gap > 0:
            order.away = True
            return
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
            c = max(0, order.seen - size - order.traded)
            given = min(order.ahead, credit(self.rules.model, order.ahead, order.seen, c))
            after = min(order.ahead - given, Fraction(size))
            self.counts["credit"] += given > 0
            self.counts["capped"] += after < order.ahead - given
            lowered = order.ahead - after
            order.ahead = after
            order.seen, order.traded = size, 0
        elif size > order.seen:
            order.seen, order.traded = size, 0
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

    # Messages

    def on_message(self, number: int) -> None:
        """Handle a message at its arrival."""
        t, message = self.inbox[number]
        handle: dict[str, Callable[[int, Message, int], None]] = {
            "new": self.on_new,
            "cancel": self.on_cancel,
            "cancel_all": self.on_cancel_all,
            "replace": self.on_replace,
        }
        handle[message.action](t, message, number)

    def reject(self, t: int, message: Message, number: int, why: str) -> None:
        """Reject a new order or a replacement."""
        self.counts[f"rejected {message.action}: {why}"] += 1
        self.report(t, message.id, "rejected", message.response, number=number)

    def on_new(self, t: int, message: Message, number: int) -> None:
        """Handle a new order."""
        if not is_open(self.rules.sessions, t):
            return self.reject(t, message, number, "no session")
        if message.id in self.open:
            return self.reject(t, message, number, "id is open")
        if self.history.standing(message.sent) is None:
            return self.reject(t, message, number, "no quote")
        closes = [b for a, b in self.rules.sessions or () if a <= t < b]
        order = Order(
            message.id, message.side, message.price, message.total, message.post_only,
            min(closes, default=None), message.instants or (message.sent,) * 4,
        )  # fmt: skip
        return self.enter(order, t, message, number)

    def on_cancel(self, t: int, message: Message, number: int) -> None:
        """Handle a cancel."""
        order = self.open.get(message.id)
        if order is None:
            self.counts["late cancel"] += 1
            return self.report(t, message.id, "late", message.response, number=number)
        self.counts["cancelled"] += 1
        return self.withdraw(order, t, "cancelled", message.response, number)

    def on_cancel_all(self, t: int, message: Message, number: int) -> None:
        """Handle a cancel of all orders, or of those of a side."""
        for order in self.all_open():
            if message.side in (0, order.side):
                self.counts["cancelled by cancel all"] += 1
                self.withdraw(order, t, "cancelled", message.response, number)

    def on_replace(self, t: int, message: Message, number: int) -> None:
        """Handle a replacement; ``total`` counts the lots filled already."""
        order = self.open.get(message.id)
        if order is None:
            self.counts["late replace"] += 1
            return self.report(t, message.id, "late", message.response, number=number)
        if message.total <= order.filled:
            self.counts["replaced by nothing"] += 1
            return self.withdraw(order, t, "cancelled", message.response, number)
        if message.price == order.price and message.total <= order.total:
            self.counts["replaced in place"] += 1
            order.total = message.total
            return self.report(
                t, order.id, "replaced", message.response, order.total, order.price, number=number
            )
        return self.enter(order, t, message, number)

    def enter(self, order: Order, t: int, message: Message, number: int) -> None:
        """A new order, or one replaced that loses its place, meets the quote and may rest."""
        replaces = message.action == "replace"
        tif = "gtc" if replaces else message.tif
        side, price = order.side, message.price
        hit = self.touch(self.rows_done - 1, far(side))
        marketable = hit is not None and side * (price - hit[0]) >= 0
        if marketable and order.post_only == "reject":
            return self.reject(t, message, number, "post-only")
        if hit is not None and marketable and order.post_only == "slide":
            self.counts["slid" + (" by replace" if replaces else "")] += 1
            price, marketable = hit[0] - side, False

        def take(taken: dict[tuple[Side, int], int]) -> tuple[int, int, int]:
            """(lots, touch, impact) that the quote gives."""
            lots = side * (message.total - order.filled)
            met = execute(self.history, t, lots, taken, self.impact) if marketable else None
            return (0, 0, 0) if met is None else (met.lots, met.touch, met.step)

        def tell(kind: Kind, lots: int, at: int) -> None:
            self.report(t, order.id, kind, message.response, lots, at, number=number)

        if tif == "fok" and take({**self.taken})[0] < message.total:
            self.counts["fok killed"] += 1
            tell("accepted", message.total, price)
            return tell("cancelled", message.total, price)
        met = [other for other in self.of_side(-side) if side * (price - other.price) >= 0]
        if met and self.rules.stp == "reject":
            return self.reject(t, message, number, "self-trade")
        for other in met:
            self.counts["self-trade cancelled"] += 1
            self.withdraw(other, t, "cancelled", message.response, number)

        order.price, order.total = price, message.total
        order.instants = message.instants or (message.sent,) * 4
        tell("replaced" if replaces else "accepted", order.total, price)
        lots, touch, step = take(self.taken)
        if lots > 0:
            self.counts["taken by replace" if replaces else f"taken by {tif}"] += 1
            order.filled += lots
            half_ticks = 2 * touch + side * step
            self.fills.append(
                Fill(
                    self.symbol, order.id, t, side * lots, half_ticks, False,
                    *order.instants, t, step,
                )
            )  # fmt: skip
            tell("filled", lots, touch)
        self.open.pop(order.id, None)
        if order.open == 0:
            return None
        if tif != "gtc":
            self.counts["ioc rest cancelled"] += 1
            return tell("cancelled", order.open, price)
        if marketable:
            self.counts["rest of a taker rests"] += 1
        self.open[order.id] = order
        return self.join(order, t)

    def join(self, order: Order, t: int) -> None:
        """Give an order a new place, at the end of the queue of its price."""
        order.arrival = t
        order.place = self.places_given
        self.places_given += 1
        order.seen = order.traded = order.fallen = 0
        order.paid, order.paid_until, order.away = 0, t, True
        touch = self.touch(self.rows_done - 1, near(order.side))
        order.ahead = None
        if touch is not None:
            price, size = touch
            if order.side * (order.price - price) > 0:
                self.counts["joined above the touch"] += 1
                order.ahead = Fraction(0)
            elif order.price == price:
                self.counts["joined at the touch"] += 1
                order.ahead, order.seen, order.away = Fraction(size), size, False
        if order.ahead is None:
            self.counts["joined unknown" + (", no touch" if touch is None else "")] += 1
        if self.rules.model == "optimistic":
            order.ahead = Fraction(0)
        self.note_place(order, self.rows_done - 1)
