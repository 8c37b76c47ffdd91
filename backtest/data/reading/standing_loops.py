"""Orders that stand after rows of depth, found by their numbers in a hash table."""

from __future__ import annotations

import numpy as np

from backtest.core.compiled import compiled
from backtest.market.depth import ADD, BOTH, CANCEL, CLEAR, EXECUTE, LAST, MODIFY

ORDER, SYMBOL, SIDE, PRICE, SIZE, MOMENT, COLUMNS = 0, 1, 2, 3, 4, 5, 6
"""Columns of an order. Its size is 0 if it does not stand any more; MOMENT is the row by which it
came to the end of its level's queue."""

_A = np.uint64(0x9E3779B97F4A7C15)
_B = np.uint64(0xC2B2AE3D27D4EB4F)
_SHIFT = np.uint64(20)


@compiled
def _place(order, symbol, table, orders):
    """Where the table has an order, or where it would put it; it is at most half full."""
    mask = np.uint64(len(table) - 1)
    at = ((np.uint64(order) * _A + np.uint64(symbol) * _B) >> _SHIFT) & mask
    while True:
        row = table[at]
        if row < 0 or (orders[row, ORDER] == order and orders[row, SYMBOL] == symbol):
            return np.int64(at)
        at = (at + np.uint64(1)) & mask


@compiled
def refill(count, table, orders):
    """Put the first ``count`` orders into an empty table, int64, a power of two of -1."""
    for row in range(count):
        table[_place(orders[row, ORDER], orders[row, SYMBOL], table, orders)] = row


@compiled
def follow(
    symbol, side, price, size, flags, order, action, row, moment, table, orders, count, known
):
    """Apply rows of orders from ``row`` on.

    Args:
        symbol, side, price, size, flags, order, action: columns of the rows [n].
        moment: the number of the first of them.
        table: rows of ``orders`` by hash, int64, -1 where there is none.
        orders: int64 [room, COLUMNS], of which ``count`` are used.
        known: whether each symbol's sides are known, bid and ask, bool [S, 2].

    Returns the row at which the room ended, and the orders that are used.
    """
    for i in range(row, len(symbol)):
        if count == len(orders):
            return i, count
        s = symbol[i]
        if flags[i] & CLEAR:
            for k in range(count):
                if orders[k, SYMBOL] == s and (side[i] == BOTH or orders[k, SIDE] == side[i]):
                    orders[k, SIZE] = 0
            for own in range(2):
                if side[i] == BOTH or side[i] == 1 - 2 * own:
                    known[s, own] = False
        else:
            at = _place(order[i], s, table, orders)
            k = table[at]
            stands = k >= 0 and orders[k, SIZE] > 0
            if action[i] == CANCEL or action[i] == EXECUTE:
                if stands:
                    orders[k, SIZE] = max(orders[k, SIZE] - size[i], 0)
            elif action[i] == ADD or action[i] == MODIFY:
                if k < 0:
                    k = count
                    table[at] = k
                    orders[k, ORDER], orders[k, SYMBOL] = order[i], s
                    count += 1
                keeps = (
                    stands
                    and orders[k, SIDE] == side[i]
                    and orders[k, PRICE] == price[i]
                    and size[i] <= orders[k, SIZE]
                )
                if not keeps:
                    orders[k, MOMENT] = moment + i
                orders[k, SIDE], orders[k, PRICE], orders[k, SIZE] = side[i], price[i], size[i]
        if flags[i] & LAST:
            known[s, 0] = known[s, 1] = True
    return len(symbol), count
