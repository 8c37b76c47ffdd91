"""Random markets, mostly small ones for hypothesis: made to collide, starve, cross and run out."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from math import ceil
from typing import Literal

from hypothesis import strategies as st

from tests.oracle import (
    Account,
    Event,
    Policy,
    PolicyName,
    Timing,
    round_sizes,
    simulate_market,
    simulate_server,
)

SCALES = (0.0, 0.5, 1.0, 3.0)


Composition = Literal["single", "rounds", "packed"]


def pass_sizes(symbols: list[int], composition: Composition) -> list[int]:
    """Events of every pass that a batch takes."""
    if composition == "single":
        return [1] * len(symbols)
    return round_sizes(symbols) if composition == "rounds" else [len(symbols)]


@dataclass(frozen=True)
class Service:
    """Affine in the size of a pass, plus ``extra`` (cycled by batch number), in unscaled ns."""

    composition: Composition
    base: int
    per_event: int
    extra: tuple[int, ...] = (0,)

    def __call__(self, symbols: list[int], batch: int) -> int:
        sizes = pass_sizes(symbols, self.composition)
        span = sum(self.base + self.per_event * size for size in sizes)
        return span + self.extra[batch % len(self.extra)]


@dataclass(frozen=True)
class Market:
    """One random market with everything that determines its timing and its account.

    Attributes:
        feed, entry, response: unscaled ns for every event; ``feed`` may be negative and equals
            ts_recv - ts_event where the events carry ``ts_recv`` (all do, or none).
        targets: lots for every event, before warm-up, limit and missing quotes are considered;
            ``None`` for no opinion.
        value: money of a half-tick-lot, by symbol.
        fee_rate, fee_per_lot: fraction of the notional, and money a lot; rounded up for each fill.
    """

    events: tuple[Event, ...]
    feed: tuple[int, ...]
    policy: Policy
    service: Service
    end: int
    line: int
    max_batch: int | None
    max_age: int | None
    scale: float
    targets: tuple[int | None, ...]
    entry: tuple[int, ...]
    response: tuple[int, ...]
    value: tuple[int, ...]
    tradable: tuple[bool, ...]
    limit: int | None
    band: int
    impact: Fraction
    fee_rate: Fraction
    fee_per_lot: int
    sessions: tuple[tuple[int, int], ...] | None
    warmup: int

    def fee(self, symbol: int, lots: int, half_ticks: int) -> int:
        """Money charged for one fill."""
        notional = abs(lots * half_ticks) * self.value[symbol]
        return ceil(self.fee_rate * notional + self.fee_per_lot * abs(lots))

    def timing(self) -> Timing:
        """The oracle's timing."""
        return simulate_server(
            self.events,
            self.feed,
            self.policy,
            self.service,
            end=self.end,
            line=self.line,
            max_batch=self.max_batch,
            max_age=self.max_age,
            scale=self.scale,
        )

    def account(self, timing: Timing) -> Account:
        """The oracle's account, given when the answers were ready.

        Raises:
            NoClosingQuote: A symbol traded that has no two-sided quote inside a session.
        """
        return simulate_market(
            self.events,
            timing,
            lambda i: self.targets[i],
            self.entry,
            self.response,
            end=self.end,
            value=self.value,
            scale=self.scale,
            limit=self.limit,
            band=self.band,
            impact=self.impact,
            fee=self.fee,
            sessions=self.sessions,
            tradable=self.tradable,
            warmup=self.warmup,
        )


Sides = tuple[int | None, int | None, int, int]
"""(bid, ask, bid size, ask size) of a row."""

Change = Literal["new", "same", "bid", "ask", "withdraw bid", "withdraw ask", "return", "crossed"]


def quotes() -> st.SearchStrategy[Sides]:
    """Quotes with small sizes: mostly valid, at times one-sided, locked or crossed."""
    bids = st.integers(95, 105)
    widths = st.sampled_from([1, 2, 3, 4, 1, 2, 1, 0, -1])
    sizes = st.sampled_from([1, 2, 3, 4, 6, 9, 0])
    whole = st.builds(lambda b, w, *s: (b, b + w, *s), bids, widths, sizes, sizes)
    holes = st.builds(
        lambda b, bid_only, *s: (b if bid_only else None, None, *s),
        bids,
        st.booleans(),
        sizes,
        sizes,
    ) | st.builds(lambda a, *s: (None, a, *s), bids, sizes, sizes)
    return st.one_of(whole, whole, whole, whole, holes)


