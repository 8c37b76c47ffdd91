"""Cases of orders that rest among levels (L2), worked by hand."""

from __future__ import annotations

from dataclasses import replace

from tests.depth_play import case, clear, level, play
from tests.order_cases import bought, new, q, sold
from tests.order_markets import Simulate
from tests.order_records import Row

SEEN = [q(0), level(0, 99, 7)]
"""10 lots bid at 100, 7 at 99; nobody says what is elsewhere."""

ALL = [q(0), level(0, 99, 7, snapshot=True, last=True)]
"""The same, and that is all."""


# Joining


@case
def behind_the_touch_those_displayed_are_ahead(simulate: Simulate) -> None:
    run = play(simulate, [*SEEN, sold(10, 99, 9)], [new(1, 1, 99, 9)])
    assert run.makers == [(1, 10, 2, 198)]
    # At the touch, it is what the last of both tables says.
    steps = [*SEEN, level(5, 100, 4), sold(10, 100, 5)]
    assert play(simulate, steps, [new(1, 1, 100, 9)]).makers == [(1, 10, 1, 200)]
    assert play(simulate, steps, [new(6, 1, 100, 9)]).makers == [(1, 10, 1, 200)]


@case
def where_no_level_is_nobody_is_ahead_if_all_are_known(simulate: Simulate) -> None:
    end = [sold(10, 98, 3)]
    assert play(simulate, [*ALL, *end], [new(1, 1, 98, 9)]).makers == [(1, 10, 3, 196)]
    assert play(simulate, [*SEEN, *end], [new(1, 1, 98, 9)]).makers == []
    # A snapshot that has not ended says no more.
    cut = [q(0), level(0, 99, 7, snapshot=True)]
    assert play(simulate, [*cut, *end], [new(1, 1, 98, 9)]).makers == []
    no_snapshot = [q(0), level(0, 99, 7, last=True)]
    assert play(simulate, [*no_snapshot, *end], [new(1, 1, 98, 9)]).makers == []


@case
def above_the_touch_no_level_counts(simulate: Simulate) -> None:
    stale = [*SEEN, level(1, 101, 5), sold(10, 101, 3)]
    assert play(simulate, stale, [new(2, 1, 101, 9)]).makers == [(1, 10, 3, 202)]


@case
def without_a_touch_a_level_is_all_there_is_to_know(simulate: Simulate) -> None:
    gone = q(3, bid=None)
    end = [q(8, bid=101), sold(10, 99, 9, bid=101)]
    steps = [*ALL, gone, level(4, 99, 7), *end]
    assert play(simulate, steps, [new(5, 1, 99, 9)]).makers == [(1, 10, 2, 198)]
    assert play(simulate, [*ALL, gone, *end], [new(5, 1, 99, 9)]).makers == []
    # Crossed: the levels are still there.
    crossed = [*ALL, q(3, bid=103, ask=102), *end]
    assert play(simulate, crossed, [new(5, 1, 99, 9)]).makers == [(1, 10, 2, 198)]
    assert play(simulate, [*crossed[:3], *end], [new(5, 1, 98, 9)]).makers == []


@case
def rows_of_the_arrival_come_first(simulate: Simulate) -> None:
    steps = [*SEEN, level(5, 99, 2), sold(10, 99, 3)]
    assert play(simulate, steps, [new(5, 1, 99, 9)]).makers == [(1, 10, 1, 198)]
    # Between the rows of one instant, the place in the bus counts.
    before = [*SEEN, level(10, 99, 2), sold(10, 99, 9), sold(20, 99, 3)]
    after = [*SEEN, sold(10, 99, 9), level(10, 99, 2), sold(20, 99, 3)]
    assert play(simulate, before, [new(1, 1, 99, 9)]).makers == [(1, 10, 2, 198), (1, 20, 3, 198)]
    assert play(simulate, after, [new(1, 1, 99, 9)]).makers == [(1, 10, 2, 198), (1, 20, 3, 198)]


