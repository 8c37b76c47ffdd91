"""Compiled: rows of depth and the quotes among them make a symbol's book, and move own places.

``docs/orders.md`` has the rules.
"""

from __future__ import annotations

from backtest.core.compiled import compiled, compiled_inline
from backtest.market.depth import CLEAR, LAST, SNAPSHOT
from backtest.trading import depth_layout as dl
from backtest.trading import layout as at
from backtest.trading import order_layout as ol
from backtest.trading.depth_level_loops import (
    clear,
    drop_better,
    has_room,
    set_level,
)
from backtest.trading.depth_order_loops import meet_order_row
from backtest.trading.depth_place_loops import meet_size, meet_snapshot, meet_touch
from backtest.trading.layout import NO_PRICE
from backtest.trading.order_book_loops import has_room_for
from backtest.trading.standing_loops import note_standing

_ENDS = SNAPSHOT | LAST


@compiled_inline
def next_row(s, event, until, depth):
    """The place of a symbol's next row of depth; -1: none lies before an event, or none is due.

    Args:
        event: its number.
        until: the latest instant that is due, ns.
    """
    number = depth.books[s, dl.NEXT_ROW]
    if number < 0:
        return -1
    place = number - depth.state[dl.FIRST]
    row = depth.rows[place]
    return place if row[dl.R_FOLLOWS] <= event and row[dl.R_TIME] <= until else -1


@compiled_inline
def follow_rows(s, event, until, here, ticks, orders, depth, rules):
    """Let a symbol's rows of depth change its book and move its own orders.

    Args:
        event: number of the event before which they lie.
        until: the latest instant that is due, ns.
        here: row of the symbol's latest event; anything while no own order works.

    Returns:
        ``DONE``; ``FULL``, if something has to grow; or ``LEVEL_OVERFLOW``.
    """
    book, of = orders.books[s], depth.books[s]
    while True:
        place = next_row(s, event, until, depth)
        if place < 0:
            return at.DONE
        if not has_room(s, depth):
            return at.FULL
        row = depth.rows[place]
        if depth.state[dl.BY_ORDER] == 0 or row[dl.R_MARKS] & CLEAR:
            _meet_level_row(s, row, book, orders, depth, rules)
        else:
            if not has_room_for(orders, book[ol.WORKING] + 4):
                return at.FULL
            number, fills = of[dl.NEXT_ROW], orders.state[at.FILLS]
            if not meet_order_row(s, row, number, here, ticks, orders, depth, rules):
                return ol.LEVEL_OVERFLOW
            if orders.state[at.FILLS] != fills:
                note_standing(s, row[dl.R_TIME], here, True, ticks, orders)
        if row[dl.R_MARKS] & _ENDS == _ENDS:
            _end_snapshot(s, row[dl.R_TIME], book, orders, depth, rules)
        of[dl.DONE_ROWS] = of[dl.NEXT_ROW] + 1
        of[dl.NEXT_ROW] = of[dl.NEXT_ROW] + row[dl.R_NEXT] if row[dl.R_NEXT] > 0 else -1


@compiled_inline
def _meet_level_row(s, row, book, orders, depth, rules):
    """A row that states what a level displays, or clears levels."""
    side, marks = row[dl.R_SIDE], row[dl.R_MARKS]
    if marks & CLEAR:
        if side >= 0:
            clear(depth.sides[2 * s])
        if side <= 0:
            clear(depth.sides[2 * s + 1])
        return
    price, size = row[dl.R_PRICE], row[dl.R_SIZE]
    set_level(depth.sides[2 * s + (side < 0)], depth.levels, depth.state, side * price, size)
    head = book[ol.BUYS if side > 0 else ol.SELLS]
    if head >= 0:
        restates = marks & SNAPSHOT != 0
        meet_size(head, side, price, size, restates, row[dl.R_TIME], orders.working, rules)


@compiled
def _end_snapshot(s, time, book, orders, depth, rules):
    """Both sides of a symbol are known from here on."""
    for k in range(2):
        of, head = depth.sides[2 * s + k], book[ol.BUYS if k == 0 else ol.SELLS]
        of[dl.COMPLETE] = 1
        by_order = depth.state[dl.BY_ORDER] != 0
        meet_snapshot(head, 1 - 2 * k, of, depth.levels, by_order, time, orders.working, rules)


@compiled
def state_quote(s, row, ticks, orders, depth, rules):
    """A quote states the touch of each side that it changes, where prices do not cross."""
    b, a, book = ticks.bid[row], ticks.ask[row], orders.books[s]
    if a != NO_PRICE and b > a:
        for k in range(2 * s, 2 * s + 2):
            depth.sides[k, dl.STATED_PRICE] = dl.VOID
        return
    for k in range(2):
        side, price, of = 1 - 2 * k, b if k == 0 else a, depth.sides[2 * s + k]
        size = ticks.bid_size[row] if k == 0 else ticks.ask_size[row]
        if price == of[dl.STATED_PRICE] and (size == of[dl.STATED_SIZE] or price == NO_PRICE):
            continue
        of[dl.STATED_PRICE], of[dl.STATED_SIZE] = price, size
        if price == NO_PRICE:
            of[dl.COUNT] = 0
        else:
            drop_better(of, depth.levels, side * price)
            set_level(of, depth.levels, depth.state, side * price, size)
        head = book[ol.BUYS if k == 0 else ol.SELLS]
        if head >= 0:
            time = ticks.ts_event[row]
            meet_touch(head, side, price, size, time, orders.working, rules)


@compiled_inline
def follow_event(s, row, ticks, orders, depth, rules):
    """A symbol's next event changes its book: its quote does, where rows are of levels."""
    of = depth.books[s]
    if depth.state[dl.BY_ORDER] == 0:
        state_quote(s, row, ticks, orders, depth, rules)
        step = ticks.next_quote[row]
        of[dl.NEXT_EVENT] = of[dl.NEXT_EVENT] + step if step > 0 else -1


@compiled_inline
def follow_book(s, until, first_row, ticks, orders, depth, rules):
    """Bring the book of a symbol without own orders up to date, rows and events at ``until``
    included. Returns as ``follow_rows`` does."""
    of = depth.books[s]
    while True:
        event, row = of[dl.NEXT_EVENT], -1
        if event >= 0:
            row = event - first_row
            if ticks.ts_event[row] > until:
                row = -1
        code = follow_rows(
            s, event if row >= 0 else at.LATEST, until, -1, ticks, orders, depth, rules
        )  # fmt: skip
        if code != at.DONE or row < 0:
            return code
        if not has_room(s, depth):
            return at.FULL
        follow_event(s, row, ticks, orders, depth, rules)
