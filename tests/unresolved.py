"""The lots that may still be filled of the orders that a trader has sent, as far as it knows.

Worked out from all that one symbol's trader has sent and heard, each time from the beginning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.order_records import Message, Report


@dataclass
class Sent:
    """An order whose end has not been heard of."""

    id: int
    side: int
    total: int
    largest: int
    filled: int = 0
    replacements: set[int] = field(default_factory=set)
    """Numbers of those that are under way."""


@dataclass
class Known:
    """What a trader knows: signed lots that it holds, and its orders by their message's number."""

    confirmed: int = 0
    orders: dict[int, Sent] = field(default_factory=dict)
    working: dict[int, int] = field(default_factory=dict)
    """Order id → number of the message that made the order with that id."""

    def unresolved(self, side: int) -> int:
        """Lots of a side that may still be filled."""
        return sum(o.largest - o.filled for o in self.orders.values() if o.side == side)

    def send(self, number: int, message: Message) -> None:
        """Take note of a message."""
        if message.action == "new":
            total = message.total
            self.orders[number] = Sent(message.id, message.side, total, total)
        if message.action == "replace":
            for order in self.orders.values():
                if order.id == message.id:
                    order.replacements.add(number)
                    order.largest = max(order.largest, message.total)

    def hear(self, report: Report, message: Message | None) -> None:
        """Take note of a report; ``message`` is the one that it answers or results from."""
        makes = message is not None and message.action == "new" and message.id == report.id
        if makes and report.kind == "accepted":
            assert report.number is not None
            self.working[report.id] = report.number
        order = self.working.get(report.id, -1)
        if makes and report.kind == "rejected":
            assert report.number is not None
            order = report.number
        if report.kind == "filled":
            known = self.orders[order]
            known.filled += report.lots
            self.confirmed += known.side * report.lots
            if known.filled == known.total:
                del self.orders[order]
        elif report.kind == "replaced":
            self.orders[order].total = report.lots
        elif report.kind in ("cancelled", "expired") or (makes and report.kind == "rejected"):
            del self.orders[order]
        if message is None or message.action != "replace" or message.id != report.id:
            return
        if report.number is None or report.kind == "filled":
            return
        for other in self.orders.values():
            if report.number in other.replacements:
                other.replacements.remove(report.number)
                if not other.replacements:
                    other.largest = other.total


def known_at(messages: Sequence[Message], reports: Sequence[Report], sent: int, now: int) -> Known:
    """What is known at ``now``, before the message number ``sent`` goes out.

    Args:
        messages: of one symbol, in the order of sending.
        reports: of the symbol, in the order in which they were made.
    """
    known, heard = Known(), 0

    def hear(until: int, before: int) -> None:
        """Hear what is known by then, of messages whose number is below ``before``."""
        nonlocal heard
        while heard < len(reports) and reports[heard].known <= until:
            number = reports[heard].number
            if number is not None and number >= before:
                return
            known.hear(reports[heard], None if number is None else messages[number])
            heard += 1

    for number, message in enumerate(messages[:sent]):
        hear(message.sent, number)
        known.send(number, message)
    hear(now, sent)
    return known
