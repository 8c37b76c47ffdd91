"""The venue of the oracle: what own messages do at their arrival, among the rows of the market."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from math import inf

from tests.oracle import Execution, execute, is_open
from tests.order_book import Book, far, near
from tests.order_records import Fill, Kind, Message, Order


@dataclass
class Venue(Book):
    """The venue of one symbol: give it messages as they are sent, then let time pass."""

    inbox: list[tuple[int, Message]] = field(default_factory=list)
    """(arrival, message) of all that was sent, in order of sending."""
    halted: int | None = None
    """New orders that arrive before it are rejected."""
    flattened: list[int] = field(default_factory=list)
    """Signed lots of fills by a switch that the trader has not heard of."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.messages_done = self.places_given = 0

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
            row_at = self.next_row_at()
            waits = self.messages_done < len(self.inbox)
            message_at = self.inbox[self.messages_done][0] if waits else inf
            if min(row_at, message_at) > until:
                break
            self.expire(min(row_at, message_at))
            if row_at <= message_at:
                self.handle_row()
            else:
                self.messages_done += 1
                self.on_message(self.messages_done - 1)
            self.note_standing(int(min(row_at, message_at)))
        self.expire(until)

    def next_row_at(self) -> float:
        """When the next row happens."""
        return self.rows[self.rows_done].ts if self.rows_done < len(self.rows) else inf

    def handle_row(self) -> None:
        """Handle the next row."""
        self.rows_done += 1
        self.on_row(self.rows_done - 1)

    def finish(self) -> None:
        """Let time pass to the window's end, where what is still open expires."""
        self.advance(self.rules.end)
        for order in self.all_open():
            self.withdraw(order, self.rules.end, "expired", 0)
            self.counts["expired at the end"] += 1
        self.note_standing(self.rules.end)

    def expire(self, now: float) -> None:
        """End the orders of sessions that have closed by then."""
        for order in self.all_open():
            if order.close is not None and order.close <= now:
                self.withdraw(order, order.close, "expired", 0)
                self.note_standing(order.close)
                self.counts["expired at a close"] += 1

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
        if self.halted is not None and t < self.halted:
            return self.reject(t, message, number, "halted")
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

        def take(*, deplete: bool = True) -> list[Execution]:
            """What the order meets."""
            lots = side * (message.total - order.filled)
            return self.meet(t, lots, price, deplete=deplete) if marketable else []

        def tell(kind: Kind, lots: int, at: int) -> None:
            self.report(t, order.id, kind, message.response, lots, at, number=number)

        if tif == "fok" and sum(met.lots for met in take(deplete=False)) < message.total:
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
        for execution in take():
            self.counts["taken by replace" if replaces else f"taken by {tif}"] += 1
            order.filled += execution.lots
            half_ticks = 2 * execution.touch + side * execution.step
            self.fills.append(
                Fill(
                    self.symbol, order.id, t, side * execution.lots, half_ticks, False,
                    *order.instants, t, execution.step,
                )
            )  # fmt: skip
            tell("filled", execution.lots, execution.touch)
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

    def meet(self, t: int, lots: int, limit: int, *, deplete: bool) -> list[Execution]:
        """What a taker of signed lots finds up to its limit, which the touch has reached."""
        taken = self.taken if deplete else {**self.taken}
        met = execute(self.history, t, lots, taken, self.impact)
        return [] if met is None else [met]

    def join(self, order: Order, t: int) -> None:
        """Give an order a new place, at the end of the queue of its price."""
        order.arrival = t
        order.place = self.places_given
        self.places_given += 1
        order.seen = order.traded = order.fallen = 0
        order.paid, order.paid_until, order.away = 0, t, True
        order.printed = 0
        self.look(order)
        if self.rules.model == "optimistic":
            order.ahead = Fraction(0)
        known = order.ahead is not None and self.rules.model != "through"
        order.joined = int(order.ahead or 0) if known else None
        self.note_place(order, self.rows_done - 1)

    def look(self, order: Order) -> None:
        """See who is ahead of an order that joins."""
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
