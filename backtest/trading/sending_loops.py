"""Compiled: what limits leave of a message of orders that rest, before it is sent."""

from __future__ import annotations

from backtest.core.compiled import compiled
from backtest.trading import layout as at
from backtest.trading import limit_layout as ll
from backtest.trading import order_layout as ol
from backtest.trading.limit_loops import is_late, note_breach, room


@compiled
def measure(s, orders, guard):
    """How long and how short a symbol may become by what is under way."""
    held, fleeting = orders.books[s][at.CONFIRMED], orders.books[s][ol.FLATTENED_LOTS]
    guard.reach[s, 0] = held + orders.unresolved[s, 0] + max(fleeting, 0)
    guard.reach[s, 1] = -held + orders.unresolved[s, 1] - min(fleeting, 0)


@compiled
def allow(s, action, order_id, side, price, total, command, orders, guard):
    """How much of a message may be sent; what may not is noted.

    Returns:
        Its total; -1: it is held back; -2: what is at stake cannot be counted.
    """
    ready, event = command[ol.C_READY], command[ol.C_EVENT]
    if is_late(ready, guard):
        note_breach(ready, s, ll.RATE, order_id, side, total, price, event, guard)
        return -1
    if action != ol.NEW and action != ol.REPLACE:
        return total
    measure(s, orders, guard)
    allowed, limit, of = total, -1, side
    for k in range(2):
        sign = 1 - 2 * k
        if action == ol.NEW and sign != side:
            continue
        grows = total
        if action == ol.REPLACE:
            grows = _growth(s, sign, order_id, allowed, orders)
        if grows <= 0:
            continue
        lots, by = room(s, k, guard)
        if lots < 0:
            return -2
        if grows > lots:
            limit, of = by, sign
            allowed = lots if action == ol.NEW else _most(s, sign, order_id, allowed, lots, orders)
    if limit >= 0:
        note_breach(ready, s, limit, order_id, of, total - allowed, price, event, guard)
        if allowed == 0:
            return -1
    return allowed


@compiled
def _growth(s, side, order_id, total, orders):
    """Lots by which what is unresolved grows if an order's total becomes another."""
    grows, place = 0, orders.books[s][ol.FIRST_PENDING]
    while place >= 0:
        kept = orders.pending[place]
        if kept[ol.P_ID] == order_id and kept[ol.P_SIDE] == side:
            grows += max(total - kept[ol.P_LARGEST], 0)
        place = kept[ol.P_NEXT]
    return grows


@compiled
def _most(s, side, order_id, total, lots, orders):
    """The largest total below one that is too large by which it grows no further than ``lots``."""
    low, high = 0, total
    while high - low > 1:
        middle = (low + high) >> 1
        if _growth(s, side, order_id, middle, orders) <= lots:
            low = middle
        else:
            high = middle
    return low
