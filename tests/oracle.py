"""The rules of the simulation, written down a second time and apart from the engine.

Plain integers and lists, event by event, slow and obvious: what the engine computes quickly must
equal what is computed here. Event number ``i`` is its place in bus order. Times are ns, prices of
quotes ticks, prices of fills half ticks, sizes lots, money whole billionths of the currency.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from fractions import Fraction
from math import ceil
from typing import Literal

ServiceModel = Callable[[list[int], int], int]
"""(symbols of the batch in arrival order, number of the batch) → unscaled service time, ns."""

Status = Literal["answered", "dropped", "expired", "conflated", "unfinished"]

PolicyName = Literal["one", "all", "at-most", "one-per-symbol", "newest-per-symbol", "deadline"]


@dataclass(frozen=True)
class Event:
    """A market event; a side that is ``None`` is absent from the quote."""

    symbol: int
    ts_event: int
    bid: int | None = None
    ask: int | None = None
    bid_size: int = 0
    ask_size: int = 0
    ts_recv: int | None = None


@dataclass(frozen=True)
class Policy:
    """What rides together; ``n`` (events) and ``d`` (ns, unscaled) where the policy has them."""

    name: PolicyName
    n: int = 0
    d: int = 0


@dataclass
class Timing:
    """What became of every event; ``None`` where an instant or a batch never came.

    A batch that is still served when the window ends leaves its ``t2``, ``t3`` and number behind
    although its events are unfinished. At scale 0 there are no batches.
    """

    t1: list[int]
    t2: list[int | None]
    t3: list[int | None]
    status: list[Status]
    batch: list[int | None]


def scaled(ns: int, scale: float) -> int:
    """A span of time under the latency scale, to the nearest ns, halves to even."""
    return round(ns * scale)


def round_sizes(symbols: Sequence[int]) -> list[int]:
    """Sizes of a batch's successive rounds; round k holds the k-th event of every symbol."""
    sizes: list[int] = []
    seen: dict[int, int] = {}
    for symbol in symbols:
        k = seen.get(symbol, 0)
        seen[symbol] = k + 1
        if k == len(sizes):
            sizes.append(0)
        sizes[k] += 1
    return sizes


def receipts(events: Sequence[Event], feed: Sequence[int], scale: float) -> list[int]:
    """When the server receives every event: within a symbol, never before an earlier one."""
    latest: dict[int, int] = {}
    found = []
    for event, latency in zip(events, feed, strict=True):
        t1 = event.ts_event + scaled(max(latency, 0), scale)
        t1 = max(t1, latest.get(event.symbol, t1))
        latest[event.symbol] = t1
        found.append(t1)
    return found


def simulate_server(  # noqa: PLR0915 - one rule after another, as the text has them
    events: Sequence[Event],
    feed: Sequence[int],
    policy: Policy,
    service: ServiceModel,
    *,
    end: int,
    line: int = 100,
    max_batch: int | None = None,
    max_age: int | None = None,
    scale: float = 1.0,
) -> Timing:
    """Replay arrivals through the single server, instant by instant, until the window ends."""
    n = len(events)
    if scale == 0:
        t0 = [event.ts_event for event in events]
        in_window: list[Status] = ["answered" if t <= end else "unfinished" for t in t0]
        return Timing(t0, [*t0], [*t0], in_window, [None] * n)

    t1 = receipts(events, feed, scale)
    timing = Timing(t1, [None] * n, [None] * n, ["unfinished"] * n, [None] * n)
    arrivals = sorted(range(n), key=lambda i: (t1[i], i))
    waiting: list[int] = []  # in arrival order, so the first is the oldest
    in_service: list[int] = []
    completion = 0
    batches = 0

    while True:
        instants = []
        if in_service:
            instants.append(completion)
        elif waiting:
            instants.append(t1[waiting[0]] + scaled(policy.d, scale))
        if arrivals:
            instants.append(t1[arrivals[0]])
        if not instants or min(instants) > end:
            return timing
        now = min(instants)

        if in_service and completion == now:
            for i in in_service:
                timing.status[i] = "answered"
            in_service = []

        while arrivals and t1[arrivals[0]] == now:
            i = arrivals.pop(0)
            if [events[j].symbol for j in waiting].count(events[i].symbol) >= line:
                timing.status[i] = "dropped"
            else:
                waiting.append(i)

        if in_service or not waiting:
            continue
        if policy.name == "deadline":
            overdue = now - t1[waiting[0]] >= scaled(policy.d, scale)
            if len(waiting) < policy.n and not overdue:
                continue

        if max_age is not None:
            for i in [*waiting]:
                if now - t1[i] > scaled(max_age, scale):
                    timing.status[i] = "expired"
                    waiting.remove(i)
            if not waiting:
                continue

        in_service = select(policy, waiting, events)[:max_batch]
        taken = {events[i].symbol for i in in_service}
        for i in in_service:
            waiting.remove(i)
        if policy.name == "newest-per-symbol":
            for i in [*waiting]:
                if events[i].symbol in taken:
                    timing.status[i] = "conflated"
                    waiting.remove(i)

        span = service([events[i].symbol for i in in_service], batches)
        completion = now + scaled(span, scale)
        for i in in_service:
            timing.t2[i], timing.t3[i], timing.batch[i] = now, completion, batches
        batches += 1


