"""Orders taken out of the book of a market and sent as own ones, to be filled as those were."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from tests.depth_fifo import Street, Table, market_of
from tests.depth_records import DepthRow
from tests.order_markets import OrderMarket
from tests.order_records import Message


@dataclass
class Mine:
    """What became of an order in the market."""

    open: int
    filled: int = 0
    executed: list[tuple[int, int]] = field(default_factory=list)
    """(ts, lots)"""


def taken_out(
    street: Street, numbers: frozenset[int]
) -> tuple[OrderMarket, dict[int, list[tuple[int, int]]]]:
    """The market without some orders, which are sent to it, and when they were executed.

    Executions of those stay, as ones of orders that nobody has seen. The street's instants must be
    apart, so that an own order joins where the other one did.
    """
    assert street.apart
    table: Table = []
    messages: list[Message] = []
    mine: dict[int, Mine] = {}
    for row in street.by_order:
        if not isinstance(row, DepthRow) or row.order_id not in numbers:
            table.append(row)
            continue
        number, order = row.order_id, mine.get(row.order_id)
        if order is None:
            assert row.action == "add"
            mine[number] = Mine(row.size)
            messages.append(Message(0, row.ts, "new", number, row.side, row.price, row.size))
            continue
        if row.snapshot:  # the snapshot ends with the row before
            before = table[-1]
            if row.last and isinstance(before, DepthRow) and (before.snapshot or before.clear):
                table[-1] = replace(before, snapshot=True, last=True)
            continue
        if row.action == "execute":
            order.executed.append((row.ts, row.size))
            order.filled += row.size
            order.open -= row.size
            table.append(row)
            continue
        order.open = row.size if row.action == "modify" else order.open - row.size
        if order.open == 0:
            messages.append(Message(0, row.ts, "cancel", number))
            continue
        change = Message(
            0, row.ts, "replace", number, price=row.price, total=order.filled + order.open
        )
        messages.append(change)
    market = replace(market_of(table, orders=True), messages=tuple(messages))
    rules = replace(market.rules, model="l3")
    executed = {number: order.executed for number, order in mine.items()}
    return replace(market, rules=rules), executed


def late_orders(street: Street) -> list[int]:
    """The orders that came after the beginning."""
    added = (
        row.order_id
        for row in street.by_order
        if isinstance(row, DepthRow) and row.action == "add" and not row.snapshot
    )
    return sorted(added)
