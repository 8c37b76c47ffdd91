"""The venue against the oracle: fills, money and equity, however the run is cut into calls."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.core.arrays import Float32Array, Int64Array
from backtest.market.quotes import Quotes
from backtest.trading.sizing import SizingRule
from tests import oracle
from tests.markets import Market, long_market, markets
from tests.plain_python import passed_as_plain_python
from tests.venue_driver import check, countable

chunks = st.sampled_from([100, 1, 2, 3, 6])


@pytest.mark.one_python
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(markets(), chunks, st.integers(0, 99), st.booleans())
def test_fills_and_money_are_the_oracles(
    market: Market, chunk: int, seed: int, shared: bool
) -> None:
    market = countable(market)
    check(market, market.timing(), chunk=chunk, seed=seed, shared=shared)


def overtaking(market: Market, draw: random.Random) -> oracle.Timing:
    """A timing that no single server keeps: answers overtake each other, and some are missing."""
    t1 = [event.ts_event + draw.randrange(9) for event in market.events]
    t2 = [t + draw.choice([0, 1, 5, 30]) for t in t1]
    t3 = [t + draw.choice([0, 0, 2, 10, 60, 100]) for t in t2]
    status: list[oracle.Status] = [
        "unfinished" if t > market.end else "dropped" if draw.random() < 0.2 else "answered"
        for t in t3
    ]
    return oracle.Timing(t1, [*t2], [*t3], status, [None] * len(t1))


@pytest.mark.one_python
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(markets(), chunks, st.integers(0, 99))
def test_answers_may_overtake_each_other(market: Market, chunk: int, seed: int) -> None:
    market = countable(market)
    check(market, overtaking(market, random.Random(seed)), chunk=chunk, seed=seed)


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000])
@pytest.mark.parametrize("seed", range(6))
def test_long_markets_agree_too(seed: int, chunk: int) -> None:
    market = long_market(seed)
    timing = overtaking(market, random.Random(seed))
    driver = check(market, timing, chunk=chunk, seed=seed, shared=seed % 2 == 0)
    assert sum(fills.shape[1] for fills in driver.fills) > 10


@pytest.mark.one_python
def test_the_same_source_runs_as_plain_python() -> None:
    assert "6 passed" in passed_as_plain_python(__file__, "-k", "long_markets and 64")


@dataclass(frozen=True)
class OfQuotes(SizingRule):
    """The oracle's targets and something of every column of the quotes."""

    def targets(self, forecast: Float32Array, quotes: Quotes) -> Int64Array:
        mixed = quotes.bid + 3 * quotes.ask + 5 * quotes.bid_size + 7 * quotes.ask_size
        more = (mixed + quotes.ts_event + quotes.symbol) % 3
        assert (quotes.doubled_mid == quotes.bid + quotes.ask).all()
        return forecast.astype(np.int64) + more


@pytest.mark.parametrize("chunk", [1, 5, 1000])
def test_sizing_reads_the_last_two_sided_quote(chunk: int) -> None:
    market = long_market(8)
    rows = [oracle.Rows(market.events, s) for s in range(3)]
    wanted: list[int | None] = []
    for i, (event, target) in enumerate(zip(market.events, market.targets, strict=True)):
        quote = next((q for q in reversed(rows[event.symbol].quotes) if q.number <= i), None)
        if quote is None or target is None:
            wanted.append(None)
            continue
        mixed = quote.bid + 3 * quote.ask + 5 * quote.bid_size + 7 * quote.ask_size
        wanted.append(target + (mixed + quote.ts_event + event.symbol) % 3)
    stale = sum(not oracle.is_two_sided(e) for e in market.events)
    assert stale > 20
    for shared in (True, False):
        timing = overtaking(market, random.Random(0))
        check(market, timing, chunk=chunk, shared=shared, wanted=wanted, sizing=OfQuotes())


@pytest.mark.parametrize("chunk", [1, 4, 1000])
def test_fills_are_confirmed_when_they_become_known(chunk: int) -> None:
    market = replace(long_market(3), sessions=None)
    timing = overtaking(market, random.Random(1))
    driver = check(market, timing, chunk=chunk, reports=True)
    orders = [f for f in market.account(timing).fills if f.event is not None]
    expected = sorted(
        (f.t5, f.t4, f.symbol, f.event, f.lots, f.price) for f in orders if f.event is not None
    )
    told = [fill for _, fill in driver.confirmed]
    assert expected == sorted(
        (f.known, f.arrived, f.symbol, f.event, f.lots, f.half_ticks) for f in told
    )
    # Each comes at the first opportunity: not before it is known, nor an instant later than asked.
    nows = [0, *driver.asked]
    for now, fill in driver.confirmed:
        assert max(n for n in nows if n < now) < fill.known <= now


def test_memory_follows_what_is_in_flight() -> None:
    market = long_market(5, count=1500)
    driver = check(market, market.timing(), chunk=10)
    assert driver.most_rows < 150
    assert len(driver.venue._quotes.stale) < 100