def select(policy: Policy, waiting: Sequence[int], events: Sequence[Event]) -> list[int]:
    """The waiting events that the policy would take, in arrival order, before ``max_batch``."""
    if policy.name == "one":
        return [*waiting[:1]]
    if policy.name == "at-most":
        return [*waiting[: policy.n]]
    if policy.name == "one-per-symbol":
        oldest: dict[int, int] = {}
        for i in waiting:
            oldest.setdefault(events[i].symbol, i)
        return [i for i in waiting if i in oldest.values()]
    if policy.name == "newest-per-symbol":
        newest = {events[i].symbol: i for i in waiting}
        return [i for i in waiting if i in newest.values()]
    return [*waiting]


Side = Literal["bid", "ask"]

Sessions = Sequence[tuple[int, int]]
"""[open, close) in ns."""


class NoClosingQuote(Exception):
    """A symbol traded, but none of its two-sided quotes lies inside a session."""


def is_two_sided(event: Event) -> bool:
    """Whether both sides are present and not crossed; locked quotes (bid = ask) are."""
    return event.bid is not None and event.ask is not None and event.bid <= event.ask


def is_crossed(event: Event) -> bool:
    """Whether both sides are present and the bid is above the ask."""
    return event.bid is not None and event.ask is not None and event.bid > event.ask


def shown(event: Event, side: Side) -> tuple[int, int] | None:
    """(price, size) of one side of a row's quote; ``None`` where the side is withdrawn."""
    if side == "bid":
        return None if event.bid is None else (event.bid, event.bid_size)
    return None if event.ask is None else (event.ask, event.ask_size)


def is_open(sessions: Sessions | None, t: int) -> bool:
    """Whether ``t`` lies inside a session; ``None`` is a market that never closes."""
    return sessions is None or any(a <= t < b for a, b in sessions)


@dataclass(frozen=True)
class Quote:
    """A two-sided quote; ``number`` is that of the event that brought it."""

    number: int
    ts_event: int
    bid: int
    ask: int
    bid_size: int
    ask_size: int

    @property
    def mid(self) -> int:
        """Bid and ask together: the mid in half ticks."""
        return self.bid + self.ask

    @property
    def spread(self) -> int:
        """Ask less bid, in half ticks."""
        return 2 * (self.ask - self.bid)