@case
def the_bounds_need_no_place(simulate: Simulate) -> None:
    steps = [*SEEN, sold(10, 99, 3), level(11, 99, 0), sold(12, 99, 3), sold(20, 98, 2)]
    order = [new(1, 1, 99, 9)]
    assert play(simulate, steps, order, model="through").makers == [(1, 20, 2, 198)]
    optimistic = play(simulate, steps, order, model="optimistic")
    assert optimistic.makers == [(1, 10, 3, 198), (1, 12, 3, 198), (1, 20, 2, 198)]


# What a quote states


@case
def a_quote_removes_what_is_better(simulate: Simulate) -> None:
    # 100 and 99 are gone with the bid at 98; when it is at 101, nobody says what is at 99.
    there = [*SEEN, q(6, bid=101, b=3), sold(10, 99, 9, bid=101, b=3)]
    assert play(simulate, there, [new(7, 1, 99, 9)]).makers == [(1, 10, 2, 198)]
    gone = [*SEEN, q(5, bid=98), *there[2:]]
    assert play(simulate, gone, [new(7, 1, 99, 9)]).makers == []
    absent = [*SEEN, q(5, bid=None), *there[2:]]
    assert play(simulate, absent, [new(7, 1, 99, 9)]).makers == []
    crossed = [*SEEN, q(5, bid=98, ask=97), *there[2:]]
    assert play(simulate, crossed, [new(7, 1, 99, 9)]).makers == [(1, 10, 2, 198)]


@case
def a_quote_that_says_nothing_new_states_nothing(simulate: Simulate) -> None:
    # The bid of 10 was said before the 4; a row of the other side or with a print repeats it.
    for row in (q(7, a=3), bought(7, 102, 1), q(7, ask=None)):
        steps = [*SEEN, level(5, 100, 4), row, sold(10, 100, 5)]
        assert play(simulate, steps, [new(8, 1, 100, 9)]).makers == [(1, 10, 1, 200)]
    # After a crossed quote it is news.
    for crossed in (q(6, bid=103, ask=102), q(6, ask=99)):
        steps = [*SEEN, level(5, 100, 4), crossed, q(7), sold(10, 100, 5)]
        assert play(simulate, steps, [new(8, 1, 100, 9)]).makers == []


@case
def a_touch_without_lots_is_no_level(simulate: Simulate) -> None:
    steps = [q(0, b=0), sold(10, 100, 3, b=0)]
    assert play(simulate, steps, [new(1, 1, 100, 9)]).makers == []
    known = [steps[0], level(0, 99, 7, snapshot=True, last=True), steps[1]]
    assert play(simulate, known, [new(1, 1, 100, 9)]).makers == [(1, 10, 3, 200)]


@case
def a_touch_that_leaves_upward_changes_nothing(simulate: Simulate) -> None:
    up = [*SEEN, q(5, bid=101, b=1)]
    back = [q(8, b=30), sold(10, 100, 12)]
    assert play(simulate, [*up, *back], [new(1, 1, 100, 9)]).makers == [(1, 10, 2, 200)]
    fell = [*up, level(6, 100, 4), *back]
    assert play(simulate, fell, [new(1, 1, 100, 9)]).makers == [(1, 10, 8, 200)]


@case
def a_touch_behind_an_order_says_that_its_level_is_gone(simulate: Simulate) -> None:
    order = [new(1, 1, 100, 9)]
    steps = [*SEEN, q(10, bid=99), sold(10, 100, 12, bid=99), sold(20, 100, 3, bid=99)]
    assert play(simulate, steps, order).makers == [(1, 10, 2, 200), (1, 20, 3, 200)]
    # No bid at all says so too.
    steps = [*SEEN, q(10, bid=None), sold(20, 100, 3, bid=None)]
    assert play(simulate, steps, order).makers == [(1, 20, 3, 200)]
    # An unknown place becomes the first; a print of that instant may be of those who were there.
    order = [new(1, 1, 98, 9)]
    for gone in (q(10, bid=97), level(10, 98, 0), level(10, 98, 0, snapshot=True)):
        after = {"bid": 97} if isinstance(gone, Row) else {}
        steps = [*SEEN, gone, sold(10, 98, 5, **after), sold(12, 98, 3, **after)]
        assert play(simulate, steps, order).makers == [(1, 12, 3, 196)]
        assert play(simulate, steps, order, pairing=2).makers == []


# What a level says of a place in it


