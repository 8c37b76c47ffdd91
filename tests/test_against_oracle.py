"""Server and venue together against the oracle on random small markets, to the tick.

Each machine by itself is held against it in ``timing/test_server`` and ``trading/test_venue``.
"""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.errors import RunError
from backtest.timing.outcomes import Status
from backtest.trading.layout import COSTS
from tests import oracle
from tests.chain import three_passes
from tests.market_server import HOWS, How, servable
from tests.markets import Market, markets
from tests.plain_python import passed_as_plain_python
from tests.venue_driver import compare, countable

pieces = st.sampled_from([100, 1, 2, 3, 6])

ways = st.sampled_from([how for how in HOWS if how != "live"])


@pytest.mark.one_python
@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(markets(), ways, pieces, st.booleans())
def test_timing_fills_and_money_are_the_oracles(
    market: Market, how: How, piece: int, shared: bool
) -> None:
    compare_with_oracle(market, how, piece, shared)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(markets(), ways, pieces, st.booleans())
def test_some_markets_are_the_oracles(market: Market, how: How, piece: int, shared: bool) -> None:
    compare_with_oracle(market, how, piece, shared)


def compare_with_oracle(market: Market, how: How, piece: int, shared: bool) -> None:
    """Run a market and let the oracle run it."""
    market = servable(countable(market), how)
    timing = market.timing()
    try:
        expected = market.account(timing)
    except oracle.NoClosingQuote:
        with pytest.raises(RunError, match="no two-sided quote inside a session"):
            three_passes(market, how=how, piece=piece, shared=shared)
        return
    ran = three_passes(market, how=how, piece=piece, shared=shared)
    assert [Status(s).name.lower() for s in ran.timing.status] == timing.status
    assert ran.timing.received.tolist() == timing.t1
    answered = ran.timing.answered.tolist()
    for mine, theirs in ((ran.timing.begun, timing.t2), (ran.timing.ended, timing.t3)):
        assert [t for t, yes in zip(mine.tolist(), answered, strict=True) if yes] == [
            t for t, yes in zip(theirs, answered, strict=True) if yes
        ]
    compare(expected, ran.account.metrics, ran.account.tables["equity"], ran.fills)


@pytest.mark.one_python
def test_the_same_source_runs_as_plain_python() -> None:
    """A part of the markets above, with nothing compiled; an integer that wraps is an error."""
    some = "test_some_markets_are_the_oracles"
    assert "1 passed" in passed_as_plain_python(__file__, "-k", some)


@pytest.mark.one_python
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(markets(), st.integers(0, 39), pieces)
def test_the_future_changes_no_fill(market: Market, last: int, piece: int) -> None:
    market = servable(countable(market), "tables")
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
        fills = three_passes(of, piece=piece).fills
        early = fills["ts_venue"].to_numpy().astype("int64") <= now
        rows = fills.select(columns).filter(pa.array(early)).to_pylist()
        return [row for row in rows if row["event"] >= 0]

    try:
        market.account(market.timing())
    except oracle.NoClosingQuote:
        return  # whether an open position can be closed is known only at the end
    assert until_now(market) == until_now(changed)