class Rows:
    """The events of one symbol in bus order, looked up by time."""

    def __init__(self, events: Sequence[Event], symbol: int) -> None:
        numbers = [i for i, event in enumerate(events) if event.symbol == symbol]
        self.numbers = numbers
        self.events = [events[i] for i in numbers]
        self.times = [event.ts_event for event in self.events]
        self.quotes = [
            Quote(i, e.ts_event, e.bid, e.ask, e.bid_size, e.ask_size)
            for i, e in zip(numbers, self.events, strict=True)
            if e.bid is not None and e.ask is not None and is_two_sided(e)
        ]
        self.quote_times = [quote.ts_event for quote in self.quotes]

    def standing(self, t: int) -> Quote | None:
        """The last two-sided quote at or before ``t``."""
        known = bisect_right(self.quote_times, t)
        return self.quotes[known - 1] if known else None

    def standing_at(self, place: int) -> Quote | None:
        """The last two-sided quote in bus order at a row or before it."""
        if place < 0:
            return None
        before = [quote for quote in self.quotes if quote.number <= self.numbers[place]]
        return before[-1] if before else None

    def is_quoted_at(self, number: int) -> bool:
        """Whether event ``number`` or one before it in bus order brought a two-sided quote."""
        return bool(self.quotes) and self.quotes[0].number <= number

    def mid(self, t: int) -> int:
        """M(s, t) in half ticks; there must be a two-sided quote."""
        quote = self.standing(t)
        assert quote is not None
        return quote.mid

    def last(self, t: int) -> int:
        """The place of the last row at or before ``t``; -1 where there is none."""
        return bisect_right(self.times, t) - 1

    def since(self, place: int, side: Side) -> int:
        """The place of the row that gave a side the price and size that it has at ``place``."""
        while place > 0 and shown(self.events[place - 1], side) == shown(self.events[place], side):
            place -= 1
        return place

    def closing(self, sessions: Sessions | None, end: int) -> Quote | None:
        """The last two-sided quote inside a session and the window."""
        inside = [q for q in self.quotes if q.ts_event <= end and is_open(sessions, q.ts_event)]
        return inside[-1] if inside else None


@dataclass(frozen=True)
class Fill:
    """A fill and its terms, in money. ``event`` is ``None`` when the window's end closes.

    Orders that never rest have no ``rest``: it is that of ``tests.order_oracle``.
    """

    event: int | None
    symbol: int
    lots: int
    price: int
    impact_half_ticks: int
    t0: int
    t1: int
    t2: int
    t3: int
    t4: int
    t5: int
    cash: int
    decision: int
    feed: int
    queueing: int
    service: int
    entry: int
    spread: int
    impact: int
    fees: int
    displayed: int
    taken: int
    rest: int = 0


@dataclass(frozen=True)
class Order:
    """An order sent, filled or not. Signed lots; ``filled`` has the sign of ``lots``."""

    event: int
    symbol: int
    lots: int
    filled: int
    t3: int
    t4: int
    t5: int


@dataclass
class Attribution:
    """Money of one symbol, or of all; ``missed`` is ``silence`` and ``liquidity`` together."""

    net: int = 0
    decision: int = 0
    feed: int = 0
    queueing: int = 0
    service: int = 0
    entry: int = 0
    spread: int = 0
    impact: int = 0
    fees: int = 0
    ideal: int = 0
    missed: int = 0
    silence: int = 0
    liquidity: int = 0
    rest: int = 0


TERMS = ("decision", "feed", "queueing", "service", "entry", "spread", "impact", "fees")
"""The terms of every fill, summed by symbol."""


@dataclass
class Account:
    """What was earned. Orders and fills lie by symbol, then in sending order, the close last.

    ``closing_beyond`` holds the lots, by symbol, by which the close exceeded the displayed size.
    """

    rows: dict[int, Rows]
    value: Sequence[int]
    orders: list[Order] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    by_symbol: dict[int, Attribution] = field(default_factory=dict)
    total: Attribution = field(default_factory=Attribution)
    closing_beyond: dict[int, int] = field(default_factory=dict)

    def equity_at(self, t: int) -> int:
        """Net at ``t``, marked to the mid: cash of the fills until then and what is held."""
        return sum(self.symbol_equity_at(symbol, t) for symbol in self.by_symbol)

    def symbol_equity_at(self, symbol: int, t: int) -> int:
        """One symbol's part of ``equity_at``."""
        booked = [fill for fill in self.fills if fill.symbol == symbol and fill.t4 <= t]
        cash = sum(fill.cash for fill in booked)
        position = sum(fill.lots for fill in booked)
        if position == 0:
            return cash
        return cash + position * self.rows[symbol].mid(t) * self.value[symbol]


