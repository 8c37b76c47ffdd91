"""The engine against the oracle on random small markets: timing, fills and money, to the tick."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.core import arrays
from backtest.core.arrays import Float32Array, Float64Array, Int64Array
from backtest.core.grammar import Spec
from backtest.core.parameters import build
from backtest.inference.answers import Answers
from backtest.market.events import NO_PRICE, NO_TIME, EventBatch
from backtest.market.instruments import MONEY_UNIT, Instrument
from backtest.market.quotes import Quotes
from backtest.plugins.accountants.market import MarketAccountant
from backtest.plugins.policies import (
    All,
    AtMost,
    Deadline,
    NewestPerSymbol,
    One,
    OnePerSymbol,
)
from backtest.timing.latency import Composition, LatencyModel, SpanTable, scaled
from backtest.timing.outcomes import Status, Timing
from backtest.timing.policies import BatchingPolicy
from backtest.timing.server import InferenceServer
from backtest.timing.simulation import simulate
from backtest.trading import settlement
from backtest.trading.accountant import COSTS, Account, Ledger
from backtest.trading.settlement import settle
from backtest.trading.sizing import SizingRule
from tests import oracle
from tests.markets import Market, Service, markets

_POLICIES: dict[str, type[BatchingPolicy]] = {
    "one": One,
    "all": All,
    "at-most": AtMost,
    "one-per-symbol": OnePerSymbol,
    "newest-per-symbol": NewestPerSymbol,
    "deadline": Deadline,
}


class OracleService(LatencyModel):
    """The oracle's service times, which go by batch number as well as by size."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._number = -1

    def spans(self, sizes: Int64Array, u: Float64Array) -> Int64Array:
        return self._service.base + self._service.per_event * sizes

    def service(self, batch: Composition, u: float) -> int:
        self._number += 1
        extra = self._service.extra
        return super().service(batch, u) + extra[self._number % len(extra)]


class CompiledService(OracleService):
    """The same, stated as a table of single passes; only where no batch runs in rounds."""

    def spans(self, sizes: Int64Array, u: Float64Array) -> Int64Array:
        raise AssertionError("the compiled server reads the table")

    def table(self, u: Float64Array) -> SpanTable:
        extra = np.array(self._service.extra, dtype=np.int64)
        base = self._service.base + np.resize(extra, max(len(u), 2 * len(extra)))
        return SpanTable(base, self._service.per_event)


class OracleFeed(LatencyModel):
    """The market's feed latencies, event by event."""

    uses_draws = False

    def __init__(self, spans: Sequence[int]) -> None:
        self._spans = np.maximum(np.array(spans, dtype=np.int64), 0)

    def spans(self, sizes: Int64Array, u: Float64Array) -> Int64Array:
        raise AssertionError("a feed is asked with its events")

    def feed(self, events: EventBatch, u: Float64Array) -> Int64Array:
        return self._spans[: len(events)].copy()


@dataclass(frozen=True)
class Wanted(SizingRule):
    """The oracle's targets, carried as forecasts."""

    def targets(self, forecast: Float32Array, quotes: Quotes) -> Int64Array:
        return forecast.astype(np.int64)


def within_window(market: Market) -> Market:
    """The market without the events that happen after its window."""
    count = sum(event.ts_event <= market.end for event in market.events)
    columns = ("events", "feed", "targets", "entry", "response")
    return replace(market, **{name: getattr(market, name)[:count] for name in columns})


def events_of(market: Market) -> EventBatch:
    """The market's events as the bus would give them."""
    e = market.events

    def column(values: Sequence[int | None]) -> Int64Array:
        return np.array([NO_PRICE if v is None else v for v in values], dtype=np.int64)

    return EventBatch(
        symbol=np.array([x.symbol for x in e], dtype=np.int32),
        ts_event=column([x.ts_event for x in e]),
        bid=column([x.bid for x in e]),
        ask=column([x.ask for x in e]),
        bid_size=column([x.bid_size for x in e]),
        ask_size=column([x.ask_size for x in e]),
    )


def policy_of(policy: oracle.Policy) -> BatchingPolicy:
    """The engine's policy of the same name."""
    given = {"at-most": {"n": policy.n}, "deadline": {"n": policy.n, "d": policy.d}}
    spec = Spec(policy.name, (), given.get(policy.name, {}))
    made = build(_POLICIES[policy.name], spec, place="test")
    assert isinstance(made, BatchingPolicy)
    return made


def served(market: Market, events: EventBatch, compiled: bool = False) -> Timing:
    """The engine's timing of a market, plain or compiled."""
    server = InferenceServer(
        policy_of(market.policy),
        (CompiledService if compiled else OracleService)(market.service),
        market.service.composition,
        line_limit=market.line,
        max_batch=market.max_batch,
        max_age=market.max_age,
        scale=market.scale,
    )
    return simulate(
        server,
        events,
        OracleFeed(market.feed),
        symbols=len(market.value),
        end=market.end,
        compiled=compiled,
    )


def instruments_of(market: Market) -> list[Instrument]:
    """Instruments whose half-tick-lot is worth what the market says."""
    return [
        Instrument(
            tick_size=2 * value * MONEY_UNIT,
            fee_rate=_decimal(market.fee_rate),
            fee_per_lot=market.fee_per_lot * MONEY_UNIT,
            tradable=tradable,
        )
        for value, tradable in zip(market.value, market.tradable, strict=True)
    ]