def changes() -> st.SearchStrategy[Change]:
    """How a symbol's row differs from the one before; heartbeats and trades repeat the quote."""
    return st.sampled_from(
        [
            "new", "new", "new", "new", "same", "same", "same", "bid", "ask",
            "return", "return", "return", "withdraw bid", "withdraw ask", "crossed",
        ]
    )  # fmt: skip


def changed(before: Sides, whole: Sides, drawn: Sides, change: Change) -> Sides:
    """The quote after ``before``: of ``drawn`` what changes, or ``whole``, the last two-sided."""
    bid, ask, bid_size, ask_size = before
    match change:
        case "new":
            return drawn
        case "same":
            return before
        case "bid":
            return (drawn[0], ask, drawn[2], ask_size)
        case "ask":
            return (bid, drawn[1], bid_size, drawn[3])
        case "withdraw bid":
            return (None, ask, bid_size, ask_size)
        case "withdraw ask":
            return (bid, None, bid_size, ask_size)
        case "return":
            return whole
        case "crossed":  # by a new bid: the ask stays as it is
            return before if ask is None else (ask + 1, ask, drawn[2], ask_size)


def chained(
    symbols: Sequence[int], drawn: Sequence[Sides], change: Sequence[Change]
) -> list[Sides]:
    """The quotes of all rows; a symbol's first is drawn."""
    found: list[Sides] = []
    last: dict[int, Sides] = {}
    whole: dict[int, Sides] = {}
    for symbol, quote, how in zip(symbols, drawn, change, strict=True):
        before = last.get(symbol)
        now = quote
        if before is not None:
            now = changed(before, whole.get(symbol, quote), quote, how)
        last[symbol] = now
        if now[0] is not None and now[1] is not None and now[0] <= now[1]:
            whole[symbol] = now
        found.append(now)
    return found