@dataclass(frozen=True)
class Execution:
    """What an order met at the venue: unsigned lots, at a touch in ticks, with its impact.

    ``displayed`` stood there, of which own fills had ``taken`` some before.
    """

    lots: int
    touch: int
    step: int
    displayed: int
    taken: int


def execute(
    rows: Rows, t4: int, lots: int, taken: dict[tuple[Side, int], int], impact: Fraction
) -> Execution | None:
    """Fill an order at the touch of the last row at its arrival, and deplete that side.

    ``taken`` holds our own lots by side and by the row since which the side is unchanged.
    """
    return execute_at(rows, rows.last(t4), lots, taken, impact)


def execute_at(
    rows: Rows, place: int, lots: int, taken: dict[tuple[Side, int], int], impact: Fraction
) -> Execution | None:
    """The same at the touch of a given row, which may not be the last one of its instant."""
    if place < 0 or is_crossed(rows.events[place]):
        return None
    side: Side = "ask" if lots > 0 else "bid"
    hit = shown(rows.events[place], side)
    if hit is None:
        return None
    touch, displayed = hit
    appearance = (side, rows.since(place, side))
    before = taken.get(appearance, 0)
    size = min(abs(lots), displayed - before)
    if size <= 0:
        return None
    taken[appearance] = before + size
    quote = rows.standing_at(place)
    assert quote is not None  # nothing is ordered before there was one
    step = ceil(impact * quote.spread * size / displayed)
    return Execution(size, touch, step, displayed, before)


