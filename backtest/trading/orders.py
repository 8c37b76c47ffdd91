"""From target positions to fills: orders travel to the venue and take what is displayed there.

Everything of one symbol happens in the order in which its answers become ready; symbols do not
touch each other. Prices are integers in half ticks, sizes in lots, times int64 ns.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np

from backtest.core.arrays import BoolArray, Int64Array
from backtest.market.events import NO_TIME
from backtest.market.quotes import SymbolBook


@dataclass(frozen=True, slots=True)
class OrderRules:
    """How targets become orders and orders fills.

    Attributes:
        position_limit: targets are clipped to this many lots either way; ``None``: not at all.
        no_trade_band: an order of at most this many lots is not sent.
        impact: c of the impact formula i = ceil(c x spread x filled / displayed), half ticks a lot.
        sessions: trading hours as [open, close) in ns, ascending; ``None``: always open.
        end: orders that would reach the venue later are cancelled, ns.
    """

    position_limit: int | None
    no_trade_band: int
    impact: Fraction
    sessions: Sequence[tuple[int, int]] | None
    end: int

    def clip(self, targets: Int64Array) -> Int64Array:
        """Targets within the position limit, int64 lots."""
        if self.position_limit is None:
            return targets
        return np.clip(targets, -self.position_limit, self.position_limit)

    def is_open(self, time: int) -> bool:
        """Whether ``time`` lies in a session."""
        if self.sessions is None:
            return True
        at = bisect_right(self.sessions, time, key=lambda session: session[0]) - 1
        return at >= 0 and time < self.sessions[at][1]


class Fill(NamedTuple):
    """One fill: what was traded, when, and from which event it stems.

    Attributes:
        event: number of the event whose answer sent the order; -1 for the closing of a position.
        lots: signed, positive bought.
        half_ticks: price paid, impact included.
        impact: half ticks a lot that the fill moved its own price by.
        arrived: when it was filled, ns.
    """

    event: int
    lots: int
    half_ticks: int
    impact: int
    arrived: int


class Confirmation(NamedTuple):
    """What a strategy with ``on_fills`` is told of one of its fills.

    Attributes:
        symbol: index into the session's symbols.
        event: number of the event whose answer sent the order.
        lots: signed, positive bought.
        half_ticks: price paid, impact included.
        arrived: when it was filled, ns.
        known: when its confirmation arrived, ns.
    """

    symbol: int
    event: int
    lots: int
    half_ticks: int
    arrived: int
    known: int


class Decision(NamedTuple):
    """An answer that has a say: at ``ready`` its symbol should hold ``target`` lots."""

    event: int
    ready: int
    target: int
    entry: int
    response: int


def newest_of_each_instant(instants: Int64Array) -> BoolArray:
    """Of rows sorted by instant, whether each is the last of its instant, bool [n]."""
    last = np.ones(len(instants), dtype=np.bool_)
    last[:-1] = instants[1:] != instants[:-1]
    return last


def trade(decisions: Sequence[Decision], book: SymbolBook, rules: OrderRules) -> list[Fill]:
    """Send one symbol's orders and fill them, closing what is open at the end.

    An order is for target - (confirmed position + outstanding orders). It is immediate-or-cancel
    at the touch of the quote standing when it arrives, at most for the size still displayed.

    Args:
        decisions: in the order in which they become ready, one an instant, targets clipped.
        book: the symbol's valid quotes.
        rules: order rules.
    """
    fills: list[Fill] = []
    unconfirmed: list[tuple[int, int, int]] = []  # (response arrives, lots ordered, lots filled)
    confirmed = outstanding = position = 0
    arrived = NO_TIME
    taken = Taken()
    for event, ready, target, entry, response in decisions:
        while unconfirmed and unconfirmed[0][0] <= ready:
            _, ordered, filled = heappop(unconfirmed)
            outstanding -= ordered
            confirmed += filled
        order = target - confirmed - outstanding
        if abs(order) <= rules.no_trade_band:
            continue
        arrived = max(arrived, ready + entry)
        fill = None
        if arrived <= rules.end and rules.is_open(arrived):
            fill = _fill(event, order, arrived, book=book, taken=taken, impact=rules.impact)
        filled = 0
        if fill is not None:
            fills.append(fill)
            filled = fill.lots
            position += filled
        outstanding += order
        heappush(unconfirmed, (arrived + response, order, filled))
    if position:
        at = book.standing(rules.end)
        touch = book.bid[at] if position > 0 else book.ask[at]
        fills.append(Fill(-1, -position, 2 * touch, 0, rules.end))
    return fills


class Taken:
    """Lots that own fills took from each side of one quote."""

    def __init__(self) -> None:
        self._quote = -1
        self._lots = {1: 0, -1: 0}

    def of(self, quote: int) -> dict[int, int]:
        """Lots taken by side (1 bought at the ask, -1 sold at the bid); a new quote has none."""
        if quote != self._quote:
            self._quote = quote
            self._lots = {1: 0, -1: 0}
        return self._lots


def _fill(
    event: int, order: int, arrived: int, *, book: SymbolBook, taken: Taken, impact: Fraction
) -> Fill | None:
    at = book.standing(arrived)
    if at < 0:
        return None
    side = 1 if order > 0 else -1
    touch, displayed = (
        (book.ask[at], book.ask_size[at]) if side > 0 else (book.bid[at], book.bid_size[at])
    )
    lots_taken = taken.of(at)
    lots = min(abs(order), displayed - lots_taken[side])
    if lots <= 0:
        return None
    lots_taken[side] += lots
    spread = 2 * (book.ask[at] - book.bid[at])  # half ticks
    moved = -(-(impact * spread * lots) // displayed)
    return Fill(event, side * lots, 2 * touch + side * moved, moved, arrived)
