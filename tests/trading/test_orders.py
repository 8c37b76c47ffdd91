"""Orders and fills on cases worked by hand; random ones are in ``test_venue``."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import pytest

from backtest.trading import layout as at
from backtest.trading.orders import OrderRules
from tests import oracle
from tests.markets import Market, Service
from tests.venue_driver import Driver, terms_of

END = 1000


class Quote(NamedTuple):
    """A row of the one symbol; ``None``: that side is withdrawn."""

    time: int
    bid: int | None
    ask: int | None
    bid_size: int
    ask_size: int


class Decision(NamedTuple):
    """A target of so many lots that is ready at an instant, with the latencies of its order."""

    ready: int
    target: int
    entry: int = 0
    response: int = 0


@dataclass(frozen=True)
class Fill:
    """A fill: the number of its decision (-1: the close), lots, own price, impact, arrival."""

    decision: int
    lots: int
    half_ticks: int
    impact: int
    arrived: int


def trade(decisions: list[Decision], quotes: list[Quote], **others: Any) -> list[Fill]:
    """What a venue fills, taking the events in at once or one by one.

    Each decision answers an event of its own, which repeats the first quote.
    """
    first, *later = quotes
    rows = [first] * len(decisions) + later
    silent = len(rows) - len(decisions)
    count = len(rows)
    times = [row.time for row in rows]
    ready = [d.ready for d in decisions] + [END] * silent
    given: dict[str, Any] = {
        "end": END, "limit": None, "band": 0, "impact": Fraction(0), "sessions": None,
    }  # fmt: skip
    market = Market(
        events=tuple(oracle.Event(0, *_sides(row)) for row in rows),
        feed=(0,) * count,
        policy=oracle.Policy("all"),
        service=Service("packed", 0, 0),
        line=100,
        max_batch=None,
        max_age=None,
        scale=1.0,
        targets=tuple(d.target for d in decisions) + (None,) * silent,
        entry=tuple(d.entry for d in decisions) + (0,) * silent,
        response=tuple(d.response for d in decisions) + (0,) * silent,
        value=(1,),
        tradable=(True,),
        fee_rate=Fraction(0),
        fee_per_lot=0,
        warmup=0,
        **{**given, **others},
    )
    status: list[oracle.Status] = [
        "answered" if number < len(decisions) else "dropped" for number in range(count)
    ]
    timing = oracle.Timing(times, [*times], [*ready], status, [None] * count)
    found = [_filled(market, timing, chunk) for chunk in (1, 2, count)]
    assert found[0] == found[1] == found[2]
    return found[0]


def _sides(row: Quote) -> tuple[int, int | None, int | None, int, int]:
    return row.time, row.bid, row.ask, row.bid_size, row.ask_size


def _filled(market: Market, timing: oracle.Timing, chunk: int) -> list[Fill]:
    driver = Driver(market, timing, terms_of(market), chunk=chunk)
    driver.run()
    places = [at.EVENT, at.LOTS, at.PRICE, at.IMPACT, at.T4]
    rows = np.concatenate(driver.fills, axis=1)[places].T.tolist()
    return [Fill(e, lots, price, impact // abs(lots), t4) for e, lots, price, impact, t4 in rows]


def test_an_order_takes_the_touch_and_the_end_closes_at_the_other_side() -> None:
    fills = trade([Decision(10, 5, entry=2)], [Quote(0, 99, 101, 7, 8)])
    assert fills == [Fill(0, 5, 202, 0, 12), Fill(-1, -5, 198, 0, END)]


def test_own_fills_deplete_a_side_until_its_price_changes() -> None:
    decisions = [Decision(10, 5), Decision(11, 9), Decision(20, 9)]
    fills = trade(decisions, [Quote(0, 99, 101, 50, 6), Quote(15, 99, 102, 50, 6)])
    # 5 of 6 displayed; then 1 of the 4 wanted; then, at the new price, the 3 that are missing.
    assert [(f.lots, f.half_ticks) for f in fills] == [(5, 202), (1, 202), (3, 204), (-9, 198)]


@pytest.mark.parametrize(
    ("between", "more"),
    [
        ([Quote(15, 99, 101, 50, 6)], 0),  # the same quote again
        ([Quote(15, 98, 101, 50, 6)], 0),  # the other side's price
        ([Quote(15, 99, 101, 49, 6)], 0),  # the other side's size
        ([Quote(15, None, 101, 50, 6)], 0),  # the other side is withdrawn
        ([Quote(15, 99, 101, 50, 7)], 4),  # its own size
        ([Quote(15, 99, 100, 50, 6)], 4),  # its own price
        ([Quote(15, 99, 102, 50, 6), Quote(16, 99, 101, 50, 6)], 4),  # there and back
        ([Quote(15, 99, None, 50, 6), Quote(16, 99, 101, 50, 6)], 4),  # withdrawn and back
        ([Quote(15, 99, None, 50, 6)], 0),  # nothing stands there
        ([Quote(15, 102, 101, 50, 7)], 0),  # crossed
    ],
)
def test_a_depleted_side_returns_when_its_own_price_or_size_changes(
    between: list[Quote], more: int
) -> None:
    decisions = [Decision(10, 6), Decision(20, 10)]
    fills = trade(decisions, [Quote(0, 99, 101, 50, 6), *between, Quote(30, 99, 101, 50, 6)])
    assert [f.lots for f in fills] == [6, *([more] if more else []), -6 - more]


def test_a_side_that_stands_fills_while_the_other_is_withdrawn() -> None:
    decisions = [Decision(10, 2), Decision(20, 5), Decision(21, -1)]
    fills = trade(
        decisions,
        [Quote(0, 99, 101, 9, 9), Quote(15, 98, None, 9, 9), Quote(30, 99, 101, 9, 9)],
    )
    # At 20 there is nothing to buy; at 21 three are sold, the bid alone being there.
    assert fills == [Fill(0, 2, 202, 0, 10), Fill(2, -3, 196, 0, 21), Fill(-1, 1, 202, 0, END)]


def test_unconfirmed_orders_count_in_full() -> None:
    # The first order fills 2 of 5, but that is known only at 110: at 50 nothing more is sent.
    decisions = [Decision(10, 5, response=100), Decision(50, 5, response=100), Decision(110, 5)]
    fills = trade(decisions, [Quote(0, 99, 101, 9, 2), Quote(60, 99, 101, 9, 9)])
    assert [(f.decision, f.lots) for f in fills] == [(0, 2), (2, 3), (-1, -5)]


def test_a_late_order_does_not_overtake() -> None:
    # The second order would arrive at 25, before the first at 40.
    decisions = [Decision(10, 1, entry=30), Decision(20, 2, entry=5)]
    fills = trade(decisions, [Quote(0, 99, 101, 9, 9)])
    assert [f.arrived for f in fills] == [40, 40, END]


def test_targets_are_clipped_to_the_position_limit() -> None:
    rules = OrderRules(3, 1, Fraction(0), None, END)
    assert rules.clip(np.array([-9, 2, 9])).tolist() == [-3, 2, 3]
    decisions = [Decision(5, 9), Decision(6, -9)]
    fills = trade(decisions, [Quote(0, 99, 101, 9, 9)], limit=3)
    assert [f.lots for f in fills] == [3, -6, 3]


@pytest.mark.parametrize(
    ("arrival", "is_open"), [(5, False), (9, False), (10, True), (19, True), (20, False),
     (29, False), (30, True), (39, True), (40, False)]
)  # fmt: skip
def test_orders_fill_inside_sessions_only(arrival: int, is_open: bool) -> None:
    fills = trade(
        [Decision(4, 1, entry=arrival - 4)],
        [Quote(4, 99, 101, 9, 9), Quote(30, 99, 101, 9, 9)],
        sessions=((10, 20), (30, 40)),
    )
    assert [f.arrived for f in fills] == ([arrival, END] if is_open else [])


def test_sessions_band_and_end() -> None:
    decisions = [
        Decision(5, 1),  # within the band
        Decision(25, 3),  # closed
        Decision(35, 3),
        Decision(45, -3, entry=10),  # would arrive after the end
    ]
    fills = trade(
        decisions, [Quote(0, 99, 101, 9, 9)], limit=3, band=1, sessions=((0, 20), (30, 40)), end=50
    )
    assert [(f.decision, f.lots) for f in fills] == [(2, 3), (-1, -3)]


def test_impact_moves_the_own_price() -> None:
    # 0.5 x 4 half ticks of spread x 3 of 9 lots = 2/3, rounded up to 1 half tick.
    fills = trade([Decision(10, -3)], [Quote(0, 99, 101, 9, 9)], impact=Fraction(1, 2))
    assert fills[0] == Fill(0, -3, 197, 1, 10)


def test_nothing_trades_without_a_quote() -> None:
    # Its event has no quote, and the one that comes later is none that it could have known.
    quotes = [Quote(0, None, None, 0, 0), Quote(10, 99, 101, 9, 9)]
    assert trade([Decision(5, 1), Decision(15, 1)], quotes) == []


def test_of_one_instant_only_the_newest_answer_trades() -> None:
    decisions = [Decision(5, 7), Decision(5, 1), Decision(6, 2), Decision(9, -8), Decision(9, 4)]
    fills = trade(decisions, [Quote(0, 99, 101, 9, 9)])
    assert [(f.decision, f.lots) for f in fills] == [(1, 1), (2, 1), (4, 2), (-1, -4)]
