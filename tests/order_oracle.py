"""Resting orders and the quoting desk from rows to money; matching is in ``order_matching``."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import ceil, floor
from typing import Final

from tests.oracle import TERMS, NoClosingQuote, Rows
from tests.order_matching import Fill, Message, OrderRules, Place, PostOnly, Report, Row, Venue

SILENT: Final = None
"""In either of a side's two numbers: keep what works on that side."""

ORDER_TERMS = (*TERMS, "rest")
"""The terms of every fill; net = decision less all the others."""

Fee = Callable[[int, int, int], int]
"""(symbol, signed lots, price in half ticks) → money of one fill, rounded up."""

Wanted = tuple[int | None, int | None, int | None, int | None]
"""Bid offset, bid lots, ask offset, ask lots; offsets in half ticks away from M0."""


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


@dataclass(frozen=True)
class Answer:
    """What a quoting rule wants after row ``event``; ``None`` is no opinion."""

    event: int
    t0: int
    t1: int
    t2: int
    t3: int
    wanted: Wanted | None


@dataclass(frozen=True)
class DeskRules:
    """How wanted quotes become messages; ``skew`` in half ticks a lot held, bands inclusive."""

    skew: Fraction = Fraction(0)
    position_limit: int | None = None
    requote_band: int = 0
    resize_band: int = 0
    min_interval: int = 0
    post_only: PostOnly = "no"


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
) -> Result:
    """Replay a list of messages.

    Args:
        messages: those of a symbol in order of ``sent``.
        response_of_row: ns until the trader knows of a resting order's fill by that row [n].
        value: money of one lot and one half tick, by symbol; without it no money is counted.

    Raises:
        NoClosingQuote: A symbol traded that has no two-sided quote inside a session.
    """
    venues = []
    for symbol in sorted({row.symbol for row in rows}):
        venue = Venue(rows, symbol, rules, response_of_row, impact)
        for message in messages:
            if message.symbol == symbol:
                venue.send(message)
        venue.finish()
        venues.append(venue)
    return settle(venues, rules, value, maker_fee, taker_fee)


def simulate_quotes(
    rows: Sequence[Row],
    answers: Sequence[Answer],
    desk_rules: DeskRules,
    rules: OrderRules,
    response_of_row: Sequence[int],
    entry: Sequence[int],
    cancel: Sequence[int],
    replacing: Sequence[int],
    response: Sequence[int],
    *,
    impact: Fraction = Fraction(0),
    value: Sequence[int] | None = None,
    maker_fee: Fee = no_fee,
    taker_fee: Fee = no_fee,
) -> Result:
    """Let a desk quote what the answers want.

    Args:
        entry, cancel, replacing, response: latencies by the number of the event whose answer sends
            the message, ns [n].

    Raises:
        NoClosingQuote: A symbol traded that has no two-sided quote inside a session.
    """
    venues = []
    counts: Counter[str] = Counter()
    for symbol in sorted({row.symbol for row in rows}):
        venue = Venue(rows, symbol, rules, response_of_row, impact)
        desk = Desk(venue, desk_rules, entry, cancel, replacing, response)
        newest: dict[int, Answer] = {}  # t3 → the newest event answered then
        for answer in sorted(answers, key=lambda answer: answer.event):
            if rows[answer.event].symbol == symbol and answer.t3 <= rules.end:
                newest[answer.t3] = answer
        for _, answer in sorted(newest.items()):
            desk.on_answer(answer)
        venue.finish()
        venues.append(venue)
        counts += desk.counts
    result = settle(venues, rules, value, maker_fee, taker_fee)
    result.counts += counts
    return result


@dataclass
class Known:
    """A working order as the trader knows it."""

    id: int
    price: int
    total: int
    filled: int = 0