def _decimal(rate: Fraction) -> Decimal:
    return Decimal(rate.numerator) / Decimal(rate.denominator)


def settled(market: Market, compiled: bool = False, chunk: int = 100) -> Account:
    """The engine's account of a market, plain or compiled and that in chunks of so many events."""
    events = events_of(market)
    timing = served(market, events)
    everyone = np.ones(len(events), dtype=np.bool_)
    forecast = np.array(market.targets, dtype=np.float32)
    ledger = Ledger(
        symbols=[f"S{k}" for k in range(len(market.value))],
        instruments=instruments_of(market),
        events=events,
        timing=timing,
        answers=Answers(forecast[:, None], forecast, timing.answered),
        # The same array, as where all was answered, or one of its own.
        undropped=Answers(forecast[:, None], forecast[:] if chunk % 2 else forecast, everyone),
        targets=None,
        sizing=Wanted(),
        entry=scaled(np.array(market.entry, dtype=np.int64), market.scale),
        response=scaled(np.array(market.response, dtype=np.int64), market.scale),
        sessions=market.sessions,
        warmup=market.warmup,
        end=market.end,
    )
    accountant = MarketAccountant(market.limit, market.band, float(market.impact), bucket=7)
    if not compiled:
        return accountant.account_plainly(ledger)
    rules = accountant.rules(market.sessions, market.end)
    with patch.object(arrays, "CHUNK", chunk), patch.object(settlement, "CHUNK", chunk):
        account = settle(ledger, rules, accountant.bucket_ends(ledger))
    assert account.fills is not None
    return Account(account.metrics, {"fills": account.fills, "equity": account.equity})


@pytest.mark.parametrize("compiled", [False, True])
@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(market=markets())
def test_timing_is_the_oracles(compiled: bool, market: Market) -> None:
    market = within_window(market)
    if compiled and market.service.composition == "rounds":
        # The oracle adds its extra once a batch, a table once a pass.
        market = replace(market, service=replace(market.service, extra=(0,)))
    expected = market.timing()
    timing = served(market, events_of(market), compiled)
    assert [Status(s).name.lower() for s in timing.status] == expected.status
    assert timing.received.tolist() == expected.t1
    answered = timing.answered
    for mine, theirs in ((timing.begun, expected.t2), (timing.ended, expected.t3)):
        assert mine[answered].tolist() == [
            t for t, yes in zip(theirs, answered.tolist(), strict=True) if yes
        ]
    assert (timing.begun[~answered] == NO_TIME).all() or market.scale == 0
    if market.scale:
        numbers = [b for b, yes in zip(expected.batch, answered.tolist(), strict=True) if yes]
        assert timing.batch[answered].tolist() == numbers


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(markets(), st.integers(0, 39))
def test_the_future_changes_no_fill(market: Market, last: int) -> None:
    market = within_window(market)
    known = min(last, len(market.events) - 1)
    now = market.events[known].ts_event
    changed = replace(
        market,
        events=tuple(
            e if e.ts_event <= now else replace(e, bid=70, ask=71, bid_size=9, ask_size=9)
            for e in market.events
        ),
        targets=tuple(
            t if t is None or e.ts_event <= now else -t
            for e, t in zip(market.events, market.targets, strict=True)
        ),
    )

    def until_now(of: Market) -> list[dict[str, object]]:
        columns = ["event", "symbol", "lots", "price_half_ticks", *COSTS]
        fills = settled(of).tables["fills"]
        early = fills["ts_venue"].to_numpy().astype(np.int64) <= now
        rows = fills.select(columns).filter(pa.array(early)).to_pylist()
        return [row for row in rows if row["event"] >= 0]

    assert until_now(market) == until_now(changed)


@pytest.mark.parametrize("compiled", [False, True])
@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(market=markets(), chunk=st.sampled_from([100, 1, 2, 3, 6]))
def test_fills_and_money_are_the_oracles(compiled: bool, market: Market, chunk: int) -> None:
    # Settings are written as decimals, which cannot hold every fraction: take the nearest ones.
    market = replace(
        within_window(market),
        fee_rate=round(market.fee_rate, 9),
        impact=Fraction(str(float(market.impact))),
    )
    account = settled(market, compiled, chunk)
    expected = market.account(market.timing())

    names = ("net", "decision", *COSTS, "ideal", "missed")
    for symbol, terms in expected.by_symbol.items():
        mine = account.metrics["by_symbol"][f"S{symbol}"]
        assert {n: mine[n] for n in names} == {n: getattr(terms, n) for n in names}
    total = {n: account.metrics[n] for n in names}
    assert total == {n: getattr(expected.total, n) for n in names}
    assert total["net"] == total["decision"] - sum(total[name] for name in COSTS)

    named = ["event", "symbol", "lots", "price_half_ticks", *COSTS]
    fills = account.tables["fills"].select(named).to_pylist()
    theirs = sorted(expected.fills, key=lambda f: (f.t4, f.symbol))
    assert [tuple(f[name] for name in named) for f in fills] == [
        (
            -1 if f.event is None else f.event,
            f"S{f.symbol}",
            f.lots,
            f.price,
            *(getattr(f, n) for n in COSTS),
        )
        for f in theirs
    ]
    equity = account.tables["equity"]
    ends = equity["ts"].to_numpy().astype(np.int64).tolist()
    rows = zip(ends, equity["symbol"].to_pylist(), equity["net"].to_pylist(), strict=True)
    for at, symbol, net in rows:
        assert net == expected.symbol_equity_at(int(symbol[1:]), at)
