"""Cases of the quoting desk worked by hand; each takes whatever turns answers into quotes."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from tests.order_cases import bought, q, sold
from tests.order_oracle import Result
from tests.order_records import Message, OrderRules, Row
from tests.quote_oracle import SILENT, Answer, DeskRules, Wanted

Quoting = Callable[..., Result]
"""What ``simulate_quotes`` of the oracle is, and what takes its place."""

QuoteCase = Callable[[Quoting], None]

QUOTE_CASES: dict[str, QuoteCase] = {}

BOTH: Wanted = (1, 5, 1, 5)
"""At the touch of a quote that is 2 ticks wide, 100 at 102, both prices are one tick inside it."""


def case(f: QuoteCase) -> QuoteCase:
    """Put a case on the list."""
    QUOTE_CASES[f.__name__] = f
    return f


def run(
    simulate: Quoting,
    rows: list[Row],
    wanted: dict[int, Wanted],
    *,
    latency: int = 0,
    cancel: int | None = None,
    replacing: int | None = None,
    response: int = 0,
    end: int = 1000,
    **desk: Any,
) -> Result:
    """Answers by number of their event, each ready one ns after it."""
    answers = [
        Answer(i, rows[i].ts, rows[i].ts, rows[i].ts, rows[i].ts + 1, w) for i, w in wanted.items()
    ]
    n = len(rows)
    return simulate(
        rows,
        answers,
        DeskRules(**desk),
        OrderRules(end=end),
        [response] * n,
        [latency] * n,
        [latency if cancel is None else cancel] * n,
        [latency if replacing is None else replacing] * n,
        [response] * n,
    )


def sent(result: Result) -> list[tuple[object, ...]]:
    """(sent, action, id, price, total) of every message."""
    return [(m.sent, m.action, m.id, m.price, m.total) for m in messages(result)]


def messages(result: Result) -> list[Message]:
    """What the desk sent."""
    return [message for _, message in result.messages]


@case
def prices_are_rounded_outward(simulate: Quoting) -> None:
    # M0 = 201: bid (201 - 2)/2 = 99.5, ask (201 + 2)/2 = 101.5
    result = run(simulate, [q(0, ask=101)], {0: (2, 5, 2, 7)}, post_only="slide")
    assert sent(result) == [(1, "new", 1, 99, 5), (1, "new", 2, 102, 7)]
    assert [(m.side, m.tif, m.post_only) for m in messages(result)] == [
        (1, "gtc", "slide"),
        (-1, "gtc", "slide"),
    ]
    result = run(simulate, [q(0)], {0: (2, 5, 2, 7)})  # M0 = 202, nothing to round
    assert [m.price for m in messages(result)] == [100, 102]


@case
def the_bid_stays_below_the_ask(simulate: Quoting) -> None:
    # M0 = 202: bid and ask at 101, s = 202: 100 and 102. Then bid 102, ask 101, s = 203: 101, 102.
    assert [m.price for m in messages(run(simulate, [q(0)], {0: (0, 5, 0, 5)}))] == [100, 102]
    assert [m.price for m in messages(run(simulate, [q(0)], {0: (-2, 5, 0, 5)}))] == [101, 102]
    # One side alone goes where it wants to.
    assert [m.price for m in messages(run(simulate, [q(0)], {0: (0, 5, 0, 0)}))] == [101]
    assert [m.price for m in messages(run(simulate, [q(0)], {0: (0, SILENT, 0, 5)}))] == [101]


@case
def nothing_is_sent_within_the_bands(simulate: Quoting) -> None:
    rows = [q(0), q(10), q(20), q(30), q(40)]
    wanted: dict[int, Wanted] = {
        0: (4, 5, SILENT, 0),  # 99
        1: (2, 7, 0, SILENT),  # 100, and 2 lots more
        2: (2, 8, 0, SILENT),  # 3 lots more: at its own price
        3: (0, 8, 0, SILENT),  # 101, two ticks
        4: (0, 6, 0, SILENT),
    }
    result = run(simulate, rows, wanted, requote_band=1, resize_band=2)
    assert sent(result) == [
        (1, "new", 1, 99, 5),
        (21, "replace", 1, 99, 8),
        (31, "replace", 1, 101, 8),
    ]


@case
def a_side_is_pulled_or_kept(simulate: Quoting) -> None:
    rows = [q(0), q(10), q(20), q(30)]
    kept: Wanted = (SILENT, 0, 1, SILENT)
    result = run(simulate, rows, {0: BOTH, 1: kept, 2: (1, 0, 1, 5), 3: (1, 0, 1, 5)})
    assert sent(result)[2:] == [(21, "cancel", 1, 0, 0)]


@case
def one_message_is_under_way(simulate: Quoting) -> None:
    # Sent at 1, known at 1 + 8 + 4 = 13; so that the answers at 6 and 12 send nothing.
    rows = [q(0), q(5), q(11), q(12)]
    moved: Wanted = (4, 5, 0, 0)
    wanted: dict[int, Wanted] = {0: (2, 5, 0, 0), 1: moved, 2: moved, 3: moved}
    result = run(simulate, rows, wanted, latency=8, response=4)
    assert sent(result) == [(1, "new", 1, 100, 5), (13, "replace", 1, 99, 5)]


@case
def messages_keep_their_distance(simulate: Quoting) -> None:
    rows = [q(0), q(5), q(10)]
    wanted: dict[int, Wanted] = {0: (2, 5, 0, 0), 1: (4, 5, 1, 1), 2: (4, 5, 1, 1)}
    result = run(simulate, rows, wanted, min_interval=10)
    assert sent(result) == [
        (1, "new", 1, 100, 5),
        (6, "new", 2, 102, 1),  # the other side has its own clock
        (11, "replace", 1, 99, 5),
    ]


@case
def inventory_counts_when_confirmed(simulate: Quoting) -> None:
    # 3 lots bought at 10 are known at 16. Skew 2/3 · 3 = 2 half ticks: one tick down.
    rows = [q(0, b=0), sold(10, 100, 3, b=0), q(14), q(15), q(30)]
    both: Wanted = (2, 5, 2, 5)
    wanted: dict[int, Wanted] = {0: both, 2: both, 3: both, 4: both}
    result = run(simulate, rows, wanted, response=6, skew=Fraction(2, 3), position_limit=4)
    assert sent(result) == [
        (1, "new", 1, 100, 4),
        (1, "new", 2, 102, 4),
        # 4 - 3 = 1 to buy, beside the 3 that the total counts; the desk sold none: 4 + 3, of 5
        (16, "replace", 1, 99, 4),
        (16, "replace", 2, 101, 5),
    ]


@case
def a_short_position_counts_too(simulate: Quoting) -> None:
    # 3 lots sold: 202 + 2 half ticks in the middle, room for 4 - 3 = 1 to sell, 7 to buy.
    rows = [q(0, a=0), bought(10, 102, 3, a=0), q(20)]
    both: Wanted = (2, 6, 2, 6)
    wanted: dict[int, Wanted] = {0: both, 2: both}
    result = run(simulate, rows, wanted, skew=Fraction(2, 3), position_limit=4)
    assert sent(result)[2:] == [(21, "replace", 1, 101, 6), (21, "replace", 2, 103, 4)]


@case
def a_filled_order_is_followed_by_a_new_one(simulate: Quoting) -> None:
    rows = [q(0, b=0), sold(10, 100, 3, b=0), q(20)]
    result = run(simulate, rows, {0: (2, 3, 0, 0), 1: (2, 3, 0, 0), 2: (2, 3, 0, 0)})
    assert sent(result) == [(1, "new", 1, 100, 3), (11, "new", 2, 100, 3)]


@case
def a_rejected_replace_leaves_what_works(simulate: Quoting) -> None:
    rows = [q(0), q(10, ask=101), q(20, ask=101)]
    wanted: dict[int, Wanted] = {0: (2, 3, 0, 0), 1: (-1, 3, 0, 0), 2: (1, 3, 0, 0)}
    result = run(simulate, rows, wanted, post_only="reject")
    assert sent(result) == [(1, "new", 1, 100, 3), (11, "replace", 1, 101, 3)]
    assert [r.kind for r in result.reports][:2] == ["accepted", "rejected"]


@case
def a_late_cancel_is_the_end_of_it(simulate: Quoting) -> None:
    # Filled at 15, while the cancel is on its way until 16; both are known then.
    rows = [q(0, b=0), q(10, b=0), sold(15, 100, 3), q(19)]
    wanted: dict[int, Wanted] = {0: (2, 3, 0, 0), 1: (2, 0, 0, 0), 3: (2, 4, 0, 0)}
    result = run(simulate, rows, wanted, cancel=5)
    assert [(r.ts, r.kind) for r in result.reports][:3] == [
        (1, "accepted"),
        (15, "filled"),
        (16, "late"),
    ]
    assert sent(result)[2:] == [(20, "new", 2, 100, 4)]


@case
def messages_have_their_own_latencies(simulate: Quoting) -> None:
    rows = [q(0), q(100), q(200)]
    wanted: dict[int, Wanted] = {0: (2, 5, 0, 0), 1: (4, 5, 0, 0), 2: (4, 0, 0, 0)}
    result = run(simulate, rows, wanted, latency=7, replacing=8, cancel=9)
    assert [arrival for arrival, _ in result.messages] == [8, 109, 210]


@case
def of_one_instant_the_newest_answer_counts(simulate: Quoting) -> None:
    rows = [q(0), q(3), q(10)]
    answers = [
        Answer(0, 0, 0, 1, 7, (2, 5, 0, 0)),
        Answer(1, 3, 4, 5, 7, (4, 5, 0, 0)),
        Answer(2, 10, 10, 10, 21, (0, 5, 0, 0)),  # ready after the end
    ]
    none = [0] * 3
    rules = OrderRules(end=20)
    result = simulate(rows, answers, DeskRules(), rules, none, none, none, none, none)
    assert sent(result) == [(7, "new", 1, 99, 5)]
    assert messages(result)[0].instants == (3, 4, 5, 7)


@case
def before_a_quote_there_is_no_opinion(simulate: Quoting) -> None:
    rows = [q(0, ask=None), q(1)]
    answers = [Answer(0, 0, 0, 0, 5, BOTH)]
    none = [0] * 2
    result = simulate(rows, answers, DeskRules(), OrderRules(end=20), none, none, none, none, none)
    assert sent(result) == []