@st.composite
def opening_hours(draw: st.DrawFn, start: int, end: int) -> tuple[tuple[int, int], ...] | None:
    """No sessions, up to two anywhere, or one that ends or begins in the middle of the window."""
    kind = draw(st.sampled_from(["always", "always", "always", "always", "early", "late", "any"]))
    match kind:
        case "always":
            return None
        case "early":
            return ((start, draw(st.integers(start, end))),)
        case "late":
            return ((draw(st.integers(start, end)), end + 1),)
        case _:
            opens = sorted(draw(st.lists(st.integers(start, end + 1), max_size=4)))
            return tuple(zip(opens[::2], opens[1::2], strict=False))


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Any batching policy."""
    names: list[PolicyName] = [
        "one", "all", "at-most", "one-per-symbol", "newest-per-symbol", "deadline"
    ]  # fmt: skip
    name = draw(st.sampled_from(names))
    n = draw(st.integers(1, 5)) if name in ("at-most", "deadline") else 0
    return Policy(name, n, draw(st.integers(0, 25)) if name == "deadline" else 0)


def services() -> st.SearchStrategy[Service]:
    """Service times from none at all to several times the usual gap between events."""
    return st.builds(
        Service,
        st.sampled_from(["single", "rounds", "packed"]),
        st.sampled_from([0, 1, 5, 11, 40]),
        st.sampled_from([0, 1, 3, 10]),
        st.lists(st.integers(0, 9), min_size=1, max_size=3).map(tuple),
    )


@st.composite
def markets(draw: st.DrawFn, scales: tuple[float, ...] = SCALES) -> Market:
    """A market of 1 to 4 symbols and 1 to 40 events, and what runs on it.

    The window may end before the last events, and some may arrive after it.
    """
    symbols = draw(st.sampled_from([1, 2, 2, 3, 4]))
    n = draw(st.integers(1, 40))
    gaps = st.sampled_from([0, 0, 1, 1, 2, 3, 4, 7, 15, 40])
    rows = draw(
        st.lists(
            st.tuples(
                st.integers(0, symbols - 1),
                gaps,
                quotes(),
                changes(),
                st.one_of(st.integers(-6, 6), st.integers(-6, 6), st.sampled_from([6, -6, None])),
                st.integers(-5, 25),
                st.integers(0, 25),
                st.integers(0, 25),
            ),
            min_size=n,
            max_size=n,
        )
    )
    symbol, gap, drawn_quotes, change, targets, feeds, entries, responses = zip(*rows, strict=True)
    quote = chained(symbol, drawn_quotes, change)
    start = draw(st.sampled_from([0, 1_000, 1_700_000_000_000_000_000]))
    times = [start + elapsed for elapsed in accumulate(gap)]

    def latency(drawn: tuple[int, ...]) -> tuple[int, ...]:
        kind = draw(st.sampled_from(["none", "constant", "drawn", "drawn"]))
        constant = draw(st.integers(0, 12)) if kind == "constant" else 0
        return drawn if kind == "drawn" else (constant,) * n

    feed = latency(feeds)
    recorded = draw(st.booleans())
    events = tuple(
        Event(s, t, bid, ask, bid_size, ask_size, t + f if recorded else None)
        for s, t, (bid, ask, bid_size, ask_size), f in zip(symbol, times, quote, feed, strict=True)
    )
    last = times[-1]
    end = draw(st.one_of(st.integers(last, last + 60), st.integers(times[n // 2], last + 200)))
    return Market(
        events=events,
        feed=feed,
        policy=draw(policies()),
        service=draw(services()),
        end=end,
        line=draw(st.sampled_from([1, 2, 3, 4, 5, 100])),
        max_batch=draw(st.sampled_from([None, None, 1, 2, 3, 4])),
        max_age=draw(st.sampled_from([None, None, None, 0, 5, 20, 60])),
        scale=draw(st.sampled_from(scales)),
        targets=targets,
        entry=latency(entries),
        response=latency(responses),
        value=tuple(draw(st.lists(st.integers(1, 7), min_size=symbols, max_size=symbols))),
        tradable=tuple(
            draw(
                st.lists(
                    st.sampled_from([True, True, True, True, False]),
                    min_size=symbols,
                    max_size=symbols,
                )
            )
        ),
        limit=draw(st.sampled_from([None, None, 2, 4])),
        band=draw(st.sampled_from([0, 0, 0, 1, 2])),
        impact=draw(st.sampled_from([Fraction(0), Fraction(1, 3), Fraction(1), Fraction(7, 4)])),
        fee_rate=draw(st.sampled_from([Fraction(0), Fraction(1, 1000), Fraction(3, 700)])),
        fee_per_lot=draw(st.integers(0, 3)),
        sessions=draw(opening_hours(start, end)),
        warmup=draw(st.sampled_from([0, 0, 0, 1, 5])),
    )


_CHANGES: list[Change] = [
    "new", "new", "same", "same", "bid", "ask", "return", "withdraw bid", "withdraw ask", "crossed",
]  # fmt: skip


def long_market(seed: int, count: int = 250) -> Market:
    """A longer market of three symbols, drawn without hypothesis; the third rarely quotes."""
    draw = random.Random(seed)
    symbol = [draw.choice([0] * 9 + [1] * 9 + [2]) for _ in range(count)]
    quote = []
    for _ in range(count):
        bid = draw.randrange(95, 105)
        sizes = draw.choice([0, 1, 2, 3, 9]), draw.choice([0, 1, 2, 3, 9])
        quote.append((bid, bid + draw.randrange(4), *sizes))
    change = [draw.choice(_CHANGES) for _ in range(count)]
    gap = [draw.choice([0, 0, 1, 2, 5, 9]) for _ in range(count)]
    times = [1_000 + sum(gap[: k + 1]) for k in range(count)]
    end = times[-1] + 50

    def drawn(most: int) -> tuple[int, ...]:
        return tuple(draw.randrange(most) for _ in range(count))

    thirds = [1_000 + (end - 1_000) * k // 6 for k in range(6)]
    return Market(
        events=tuple(
            Event(s, t, *sides)
            for s, t, sides in zip(symbol, times, chained(symbol, quote, change), strict=True)
        ),
        feed=drawn(9),
        policy=Policy("all"),
        service=Service("packed", 3, 1),
        end=end,
        line=3,
        max_batch=4,
        max_age=None,
        scale=1.0,
        targets=tuple(draw.choice([None, *range(-6, 7)]) for _ in range(count)),
        entry=drawn(25),
        response=drawn(60),
        value=(3, 1, 7),
        tradable=(True, True, True),
        limit=draw.choice([None, 4]),
        band=draw.choice([0, 0, 1]),
        impact=draw.choice([Fraction(0), Fraction("0.3"), Fraction("0.3333333333333333")]),
        fee_rate=Fraction("0.000123457"),
        fee_per_lot=2,
        sessions=draw.choice([None, ((thirds[1], thirds[2]), (thirds[3], thirds[5]))]),
        warmup=3,
    )