@case
def an_unknown_place_waits_for_its_level(simulate: Simulate) -> None:
    steps = [*SEEN, sold(3, 98, 50), level(5, 98, 6), sold(10, 98, 8)]
    assert play(simulate, steps, [new(1, 1, 98, 9)]).makers == [(1, 10, 2, 196)]
    other = [*SEEN, level(5, 97, 6), level(5, 98, 6, side=-1), sold(10, 98, 8)]
    assert play(simulate, other, [new(1, 1, 98, 9)]).makers == []


@case
def nobody_is_behind_more_than_the_level_displays(simulate: Simulate) -> None:
    steps = [*SEEN, level(5, 99, 3), sold(10, 99, 4)]
    assert play(simulate, steps, [new(1, 1, 99, 9)]).makers == [(1, 10, 1, 198)]
    grown = [*SEEN, level(4, 99, 20), level(5, 99, 13), sold(10, 99, 9)]
    assert play(simulate, grown, [new(1, 1, 99, 9)]).makers == [(1, 10, 2, 198)]


@case
def falls_of_a_level_are_credited_by_power(simulate: Simulate) -> None:
    # ahead 20 of 30, 15 leave unexplained: 15·20ⁿ/(20ⁿ+10ⁿ) = 10, 12, 13.33…, 14.12…
    falls = [level(10, 99, 30), level(20, 99, 15), sold(30, 99, 20)]
    steps = [q(0), level(0, 99, 20), *falls]
    for n, filled in ((1, 10), (2, 12), (3, 13), (4, 14)):
        run = play(simulate, steps, [new(1, 1, 99, 30)], model=f"power:{n}")
        assert run.makers == [(1, 30, filled, 198)]
    # ahead 20 of 30; 9 of the 15 that leave were printed: ahead 11, credit 6·11/30 = 2.2
    steps = [q(0), level(0, 99, 20), falls[0], sold(20, 99, 9), level(21, 99, 15), falls[2]]
    run = play(simulate, steps, [new(1, 1, 99, 30)], model="power:1")
    assert run.makers == [(1, 30, 11, 198)]
    # The touch says of the fall what the level has said: it is credited once.
    steps = [q(0, b=20), q(10, b=30), level(20, 100, 15), q(20, b=15), sold(30, 100, 20)]
    run = play(simulate, steps, [new(1, 1, 100, 30)], model="power:1")
    assert run.makers == [(1, 30, 10, 200)]


@case
def print_and_level_of_one_execution_in_either_order(simulate: Simulate) -> None:
    order = [new(1, 1, 99, 9)]
    start, end = [q(0), level(0, 99, 10)], sold(20, 99, 6)
    print_first = [*start, sold(10, 99, 6), level(10, 99, 4), end]
    level_first = [*start, level(10, 99, 4), sold(10, 99, 6), end]
    for steps in (print_first, level_first):
        # ahead 10 - 6 = 4, so that 6 more fill 2
        assert play(simulate, steps, order).makers == [(1, 20, 2, 198)]
    later = [*start, level(10, 99, 4), sold(13, 99, 6), end]
    assert play(simulate, later, order, pairing=3).makers == [(1, 20, 2, 198)]
    apart = play(simulate, later, order, pairing=2)
    assert apart.makers == [(1, 13, 2, 198), (1, 20, 6, 198)]


@case
def a_fall_that_a_later_print_explains_is_no_fall(simulate: Simulate) -> None:
    # As with quotes: power:1, ahead 10 of 20. Level 14: c = 6, credit 3. The print of 6 finds 3
    # paid, takes 3 more: ahead 4. Level 7: c = 7, credit 7·4/14 = 2: ahead 2, so that 5 fill 3.
    start = [q(0), level(0, 99, 10), level(5, 99, 20)]
    end = [level(20, 99, 7), sold(30, 99, 5)]
    level_first = [*start, level(10, 99, 14), sold(10, 99, 6), *end]
    print_first = [*start, sold(10, 99, 6), level(10, 99, 14), *end]
    for steps in (level_first, print_first):
        run = play(simulate, steps, [new(1, 1, 99, 9)], model="power:1")
        assert run.makers == [(1, 30, 3, 198)]


# Snapshots and clears


