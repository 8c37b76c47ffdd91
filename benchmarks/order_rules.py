"""hftbacktest's rules for resting orders on quotes and trades, and ours, one exchanged at a time.

A third statement of both, in plain Python: with none of the ``Rules`` it does what hftbacktest's
``NoPartialFillExchange`` and ``RiskAdverseQueueModel`` do, and with all of them what this engine
does with the queue ``trades``, through ``full`` and cross ``full``. Where both ends agree with the
engines order by order, an order whose fate changes with a rule differs because of that rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Rules(NamedTuple):
    """Of this engine; hftbacktest does otherwise.

    Attributes:
        unknown: a price that the touch has not displayed since the order came has a queue of
            unknown length; there, it is as long as it was when last seen, and empty if never.
        shared: own orders share what a print traded; there, each is given all of it.
        partial: a print fills no more than it traded beyond the queue; there, the whole order.
    """

    unknown: bool
    shared: bool
    partial: bool


class Tick(NamedTuple):
    """A row: its quote, and perhaps a print (``initiator`` +1 buyer, -1 seller, 0 none)."""

    time: int
    bid: int
    ask: int
    bid_size: int
    ask_size: int
    price: int
    lots: int
    initiator: int


class Message(NamedTuple):
    """A new order, or its cancellation (``total`` 0), which arrives at ``time``."""

    time: int
    id: int
    side: int
    price: int
    total: int


class Fate(NamedTuple):
    """What became of an order: lots filled, when the last of them, and how it ended."""

    lots: int
    time: int
    end: str


@dataclass
class _Order:
    id: int
    side: int
    price: int
    left: int
    ahead: int | None
    """Lots; ``None`` where nobody knows."""
    filled: int = 0
    time: int = 0


@dataclass
class _Book:
    """Sizes by price of each side, as far as touches have shown them."""

    levels: dict[int, dict[int, int]] = field(default_factory=lambda: {1: {}, -1: {}})
    touch: dict[int, int] = field(default_factory=dict)


def fates(ticks: Sequence[Tick], messages: Sequence[Message], rules: Rules) -> dict[int, Fate]:
    """What becomes of each order; nothing of a row and a message happens at the same time."""
    found: dict[int, Fate] = {}
    book = _Book()
    orders: list[_Order] = []
    waiting = iter(messages)
    message = next(waiting, None)
    for tick in ticks:
        while message is not None and message.time < tick.time:
            _receive(message, book, orders, found, rules)
            message = next(waiting, None)
        if tick.initiator:
            _print(tick, orders, rules)
        _quote(tick, book, orders, rules)
        for order in [order for order in orders if order.left == 0]:
            orders.remove(order)
            found[order.id] = Fate(order.filled, order.time, "filled")
    while message is not None:
        _receive(message, book, orders, found, rules)
        message = next(waiting, None)
    return found


def _receive(
    message: Message, book: _Book, orders: list[_Order], found: dict[int, Fate], rules: Rules
) -> None:
    side, price = message.side, message.price
    if message.total == 0:
        for order in [order for order in orders if order.id == message.id]:
            orders.remove(order)
            found[order.id] = Fate(order.filled, order.time, "cancelled")
        return
    if side * price >= side * book.touch[-side]:
        found[message.id] = Fate(0, 0, "rejected")
        return
    ahead: int | None = book.levels[side].get(price, 0)
    if rules.unknown and side * price < side * book.touch[side]:
        ahead = None
    elif side * price > side * book.touch[side]:
        ahead = 0
    orders.append(_Order(message.id, side, price, message.total, ahead))


def _print(tick: Tick, orders: list[_Order], rules: Rules) -> None:
    budget = tick.lots
    for order in _by_priority(orders, -tick.initiator):
        if order.side * order.price > order.side * tick.price:
            _fill(order, order.left, tick.time)
        elif order.price == tick.price and order.ahead is not None:
            beyond = max(tick.lots - order.ahead, 0)
            order.ahead = max(order.ahead - tick.lots, 0)
            lots = min(beyond, budget) if rules.shared else beyond
            if lots > 0:
                filled = min(lots, order.left) if rules.partial else order.left
                budget -= filled
                _fill(order, filled, tick.time)


def _quote(tick: Tick, book: _Book, orders: list[_Order], rules: Rules) -> None:
    for side, price, size in ((1, tick.bid, tick.bid_size), (-1, tick.ask, tick.ask_size)):
        # Levels better than the touch have gone; those behind it are as they were last seen.
        levels = book.levels[side]
        for gone in [level for level in levels if side * level > side * price]:
            del levels[gone]
        levels[price] = size
        book.touch[side] = price
        for order in orders:
            if order.side != side:
                if order.side * order.price >= order.side * price:
                    _fill(order, order.left, tick.time)
            elif side * price < side * order.price:
                order.ahead = 0
            elif price == order.price:
                order.ahead = size if order.ahead is None else min(order.ahead, size)


def _by_priority(orders: list[_Order], side: int) -> Iterator[_Order]:
    """Own orders of a side that still want lots, best price first, then as they came."""
    own = [order for order in orders if order.side == side and order.left > 0]
    yield from sorted(own, key=lambda order: -side * order.price)


def _fill(order: _Order, lots: int, time: int) -> None:
    if order.left > 0 and lots > 0:
        order.left -= lots
        order.filled += lots
        order.time = time
