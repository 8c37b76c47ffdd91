"""Random small markets for hypothesis: made to collide, starve, cross and run out."""

from __future__ import annotations

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


@dataclass(frozen=True)
class Service:
    """Affine in the batch's size, plus ``extra`` (cycled by batch number), in unscaled ns."""

    composition: Literal["rounds", "packed"]
    base: int
    per_event: int
    extra: tuple[int, ...] = (0,)

    def __call__(self, symbols: list[int], batch: int) -> int:
        sizes = round_sizes(symbols) if self.composition == "rounds" else [len(symbols)]
        span = sum(self.base + self.per_event * size for size in sizes)
        return span + self.extra[batch % len(self.extra)]


@dataclass(frozen=True)
class Market:
    """One random market with everything that determines its timing and its account.

    Attributes:
        feed, entry, response: unscaled ns for every event; ``feed`` may be negative and equals
            ts_recv - ts_event where the events carry ``ts_recv`` (all do, or none).
        targets: lots for every event, before warm-up, limit and missing quotes are considered.
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
    targets: tuple[int, ...]
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
        """What the oracle says of its server."""
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
        """What the oracle says of its trading, given when the answers were ready."""
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


def quotes() -> st.SearchStrategy[tuple[int | None, int | None, int, int]]:
    """(bid, ask, bid size, ask size): mostly valid, at times one-sided, locked or crossed."""
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
        st.sampled_from(["rounds", "packed"]),
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
                st.integers(-6, 6),
                st.integers(-5, 25),
                st.integers(0, 25),
                st.integers(0, 25),
            ),
            min_size=n,
            max_size=n,
        )
    )
    symbol, gap, quote, targets, feeds, entries, responses = zip(*rows, strict=True)
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
    opens = sorted(draw(st.lists(st.integers(start, end + 1), max_size=4)))
    sessions = tuple(zip(opens[::2], opens[1::2], strict=False))
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
        sessions=sessions if draw(st.integers(0, 3)) == 0 else None,
        warmup=draw(st.sampled_from([0, 0, 0, 1, 5])),
    )
