"""The book of the synthetic market of orders: a ladder of prices with a queue of orders at each."""

from __future__ import annotations

from backtest.core.compiled import compiled, compiled_inline
from backtest.data.synthetic.order_layout import (
    BEST_ASK,
    BEST_BID,
    COUNT,
    FREE,
    HEAD,
    ID,
    LEVEL_SIZE,
    LIVE,
    NEXT,
    NEXT_ID,
    NONE,
    PLACE,
    PREVIOUS,
    PRICE,
    ROOM,
    SIDE,
    SIZE,
    TAIL,
)
from backtest.market.depth import BID


@compiled_inline
def best_of(side, me):
    """Index of the best level of a side; -1 if the side is empty."""
    return me[BEST_BID] if side == BID else me[BEST_ASK]


@compiled
def search(side, me, levels, start):
    """The best level of a side from ``start`` on, away from the other side; -1 if none is."""
    own = 0 if side == BID else 1
    at = start
    while 0 <= at < levels.shape[1]:
        if levels[own, at, LEVEL_SIZE] > 0:
            return at
        at -= side
    return -1


@compiled
def append(slot, side, price, size, me, orders, levels):
    """Put an order at the end of its level's queue."""
    own = 0 if side == BID else 1
    orders[slot, SIDE], orders[slot, PRICE], orders[slot, SIZE] = side, price, size
    last = levels[own, price, TAIL]
    orders[slot, PREVIOUS], orders[slot, NEXT] = last, NONE
    if last == NONE:
        levels[own, price, HEAD] = slot
    else:
        orders[last, NEXT] = slot
    levels[own, price, TAIL] = slot
    levels[own, price, LEVEL_SIZE] += size
    best = best_of(side, me)
    if best < 0 or side * price > side * best:
        me[BEST_BID if side == BID else BEST_ASK] = price


@compiled
def unlink(slot, me, orders, levels):
    """Take an order out of its level's queue."""
    side, price = orders[slot, SIDE], orders[slot, PRICE]
    own = 0 if side == BID else 1
    before, after = orders[slot, PREVIOUS], orders[slot, NEXT]
    if before == NONE:
        levels[own, price, HEAD] = after
    else:
        orders[before, NEXT] = after
    if after == NONE:
        levels[own, price, TAIL] = before
    else:
        orders[after, PREVIOUS] = before
    levels[own, price, LEVEL_SIZE] -= orders[slot, SIZE]
    if levels[own, price, LEVEL_SIZE] == 0 and best_of(side, me) == price:
        me[BEST_BID if side == BID else BEST_ASK] = search(side, me, levels, price)


@compiled
def reduce(slot, lots, me, orders, levels):
    """Take lots of an order; all of them: the order goes, and its slot is free."""
    if lots < orders[slot, SIZE]:
        own = 0 if orders[slot, SIDE] == BID else 1
        orders[slot, SIZE] -= lots
        levels[own, orders[slot, PRICE], LEVEL_SIZE] -= lots
        return
    unlink(slot, me, orders, levels)
    # Live slots lie in the first COUNT places of LIVE; the last of them takes the free place.
    place, last = orders[slot, PLACE], me[COUNT] - 1
    moved = orders[last, LIVE]
    orders[place, LIVE], orders[moved, PLACE] = moved, place
    me[COUNT] = last
    orders[me[ROOM], FREE] = slot
    me[ROOM] += 1


@compiled
def add(side, price, size, me, orders, levels):
    """A new order at the end of its level's queue; returns its slot."""
    me[ROOM] -= 1
    slot = orders[me[ROOM], FREE]
    orders[slot, ID], orders[slot, PLACE] = me[NEXT_ID], me[COUNT]
    orders[me[COUNT], LIVE] = slot
    me[COUNT] += 1
    me[NEXT_ID] += 1
    append(slot, side, price, size, me, orders, levels)
    return slot


@compiled
def modify(slot, price, size, me, orders, levels):
    """Another price or more lots: the order loses its place; fewer lots: it keeps it."""
    side = orders[slot, SIDE]
    if price != orders[slot, PRICE] or size > orders[slot, SIZE]:
        unlink(slot, me, orders, levels)
        append(slot, side, price, size, me, orders, levels)
    else:
        levels[0 if side == BID else 1, price, LEVEL_SIZE] -= orders[slot, SIZE] - size
        orders[slot, SIZE] = size
