"""Compiled: orders that take walk the levels of the other side; those that rest join a level.

``docs/orders.md`` has the rules.
"""

from __future__ import annotations

from backtest.core.compiled import compiled
from backtest.trading import depth_layout as dl
from backtest.trading import layout as at
from backtest.trading import order_layout as ol
from backtest.trading.depth_level_loops import find_level, is_level, size_at
from backtest.trading.layout import NO_PRICE
from backtest.trading.order_book_loops import record_fill, report
from backtest.trading.queue_loops import join
from backtest.trading.quotes_loops import last_gap


@compiled
def most_levels(s, sides):
    """Levels of a symbol that one message can take from, or more."""
    return max(sides[2 * s, dl.COUNT], sides[2 * s + 1, dl.COUNT])


@compiled
def _best(of, levels, key):
    """The place of a side's best level that is no better than a key; before its first if none."""
    place = find_level(of, levels, key)
    return place if is_level(of, levels, place, key) else place - 1


@compiled
def takable_of_levels(s, message, lots, touch, depth):
    """Lots that a marketable order can take at once, ``lots`` at most.

    Args:
        touch: the price from which on levels are there for it, ticks.
    """
    side = message[ol.SIDE]
    of, levels = depth.sides[2 * s + (side > 0)], depth.levels
    place, found = _best(of, levels, -side * touch), 0
    while place >= of[dl.START] and levels[place, dl.KEY] >= -side * message[ol.PRICE]:
        found += max(levels[place, dl.SIZE] - levels[place, dl.TAKEN], 0)
        if found >= lots:
            return lots
        place -= 1
    return found


@compiled
def take_levels(s, message, lots, touch, row, first_row, ticks, orders, depth):
    """Fill what a marketable order can take at once, a fill for each level. Returns the lots."""
    side = message[ol.SIDE]
    of, levels, taken = depth.sides[2 * s + (side > 0)], depth.levels, 0
    place = _best(of, levels, -side * touch)
    gap = last_gap(row + first_row, ticks.bid[row], ticks.ask[row], ticks.stale)
    while place >= of[dl.START] and levels[place, dl.KEY] >= -side * message[ol.PRICE]:
        level = levels[place]
        here = min(lots - taken, level[dl.SIZE] - level[dl.TAKEN])
        if here > 0:
            fill = orders.fills[record_fill(s, message, here, orders)]
            fill[at.FILLED], fill[at.MAKER] = message[ol.AT4], 0
            fill[at.TOUCH], fill[at.GAP] = -side * level[dl.KEY], gap
            fill[at.DISPLAYED], fill[at.TAKEN] = level[dl.SIZE], level[dl.TAKEN]
            fill[at.MF] = fill[at.M4]
            level[dl.TAKEN] += here
            taken += here
            fill[at.KNOWN] = report(
                s, ol.TOOK, message, side * here, fill[at.TOUCH], message[ol.AT4],
                message[ol.RESPONSE], orders,
            )  # fmt: skip
        place -= 1
        if taken == lots:
            break
    return taken


@compiled
def join_level(s, order, touch, depth, model):
    """Give an order its place behind those that stand at its price.

    Args:
        touch: of its side of the standing quote; ``NO_PRICE``: that is not valid.
    """
    side, price = order[ol.SIDE], order[ol.PRICE]
    of = depth.sides[2 * s + (side < 0)]
    displayed, known = 0, True
    if touch == NO_PRICE or side * price <= side * touch:
        displayed, complete = size_at(of, depth.levels, side * price), of[dl.COMPLETE] != 0
        if depth.state[dl.BY_ORDER]:  # sums of all orders say everything, of some nothing
            displayed, known = max(displayed, 0) if complete else 0, complete
        elif displayed == dl.NOT_LISTED:
            displayed, known = 0, touch != NO_PRICE and complete
    order[ol.SEEN] = displayed
    order[ol.AHEAD] = join(model, displayed, known)
    order[ol.MOMENT] = depth.books[s, dl.DONE_ROWS]
