"""Cases of orders among single orders (L3), worked by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.depth_play import Steps, case, clear, play, split
from tests.depth_records import DepthRow, OrderAction
from tests.order_cases import Run, new, q, sold
from tests.order_markets import Simulate
from tests.order_records import Message, OrderRules


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


# Sums of orders


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


# The model l3


@case
def those_who_came_earlier_are_ahead(simulate: Simulate) -> None:
    last = execute(20, 2, 100, 4)
    late = [*QUEUE, add(5, 4, 100, 8), execute(10, 1, 100, 6), execute(15, 2, 100, 4)]
    run = exact(simulate, [*late, execute(20, 4, 100, 5), execute(21, 4, 100, 3)], MINE)
    assert run.makers == [(1, 20, 5, 200), (1, 21, 3, 200)]
    # Whoever cancels behind changes nothing, whoever does so ahead lets all advance.
    behind = [*QUEUE, add(5, 4, 100, 8), cancel(10, 4, 100, 8), execute(12, 1, 100, 6), last]
    assert exact(simulate, behind, MINE).makers == []
    for gone in (cancel(10, 1, 100, 6), modify(10, 1, 99, 6), modify(10, 1, 100, 7)):
        steps = [*QUEUE, gone, last, execute(21, 1, 100, 6)]
        assert exact(simulate, steps, MINE).makers[:1] == [(1, 21, 6, 200)]
    # A part of one: 3 are ahead still, and 4 after them.
    part = [*QUEUE, modify(10, 1, 100, 5), cancel(11, 1, 100, 2), execute(15, 1, 100, 3), last]
    assert exact(simulate, [*part, execute(21, 9, 100, 5)], MINE).makers == [(1, 21, 5, 200)]


@case
def an_execution_behind_or_of_nobody_known_fills(simulate: Simulate) -> None:
    steps = [*QUEUE, add(5, 4, 100, 8), execute(10, 4, 100, 3), execute(11, 77, 100, 2)]
    run = exact(simulate, [*steps, execute(12, 1, 100, 6)], MINE)
    assert run.makers == [(1, 10, 3, 200), (1, 11, 2, 200)]
    # One that grew or came from elsewhere is behind, and so is one that a modify made known.
    for change in (modify(5, 1, 100, 7), modify(5, 3, 100, 7), modify(5, 8, 100, 7)):
        run = exact(simulate, [*QUEUE, change, execute(10, change.order_id, 100, 2)], MINE)
        assert run.makers == [(1, 10, 2, 200)]
    # One that shrinks stays where it is.
    for change in (modify(5, 1, 100, 5), add(5, 1, 100, 5), modify(5, 1, 100, 6)):
        run = exact(simulate, [*QUEUE, change, execute(10, 1, 100, 2)], MINE)
        assert run.makers == []


@case
def orders_at_a_price_have_one_budget_of_an_execution(simulate: Simulate) -> None:
    orders = [new(1, 1, 100, 4), new(2, 2, 100, 4), new(2, 3, 101, 2)]
    run = exact(simulate, [*QUEUE, execute(10, 77, 100, 7)], orders)
    assert run.makers == [(3, 10, 2, 202), (1, 10, 4, 200), (2, 10, 1, 200)]
    full = exact(simulate, [*QUEUE, execute(10, 77, 100, 5)], orders, through_fill="full")
    assert full.makers == [(3, 10, 2, 202), (1, 10, 4, 200), (2, 10, 1, 200)]
    # The first of two has 10 ahead, the second, which came after the 3, has 13.
    between = [q(0), *QUEUE[1:], add(2, 4, 100, 3)]
    two = [new(1, 1, 100, 4), new(3, 2, 100, 4)]
    run = exact(simulate, [*between, execute(10, 4, 100, 2)], two)
    assert run.makers == [(1, 10, 2, 200)]
    assert exact(simulate, [*between, execute(10, 4, 100, 3, -1)], two).makers == []


@case
def an_execution_through_a_price_fills(simulate: Simulate) -> None:
    steps = [*QUEUE, execute(10, 3, 99, 5)]
    orders = [*MINE, new(1, 2, 101, 2), new(1, 3, 98, 2)]
    run = exact(simulate, steps, orders)
    assert run.makers == [(2, 10, 2, 202), (1, 10, 3, 200)]
    full = exact(simulate, steps, orders, through_fill="full")
    assert full.makers == [(2, 10, 2, 202), (1, 10, 9, 200)]


@case
def more_than_was_ahead_reaches_an_order(simulate: Simulate) -> None:
    # A snapshot leaves 4 ahead, of an order of which 6 lots are executed.
    restated = [clear(5), add(5, 1, 100, 4, snapshot=True, last=True)]
    steps = [*QUEUE, *restated, execute(10, 1, 100, 6), execute(11, 77, 100, 1)]
    run = exact(simulate, steps, MINE)
    assert run.makers == [(1, 10, 2, 200), (1, 11, 1, 200)]
    # Cancelling more than there is takes what there is.
    steps = [*QUEUE, cancel(5, 1, 100, 9), execute(10, 2, 100, 4), execute(11, 77, 100, 1)]
    assert exact(simulate, steps, MINE).makers == [(1, 11, 1, 200)]


@case
def trades_of_the_events_are_not_its_prints(simulate: Simulate) -> None:
    steps = [*QUEUE, sold(5, 99, 30), execute(10, 1, 100, 6), execute(11, 2, 100, 4)]
    assert exact(simulate, [*steps, execute(12, 77, 100, 1)], MINE).makers == [(1, 12, 1, 200)]
    # Quotes that cross fill as ever, by more than what was printed at the instant.
    crossing = [*QUEUE, sold(5, 99, 2, bid=98, ask=100, a=5)]
    assert exact(simulate, crossing, MINE).makers == [(1, 5, 3, 200)]
    crossing = [*QUEUE, execute(5, 3, 99, 2), q(5, bid=98, ask=100, a=5)]
    assert exact(simulate, crossing, MINE).makers == [(1, 5, 2, 200), (1, 5, 5, 200)]


@case
def what_a_snapshot_restates_is_ahead(simulate: Simulate) -> None:
    start = [*QUEUE, add(5, 4, 100, 8), clear(6)]
    restated = [add(6, i, 100, lots, snapshot=True) for i, lots in ((1, 6), (2, 4), (4, 8))]
    restated[-1] = replace(restated[-1], last=True)
    # Of 18 lots, 10 are ahead, and who is behind is not known any more.
    executed = [execute(10, 1, 100, 6), execute(11, 4, 100, 4), execute(12, 4, 100, 3)]
    run = exact(simulate, [*start, *restated, *executed], MINE)
    assert run.makers == [(1, 12, 3, 200)]
    # One that comes after the snapshot is behind.
    run = exact(simulate, [*start, *restated, add(7, 5, 100, 2), execute(10, 5, 100, 2)], MINE)
    assert run.makers == [(1, 10, 2, 200)]
    # Restated as it was, nothing is cleared and nothing changes.
    same = [*QUEUE, add(5, 4, 100, 8), *restated, execute(10, 4, 100, 3)]
    assert exact(simulate, same, MINE).makers == [(1, 10, 3, 200)]


@case
def a_replaced_order_goes_behind_those_who_came_since(simulate: Simulate) -> None:
    steps = [*QUEUE, add(5, 4, 100, 8), execute(20, 4, 100, 3), cancel(21, 1, 100, 6)]
    end = [execute(22, 2, 100, 4), execute(23, 4, 100, 5), execute(24, 77, 100, 1)]
    bigger = Message(0, 10, "replace", 1, price=100, total=12)
    smaller = Message(0, 10, "replace", 1, price=100, total=5)
    run = exact(simulate, [*steps, *end], [*MINE, bigger])
    assert run.makers == [(1, 24, 1, 200)]
    run = exact(simulate, [*steps, *end], [*MINE, smaller])
    assert run.makers == [(1, 20, 3, 200), (1, 23, 2, 200)]


@case
def what_the_trader_hears_of_an_execution(simulate: Simulate) -> None:
    steps = [q(0), add(0, 1, 98, 6), q(2, bid=99, ask=101), execute(10, 1, 98, 2), q(12, bid=90)]
    rows, depth = split(steps, orders=True)
    simulated: Callable[..., Any] = simulate
    result = simulated(
        rows, [new(1, 1, 99, 4)], OrderRules(model="l3", end=50), [7, 5, 1],
        value=[10], depth=depth,
    )  # fmt: skip
    (fill,) = result.fills
    # M4 is 202, the mid before the execution 200: that of the last quote before it.
    assert (fill.ts, fill.lots, fill.rest, fill.spread) == (10, 2, 2 * -2 * 10, 2 * -2 * 10)
    assert [(r.ts, r.known) for r in result.reports if r.kind == "filled"] == [(10, 15)]