def simulate_market(  # noqa: PLR0915 - one rule after another, as the text has them
    events: Sequence[Event],
    timing: Timing,
    target: Callable[[int], int | None],
    entry: Sequence[int],
    response: Sequence[int],
    *,
    end: int,
    value: Sequence[int],
    scale: float = 1.0,
    limit: int | None = None,
    band: int = 0,
    impact: Fraction = Fraction(0),
    fee: Callable[[int, int, int], int] = lambda symbol, lots, half_ticks: 0,
    sessions: Sessions | None = None,
    tradable: Sequence[bool] | None = None,
    warmup: int = 0,
) -> Account:
    """Turn answers into orders, orders into fills, fills into money.

    Args:
        target: event number → target position in lots, or ``None`` for no opinion, which leaves the
            target as it was. Events before ``warmup``, and those of a symbol that has had no
            two-sided quote yet, have none anyway.
        entry, response: order latencies of the order that event ``i`` would send, unscaled ns [n].
        value: money of one lot and one half tick, by symbol.
        fee: (symbol, signed lots, price in half ticks) → money.
        sessions: [open, close) in ns; ``None`` for always open.
        tradable: by symbol; ``None`` for all.

    Raises:
        NoClosingQuote: A symbol traded that has no two-sided quote inside a session.
    """
    symbols = sorted({event.symbol for event in events})
    account = Account({symbol: Rows(events, symbol) for symbol in symbols}, value)

    def opinion(i: int) -> int | None:
        symbol = events[i].symbol
        if i < warmup or (tradable is not None and not tradable[symbol]):
            return None
        if not account.rows[symbol].is_quoted_at(i):
            return None
        lots = target(i)
        if lots is None or limit is None:
            return lots
        return max(-limit, min(limit, lots))

    def book(
        event: int | None,
        symbol: int,
        lots: int,
        execution: Execution,
        instants: list[int],
        mids: list[int],
        final: int,
    ) -> Fill:
        t0, t1, t2, t3, t4, t5 = instants
        m0, m1, m2, m3, m4 = mids
        sign = 1 if lots > 0 else -1
        step = execution.step
        price = 2 * execution.touch + sign * step
        money = value[symbol]
        charge = fee(symbol, lots, price)
        return Fill(
            event, symbol, lots, price, step, t0, t1, t2, t3, t4, t5,
            cash=-lots * price * money - charge,
            decision=lots * (final - m0) * money,
            feed=lots * (m1 - m0) * money,
            queueing=lots * (m2 - m1) * money,
            service=lots * (m3 - m2) * money,
            entry=lots * (m4 - m3) * money,
            spread=lots * (price - sign * step - m4) * money,
            impact=abs(lots) * step * money,
            fees=charge,
            displayed=execution.displayed,
            taken=execution.taken,
        )  # fmt: skip

    for symbol in symbols:
        rows = account.rows[symbol]
        closing = rows.closing(sessions, end)
        orders: list[Order] = []
        fills: list[Fill] = []
        taken: dict[tuple[Side, int], int] = {}
        answers: dict[int, int] = {}  # t3 → the newest event answered then
        for i in rows.numbers:
            t3 = timing.t3[i]
            if timing.status[i] == "answered" and t3 is not None:
                answers[t3] = i

        for t3, i in sorted(answers.items()):
            wanted = opinion(i)
            if wanted is None:
                continue
            expected = sum(o.filled if o.t5 <= t3 else o.lots for o in orders)
            lots = wanted - expected
            if abs(lots) <= band:
                continue
            t4 = max([t3 + scaled(entry[i], scale)] + [o.t4 for o in orders[-1:]])
            t5 = t4 + scaled(response[i], scale)

            filled = 0
            if is_open(sessions, t4) and t4 <= end:
                execution = execute(rows, t4, lots, taken, impact)
                if execution is not None:
                    if closing is None:
                        raise NoClosingQuote(f"symbol {symbol} has no quote to close at")
                    filled = execution.lots if lots > 0 else -execution.lots
                    t2 = timing.t2[i]
                    assert t2 is not None
                    instants = [events[i].ts_event, timing.t1[i], t2, t3, t4, t5]
                    mids = [rows.mid(t) for t in instants[:5]]
                    fills.append(book(i, symbol, filled, execution, instants, mids, closing.mid))
            orders.append(Order(i, symbol, lots, filled, t3, t4, t5))

        position = sum(fill.lots for fill in fills)
        account.closing_beyond[symbol] = 0
        if position != 0:
            assert closing is not None
            touch = closing.bid if position > 0 else closing.ask
            displayed = closing.bid_size if position > 0 else closing.ask_size
            account.closing_beyond[symbol] = max(0, abs(position) - displayed)
            execution = Execution(abs(position), touch, 0, displayed, 0)
            mids = [closing.mid] * 5
            fills.append(book(None, symbol, -position, execution, [end] * 6, mids, closing.mid))

        account.orders += orders
        account.fills += fills
        terms = Attribution()
        for name in TERMS:
            setattr(terms, name, sum(getattr(fill, name) for fill in fills))
        terms.net = sum(fill.cash for fill in fills)  # nothing is held after the close
        if closing is not None:
            t0 = {i: events[i].ts_event for i in rows.numbers}
            inside = [i for i in rows.numbers if t0[i] <= end and is_open(sessions, t0[i])]
            with_answer = [i for i in inside if timing.status[i] == "answered"]
            terms.ideal = ideal(rows, t0, inside, opinion, band, closing.mid) * value[symbol]
            answered = ideal(rows, t0, with_answer, opinion, band, closing.mid) * value[symbol]
            terms.silence = terms.ideal - answered
            terms.liquidity = answered - terms.decision
            terms.missed = terms.ideal - terms.decision
        account.by_symbol[symbol] = terms

    for column in fields(Attribution):
        amounts = [getattr(terms, column.name) for terms in account.by_symbol.values()]
        setattr(account.total, column.name, sum(amounts))
    return account


def ideal(
    rows: Rows,
    t0: dict[int, int],
    considered: Sequence[int],
    opinion: Callable[[int], int | None],
    band: int,
    final: int,
) -> int:
    """Half-tick-lots earned had the considered events traded at once, each at its own mid.

    Of the events of one instant only the newest counts, and the mid is the one after all rows of
    that instant, considered or not.
    """
    newest = {t0[i]: i for i in considered}
    position = earned = 0
    for t, i in sorted(newest.items()):
        wanted = opinion(i)
        if wanted is None or abs(wanted - position) <= band:
            continue
        earned += (wanted - position) * (final - rows.mid(t))
        position = wanted
    return earned
