"""What the venue of resting orders refuses, and that it needs no more of history than it must."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from backtest.core.arrays import Int64Array
from backtest.errors import RunError
from backtest.market.quotes import Quotes
from backtest.trading.order_list import OrderList
from backtest.trading.quoting import KEEP, QuotingRule, wanted_quotes
from tests.depth_records import Depth, DepthRow
from tests.order_engine import simulate_orders, simulate_quotes
from tests.order_records import Message, OrderRules, Row
from tests.quote_oracle import Answer, DeskRules


def q(ts: int, bid: int = 100, ask: int = 102, size: int = 5, **trade: Any) -> Row:
    return Row(0, ts, bid, ask, size, size, **trade)


def test_sizes_that_places_cannot_be_counted_in_are_refused() -> None:
    rows = [q(0), q(1, size=2**42)]
    order = Message(0, 0, "new", 1, 1, 100, 1)
    with pytest.raises(Exception, match="more than places in a queue can be counted in"):
        simulate_orders(rows, [order], OrderRules(end=9), [0, 0])
    for model in ("through", "optimistic"):
        simulate_orders(rows, [order], OrderRules(model=model, end=9), [0, 0])


def test_a_level_that_places_cannot_be_counted_in_is_refused() -> None:
    added = [DepthRow(0, 0, 0, 1, 90, 2**41, order_id=n, action="add") for n in range(2)]
    for rows, refused in ((added, True), (added[:1], False)):
        market = Depth(tuple(rows), orders=True)
        order = Message(0, 0, "new", 1, 1, 100, 1)
        given: Any = ([q(0), q(1)], [order], OrderRules(end=9), [0, 0])
        if not refused:
            simulate_orders(*given, depth=market)
            continue
        with pytest.raises(Exception, match=r"'S0'.*one level display 4,398,046,511,104 lots"):
            simulate_orders(*given, depth=market)


def test_a_price_that_cannot_be_counted_is_refused() -> None:
    rows, flat = [q(0), q(1)], [0, 0]
    answer = Answer(0, 0, 0, 0, 0, (2**50, 1, None, None))
    desk = DeskRules(skew=Fraction(1, 10**6))
    with pytest.raises(Exception, match="more digits than 64 bits hold"):
        simulate_quotes(
            rows, [answer], desk, OrderRules(end=9), flat, flat, flat, flat, flat
        )  # fmt: skip


class _Gives(QuotingRule):
    def __init__(self, wanted: Any) -> None:
        self.wanted = wanted

    def quote(self, predictions: Any, quotes: Quotes) -> Int64Array:
        return self.wanted


NOTHING: Any = None


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        (np.zeros((1, 3), dtype=np.int64), r"int64 \[1, 3\], not whole numbers \[1, 4\]"),
        (np.zeros((1, 4)), "float64"),
        (np.array([[0, -1, 0, 1]]), "bid lots of -1"),
        (np.array([[0, 1, 2**60, 1]]), "ask offset of 1152921504606846976"),
        ([[0, 1, 0]], "int64"),
    ],
)
def test_what_a_quoting_rule_must_not_want(wanted: Any, problem: str) -> None:
    with pytest.raises(RunError, match=problem):
        wanted_quotes(_Gives(wanted), np.zeros((1, 1), dtype=np.float32), NOTHING)


def test_a_quoting_rule_may_keep_either_number() -> None:
    wanted = np.array([[KEEP, 1, 3, KEEP]])
    found = wanted_quotes(_Gives(wanted), np.zeros((1, 1), dtype=np.float32), NOTHING)
    assert found.tolist() == wanted.tolist()


def test_lists_are_sorted_by_sending_and_keep_the_order_of_one_instant() -> None:
    listed = OrderList.of(
        {
            "ts_sent": [5, 3, 5],
            "symbol": ["A", "A", "B"],
            "action": ["cancel"] * 3,
            "id": [1, 2, 3],
        },
        ["A", "B"],
        "list",
    )
    assert listed.id.tolist() == [2, 1, 3]
    assert listed.sent.tolist() == [3, 5, 5]
