"""The rules of the simulation, written down a second time and apart from the engine.

Plain integers and lists, event by event, slow and obvious: what the engine computes quickly must
equal what is computed here. Event number ``i`` is its place in bus order. Times are ns, prices of
quotes ticks, prices of fills half ticks, sizes lots, money whole billionths of the currency.
"""

from __future__ import annotations

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


@dataclass(frozen=True)
class Quote:
    """A valid quote: two-sided, not crossed. ``number`` is that of the event that brought it."""

    number: int
    bid: int
    ask: int
    bid_size: int
    ask_size: int


def standing(events: Sequence[Event], symbol: int, t: int) -> Quote | None:
    """The symbol's last valid quote at or before ``t``, in bus order."""
    found = None
    for i, e in enumerate(events):
        if e.symbol != symbol or e.ts_event > t or e.bid is None or e.ask is None:
            continue
        if e.bid <= e.ask:
            found = Quote(i, e.bid, e.ask, e.bid_size, e.ask_size)
    return found


def mid(events: Sequence[Event], symbol: int, t: int) -> int:
    """M(s, t) in half ticks; asked for only where a quote stands."""
    quote = standing(events, symbol, t)
    assert quote is not None
    return quote.bid + quote.ask


@dataclass(frozen=True)
class Fill:
    """A fill and its terms, in money. ``event`` is ``None`` when the window's end closes."""

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
    """Money of one symbol, or of all."""

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


TERMS = ("decision", "feed", "queueing", "service", "entry", "spread", "impact", "fees")
"""What every fill says of itself and a symbol sums."""


@dataclass
class Account:
    """What was earned. Orders and fills lie by symbol, then in sending order, the close last."""

    events: Sequence[Event]
    value: Sequence[int]
    orders: list[Order] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    by_symbol: dict[int, Attribution] = field(default_factory=dict)
    total: Attribution = field(default_factory=Attribution)

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
        return cash + position * mid(self.events, symbol, t) * self.value[symbol]


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
    sessions: Sequence[tuple[int, int]] | None = None,
    tradable: Sequence[bool] | None = None,
    warmup: int = 0,
) -> Account:
    """Turn answers into orders, orders into fills, fills into money.

    Args:
        target: event number → target position in lots, or ``None`` for no opinion. Events before
            ``warmup``, and those of a symbol that has had no valid quote yet, have none anyway.
        entry, response: order latencies of the order that event ``i`` would send, unscaled ns [n].
        value: money of one lot and one half tick, by symbol.
        fee: (symbol, signed lots, price in half ticks) → money.
        sessions: [open, close) in ns; ``None`` for always open.
        tradable: by symbol; ``None`` for all.
    """
    account = Account(events, value)

    def opinion(i: int) -> int | None:
        symbol = events[i].symbol
        if i < warmup or (tradable is not None and not tradable[symbol]):
            return None
        if standing(events[: i + 1], symbol, events[i].ts_event) is None:
            return None
        lots = target(i)
        if lots is None or limit is None:
            return lots
        return max(-limit, min(limit, lots))

    def book(
        event: int | None, symbol: int, lots: int, touch: int, step: int, instants: list[int]
    ) -> Fill:
        t0, t1, t2, t3, t4, t5 = instants
        m0, m1, m2, m3, m4 = (mid(events, symbol, t) for t in (t0, t1, t2, t3, t4))
        sign = 1 if lots > 0 else -1
        price = 2 * touch + sign * step
        money = value[symbol]
        charge = fee(symbol, lots, price)
        return Fill(
            event, symbol, lots, price, step, t0, t1, t2, t3, t4, t5,
            cash=-lots * price * money - charge,
            decision=lots * (mid(events, symbol, end) - m0) * money,
            feed=lots * (m1 - m0) * money,
            queueing=lots * (m2 - m1) * money,
            service=lots * (m3 - m2) * money,
            entry=lots * (m4 - m3) * money,
            spread=lots * (price - sign * step - m4) * money,
            impact=abs(lots) * step * money,
            fees=charge,
        )  # fmt: skip

    for symbol in sorted({event.symbol for event in events}):
        orders: list[Order] = []
        fills: list[Fill] = []
        own: dict[tuple[int, str], int] = {}  # lots that we took from a side of a quote
        answers: dict[int, int] = {}  # t3 → the newest event answered then
        for i, event in enumerate(events):
            t3 = timing.t3[i]
            if event.symbol == symbol and timing.status[i] == "answered" and t3 is not None:
                answers[t3] = i

        for t3, i in sorted(answers.items()):
            wanted = opinion(i)
            if wanted is None:
                continue
            expected = sum(o.filled if o.t5 <= t3 else o.lots for o in orders)
            lots = wanted - expected
            if abs(lots) <= band:
                continue
            t4 = max([t3 + scaled(entry[i], scale)] + [o.t4 for o in orders])
            t5 = t4 + scaled(response[i], scale)

            quote = standing(events, symbol, t4)
            is_open = sessions is None or any(a <= t4 < b for a, b in sessions)
            filled = 0
            if quote is not None and is_open and t4 <= end:
                side = "ask" if lots > 0 else "bid"
                touch = quote.ask if lots > 0 else quote.bid
                displayed = quote.ask_size if lots > 0 else quote.bid_size
                remaining = displayed - own.get((quote.number, side), 0)
                size = min(abs(lots), remaining)
                if size > 0:
                    own[quote.number, side] = own.get((quote.number, side), 0) + size
                    filled = size if lots > 0 else -size
                    spread = 2 * (quote.ask - quote.bid)
                    step = ceil(impact * spread * size / displayed)
                    t2 = timing.t2[i]
                    assert t2 is not None
                    instants = [events[i].ts_event, timing.t1[i], t2, t3, t4, t5]
                    fills.append(book(i, symbol, filled, touch, step, instants))
            orders.append(Order(i, symbol, lots, filled, t3, t4, t5))

        position = sum(fill.lots for fill in fills)
        if position != 0:
            last = standing(events, symbol, end)
            assert last is not None
            touch = last.bid if position > 0 else last.ask
            fills.append(book(None, symbol, -position, touch, 0, [end] * 6))

        account.orders += orders
        account.fills += fills
        terms = Attribution()
        for name in TERMS:
            setattr(terms, name, sum(getattr(fill, name) for fill in fills))
        terms.net = sum(fill.cash for fill in fills)  # nothing is held after the close
        terms.ideal = ideal(events, symbol, opinion, band, end) * value[symbol]
        terms.missed = terms.ideal - terms.decision
        account.by_symbol[symbol] = terms

    for column in fields(Attribution):
        amounts = [getattr(terms, column.name) for terms in account.by_symbol.values()]
        setattr(account.total, column.name, sum(amounts))
    return account


def ideal(
    events: Sequence[Event],
    symbol: int,
    opinion: Callable[[int], int | None],
    band: int,
    end: int,
) -> int:
    """Half-tick-lots earned had every event been answered at once and filled at its own mid."""
    newest = {e.ts_event: i for i, e in enumerate(events) if e.symbol == symbol}
    position = earned = 0
    for t0, i in sorted(newest.items()):
        wanted = opinion(i)
        if t0 > end or wanted is None or abs(wanted - position) <= band:
            continue
        earned += (wanted - position) * (mid(events, symbol, end) - mid(events, symbol, t0))
        position = wanted
    return earned