@dataclass
class Desk:
    """Sends the least that makes one symbol's working orders those that are wanted."""

    venue: Venue
    rules: DeskRules
    entry: Sequence[int]
    cancel: Sequence[int]
    replacing: Sequence[int]
    response: Sequence[int]
    confirmed: int = 0
    heard: int = 0
    working: dict[int, Known] = field(default_factory=dict)
    """By side, as the next three."""
    under_way: dict[int, int] = field(default_factory=dict)
    """Number of the message whose report is not known."""
    last_sent: dict[int, int] = field(default_factory=dict)
    sides: dict[int, int] = field(default_factory=dict)
    """Order id → side."""
    counts: Counter[str] = field(default_factory=Counter)

    def hear(self, now: int) -> None:
        """Take in every report that is known by then."""
        while self.heard < len(self.venue.reports):
            report = self.venue.reports[self.heard]
            if report.known > now:
                return
            self.heard += 1
            side = self.sides[report.id]
            if report.number is not None and report.number == self.under_way.get(side):
                del self.under_way[side]
            if report.kind == "accepted":
                self.working[side] = Known(report.id, report.price, report.lots)
            elif report.kind == "replaced":
                known = self.working[side]
                known.price, known.total = report.price, report.lots
            elif report.kind == "filled":
                known = self.working[side]
                known.filled += report.lots
                self.confirmed += side * report.lots
                if known.filled == known.total:
                    del self.working[side]
            elif report.kind in ("cancelled", "expired"):
                del self.working[side]

    def on_answer(self, answer: Answer) -> None:
        """Compare what is wanted with what works, the bid first."""
        self.venue.advance(answer.t3)
        self.hear(answer.t3)
        history = self.venue.history
        if answer.wanted is None or not history.is_quoted_at(answer.event):
            self.counts["no opinion"] += 1
            return
        bid_offset, bid_lots, ask_offset, ask_lots = answer.wanted
        centre = history.mid(answer.t0) - self.rules.skew * self.confirmed
        lots: dict[int, int] = {}
        prices: dict[int, int] = {}
        if bid_offset is not None and bid_lots is not None:
            lots[1], prices[1] = bid_lots, floor((centre - bid_offset) / 2)
        if ask_offset is not None and ask_lots is not None:
            lots[-1], prices[-1] = ask_lots, ceil((centre + ask_offset) / 2)
        if len(lots) == 2 and min(lots.values()) > 0 and prices[1] >= prices[-1]:
            self.counts["uncrossed"] += 1
            both = prices[1] + prices[-1]
            prices = {1: (both - 1) // 2, -1: -((-both - 1) // 2)}
        for side in (1, -1):
            if side in lots:
                self.quote(answer, side, prices[side], lots[side])
            else:
                self.counts["silent side"] += 1

    def quote(self, answer: Answer, side: int, price: int, lots: int) -> None:
        """Send a side's message, if one is needed and may be sent."""
        if side in self.under_way:
            self.counts["one under way"] += 1
            return
        now = answer.t3
        if side in self.last_sent and now - self.last_sent[side] < self.rules.min_interval:
            self.counts["too soon"] += 1
            return
        limit = self.rules.position_limit
        if limit is not None:
            self.counts["clipped"] += lots > limit - side * self.confirmed
            lots = min(lots, limit - side * self.confirmed)
        lots = max(0, lots)

        working = self.working.get(side)
        common = Message(
            self.venue.symbol, now, "new", side=side, response=self.response[answer.event],
            instants=(answer.t0, answer.t1, answer.t2, now),
        )  # fmt: skip
        if working is None:
            if lots == 0:
                return
            number = len(self.sides) + 1
            self.sides[number] = side
            message = replace(
                common, id=number, price=price, total=lots, post_only=self.rules.post_only,
                latency=self.entry[answer.event],
            )  # fmt: skip
        elif lots == 0:
            latency = self.cancel[answer.event]
            message = replace(common, action="cancel", id=working.id, latency=latency)
        else:
            stays = abs(price - working.price) <= self.rules.requote_band
            open_known = working.total - working.filled
            if stays and abs(lots - open_known) <= self.rules.resize_band:
                self.counts["within the bands"] += 1
                return
            self.counts["resized" if stays else "requoted"] += 1
            message = replace(
                common, action="replace", id=working.id,
                price=working.price if stays else price, total=working.filled + lots,
                latency=self.replacing[answer.event],
            )  # fmt: skip
        self.counts[f"sent {message.action}"] += 1
        self.under_way[side] = self.venue.send(message)
        self.last_sent[side] = now


# Money


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
        if value is None:
            result.fills += venue.fills
            continue
        closing = history.closing(rules.sessions, rules.end)
        if venue.fills and closing is None:
            raise NoClosingQuote(f"symbol {symbol} has no quote to close at")
        final = 0 if closing is None else closing.mid
        fills = []
        for fill in venue.fills:
            mids = [history.mid(t) for t in (fill.t0, fill.t1, fill.t2, fill.t3, fill.t4)]
            before = mids[4] if fill.row is None else mid_before(history, fill.row)
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


def mid_before(history: Rows, row: int) -> int:
    """Mid, in half ticks, of the last two-sided quote of the rows before row number ``row``."""
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
