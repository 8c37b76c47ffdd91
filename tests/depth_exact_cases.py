"""Cases of the queue model ``l3`` among single orders, worked by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.depth_order_cases import MINE, QUEUE, add, cancel, exact, execute, modify
from tests.depth_play import case, clear, play, split
from tests.order_cases import new, q, sold
from tests.order_markets import Simulate
from tests.order_records import Message, OrderRules


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
def whoever_is_restated_and_cancels_stood_behind(simulate: Simulate) -> None:
    start = [*QUEUE, add(5, 4, 100, 8), clear(6)]
    restated = [add(6, i, 100, lots, snapshot=True) for i, lots in ((1, 6), (2, 4), (4, 8))]
    whole = [*start, *restated[:2], replace(restated[2], last=True)]
    last = execute(20, 77, 100, 1)
    # 10 of the 18 are ahead. When 8 leave, 10 still are; of the 6 that are then there, 6.
    for gone in (cancel(10, 4, 100, 8), modify(10, 4, 99, 8)):
        end = [execute(11, 2, 100, 4), execute(12, 1, 100, 6)]
        assert exact(simulate, [*whole, gone, *end, last], MINE).makers == [(1, 20, 1, 200)]
        end = [cancel(11, 2, 100, 4), execute(12, 1, 100, 6)]
        assert exact(simulate, [*whole, gone, *end, last], MINE).makers == [(1, 20, 1, 200)]
        end = [cancel(11, 2, 100, 4), execute(12, 1, 100, 8)]
        assert exact(simulate, [*whole, gone, *end], MINE).makers == [(1, 12, 2, 200)]
    # One that moves by itself is known to be behind.
    moved = [*whole, modify(10, 1, 100, 7), execute(11, 1, 100, 2)]
    assert exact(simulate, moved, MINE).makers == [(1, 11, 2, 200)]
    # For an order that comes after the snapshot, those it names are ahead like any other.
    late = [*whole, cancel(10, 4, 100, 8), cancel(11, 2, 100, 1), execute(12, 2, 100, 3)]
    run = exact(simulate, [*late, execute(13, 1, 100, 8)], [new(7, 1, 100, 9)])
    assert run.makers == [(1, 13, 2, 200)]
    # While not all is restated, nobody knows the sum: who leaves lowers nothing.
    end = [add(11, 5, 100, 20, snapshot=True, last=True), execute(12, 5, 100, 12)]
    run = exact(simulate, [*start, *restated[:2], cancel(10, 2, 100, 4), *end], MINE)
    assert run.makers == [(1, 12, 2, 200)]


@case
def where_no_order_is_nobody_is_ahead_whatever_the_quote(simulate: Simulate) -> None:
    for quote in (q(3, bid=None), q(3, bid=103, ask=102)):
        for model in ("trades", "l3"):
            steps = [*QUEUE, quote, q(8, bid=101), sold(10, 98, 2), execute(10, 77, 98, 2)]
            run = play(simulate, steps, [new(5, 1, 98, 9)], orders=True, model=model)
            assert run.makers == [(1, 10, 2, 196)]


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
    simulated: Callable[..., Any] = simulate
    start = [q(0), add(0, 1, 98, 6), q(2, bid=99, ask=101)]
    for others in ([], [replace(q(9, bid=50), symbol=1)]):
        rows, depth = split([*start, *others, execute(10, 1, 98, 2), q(12, bid=90)], orders=True)
        responses = [7, 5, *(2 for _ in others), 1]
        result = simulated(
            rows, [new(1, 1, 99, 4)], OrderRules(model="l3", end=50), responses,
            value=[10, 10], depth=depth,
        )  # fmt: skip
        (fill,) = result.fills
        # M4 is 202; 200 is the mid of the symbol's last quote before the execution.
        assert (fill.ts, fill.lots, fill.rest, fill.spread) == (10, 2, 2 * -2 * 10, 2 * -2 * 10)
        assert [(r.ts, r.known) for r in result.reports if r.kind == "filled"] == [(10, 15)]
