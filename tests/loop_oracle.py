"""A closed loop apart from the engine: a strategy that hears, decides and sends, event by event.

One plain server takes the first ``most`` events that wait, or serves a timer; the venue is that of
``order_oracle``. ``Rule`` is the strategy of both sides: what it is told is each side's own work.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from random import Random
from typing import Any

from tests.order_matching import Venue
from tests.order_oracle import Fee, Result, no_fee, settle
from tests.order_records import Action, Message, OrderRules, Report, Row
from tests.unresolved import known_at


@dataclass(frozen=True)
class View:
    """What a strategy is told: positions, unresolved buys and sells, working orders, quotes.

    Orders are (symbol, id, side, price, total, filled), quotes (ts, bid, ask, bid size, ask size),
    ``None`` where none has come; reports, if there are any, (known, symbol, kind, id).
    """

    now: int
    batch: tuple[tuple[int, int], ...]
    """(symbol, ts) of each event; none where the timer is due."""
    reports: tuple[tuple[int, int, str, int], ...]
    position: tuple[int, ...]
    unresolved: tuple[tuple[int, int], ...]
    working: tuple[tuple[int, int, int, int, int, int], ...]
    quotes: tuple[tuple[int | None, ...] | None, ...]


Wish = Message
"""A message without its instants; an id of -1 is a new order's whose id is to be given."""

Decide = Callable[[View], list[Wish]]


@dataclass(frozen=True)
class Server:
    """A server and its feed: spans by number of the event, and what a batch of n takes."""

    feed: tuple[int, ...]
    base: int
    per_event: int
    most: int | None = None
    line: int = 100
    timer: int | None = None
    start: int = 0
    warmup: int = 0


@dataclass
class Looped:
    """What came of it."""

    result: Result
    views: list[View] = field(default_factory=list)
    answered: list[int] = field(default_factory=list)
    """Events in the order in which they were answered."""
    sent: int = 0
    """Messages."""


