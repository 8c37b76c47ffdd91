"""Cases of resting orders worked by hand; each takes whatever replays a list of messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

from tests.order_markets import Fees, Simulate
from tests.order_oracle import Result
from tests.order_records import Action, Kind, Message, OrderRules, Row

Case = Callable[[Simulate], None]

CASES: dict[str, Case] = {}
"""Every case by name; all hold for the mirrored market too."""

A_SIDE_AT_A_TIME: set[str] = set()
"""Cases whose order of events names buys before sells, which mirroring turns round."""


def case(f: Case) -> Case:
    """Put a case on the list."""
    CASES[f.__name__] = f
    return f


def q(ts: int, bid: int | None = 100, ask: int | None = 102, b: int = 10, a: int = 10) -> Row:
    """A quote."""
    return Row(0, ts, bid, ask, b, a)


def sold(ts: int, price: int, lots: int, **quote: Any) -> Row:
    """A print that a seller started, and the quote after it."""
    return replace(q(ts, **quote), trade_price=price, trade_size=lots, aggressor=-1)


def bought(ts: int, price: int, lots: int, **quote: Any) -> Row:
    """A print that a buyer started, and the quote after it."""
    return replace(sold(ts, price, lots, **quote), aggressor=1)


def new(sent: int, id: int, price: int, total: int, side: int = 1, **more: Any) -> Message:
    """A new order, a buy unless told otherwise."""
    return Message(0, sent, "new", id, side, price, total, **more)


def message(sent: int, action: Action, id: int = 0, **more: Any) -> Message:
    """A cancel or a replacement."""
    return Message(0, sent, action, id, **more)


class Run:
    """A replay, looked at in short tuples."""

    def __init__(
        self, simulate: Simulate, rows: list[Row], messages: list[Message], **rules: Any
    ) -> None:
        made = OrderRules(**{"end": 1000, **rules})
        self.result: Result = simulate(rows, messages, made, [0] * len(rows))
        self.reports = [(r.ts, r.id, r.kind) for r in self.result.reports]
        self.makers = [
            (f.id, f.ts, f.lots, f.price_half_ticks) for f in self.result.fills if f.maker
        ]
        self.takers = [
            (f.id, f.ts, f.lots, f.price_half_ticks) for f in self.result.fills if not f.maker
        ]

    def kinds(self, id: int) -> list[Kind]:
        """What was reported on an order, the end of the window left out."""
        return [r.kind for r in self.result.reports if r.id == id and r.ts < 1000]


# The golden cases


@case
def a_queue_of_a_hundred(simulate: Simulate) -> None:
    # ahead 100; 80 leave 20; 30 leave 0 and fill 10; 50 fill the 40 that are left
    rows = [q(0, b=100), sold(10, 100, 80, b=20), sold(20, 100, 30, b=9), sold(30, 100, 50, b=9)]
    run = Run(simulate, rows, [new(1, 1, 100, 50)])
    assert run.makers == [(1, 20, 10, 200), (1, 30, 40, 200)]
    assert run.kinds(1) == ["accepted", "filled", "filled"]


@case
def print_and_quote_of_one_execution_in_either_order(simulate: Simulate) -> None:
    end = [sold(20, 100, 6, b=4)]
    print_first = [q(0), sold(10, 100, 6), q(10, b=4), *end]
    together = [q(0), sold(10, 100, 6, b=4), *end]
    quote_first = [q(0), q(10, b=4), sold(10, 100, 6, b=4), *end]
    for rows in (print_first, together, quote_first):
        # ahead 10 - 6 = 4, so that 6 more fill 2
        assert Run(simulate, rows, [new(1, 1, 100, 9)]).makers == [(1, 20, 2, 200)]
    later = [q(0), q(10, b=4), sold(13, 100, 6, b=4), *end]
    paired = Run(simulate, later, [new(1, 1, 100, 9)], pairing=3)
    assert paired.makers == [(1, 20, 2, 200)]
    # Too late for the pairing: the fall capped 4, the print is another one.
    apart = Run(simulate, later, [new(1, 1, 100, 9)], pairing=2)
    assert apart.makers == [(1, 13, 2, 200), (1, 20, 6, 200)]


@case
def what_is_paid_is_paid_once(simulate: Simulate) -> None:
    # The quote's fall from 10 to 4 explains 4 and 2 of the prints; the other 4 are the rest ahead.
    quote = q(10, b=4)
    rows = [q(0), quote, sold(10, 100, 4, b=4), sold(10, 100, 6, b=4), sold(20, 100, 2)]
    assert Run(simulate, rows, [new(1, 1, 100, 9)]).makers == [(1, 20, 2, 200)]


@case
def a_fall_that_a_later_print_explains_is_not_explained_twice(simulate: Simulate) -> None:
    # power:1. ahead 10 of 20. Quote 14: c = 6, credit 6·10/20 = 3. The print of 6 finds 3 paid,
    # takes 3 more: ahead 4. Quote 7: c = 7, credit 7·4/14 = 2: ahead 2, so that 5 fill 3.
    end = [q(20, b=7), sold(30, 100, 5, b=2)]
    quote_first = [q(0), q(5, b=20), q(10, b=14), sold(10, 100, 6, b=14), *end]
    print_first = [q(0), q(5, b=20), sold(10, 100, 6, b=20), q(10, b=14), *end]
    for rows in (quote_first, print_first):
        run = Run(simulate, rows, [new(1, 1, 100, 9)], model="power:1")
        assert run.makers == [(1, 30, 3, 200)]


@case
def a_partial_fill_crosses_a_replace(simulate: Simulate) -> None:
    # 3 are filled at 20, while a replacement sent at 15 is on its way until 25.
    rows = [q(0, b=2), sold(20, 100, 5, b=2), sold(30, 100, 9, b=2)]
    order = new(1, 1, 100, 8)
    for total, more in ((8, 5), (5, 2), (3, 0), (2, 0)):
        change = message(15, "replace", 1, price=100, total=total, latency=10)
        run = Run(simulate, rows, [order, change])
        assert run.makers == [(1, 20, 3, 200), (1, 30, more, 200)][: 1 + (more > 0)]
        assert run.kinds(1)[2] == ("replaced" if more else "cancelled")


@case
def a_cancel_and_a_print_at_one_instant(simulate: Simulate) -> None:
    rows = [q(0, b=0), sold(10, 100, 5)]
    run = Run(simulate, rows, [new(1, 1, 100, 5), message(9, "cancel", 1, latency=1)])
    assert run.makers == [(1, 10, 5, 200)]
    assert run.kinds(1) == ["accepted", "filled", "late"]


@case
def a_jump_through_two_levels_has_one_budget(simulate: Simulate) -> None:
    rows = [q(0), sold(10, 97, 6, bid=97)]
    run = Run(simulate, rows, [new(1, 1, 98, 4), new(1, 2, 99, 4), new(1, 3, 98, 4)])
    assert run.makers == [(2, 10, 4, 198), (1, 10, 2, 196)]
    full = Run(simulate, rows, [new(1, 1, 98, 4), new(1, 2, 99, 4)], through_fill="full")
    assert full.makers == [(2, 10, 4, 198), (1, 10, 4, 196)]


@case
def a_budget_reaches_the_price_of_the_print_last(simulate: Simulate) -> None:
    # 7 lots: 4 through, and of those at 99 (nobody ahead) the 3 that are left.
    rows = [q(0, bid=98), sold(10, 99, 7, bid=98)]
    run = Run(simulate, rows, [new(1, 1, 99, 9), new(1, 2, 100, 4)])
    assert run.makers == [(2, 10, 4, 200), (1, 10, 3, 198)]
    # Filled in full through, without touching the budget.
    full = Run(simulate, rows, [new(1, 1, 99, 9), new(1, 2, 100, 9)], through_fill="full")
    assert full.makers == [(2, 10, 9, 200), (1, 10, 7, 198)]


# What users of other engines reported


@case
def the_rest_of_a_taker_rests_unfilled(simulate: Simulate) -> None:
    rows = [q(0, ask=101, a=3), q(10, ask=101, a=3), q(20, ask=101, a=5)]
    run = Run(simulate, rows, [new(1, 1, 101, 6)])
    assert run.takers == [(1, 1, 3, 202)]
    assert run.makers == [(1, 20, 2, 202)]  # only what is displayed in addition


@case
def fills_are_at_the_own_price(simulate: Simulate) -> None:
    rows = [q(0), sold(10, 97, 2), q(20, bid=96, ask=98, a=3)]
    run = Run(simulate, rows, [new(1, 1, 100, 9)])
    assert run.makers == [(1, 10, 2, 200), (1, 20, 3, 200)]


@case
def own_orders_never_share_a_lot(simulate: Simulate) -> None:
    orders = [new(1, 1, 100, 4), new(2, 2, 100, 4), new(3, 3, 100, 4)]
    rows = [q(0, b=0), sold(10, 100, 7)]
    assert Run(simulate, rows, orders).makers == [(1, 10, 4, 200), (2, 10, 3, 200)]
    # An order that was replaced by a bigger one is the last of them.
    bigger = message(4, "replace", 1, price=100, total=5)
    run = Run(simulate, rows, [*orders[:2], bigger])
    assert run.makers == [(2, 10, 4, 200), (1, 10, 3, 200)]


@case
def the_budget_is_the_whole_print(simulate: Simulate) -> None:
    # 5 of the 7 pass the 2 ahead of either order; what both get is bounded by the 7.
    rows = [q(0, b=2), sold(10, 100, 7)]
    run = Run(simulate, rows, [new(1, 1, 100, 4), new(2, 2, 100, 4)])
    assert run.makers == [(1, 10, 4, 200), (2, 10, 3, 200)]


@case
def displayed_size_is_used_once(simulate: Simulate) -> None:
    rows = [
        q(0),
        q(10, bid=99, ask=100, a=3),
        q(20, bid=99, ask=100, a=3),
        q(30, bid=99, ask=100, a=4),
        q(40, bid=99, ask=101, a=9),
        q(50, bid=99, ask=100, a=2),
    ]
    run = Run(simulate, rows, [new(1, 1, 100, 9)])
    assert run.makers == [(1, 10, 3, 200), (1, 30, 1, 200), (1, 50, 2, 200)]
    assert Run(simulate, rows, [new(1, 1, 100, 9)], cross="none").makers == []
    full = Run(simulate, rows, [new(1, 1, 100, 9)], cross="full")
    assert full.makers == [(1, 10, 9, 200)]


@case
def orders_share_an_increase_by_price(simulate: Simulate) -> None:
    # At 10 the ask of 4 is news to the better order alone: 101 already was at its price.
    rows = [q(0, bid=98), q(10, bid=98, ask=100, a=4), q(20, bid=98, ask=99, a=6)]
    run = Run(simulate, rows, [new(1, 1, 99, 9), new(1, 2, 100, 3), new(1, 3, 100, 9)])
    # at 20 the increase is 6 - 4 = 2 for those at 100, and 6 for the one at 99, less the 2
    assert run.makers == [(2, 10, 3, 200), (3, 10, 1, 200), (3, 20, 2, 200), (1, 20, 4, 198)]


@case
def lots_printed_at_the_instant_are_no_increase(simulate: Simulate) -> None:
    order = [new(1, 1, 100, 9)]
    rows = [q(0), sold(10, 99, 3, bid=98, ask=100, a=5)]
    assert Run(simulate, rows, order).makers == [(1, 10, 3, 200), (1, 10, 2, 200)]
    rows = [q(0), sold(10, 99, 3), q(10, bid=98, ask=100, a=5)]
    assert Run(simulate, rows, order).makers == [(1, 10, 3, 200), (1, 10, 2, 200)]
    rows = [q(0), sold(10, 99, 3), q(11, bid=98, ask=100, a=5)]
    assert Run(simulate, rows, order).makers == [(1, 10, 3, 200), (1, 11, 5, 200)]
    rows = [q(0), bought(10, 102, 3), q(10, bid=98, ask=100, a=5)]
    assert Run(simulate, rows, order).makers == [(1, 10, 5, 200)]


@case
def partial_fills_are_heard_one_response_later(simulate: Simulate) -> None:
    rows = [q(0, b=0), sold(10, 100, 2), sold(12, 100, 3)]
    orders = [new(1, 1, 100, 9, response=2)]
    reports = simulate(rows, orders, OrderRules(end=20), [0, 5, 1]).reports
    heard = [(r.kind, r.ts, r.known, r.lots, r.price, r.maker) for r in reports]
    assert heard == [
        ("accepted", 1, 3, 9, 100, False),
        ("filled", 10, 15, 2, 100, True),
        ("filled", 12, 15, 3, 100, True),  # not before the first
        ("expired", 20, 20, 4, 100, False),
    ]


@case
def nobody_is_behind_more_than_is_displayed(simulate: Simulate) -> None:
    rows = [q(0), q(10, b=3), sold(20, 100, 5, b=3)]
    for model in ("trades", "power:1", "power:4"):
        assert Run(simulate, rows, [new(1, 1, 100, 9)], model=model).makers == [(1, 20, 2, 200)]


@case
def a_withdrawn_quote_resets_no_place(simulate: Simulate) -> None:
    # ahead 10 - 8 = 2, whatever happens to the quote
    for gone in (q(20, bid=None, b=0), q(20, bid=None, ask=None), q(20, bid=104, ask=103)):
        rows = [q(0), sold(10, 100, 8, b=8), gone, q(30), sold(40, 100, 5)]
        assert Run(simulate, rows, [new(1, 1, 100, 9)]).makers == [(1, 40, 3, 200)]
    # It comes back smaller, which caps.
    rows = [q(0), q(20, bid=None, b=0), q(30, b=4), sold(40, 100, 5)]
    assert Run(simulate, rows, [new(1, 1, 100, 9)]).makers == [(1, 40, 1, 200)]


@case
def a_channel_is_first_in_first_out(simulate: Simulate) -> None:
    rows = [q(0, b=0), sold(8, 100, 5)]
    run = Run(simulate, rows, [new(1, 1, 100, 3, latency=9), message(2, "cancel", 1)])
    assert run.reports == [(10, 1, "accepted"), (10, 1, "cancelled")]


# Arrival of new orders


@case
def new_orders_are_rejected(simulate: Simulate) -> None:
    rows = [q(5, ask=None), q(10), q(20)]
    sessions = ((0, 15), (17, 1000))
    messages = [
        new(9, 1, 100, 1, latency=3),  # no two-sided quote when it was sent
        new(10, 2, 100, 1),
        new(11, 2, 99, 1),  # its id is open
        new(14, 3, 100, 1, latency=1),  # the session has closed
        new(17, 2, 99, 1),  # the first of this id has expired
    ]
    run = Run(simulate, rows, messages, sessions=sessions)
    assert run.reports[:6] == [
        (12, 1, "rejected"),
        (12, 2, "accepted"),
        (12, 2, "rejected"),
        (15, 2, "expired"),
        (15, 3, "rejected"),
        (17, 2, "accepted"),
    ]


@case
def post_only(simulate: Simulate) -> None:
    rows = [q(0, b=0), sold(10, 100, 9), sold(20, 99, 9)]
    run = Run(simulate, rows, [new(1, 1, 102, 3, post_only="reject")])
    assert run.kinds(1) == ["rejected"]
    run = Run(simulate, rows, [new(1, 1, 101, 3, post_only="reject")])
    assert run.makers == [(1, 10, 3, 202)]
    run = Run(simulate, rows, [new(1, 1, 105, 3, post_only="slide")])
    assert [(r.kind, r.price) for r in run.result.reports][:1] == [("accepted", 101)]
    assert run.makers == [(1, 10, 3, 202)]
    # The other side's size is nothing to it: taken or 0, the price counts.
    empty = [q(0, a=0), sold(10, 100, 9)]
    run = Run(simulate, empty, [new(1, 1, 102, 3, post_only="reject")])
    assert run.kinds(1) == ["rejected"]


@case
def a_crossed_quote_is_no_quote(simulate: Simulate) -> None:
    rows = [q(0), q(10, bid=103, ask=102), q(20, bid=100, b=2), sold(30, 100, 3)]
    run = Run(simulate, rows, [new(11, 1, 103, 1, tif="ioc"), new(11, 2, 100, 1)])
    assert run.kinds(1) == ["accepted", "cancelled"]
    assert run.makers == [(2, 30, 1, 200)]  # behind the 2 that came back


@case
def immediate_or_cancel(simulate: Simulate) -> None:
    run = Run(simulate, [q(0, a=3)], [new(1, 1, 103, 5, tif="ioc"), new(2, 2, 101, 5, tif="ioc")])
    assert run.takers == [(1, 1, 3, 204)]
    assert run.kinds(1) == ["accepted", "filled", "cancelled"]
    assert run.kinds(2) == ["accepted", "cancelled"]


@case
def fill_or_kill(simulate: Simulate) -> None:
    messages = [
        new(1, 1, 102, 4, tif="fok"),  # 3 are displayed
        new(2, 2, 102, 2, tif="fok"),
        new(3, 3, 102, 2, tif="fok"),  # 1 is left
        new(4, 4, 101, 1, tif="fok"),  # not marketable
        new(5, 5, 102, 1, tif="fok"),
    ]
    run = Run(simulate, [q(0, a=3)], messages)
    assert run.takers == [(2, 2, 2, 204), (5, 5, 1, 204)]
    assert run.kinds(1) == run.kinds(3) == run.kinds(4) == ["accepted", "cancelled"]


@case
def a_killed_order_cancels_nothing(simulate: Simulate) -> None:
    messages = [new(1, 1, 101, 2, side=-1), new(2, 2, 102, 99, tif="fok")]
    assert Run(simulate, [q(0)], messages).kinds(1) == ["accepted"]


@case
def self_trade(simulate: Simulate) -> None:
    asks = [new(1, 1, 103, 2, side=-1), new(1, 2, 101, 2, side=-1), new(1, 3, 101, 2, side=-1)]
    run = Run(simulate, [q(0)], [*asks, new(2, 4, 102, 1), new(3, 5, 104, 20)])
    assert run.reports[3:10] == [
        (2, 2, "cancelled"),
        (2, 3, "cancelled"),
        (2, 4, "accepted"),
        (2, 4, "filled"),
        (3, 1, "cancelled"),
        (3, 5, "accepted"),
        (3, 5, "filled"),
    ]
    run = Run(simulate, [q(0)], [*asks, new(2, 4, 102, 1), new(3, 5, 100, 20)], stp="reject")
    assert run.reports[3:5] == [(2, 4, "rejected"), (3, 5, "accepted")]


@case
def own_takers_deplete_a_side(simulate: Simulate) -> None:
    rows = [q(0, a=3), q(10, bid=99, a=3), q(20, a=4), q(30, ask=None), q(40, a=4)]
    messages = [new(t, t, 102, 9, tif="ioc") for t in (1, 11, 21, 31, 41)]
    run = Run(simulate, rows, messages)
    assert run.takers == [(1, 1, 3, 204), (21, 21, 4, 204), (41, 41, 4, 204)]


@case
def lots_that_a_cross_took_are_gone_for_takers(simulate: Simulate) -> None:
    rows = [q(0), q(10, bid=99, ask=100, a=5)]
    run = Run(simulate, rows, [new(1, 1, 100, 3), new(11, 2, 100, 9, tif="ioc")])
    assert run.makers == [(1, 10, 3, 200)]
    assert run.takers == [(2, 11, 2, 200)]


# Cancel and replace


@case
def late_messages(simulate: Simulate) -> None:
    messages = [
        message(1, "cancel", 7),
        message(2, "replace", 7, price=100, total=1),
        new(3, 1, 100, 1),
        message(4, "cancel", 1),
        message(5, "cancel", 1),
        message(6, "cancel_all"),
    ]
    run = Run(simulate, [q(0)], messages)
    assert run.reports == [
        (1, 7, "late"),
        (2, 7, "late"),
        (3, 1, "accepted"),
        (4, 1, "cancelled"),
        (5, 1, "late"),
    ]


@case
def cancel_all(simulate: Simulate) -> None:
    orders = [
        new(1, 1, 99, 1),
        new(1, 2, 103, 1, side=-1),
        new(1, 3, 100, 1),
        new(1, 4, 102, 1, side=-1),
        new(1, 5, 99, 1),
    ]

    def cancelled(side: int) -> list[int]:
        run = Run(simulate, [q(0)], [*orders, message(2, "cancel_all", side=side)])
        return [r.id for r in run.result.reports if r.kind == "cancelled"]

    assert cancelled(0) == [3, 1, 5, 4, 2]
    assert cancelled(1) == [3, 1, 5]
    assert cancelled(-1) == [4, 2]


A_SIDE_AT_A_TIME.add("cancel_all")


@case
def a_replace_keeps_or_loses_its_place(simulate: Simulate) -> None:
    # ahead 4 of 10 when the replacement comes; a place at the end is behind all 10
    rows = [q(0), sold(5, 100, 6), sold(20, 100, 8, b=10)]
    for price, total, filled in ((100, 3, 3), (100, 9, 4), (100, 10, 0)):
        change = message(10, "replace", 1, price=price, total=total)
        run = Run(simulate, rows, [new(1, 1, 100, 9), change])
        assert sum(lots for _, _, lots, _ in run.makers) == filled
        assert run.kinds(1)[1] == "replaced"
    away = message(10, "replace", 1, price=101, total=9)
    back = message(11, "replace", 1, price=100, total=9)
    assert Run(simulate, rows, [new(1, 1, 100, 9), away, back]).makers == []
    assert Run(simulate, rows, [new(1, 1, 100, 9), away]).makers == [(1, 20, 8, 202)]


@case
def a_rejected_replace_leaves_the_order(simulate: Simulate) -> None:
    rows = [q(0), sold(20, 100, 12)]
    change = message(10, "replace", 1, price=102, total=9)
    run = Run(simulate, rows, [new(1, 1, 100, 3, post_only="reject"), change])
    assert run.kinds(1) == ["accepted", "rejected", "filled"]
    assert run.makers == [(1, 20, 2, 200)]
    other = new(2, 2, 101, 1, side=-1)
    run = Run(simulate, rows, [new(1, 1, 100, 3), other, change], stp="reject")
    assert run.kinds(1) == ["accepted", "rejected", "filled"]
    run = Run(simulate, rows, [new(1, 1, 100, 3, post_only="slide"), change])
    assert [(r.kind, r.price, r.lots) for r in run.result.reports][1] == ("replaced", 101, 9)


@case
def a_replace_takes_and_rests(simulate: Simulate) -> None:
    rows = [q(0, b=0, a=3), sold(5, 100, 2, b=0, a=3), q(20, ask=103), sold(30, 102, 5)]
    change = message(10, "replace", 1, price=102, total=9, instants=(4, 5, 6, 10), latency=1)
    run = Run(simulate, rows, [new(1, 1, 100, 4), change])
    assert run.makers == [(1, 5, 2, 200), (1, 30, 4, 204)]
    assert run.takers == [(1, 11, 3, 204)]
    instants = [(f.t0, f.t1, f.t2, f.t3, f.t4) for f in run.result.fills]
    assert instants == [(1, 1, 1, 1, 1), (4, 5, 6, 10, 11), (4, 5, 6, 10, 11)]
    assert run.kinds(1) == ["accepted", "filled", "replaced", "filled", "filled"]
    some = Run(simulate, rows, [new(1, 1, 100, 4), replace(change, total=4)])
    assert some.takers == [(1, 11, 2, 204)]  # 2 of the 4 were filled, 3 are displayed
    kept = replace(change, price=100, total=3)  # the place stays, and so do its instants
    run = Run(simulate, [*rows, sold(40, 100, 9)], [new(1, 1, 100, 4), kept])
    assert {f.t0 for f in run.result.fills} == {1}


# Places in the queue


@case
def above_the_touch_nobody_is_ahead(simulate: Simulate) -> None:
    rows = [q(0), sold(10, 101, 2), q(20, bid=101, b=7), sold(30, 101, 2, bid=101, b=7)]
    run = Run(simulate, rows, [new(1, 1, 101, 9)])
    assert run.makers == [(1, 10, 2, 202), (1, 30, 2, 202)]


@case
def below_the_touch_the_place_is_unknown(simulate: Simulate) -> None:
    order = [new(1, 1, 99, 9)]
    rows = [q(0), sold(10, 99, 50), q(20, bid=99, b=4), sold(30, 99, 5)]
    assert Run(simulate, rows, order).makers == [(1, 30, 1, 198)]
    # Traded through, it fills all the same.
    rows = [q(0), sold(10, 98, 2), q(20, bid=99, b=4)]
    assert Run(simulate, rows, order).makers == [(1, 10, 2, 198)]
    # The touch jumps below: nobody is ahead, but a print of that instant may be of those who were.
    rows = [q(0), q(20, bid=98), sold(20, 99, 5, bid=98), sold(21, 99, 3, bid=98)]
    assert Run(simulate, rows, order).makers == [(1, 21, 3, 198)]
    assert Run(simulate, rows, order, pairing=1).makers == []


@case
def without_a_touch_the_place_is_unknown(simulate: Simulate) -> None:
    rows = [q(0), q(2, bid=None), sold(10, 100, 50, bid=None), q(20, b=4), sold(30, 100, 5)]
    assert Run(simulate, rows, [new(3, 1, 100, 9)]).makers == [(1, 30, 1, 200)]


@case
def a_touch_that_leaves_upward_and_returns(simulate: Simulate) -> None:
    rows = [q(0), q(10, bid=101, b=1), q(20, b=30), sold(30, 100, 12)]
    assert Run(simulate, rows, [new(1, 1, 100, 9)]).makers == [(1, 30, 2, 200)]
    rows[2] = q(20, b=5)
    assert Run(simulate, rows, [new(1, 1, 100, 9)]).makers == [(1, 30, 7, 200)]


@case
def a_touch_that_jumps_below(simulate: Simulate) -> None:
    rows = [q(0), q(10, bid=99), sold(10, 100, 12, bid=99), sold(20, 100, 3, bid=99)]
    assert Run(simulate, rows, [new(1, 1, 100, 9)]).makers == [(1, 10, 2, 200), (1, 20, 3, 200)]


@case
def the_bounds(simulate: Simulate) -> None:
    rows = [q(0), sold(10, 100, 3), sold(20, 99, 2), q(30, bid=98, ask=100, a=1)]
    order = [new(1, 1, 100, 9)]
    through = Run(simulate, rows, order, model="through")
    assert through.makers == [(1, 20, 2, 200), (1, 30, 1, 200)]
    optimistic = Run(simulate, rows, order, model="optimistic")
    assert optimistic.makers == [(1, 10, 3, 200), (1, 20, 2, 200), (1, 30, 1, 200)]
    alone = [q(0), sold(10, 101, 3)]
    assert Run(simulate, alone, [new(1, 1, 101, 9)], model="through").makers == []
    below = [q(0), sold(10, 99, 3)]
    assert Run(simulate, below, [new(1, 1, 99, 9)], model="optimistic").makers == [(1, 10, 3, 198)]


@case
def the_power_models(simulate: Simulate) -> None:
    # ahead 20 of 30, 15 leave unexplained: 15·20ⁿ/(20ⁿ+10ⁿ) = 10, 12, 13.33…, 14.12…
    rows = [q(0, b=20), q(10, b=30), q(20, b=15), sold(30, 100, 20)]
    for n, filled in ((1, 10), (2, 12), (3, 13), (4, 14)):
        run = Run(simulate, rows, [new(1, 1, 100, 30)], model=f"power:{n}")
        assert run.makers == [(1, 30, filled, 200)]
    # ahead 20 of 30; 9 of the 15 that leave were printed: ahead 11, credit 6·11/30 = 2.2
    rows = [q(0, b=20), q(10, b=30), sold(20, 100, 9, b=30), q(21, b=15), sold(30, 100, 20)]
    run = Run(simulate, rows, [new(1, 1, 100, 30)], model="power:1")
    assert run.makers == [(1, 30, 11, 200)]


# Prints


@case
def who_started_a_print(simulate: Simulate) -> None:
    def filled(*rows: Row, **rules: Any) -> int:
        silent = [replace(row, aggressor=None) for row in rows]
        run = Run(simulate, [q(0, b=0), *silent], [new(1, 1, 101, 99)], **rules)
        return sum(lots for _, _, lots, _ in run.makers)

    assert filled(sold(10, 100, 3)) == 3
    assert filled(sold(10, 101, 3)) == 0  # strictly inside
    assert filled(sold(10, 101, 3), inside="both") == 3
    assert filled(sold(10, 102, 3)) == 0
    # The quote before the row counts, not the one that it brings.
    assert filled(sold(10, 101, 3, bid=101)) == 0
    assert filled(q(5, bid=101, b=0), sold(10, 101, 3)) == 3
    assert filled(q(5, bid=None), sold(10, 100, 3)) == 0
    # A locked quote: both or nobody.
    locked = q(5, bid=101, ask=101, b=0, a=0)
    assert filled(locked, sold(10, 101, 3)) == 0
    assert filled(locked, sold(10, 101, 3), inside="both") == 3
    assert filled(sold(10, 100, 0)) == 0


@case
def no_row_of_the_arrival_fills(simulate: Simulate) -> None:
    rows = [q(0, b=0), sold(10, 100, 5, b=0), sold(10, 99, 5, b=0), sold(11, 100, 2, b=0)]
    run = Run(simulate, rows, [new(7, 1, 100, 9, latency=3)])
    assert run.makers == [(1, 11, 2, 200)]


# Time


@case
def orders_expire(simulate: Simulate) -> None:
    rows = [q(0, b=0), sold(10, 100, 2, b=0), sold(20, 100, 2, b=0)]
    sessions = ((0, 10), (10, 30))
    messages = [new(1, 1, 100, 9), new(12, 2, 100, 9), new(19, 3, 100, 9, latency=2)]
    run = Run(simulate, rows, messages, sessions=sessions, end=20)
    assert run.makers == [(2, 20, 2, 200)]
    assert run.reports == [
        (1, 1, "accepted"),
        (10, 1, "expired"),
        (12, 2, "accepted"),
        (20, 2, "filled"),
        (20, 2, "expired"),
    ]


@case
def the_last_instant_counts(simulate: Simulate) -> None:
    run = Run(simulate, [q(0), sold(21, 99, 9)], [new(20, 1, 102, 12)], end=20)
    assert run.takers == [(1, 20, 10, 204)]
    assert run.reports == [(20, 1, "accepted"), (20, 1, "filled"), (20, 1, "expired")]


# Money


@case
def where_the_money_went(simulate: Simulate) -> None:
    rows = [
        q(0, b=0),  # mid 202
        q(5, bid=98, ask=100),  # 198
        q(6, bid=99, ask=104, b=0),  # 203
        q(8, bid=99, ask=102, b=0),  # 201
        q(20, bid=99, ask=101, b=0),  # 200
        sold(30, 99, 4, bid=96, ask=98),  # 194
        q(40, bid=97, ask=98),  # 195
    ]
    order = new(7, 1, 99, 4, latency=1, instants=(0, 5, 6, 7))
    taker = new(41, 2, 98, 1, tif="ioc")
    result = simulate(
        rows,
        [order, taker],
        OrderRules(end=50),
        [0] * len(rows),
        impact=Fraction(1),
        value=[10],
        maker_fee=Fees(Fraction(-1, 1000), 0, (10,)),
        taker_fee=Fees(Fraction(1, 1000), 1, (10,)),
    )
    maker, took = result.fills
    terms = ("decision", "feed", "queueing", "service", "entry", "rest", "spread", "impact", "fees")
    # 4 lots at 198: M0 to M4 are 202, 198, 203, 203, 201; before the print 200; at the end 195.
    assert [getattr(maker, name) for name in terms] == [
        -280, -160, 200, 0, -80, -40, -80, 0, -7,
    ]  # fmt: skip
    # A rebate of 0.1 % of 4·198·10 = 7.92 is rounded against us, to 7.
    assert maker.cash == -4 * 198 * 10 + 7
    # 1 lot at 98, spread 2, a tenth of the size: impact 2·1/10, rounded up to 1. Fee 1.97 + 1 → 3.
    assert (took.price_half_ticks, took.impact, took.fees, took.rest, took.spread) == (
        (197, 10, 3, 0, 10)
    )
    # 5 lots close at 97, that is 194; 0.1 % of 5·194·10 is 9.7, with 5 for the lots 14.7.
    (close,) = result.closes
    assert (close.lots, close.price_half_ticks, close.fees, close.spread) == (-5, 194, 15, 50)
    assert result.total["net"] == maker.cash + took.cash + 5 * 194 * 10 - 15
    assert result.total["net"] == result.total["decision"] - sum(result.total[n] for n in terms[1:])
