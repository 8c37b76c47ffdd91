"""Orders and fills on cases worked by hand; random ones are in ``test_against_oracle``."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from backtest.market.events import EventBatch
from backtest.market.quotes import StandingQuotes, SymbolBook
from backtest.trading.orders import Decision, Fill, OrderRules, newest_of_each_instant, trade

RULES = OrderRules(None, 0, Fraction(0), None, 1000)


def book(*quotes: tuple[int, int, int, int, int]) -> SymbolBook:
    """Quotes as (time, bid, ask, bid size, ask size)."""
    times, bid, ask, bid_size, ask_size = np.array(quotes, dtype=np.int64).T
    events = EventBatch(
        np.zeros(len(quotes), dtype=np.int32),
        times,
        bid=bid,
        ask=ask,
        bid_size=bid_size,
        ask_size=ask_size,
    )
    return StandingQuotes(events, 1).book(0)


def test_an_order_takes_the_touch_and_the_end_closes_at_the_other_side() -> None:
    fills = trade([Decision(3, 10, 5, 2, 0)], book((0, 99, 101, 7, 8)), RULES)
    assert fills == [Fill(3, 5, 202, 0, 12), Fill(-1, -5, 198, 0, 1000)]


def test_own_fills_deplete_a_quote_until_the_next() -> None:
    decisions = [Decision(0, 10, 5, 0, 0), Decision(1, 11, 9, 0, 0), Decision(2, 20, 9, 0, 0)]
    fills = trade(decisions, book((0, 99, 101, 50, 6), (15, 99, 102, 50, 6)), RULES)
    # 5 of 6 displayed; then 1 of the 4 wanted; then, at the new quote, the 3 that are missing.
    assert [(f.lots, f.half_ticks) for f in fills] == [(5, 202), (1, 202), (3, 204), (-9, 198)]


def test_unconfirmed_orders_count_in_full() -> None:
    # The first order fills 2 of 5, but that is known only at 110: at 50 nothing more is sent.
    decisions = [Decision(0, 10, 5, 0, 100), Decision(1, 50, 5, 0, 100), Decision(2, 110, 5, 0, 0)]
    fills = trade(decisions, book((0, 99, 101, 9, 2), (60, 99, 101, 9, 9)), RULES)
    assert [(f.event, f.lots) for f in fills] == [(0, 2), (2, 3), (-1, -5)]


def test_a_late_order_does_not_overtake() -> None:
    # The second order would arrive at 25, before the first at 40.
    decisions = [Decision(0, 10, 1, 30, 0), Decision(1, 20, 2, 5, 0)]
    fills = trade(decisions, book((0, 99, 101, 9, 9)), RULES)
    assert [f.arrived for f in fills] == [40, 40, 1000]


def test_limits_sessions_band_and_end() -> None:
    rules = OrderRules(3, 1, Fraction(0), [(0, 20), (30, 40)], 50)
    assert rules.clip(np.array([-9, 2, 9])).tolist() == [-3, 2, 3]
    assert [rules.is_open(t) for t in (-1, 0, 19, 20, 30, 40)] == [
        False, True, True, False, True, False
    ]  # fmt: skip
    decisions = [
        Decision(0, 5, 1, 0, 0),  # within the band
        Decision(1, 25, 3, 0, 0),  # closed
        Decision(2, 35, 3, 0, 0),
        Decision(3, 45, -3, 10, 0),  # would arrive after the end
    ]
    fills = trade(decisions, book((0, 99, 101, 9, 9)), rules)
    assert [(f.event, f.lots) for f in fills] == [(2, 3), (-1, -3)]


def test_impact_moves_the_own_price() -> None:
    # 0.5 x 4 half ticks of spread x 3 of 9 lots = 2/3, rounded up to 1 half tick.
    rules = OrderRules(None, 0, Fraction(1, 2), None, 1000)
    fills = trade([Decision(0, 10, -3, 0, 0)], book((0, 99, 101, 9, 9)), rules)
    assert fills[0] == Fill(0, -3, 197, 1, 10)


def test_nothing_trades_without_a_quote() -> None:
    assert trade([Decision(0, 5, 1, 0, 0)], book((10, 99, 101, 9, 9)), RULES) == []


def test_the_newest_of_an_instant_has_the_say() -> None:
    assert newest_of_each_instant(np.array([1, 1, 2, 5, 5])).tolist() == [
        False, True, True, False, True
    ]  # fmt: skip
    assert len(newest_of_each_instant(np.array([], dtype=np.int64))) == 0