class Rule:
    """Sends all kinds of messages, by what it is told and by draws of its own."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def __call__(self, view: View) -> list[Wish]:
        random, wishes = self._random, []
        for symbol, quote in enumerate(view.quotes):
            if random.random() < 0.45:
                continue
            own = [order for order in view.working if order[0] == symbol]
            if own and random.random() < 0.6:
                wishes.append(self._about(symbol, random.choice(own)))
            bid = 100 if quote is None or quote[1] is None else quote[1]
            room = abs(view.position[symbol]) + max(view.unresolved[symbol]) < 30
            if room and random.random() < 0.6:
                side = random.choice((-1, 1))
                wishes.append(self._fresh(symbol, side, bid + (side < 0)))
            elif random.random() < 0.05:
                side = random.choice((-1, 0, 1))
                wishes.append(Message(symbol, 0, "cancel_all", side=side))
        return wishes

    def _about(self, symbol: int, order: tuple[int, ...]) -> Wish:
        """A message about an order, and at times about one of another id."""
        random = self._random
        number = order[1] if random.random() < 0.95 else order[1] + 7
        if random.random() < 0.4:
            return Message(symbol, 0, "cancel", id=number)
        price = order[3] + random.choice((-1, 0, 0, 1))
        total = order[4] + random.choice((-2, -1, 0, 1, 3))
        return Message(symbol, 0, "replace", id=number, price=price, total=max(total, 0))

    def _fresh(self, symbol: int, side: int, near: int) -> Wish:
        random = self._random
        number = random.choice((-1, -1, -1, random.randint(1, 5)))
        return Message(
            symbol, 0, "new", id=number, side=side,
            price=near - side * random.choice((-2, -1, 0, 0, 0, 1)),
            total=random.choice((1, 2, 3, 5)),
            tif=random.choice(("gtc", "gtc", "gtc", "ioc", "fok")),
            post_only=random.choice(("no", "no", "reject", "slide")),
        )  # fmt: skip


def simulate_loop(
    rows: Sequence[Row],
    symbols: int,
    server: Server,
    decide: Decide,
    rules: OrderRules,
    latency: dict[Action | str, Sequence[int]],
    *,
    impact: Fraction = Fraction(0),
    value: Sequence[int] | None = None,
    maker_fee: Fee = no_fee,
    taker_fee: Fee = no_fee,
) -> Looped:
    """Let a strategy trade.

    Args:
        rows: none after the window.
        latency: ``entry``, ``cancel``, ``replace`` and ``response`` by number of the event, ns [n].

    Raises:
        NoClosingQuote: A symbol traded that has no two-sided quote inside a session.
    """
    loop = _Loop(rows, symbols, server, decide, rules, latency, impact)
    loop.run()
    for venue in loop.venues:
        venue.finish()
    seen = {row.symbol for row in rows}
    venues = [venue for venue in loop.venues if venue.symbol in seen]
    loop.looped.result = settle(venues, rules, value, maker_fee, taker_fee)
    return loop.looped


class _Loop:
    def __init__(
        self,
        rows: Sequence[Row],
        symbols: int,
        server: Server,
        decide: Decide,
        rules: OrderRules,
        latency: dict[Any, Sequence[int]],
        impact: Fraction,
    ) -> None:
        self.rows, self.server, self.decide = rows, server, decide
        self.rules, self.latency = rules, latency
        self.venues = [Venue(rows, s, rules, latency["response"], impact) for s in range(symbols)]
        self.looped = Looped(Result({}))
        self.heard = [0] * symbols
        self.greatest = [0] * symbols
        self.active = server.warmup == 0
        latest: dict[int, int] = {}
        self.received = []
        for number, row in enumerate(rows):
            at = max(row.ts + server.feed[number], latest.get(row.symbol, row.ts))
            latest[row.symbol] = at
            self.received.append(at)

    def run(self) -> None:
        server, end = self.server, self.rules.end
        arrivals = deque(sorted(range(len(self.rows)), key=lambda i: (self.received[i], i)))
        line: list[int] = []
        now = -(2**62)
        due = None
        if server.timer is not None and self.active:
            due = server.start + server.timer
        while now <= end:
            while arrivals and self.received[arrivals[0]] <= now:
                event = arrivals.popleft()
                same = [i for i in line if self.rows[i].symbol == self.rows[event].symbol]
                if len(same) < server.line:
                    line.append(event)
            if due is not None and due <= now:
                now = self.serve([], now, due)
                assert server.timer is not None
                while due <= self.looped.views[-1].now:
                    due += server.timer
            elif line:
                count = len(line) if server.most is None else server.most
                batch, line = line[:count], line[count:]
                was, began = self.active, now
                now = self.serve(batch, now, None)
                if server.timer is not None and self.active and not was:
                    due = server.start + server.timer
                    while due <= began:
                        due += server.timer
            else:
                nexts = [self.received[arrivals[0]]] if arrivals else []
                nexts += [] if due is None else [due]
                if not nexts:
                    return
                now = min(nexts)

    def serve(self, batch: list[int], now: int, due: int | None) -> int:
        """Serve a batch or the timer; when that ends."""
        ended = now + self.server.base + self.server.per_event * max(len(batch), 1)
        view = self.look(batch, now)
        in_time = ended <= self.rules.end
        self.looped.answered += batch if in_time else []
        if batch and max(batch) < self.server.warmup:
            return ended
        self.active = True
        self.looped.views.append(view)
        wishes = self.decide(view)
        if in_time:
            self.looped.sent += len(wishes)
            for wish in wishes:
                self.send(wish, batch, now, due, ended)
        return ended

    def send(self, wish: Wish, batch: list[int], now: int, due: int | None, ready: int) -> None:
        own = [i for i in batch if self.rows[i].symbol == wish.symbol] or batch
        if own:
            event = max(own)
            instants = (self.rows[event].ts, self.received[event], now, ready)
        else:
            assert due is not None
            event = max((i for i, t in enumerate(self.received) if t <= now), default=0)
            instants = (due, due, now, ready)
        kind = {"new": "entry", "replace": "replace"}.get(wish.action, "cancel")
        number = wish.id
        if wish.action == "new":
            number = self.greatest[wish.symbol] + 1 if wish.id < 0 else wish.id
            self.greatest[wish.symbol] = max(self.greatest[wish.symbol], number)
        self.venues[wish.symbol].send(
            replace(
                wish, id=number, sent=ready, latency=self.latency[kind][event],
                response=self.latency["response"][event], instants=instants,
            )
        )  # fmt: skip

    def look(self, batch: list[int], now: int) -> View:
        """What is known at an instant."""
        told: list[tuple[int, int, int, Report]] = []
        position, unresolved = [], []
        working: list[tuple[int, int, int, int, int, int]] = []
        quotes: list[tuple[int | None, ...] | None] = []
        for symbol, venue in enumerate(self.venues):
            venue.advance(now)
            fresh = venue.reports[self.heard[symbol] :]
            known = [report for report in fresh if report.known <= now]
            self.heard[symbol] += len(known)
            told += [(report.known, symbol, k, report) for k, report in enumerate(known)]
            sent = [message for _, message in venue.inbox]
            account = known_at(sent, venue.reports, len(sent), now)
            position.append(account.confirmed)
            unresolved.append((account.unresolved(1), account.unresolved(-1)))
            working += open_orders(symbol, sent, venue.reports[: self.heard[symbol]])
            came = [
                (i, row)
                for i, row in enumerate(self.rows)
                if row.symbol == symbol and self.received[i] <= now
            ]
            row = max(came, key=lambda each: each[0])[1] if came else None
            known_quote = row and (row.ts, row.bid, row.ask, row.bid_size, row.ask_size)
            quotes.append(known_quote or None)
        return View(
            now,
            tuple((self.rows[i].symbol, self.rows[i].ts) for i in batch),
            tuple(
                (known, symbol, "took" if r.kind == "filled" and not r.maker else r.kind, r.id)
                for known, symbol, _, r in sorted(told, key=lambda each: each[:3])
            ),
            tuple(position),
            tuple(unresolved),
            tuple(sorted(working)),
            tuple(quotes),
        )


def open_orders(
    symbol: int, sent: Sequence[Message], heard: Sequence[Report]
) -> list[tuple[int, int, int, int, int, int]]:
    """The orders that work after some reports."""
    found: dict[int, list[int]] = {}
    for report in heard:
        if report.kind == "accepted":
            assert report.number is not None
            found[report.id] = [sent[report.number].side, report.price, report.lots, 0]
        elif report.kind == "replaced":
            found[report.id][1:3] = [report.price, report.lots]
        elif report.kind == "filled":
            found[report.id][3] += report.lots
            if found[report.id][3] == found[report.id][2]:
                del found[report.id]
        elif report.kind in ("cancelled", "expired"):
            del found[report.id]
    return [(symbol, n, side, price, total, f) for n, (side, price, total, f) in found.items()]
