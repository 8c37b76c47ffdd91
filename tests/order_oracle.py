"""Lists of orders, from rows to fills and money, apart from the engine."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from tests.depth_orders import venue_of
from tests.depth_records import Depth
from tests.oracle import TERMS, NoClosingQuote, Rows
from tests.order_matching import Venue
from tests.order_records import FLATTENED, Fill, Message, OrderRules, Place, Report, Row, standing

ORDER_TERMS = (*TERMS, "rest")
"""The terms of every fill; net = decision less all the others."""

Fee = Callable[[int, int, int], int]
"""(symbol, signed lots, price in half ticks) → money of one fill, rounded up."""


def no_fee(symbol: int, lots: int, half_ticks: int) -> int:
    """Nothing charged."""
    return 0


@dataclass
class Result:
    """What became of the orders; fills and reports lie by symbol, then as they happened.

    ``closes``, ``by_symbol`` and ``total`` (net and every term) are there where the value of a
    half-tick-lot was given. ``messages`` are all that were sent, with their arrivals.
    """

    histories: dict[int, Rows]
    fills: list[Fill] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    messages: list[tuple[int, Message]] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    closes: list[Fill] = field(default_factory=list)
    by_symbol: dict[int, dict[str, int]] = field(default_factory=dict)
    total: dict[str, int] = field(default_factory=dict)
    standing: dict[tuple[int, int], dict[str, int]] = field(default_factory=dict)
    """By symbol and side, as ``order_records.standing`` gives it."""


def simulate_orders(
    rows: Sequence[Row],
    messages: Sequence[Message],
    rules: OrderRules,
    response_of_row: Sequence[int],
    *,
    impact: Fraction = Fraction(0),
    value: Sequence[int] | None = None,
    maker_fee: Fee = no_fee,
    taker_fee: Fee = no_fee,
    depth: Depth | None = None,
) -> Result:
    """Replay a list of messages.

    Args:
        messages: those of a symbol in order of ``sent``.
        response_of_row: ns until the trader knows of a resting order's fill by that row [n]; a fill
            by a row of depth has that of the symbol's last row before it.
        value: money of one lot and one half tick, by symbol; without it no money is counted.

    Raises:
        NoClosingQuote: A symbol traded that has no two-sided quote inside a session.
    """
    venues = []
    for symbol in sorted({row.symbol for row in rows}):
        venue = venue_of(rows, symbol, rules, response_of_row, impact, depth)
        for message in messages:
            if message.symbol == symbol:
                venue.send(message)
        venue.finish()
        venues.append(venue)
    return settle(venues, rules, value, maker_fee, taker_fee)


def settle(
    venues: Sequence[Venue],
    rules: OrderRules,
    value: Sequence[int] | None,
    maker_fee: Fee,
    taker_fee: Fee,
) -> Result:
    """Put the symbols together and, given the value of a half-tick-lot, book their fills."""
    result = Result({venue.symbol: venue.history for venue in venues})
    for venue in venues:
        symbol, history = venue.symbol, venue.history
        result.reports += venue.reports
        result.messages += venue.inbox
        result.places += venue.places
        result.counts += venue.counts
        for side, stood in venue.stood.items():
            result.standing[symbol, side] = standing(stood)
        if value is None:
            result.fills += venue.fills
            continue
        closing = history.closing(rules.sessions, rules.end)
        if venue.fills and closing is None:
            raise NoClosingQuote(f"symbol {symbol} has no quote to close at")
        final = 0 if closing is None else closing.mid
        fills = []
        for fill in venue.fills:
            mids = mids_at(history, (fill.t0, fill.t1, fill.t2, fill.t3, fill.t4))
            if fill.id == FLATTENED:  # at the mid of its row
                assert fill.row is not None
                mids = [mid_before(history, fill.row + 1)] * 5
            makes = fill.row is not None and fill.id != FLATTENED
            before = mid_before(history, fill.row) if makes else mids[4]
            fee = maker_fee if fill.maker else taker_fee
            fills.append(book(fill, mids, before, final, value[symbol], fee))
        closes = []
        position = sum(fill.lots for fill in fills)
        if closing is not None and position != 0:
            touch = closing.bid if position > 0 else closing.ask
            close = Fill(symbol, 0, rules.end, -position, 2 * touch, False, *[rules.end] * 5)
            closes = [book(close, [final] * 5, final, final, value[symbol], taker_fee)]
        booked = fills + closes
        result.fills += fills
        result.closes += closes
        terms = {name: sum(getattr(fill, name) for fill in booked) for name in ORDER_TERMS}
        result.by_symbol[symbol] = {"net": sum(fill.cash for fill in booked), **terms}
    if value is not None:
        result.total = {
            name: sum(terms[name] for terms in result.by_symbol.values())
            for name in ("net", *ORDER_TERMS)
        }
    return result


def mids_at(history: Rows, instants: Sequence[int]) -> list[int]:
    """Mids, in half ticks; that of the next instant before the first two-sided quote."""
    mids = [history.mid(instants[-1])]
    for t in reversed(instants[:-1]):
        mids.insert(0, mids[0] if history.standing(t) is None else history.mid(t))
    return mids


def mid_before(history: Rows, row: int | None) -> int:
    """Mid, in half ticks, of the last two-sided quote of the rows before row number ``row``."""
    assert row is not None
    numbers = [quote.number for quote in history.quotes]
    return history.quotes[bisect_left(numbers, row) - 1].mid


def book(fill: Fill, mids: Sequence[int], before: int, final: int, money: int, fee: Fee) -> Fill:
    """A fill with its terms; ``mids`` are M0 to M4, ``before`` is Mf."""
    m0, m1, m2, m3, m4 = mids
    q = fill.lots
    step = fill.impact_half_ticks
    price = fill.price_half_ticks
    sign = 1 if q > 0 else -1
    charge = fee(fill.symbol, q, price)
    return replace(
        fill,
        cash=-q * price * money - charge,
        decision=q * (final - m0) * money,
        feed=q * (m1 - m0) * money,
        queueing=q * (m2 - m1) * money,
        service=q * (m3 - m2) * money,
        entry=q * (m4 - m3) * money,
        rest=q * (before - m4) * money,
        spread=q * (price - sign * step - before) * money,
        impact=abs(q) * step * money,
        fees=charge,
    )


def markout(
    result: Result, fill: Fill, horizon: int, rules: OrderRules, money: int
) -> tuple[int, int]:
    """(adverse, hold) of a maker's fill: net = hold - adverse - spread - fees at every horizon."""
    history = result.histories[fill.symbol]
    closing = history.closing(rules.sessions, rules.end)
    assert closing is not None
    assert fill.row is not None
    later = history.mid(min(fill.ts + horizon, rules.end))
    before = mid_before(history, fill.row)
    return fill.lots * (before - later) * money, fill.lots * (closing.mid - later) * money
