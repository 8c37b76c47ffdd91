"""Compiled: rows that say what became of single orders of the market.

They make the levels of a book by their sums. Under the queue model ``l3`` they also say who stands
before an own order, and fill it. ``docs/orders.md`` has the rules.
"""

from __future__ import annotations

from backtest.core.compiled import compiled
from backtest.market.depth import ADD, CANCEL, EXECUTE, MODIFY, SNAPSHOT
from backtest.trading import depth_layout as dl
from backtest.trading import order_layout as ol
from backtest.trading.depth_entry_loops import add_entry, find_entry, remove_entry
from backtest.trading.depth_level_loops import add_to_level, size_at
from backtest.trading.depth_place_loops import leave_queue, meet_size
from backtest.trading.layout import LATEST
from backtest.trading.order_book_loops import fill_resting


@compiled
def meet_order_row(s, row, number, here, ticks, orders, depth, rules):
    """One row: an execution fills own orders; then the book changes, and then their places.

    Args:
        row: of depth; ``number``: its own.
        here: row of the symbol's latest event; anything while no own order works.

    Returns:
        Whether the level can be counted.
    """
    action, side = row[dl.R_MARKS] // dl.ACTIONS, row[dl.R_SIDE]
    entries, state = depth.entries, depth.state
    place = find_entry(s, row[dl.R_ID], depth.sides, entries, state)
    if action == EXECUTE and rules[ol.MODEL] == ol.L3:
        _meet_execution(s, row, place, here, ticks, orders, entries, rules)
    restated = row[dl.R_MARKS] & SNAPSHOT
    size = row[dl.R_SIZE]
    if place < 0:
        if action not in (ADD, MODIFY) or size <= 0:
            return True
        add_entry(
            s, row[dl.R_ID], side, row[dl.R_PRICE], size, number, restated, depth.sides, entries,
            state,
        )  # fmt: skip
        return _change(s, row, side, row[dl.R_PRICE], size, orders, depth, rules)
    entry = entries[place]
    old_side, old_price, old_size = entry[dl.E_SIDE], entry[dl.E_PRICE], entry[dl.E_SIZE]
    moves = same = False
    if action in (CANCEL, EXECUTE):
        size = max(old_size - size, 0)
    else:
        same = side == old_side and row[dl.R_PRICE] == old_price
        moves = size > 0 and (not same or size > old_size)
    moment, was_restated = entry[dl.E_MOMENT], entry[dl.E_RESTATED]
    if moves:
        entry[dl.E_SIDE], entry[dl.E_PRICE], entry[dl.E_SIZE] = side, row[dl.R_PRICE], size
        entry[dl.E_MOMENT], entry[dl.E_RESTATED] = number, restated
        entry[dl.E_CLEARED] = depth.sides[2 * s + (side < 0), dl.CLEARED]
    elif size > 0:
        entry[dl.E_SIZE] = size
    else:
        remove_entry(place, entries, state)
    if moves and not same:
        _change(s, row, old_side, old_price, -old_size, orders, depth, rules)
        fits = _change(s, row, side, row[dl.R_PRICE], size, orders, depth, rules)
    else:
        fits = _change(s, row, old_side, old_price, size - old_size, orders, depth, rules)
    gone = old_size if moves else old_size - size
    own = orders.books[s][ol.BUYS if old_side > 0 else ol.SELLS]
    if rules[ol.MODEL] == ol.L3 and gone > 0 and own >= 0:
        of, displayed = depth.sides[2 * s + (old_side < 0)], dl.NOT_LISTED
        if of[dl.COMPLETE]:
            displayed = max(size_at(of, depth.levels, old_side * old_price), 0)
        if action == EXECUTE and was_restated:
            moment = -1  # whoever trades stood before
        leave_queue(own, old_side, old_price, gone, moment, was_restated, displayed, orders.working)
    return fits


@compiled
def _change(s, row, side, price, lots, orders, depth, rules):
    """A level displays more or less by some lots, which moves the own orders there.

    Returns:
        Whether what it displays can be counted.
    """
    of = depth.sides[2 * s + (side < 0)]
    size = add_to_level(of, depth.levels, depth.state, side * price, lots)
    own = orders.books[s][ol.BUYS if side > 0 else ol.SELLS]
    # While a snapshot adds them up order by order, the sums are not what is displayed.
    if own >= 0 and of[dl.COMPLETE] and row[dl.R_MARKS] & SNAPSHOT == 0:
        meet_size(own, side, price, size, False, row[dl.R_TIME], orders.working, rules)
    return size < ol.MOST_DISPLAYED


@compiled
def _meet_execution(s, row, place, here, ticks, orders, entries, rules):
    """Own orders of one side share what an execution against it traded, best price first.

    At its own price an order fills as far as the execution goes beyond what stood before it, or
    from the first lot on where the order that was executed stood behind it.

    Args:
        place: of the order that was executed; -1: nobody displayed it.
        here: row of the symbol's latest event.
    """
    side, lots, working = row[dl.R_SIDE], row[dl.R_SIZE], orders.working
    budget, key = lots, side * row[dl.R_PRICE]
    moment = LATEST
    if place >= 0:
        entry = entries[place]
        if entry[dl.E_SIDE] == side and entry[dl.E_PRICE] == row[dl.R_PRICE]:
            moment = -1 if entry[dl.E_RESTATED] else entry[dl.E_MOMENT]
    own = orders.books[s][ol.BUYS if side > 0 else ol.SELLS]
    while own >= 0:
        order = working[own]
        after, price = order[ol.NEXT], side * order[ol.PRICE]
        if price < key:
            break
        left = order[ol.TOTAL] - order[ol.DONE_LOTS]
        filled = min(left, budget)
        if price == key:
            order[ol.PRINTED] += lots
        if price > key and rules[ol.THROUGH_FULL]:
            filled = left
        elif price == key and order[ol.AHEAD] == ol.UNKNOWN:
            filled = 0
        elif price == key and moment < order[ol.MOMENT]:
            filled = min(filled, max(lots - order[ol.AHEAD] // ol.FRACTION, 0))
        if filled > 0:
            if price == key or not rules[ol.THROUGH_FULL]:
                budget -= filled
            mid, response = ticks.mid[here], ticks.response[here]
            fill_resting(s, own, filled, row[dl.R_TIME], mid, orders, response)
        own = after
