"""Cases of orders that take levels (L2), worked by hand."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from tests.depth_play import case, clear, level, play, split
from tests.depth_records import DepthRow
from tests.order_cases import bought, message, new, q
from tests.order_markets import Simulate
from tests.order_records import OrderRules, Row

ASKS = [q(0), level(0, 103, 4, side=-1), level(0, 105, 5, side=-1)]
"""Offered are 10 at 102, 4 at 103 and 5 at 105."""


@case
def a_taker_walks_the_levels(simulate: Simulate) -> None:
    run = play(simulate, ASKS, [new(1, 1, 104, 17, tif="ioc")])
    assert run.takers == [(1, 1, 10, 204), (1, 1, 4, 206)]
    told = [(r.kind, r.lots, r.price) for r in run.result.reports]
    assert told == [
        ("accepted", 17, 104),
        ("filled", 10, 102),
        ("filled", 4, 103),
        ("cancelled", 3, 104),
    ]
    run = play(simulate, ASKS, [new(1, 1, 105, 17, tif="ioc")])
    assert run.takers == [(1, 1, 10, 204), (1, 1, 4, 206), (1, 1, 3, 210)]
    assert run.kinds(1)[-1] == "filled"


@case
def what_rests_of_a_taker_gets_nothing_more(simulate: Simulate) -> None:
    steps = [*ASKS, q(5, a=3), level(6, 102, 30, side=-1), q(7, a=12)]
    run = play(simulate, steps, [new(1, 1, 103, 17)])
    assert run.takers == [(1, 1, 10, 204), (1, 1, 4, 206)]
    assert run.makers == [(1, 7, 3, 206)]  # by the quotes' increase from 3 to 12 alone
    run = play(simulate, ASKS, [new(1, 1, 100, 17), message(2, "replace", 1, price=103, total=12)])
    assert run.takers == [(1, 2, 10, 204), (1, 2, 2, 206)]


@case
def all_levels_up_to_the_limit_must_do(simulate: Simulate) -> None:
    messages = [
        new(1, 1, 104, 15, tif="fok"),
        new(2, 2, 104, 13, tif="fok"),
        new(3, 3, 104, 2, tif="fok"),  # 1 is left
        new(4, 4, 104, 1, tif="fok"),
    ]
    run = play(simulate, ASKS, messages)
    assert run.takers == [(2, 2, 10, 204), (2, 2, 3, 206), (4, 4, 1, 206)]
    assert run.kinds(1) == run.kinds(3) == ["accepted", "cancelled"]


@case
def levels_better_than_the_touch_cannot_be_taken(simulate: Simulate) -> None:
    stale = [*ASKS, level(1, 101, 5, side=-1)]
    run = play(simulate, stale, [new(2, 1, 102, 12, tif="ioc")])
    assert run.takers == [(1, 2, 10, 204)]
    # Nor do they make an order marketable, or fill one that rests.
    assert play(simulate, stale, [new(2, 1, 101, 3, post_only="reject")]).kinds(1) == ["accepted"]
    through = [*stale, level(5, 100, 5, side=-1)]
    assert play(simulate, through, [new(2, 1, 101, 3)]).makers == []
    # Without a touch nothing can.
    for quote in (q(1, ask=None), q(1, bid=103, ask=102)):
        there = [*ASKS, quote, level(1, 103, 4, side=-1)]
        run = play(simulate, there, [new(2, 1, 104, 12, tif="ioc")])
        assert run.kinds(1) == ["accepted", "cancelled"]


@case
def takers_deplete_levels(simulate: Simulate) -> None:
    def left(*between: Row | DepthRow) -> list[tuple[int, int]]:
        """(price, lots) that are left after 12 of the 14 are taken."""
        steps = [*ASKS, *between]
        messages = [new(1, 1, 103, 12, tif="ioc"), new(9, 2, 103, 99, tif="ioc")]
        run = play(simulate, steps, messages)
        return [(price // 2, lots) for id, _, lots, price in run.takers if id == 2]

    assert left() == [(103, 2)]
    assert left(level(5, 102, 10, side=-1), level(5, 103, 4, side=-1)) == [(103, 2)]
    assert left(level(5, 102, 9, side=-1)) == [(102, 9), (103, 2)]
    assert left(level(5, 103, 0, side=-1), level(6, 103, 4, side=-1)) == [(103, 4)]
    assert left(bought(5, 102, 1), q(6, b=3)) == [(103, 2)]  # the same ask
    assert left(q(5, a=9)) == [(102, 9), (103, 2)]
    assert left(q(5, ask=103, a=4)) == [(103, 2)]
    assert left(q(5, ask=104), q(6, ask=103, a=4)) == [(103, 4)]
    assert left(q(5, ask=None), q(6)) == [(102, 10)]
    assert left(clear(5), level(6, 103, 4, side=-1)) == [(103, 4)]
    assert left(clear(5, 1)) == [(103, 2)]
    assert left(q(5, bid=103, ask=101), q(6)) == [(103, 2)]


@case
def what_a_quote_crossed_is_gone_from_its_level(simulate: Simulate) -> None:
    steps = [*ASKS, q(10, bid=99, ask=100, a=5)]
    run = play(simulate, steps, [new(1, 1, 100, 3), new(11, 2, 102, 99, tif="ioc")])
    assert run.makers == [(1, 10, 3, 200)]
    assert run.takers == [(2, 11, 2, 200), (2, 11, 10, 204)]
    # The level was there already, and the quote only repeats it.
    told = [*ASKS, level(9, 100, 5, side=-1), *steps[3:]]
    run = play(simulate, told, [new(1, 1, 100, 3), new(11, 2, 100, 99, tif="ioc")])
    assert run.takers == [(2, 11, 2, 200)]


@case
def the_impact_is_that_of_each_level(simulate: Simulate) -> None:
    rows, depth = split(ASKS)
    simulated: Callable[..., Any] = simulate
    order = [new(1, 1, 104, 13, tif="ioc")]
    result = simulated(
        rows, order, OrderRules(end=50), [0] * len(rows), impact=Fraction(2), depth=depth
    )
    # The spread is 4 half ticks: 2·4·10/10 for all of the first level, 2·4·3/4 for 3 of 4 lots.
    assert [f.price_half_ticks for f in result.fills] == [204 + 8, 206 + 6]