@case
def a_snapshot_only_caps(simulate: Simulate) -> None:
    # ahead 20 of 30; a snapshot of 15 leaves 15, whatever the model, and no print was paid.
    start = [q(0), level(0, 99, 20), level(5, 99, 30)]
    steps = [*start, level(10, 99, 15, snapshot=True), sold(10, 99, 20)]
    for model in ("trades", "power:1"):
        run = play(simulate, steps, [new(1, 1, 99, 30)], model=model)
        assert run.makers == [(1, 10, 5, 198)]
    # It says what falls are counted from.
    steps = [*start, level(10, 99, 40, snapshot=True), level(11, 99, 20), sold(20, 99, 20)]
    run = play(simulate, steps, [new(1, 1, 99, 30)], model="power:1")
    assert run.makers == [(1, 20, 10, 198)]  # c = 20, credit 20·20/40
    unknown = [q(0), level(10, 99, 15, snapshot=True), sold(20, 99, 20)]
    assert play(simulate, unknown, [new(1, 1, 99, 30)]).makers == [(1, 20, 5, 198)]


@case
def what_a_snapshot_does_not_name_is_gone(simulate: Simulate) -> None:
    order = [new(1, 1, 99, 9)]
    elsewhere = level(10, 97, 1, snapshot=True, last=True)
    steps = [*SEEN, clear(10), elsewhere, sold(10, 99, 3)]
    assert play(simulate, steps, order).makers == [(1, 10, 3, 198)]
    # Without a clear before it, the level is still there.
    steps = [*SEEN, elsewhere, sold(10, 99, 9)]
    assert play(simulate, steps, order).makers == [(1, 10, 2, 198)]
    # A snapshot of nothing.
    steps = [*SEEN, clear(10, snapshot=True, last=True), sold(10, 99, 3)]
    assert play(simulate, steps, order).makers == [(1, 10, 3, 198)]
    # One that has not ended says nothing of others.
    steps = [*SEEN, clear(10), replace(elsewhere, last=False), sold(10, 99, 9)]
    assert play(simulate, steps, order).makers == [(1, 10, 2, 198)]
    # An unknown place becomes the first, after the prints of the instant.
    steps = [*SEEN, elsewhere, sold(10, 98, 3), sold(11, 98, 2)]
    assert play(simulate, steps, [new(1, 1, 98, 9)]).makers == [(1, 11, 2, 196)]


@case
def a_clear_moves_no_place(simulate: Simulate) -> None:
    for side in (0, 1):
        steps = [*ALL, clear(5, side), sold(10, 99, 9)]
        assert play(simulate, steps, [new(1, 1, 99, 9)]).makers == [(1, 10, 2, 198)]
        # Whoever comes later knows nothing, until a row states the level again.
        assert play(simulate, steps, [new(6, 1, 99, 9)]).makers == []
        back = [*steps[:3], level(7, 99, 3), sold(10, 99, 9)]
        assert play(simulate, back, [new(8, 1, 99, 9)]).makers == [(1, 10, 6, 198)]
        ended = [*steps[:3], level(7, 97, 3, snapshot=True, last=True), sold(10, 99, 9)]
        assert play(simulate, ended, [new(8, 1, 99, 9)]).makers == [(1, 10, 9, 198)]
    other = [*ALL, clear(5, -1), sold(10, 99, 9)]
    assert play(simulate, other, [new(6, 1, 99, 9)]).makers == [(1, 10, 2, 198)]
    # `seen` stays as well: of the fall from 20 to 10, half stood before the 10 behind of 20.
    steps = [q(0), level(0, 99, 10), level(4, 99, 20), clear(5), level(6, 99, 10), sold(9, 99, 9)]
    run = play(simulate, steps, [new(1, 1, 99, 9)], model="power:1")
    assert run.makers == [(1, 9, 4, 198)]


@case
def symbols_have_their_own_depth(simulate: Simulate) -> None:
    other = [
        replace(q(0), symbol=1),
        replace(level(3, 99, 1), symbol=1),
        replace(clear(4, snapshot=True, last=True), symbol=1),
    ]
    run = play(simulate, [*SEEN, *other, sold(10, 99, 9)], [new(1, 1, 99, 9)])
    assert run.makers == [(1, 10, 2, 198)]
