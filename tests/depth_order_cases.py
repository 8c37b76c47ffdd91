"""Cases of levels that are sums of single orders (L3), worked by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.depth_play import Steps, case, clear, play
from tests.depth_records import DepthRow, OrderAction
from tests.order_cases import Run, new, q, sold
from tests.order_markets import Simulate
from tests.order_records import Message


def of(action: OrderAction) -> Callable[..., DepthRow]:
    """What makes rows of an action: (ts, id, price, size), of bids unless told otherwise."""

    def row(ts: int, id: int, price: int, size: int, side: int = 1, **more: Any) -> DepthRow:
        return DepthRow(0, ts, 0, side, price, size, order_id=id, action=action, **more)

    return row


add, execute, cancel, modify = of("add"), of("execute"), of("cancel"), of("modify")

QUEUE = [q(0), add(0, 1, 100, 6), add(0, 2, 100, 4), add(0, 3, 99, 7)]
"""6 and 4 lots bid at 100, 7 at 99."""

MINE = [new(1, 1, 100, 9)]
"""Behind the 10 at 100."""


def exact(simulate: Simulate, steps: Steps, messages: list[Message], **rules: Any) -> Run:
    """Replay under ``l3``."""
    return play(simulate, steps, messages, orders=True, **{"model": "l3", **rules})


def summed(simulate: Simulate, steps: Steps, messages: list[Message], **rules: Any) -> Run:
    """Replay with levels that are sums of orders."""
    return play(simulate, steps, messages, orders=True, **rules)


@case
def a_level_is_the_sum_of_its_orders(simulate: Simulate) -> None:
    steps = [*QUEUE, sold(10, 100, 12), sold(11, 99, 9), sold(12, 98, 2)]
    orders = [*MINE, new(1, 2, 99, 9), new(1, 3, 98, 9)]
    # 12 pass 10 at 100. 9 at 99 fill the 7 open there first, and pass 7 by 2 at 99: all are used.
    # At 98 nobody was, which is known without a snapshot; what is better fills first.
    run = summed(simulate, steps, orders)
    assert run.makers == [(1, 10, 2, 200), (1, 11, 7, 200), (2, 11, 2, 198), (2, 12, 2, 198)]
    alone = summed(simulate, steps, [new(1, 3, 98, 9)])
    assert alone.makers == [(3, 12, 2, 196)]


@case
def every_change_of_an_order_states_its_level(simulate: Simulate) -> None:
    for change, filled in (
        (cancel(5, 2, 100, 4), 6),  # 6 are left
        (cancel(5, 2, 100, 3), 5),
        (execute(5, 1, 100, 2), 4),
        (modify(5, 1, 100, 1), 7),
        (modify(5, 1, 99, 6), 8),
        (modify(5, 1, 100, 20), 2),
        (modify(5, 1, 100, 0), 8),
        (add(5, 1, 100, 1), 7),  # of an id that is there
        (add(5, 9, 100, 1), 2),
        (cancel(5, 9, 100, 8), 2),  # of one that is not
        (execute(5, 9, 100, 8), 2),
        (modify(5, 9, 100, 8), 2),
        (cancel(5, 3, 99, 7), 2),
    ):
        run = summed(simulate, [*QUEUE, change, sold(10, 100, 12)], [new(1, 1, 100, 99)])
        assert run.makers == [(1, 10, filled, 200)]
    # A larger one at the end states the sum once: 24 and no fall before.
    steps = [*QUEUE, modify(5, 1, 100, 20), cancel(6, 1, 100, 14), sold(10, 100, 10)]
    run = summed(simulate, steps, [new(1, 1, 100, 99)], model="power:1")
    assert run.makers == [(1, 10, 5, 200)]  # 14 of 24 fell, 10 ahead: 14·10/24 = 5.83


@case
def quotes_say_nothing_of_single_orders(simulate: Simulate) -> None:
    for quote in (q(5, bid=99, b=2), q(5, bid=None), q(5, b=3), q(5, bid=101)):
        end = sold(10, 100, 12, bid=quote.bid, b=quote.bid_size)
        run = summed(simulate, [*QUEUE, quote, end], [new(1, 1, 100, 9)])
        assert run.makers == [(1, 10, 2, 200)]


@case
def orders_restated_one_by_one_cap_at_the_end(simulate: Simulate) -> None:
    restated = [add(5, 1, 100, 6, snapshot=True), add(5, 2, 100, 2, snapshot=True, last=True)]
    steps = [*QUEUE, clear(5), *restated, sold(10, 100, 12)]
    for model in ("trades", "power:2"):
        run = summed(simulate, steps, MINE, model=model)
        assert run.makers == [(1, 10, 4, 200)]  # ahead 8, not the 6 of the first row
    # So it is where all is known: 10 of 2 + 9, not the 6 of the first row.
    known = [add(5, 1, 100, 2, snapshot=True), add(5, 2, 100, 9, snapshot=True, last=True)]
    run = summed(simulate, [*QUEUE, *known, sold(10, 100, 12)], MINE)
    assert run.makers == [(1, 10, 2, 200)]
    # Until then, and without an end, the sums are a part of what is there.
    cut = [*QUEUE, clear(5), restated[0], cancel(6, 1, 100, 3), sold(10, 100, 12)]
    assert summed(simulate, cut, MINE).makers == [(1, 10, 2, 200)]
    assert summed(simulate, cut, [new(7, 1, 100, 9)]).makers == []
    assert exact(simulate, [*cut, execute(11, 9, 100, 5)], [new(7, 1, 100, 9)]).makers == []
    assert summed(simulate, cut, [new(7, 1, 101, 9)]).makers == [(1, 10, 9, 202)]
    # Whoever waited for the end has all that is displayed ahead.
    late = [*QUEUE, clear(5), restated[0], add(8, 2, 100, 2, snapshot=True, last=True)]
    run = summed(simulate, [*late, sold(10, 100, 12)], [new(6, 1, 100, 9)])
    assert run.makers == [(1, 10, 4, 200)]
    run = exact(simulate, [*late, cancel(9, 1, 100, 6), execute(10, 2, 100, 2),
                           execute(11, 9, 100, 5)], [new(6, 1, 100, 9)])  # fmt: skip
    assert run.makers == [(1, 11, 5, 200)]
    # Orders that no snapshot names are gone.
    gone = [*QUEUE, clear(5), add(5, 3, 99, 7, snapshot=True, last=True)]
    assert summed(simulate, [*gone, sold(5, 100, 3)], MINE).makers == [(1, 5, 3, 200)]
    assert exact(simulate, [*gone, execute(5, 9, 100, 3)], MINE).makers == [(1, 5, 3, 200)]


@case
def takers_find_the_sums(simulate: Simulate) -> None:
    asks = [q(0), add(0, 1, 102, 6, -1), add(0, 2, 102, 4, -1), add(0, 3, 103, 5, -1)]
    messages = [new(1, 1, 103, 12, tif="ioc"), new(9, 2, 103, 99, tif="ioc")]

    def left(*between: DepthRow) -> list[tuple[int, int]]:
        run = summed(simulate, [*asks, *between], messages)
        assert run.takers[:2] == [(1, 1, 10, 204), (1, 1, 2, 206)]
        return [(price // 2, lots) for id, _, lots, price in run.takers if id == 2]

    assert left() == [(103, 3)]
    assert left(modify(5, 1, 102, 6, -1)) == [(103, 3)]  # the sum is the same
    assert left(cancel(5, 1, 102, 1, -1)) == [(102, 9), (103, 3)]
    assert left(modify(5, 1, 103, 6, -1)) == [(102, 4), (103, 11)]
    assert left(execute(5, 9, 102, 5, -1)) == [(103, 3)]
    # A touch that no order is behind gives nothing.
    bare = [q(0), add(0, 3, 103, 5, -1)]
    run = summed(simulate, bare, [new(1, 1, 103, 12, tif="ioc")])
    assert run.takers == [(1, 1, 5, 206)]


@case
def what_a_quote_crossed_is_gone_from_the_orders(simulate: Simulate) -> None:
    told = [*QUEUE, add(10, 9, 100, 5, -1), q(10, bid=99, ask=100, a=5)]
    orders = [new(1, 1, 100, 3), new(11, 2, 100, 99, tif="ioc")]
    for model in ("trades", "l3"):
        run = play(simulate, told, orders, orders=True, model=model)
        assert run.makers == [(1, 10, 3, 200)]
        assert run.takers == [(2, 11, 2, 200)]
    # Told of afterwards, the order is a level that nobody took.
    after = [*QUEUE, q(10, bid=99, ask=100, a=5), add(10, 9, 100, 5, -1)]
    assert exact(simulate, after, orders).takers == [(2, 11, 5, 200)]
