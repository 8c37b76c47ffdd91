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
from backtest.trading.depth_level_loops import add_to_level
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
    moment = -1 if row[dl.R_MARKS] & SNAPSHOT else number
    size = row[dl.R_SIZE]
    if place < 0:
        if action not in (ADD, MODIFY) or size <= 0:
            return True
        add_entry(s, row[dl.R_ID], side, row[dl.R_PRICE], size, moment, depth.sides, entries, state)
        return _change(s, row, side, row[dl.R_PRICE], size, orders, depth, rules)
    entry = entries[place]
    old_side, old_price, old_size = entry[dl.E_SIDE], entry[dl.E_PRICE], entry[dl.E_SIZE]
    moves = False
    if action in (CANCEL, EXECUTE):
        size = max(old_size - size, 0)
    else:
        same = side == old_side and row[dl.R_PRICE] == old_price
        moves = size > 0 and (not same or size > old_size)
    left = 0 if moves else size
    if rules[ol.MODEL] == ol.L3 and left < old_size:
        own = orders.books[s][ol.BUYS if old_side > 0 else ol.SELLS]
        gone = old_size - left
        leave_queue(own, old_side, old_price, gone, entry[dl.E_MOMENT], orders.working)
    if not moves:
        if size == 0:
            remove_entry(place, entries, state)
        else:
            entry[dl.E_SIZE] = size
        return _change(s, row, old_side, old_price, size - old_size, orders, depth, rules)
    price = row[dl.R_PRICE]
    entry[dl.E_SIDE], entry[dl.E_PRICE], entry[dl.E_SIZE] = side, price, size
    entry[dl.E_MOMENT] = moment
    entry[dl.E_CLEARED] = depth.sides[2 * s + (side < 0), dl.CLEARED]
    if same:
        return _change(s, row, side, price, size - old_size, orders, depth, rules)
    _change(s, row, old_side, old_price, -old_size, orders, depth, rules)
    return _change(s, row, side, price, size, orders, depth, rules)


@compiled
def _change(s, row, side, price, lots, orders, depth, rules):
    """A level displays more or less by some lots, which moves the own orders there.

    Returns:
        Whether what it displays can be counted.
    """
    of = depth.sides[2 * s + (side < 0)]
    size = add_to_level(of, depth.levels, depth.state, side * price, lots)
    if size >= ol.MOST_DISPLAYED:
        return False
    own = orders.books[s][ol.BUYS if side > 0 else ol.SELLS]
    # A snapshot's levels are added up order by order: their sums are known at its end.
    if own >= 0 and row[dl.R_MARKS] & SNAPSHOT == 0:
        meet_size(own, side, price, size, False, row[dl.R_TIME], orders.working, rules)
    return True


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
            moment = entry[dl.E_MOMENT]
    own = orders.books[s][ol.BUYS if side > 0 else ol.SELLS]
    while own >= 0:
        order = working[own]
        after, price = order[ol.NEXT], side * order[ol.PRICE]
        if price < key:
            break
        left = order[ol.TOTAL] - order[ol.DONE_LOTS]
        filled = min(left, budget)
        if price > key and rules[ol.THROUGH_FULL]:
            filled = left
        elif price == key and order[ol.AHEAD] == ol.UNKNOWN:
            filled = 0
        elif price == key and moment < order[ol.JOINED]:
            filled = min(filled, max(lots - order[ol.AHEAD] // ol.FRACTION, 0))
        if filled > 0:
            if price == key or not rules[ol.THROUGH_FULL]:
                budget -= filled
            mid, response = ticks.mid[here], ticks.response[here]
            fill_resting(s, own, filled, row[dl.R_TIME], mid, orders, response)
        own = after
