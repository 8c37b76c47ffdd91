"""Rows of depth lie symbol by symbol, linked, and are given up when they have been handled."""

from __future__ import annotations

from random import Random
from unittest.mock import patch

import pytest

from backtest.trading import depth_layout as dl
from backtest.trading.depth_books import DepthBooks
from backtest.trading.depth_window import DepthWindow
from tests import order_engine
from tests.depth_makers import LevelMaker
from tests.depth_records import Depth, DepthRow
from tests.order_engine import DepthFeed, batch_of
from tests.order_records import Message, OrderRules, PostOnly, Row
from tests.runs.test_resting_orders import rows_of


@pytest.mark.parametrize("cut", [1, 4, 9, 1000])
def test_each_symbol_finds_its_rows_in_bus_order(cut: int) -> None:
    random = Random(cut)
    rows = [DepthRow(random.randrange(3), k, k, 1, k, 1) for k in range(200)]
    window = DepthWindow(4, orders=False, rows=4)
    first = [-1] * 4
    for k in range(0, len(rows), cut):
        window.extend(batch_of(rows[k : k + cut], orders=False))
        first = [f if f >= 0 else int(head) for f, head in zip(first, window.heads, strict=True)]
    for symbol in range(4):
        found, place = [], first[symbol]
        while place >= 0:
            row = window.rows[place]
            found.append(int(row[dl.R_PRICE]))
            place = place + int(row[dl.R_NEXT]) if row[dl.R_NEXT] else -1
        assert found == [row.price for row in rows if row.symbol == symbol]


@pytest.mark.parametrize("traded", [0, 1])
def test_what_is_handled_is_given_up(traded: int) -> None:
    """Of symbols that nobody trades as well."""
    rows = rows_of(6, 3000)
    depth = Depth(LevelMaker(Random(2), tuple(rows)).between())
    sent = [Message(traded, rows[9].ts, "new", 1, 1, 10, 1)]
    feeds: list[DepthFeed] = []

    class Kept(DepthFeed):
        def __init__(self, *given: object) -> None:
            super().__init__(*given)  # type: ignore[arg-type]
            feeds.append(self)

    with patch.object(order_engine, "DepthFeed", Kept):
        order_engine.simulate_orders(
            rows, sent, OrderRules(end=rows[-1].ts), [0] * len(rows), depth=depth, chunk=16
        )
    assert feeds[0].window.stop == len(depth.rows) > 3000
    assert len(feeds[0].window.rows) <= 512


def test_books_are_kept_although_no_order_works() -> None:
    """A level that was stated long before an order joins it, and a row of the same instant."""

    def after(ts: int, size: int) -> list[object]:
        rows = [Row(0, t, 100, 102, 5, 5) for t in range(0, 50, 5)]
        rows += [Row(0, 60, 100, 102, 5, 5, 98, 9, -1)]
        depth = Depth((DepthRow(0, 1, 1, 1, 98, 9), DepthRow(0, 30, 7, 1, 98, size)))
        made = order_engine.simulate_orders(
            rows, [Message(0, ts, "new", 1, 1, 98, 4)], OrderRules(end=99), [0] * 11, depth=depth,
            chunk=2,
        )  # fmt: skip
        return [(fill.ts, fill.lots) for fill in made.fills]

    assert after(29, 7) == [(60, 2)]  # it joins 9, of which 2 fall
    assert after(30, 7) == [(60, 2)]
    assert after(31, 6) == [(60, 3)]


@pytest.mark.parametrize(
    ("model", "post_only", "followed"),
    [
        ("through", "reject", False),
        ("optimistic", "slide", False),
        ("through", "no", True),
        ("trades", "reject", True),
    ],
)
def test_depth_is_followed_where_it_can_fill_or_place(
    model: str, post_only: PostOnly, followed: bool
) -> None:
    rows = [Row(0, t, 100, 102, 5, 5) for t in range(9)]
    order = Message(0, 3, "new", 1, 1, 98, 4, post_only=post_only)
    depth = Depth((DepthRow(0, 1, 1, 1, 98, 9),))
    with patch.object(DepthBooks, "follow_rows") as follow:
        rules = OrderRules(model=model, end=99)
        order_engine.simulate_orders(rows, [order], rules, [0] * 9, depth=depth)
    assert follow.called == followed
