"""The quoting desk between a rule's answers and the venue, apart from the engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import ceil, floor
from typing import Final

from tests.depth_orders import venue_of
from tests.depth_records import Depth
from tests.order_matching import Venue
from tests.order_oracle import Fee, Result, no_fee, settle
from tests.order_records import FLATTENED, Message, OrderRules, PostOnly, Row

SILENT: Final = None
"""In either of a side's two numbers: keep what works on that side."""

Wanted = tuple[int | None, int | None, int | None, int | None]
"""Bid offset, bid lots, ask offset, ask lots; offsets in half ticks away from M0."""


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
    depth: Depth | None = None,
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
        venue = venue_of(rows, symbol, rules, response_of_row, impact, depth)
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

    def allow(self, message: Message, side: int) -> int | None:
        """The total of a message that may be sent; ``None``: it may not."""
        return message.total

    def hear(self, now: int) -> None:
        """Take in every report that is known by then."""
        while self.heard < len(self.venue.reports):
            report = self.venue.reports[self.heard]
            if report.known > now:
                return
            self.heard += 1
            if report.id == FLATTENED:
                self.confirmed += self.venue.flattened.pop(0)
                continue
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
        allowed = self.allow(message, side)
        if allowed is None:
            return
        if message.action == "replace" and allowed < message.total:
            assert working is not None
            stays = message.price == working.price
            wanted = allowed - working.filled
            if stays and abs(wanted - working.total + working.filled) <= self.rules.resize_band:
                return
        message = replace(message, total=allowed)
        if message.action == "new":
            self.sides[message.id] = side
        self.counts[f"sent {message.action}"] += 1
        self.under_way[side] = self.venue.send(message)
        self.last_sent[side] = now
