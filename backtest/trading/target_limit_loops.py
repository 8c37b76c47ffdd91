"""Compiled: what is known of orders towards targets, and what limits leave of a new one."""

from __future__ import annotations

from backtest.core.compiled import compiled
from backtest.trading import layout as at
from backtest.trading import limit_layout as ll
from backtest.trading.layout import SILENT
from backtest.trading.limit_loops import count_message, is_late, note_breach, pass_rows, room


@compiled
def confirm(me, state, orders, now):
    """Take note of the confirmations that arrived by ``now``. Returns whether all lots fit.

    Responses may overtake each other, so the whole list of a symbol's orders is looked through.
    """
    before, order = -1, me[at.ORDERS]
    while order >= 0:
        after = orders[order, at.ORDER_NEXT]
        if orders[order, at.ORDER_KNOWN] <= now:
            me[at.OUTSTANDING] -= orders[order, at.ORDER_LOTS]
            me[at.CONFIRMED] += orders[order, at.ORDER_FILLED]
            if abs(me[at.OUTSTANDING]) > at.MOST_LOTS or abs(me[at.CONFIRMED]) > at.MOST_LOTS:
                return False
            if before < 0:
                me[at.ORDERS] = after
            else:
                orders[before, at.ORDER_NEXT] = after
            orders[order, at.ORDER_NEXT] = state[at.FREE]
            state[at.FREE] = order
        else:
            before = order
        order = after
    return abs(me[at.OUTSTANDING]) <= at.MOST_LOTS


@compiled
def limited(s, lots, event, ready, first_row, market, trading, rules, guard):
    """Signed lots that limits leave of an order; ``SILENT``: what is at stake cannot be counted.

    What they do not leave is noted, and the order is counted if it will be sent.
    """
    side = 1 if lots > 0 else -1
    if is_late(ready, guard):
        note_breach(ready, s, ll.RATE, -1, side, abs(lots), 0, event, guard)
        return 0
    book = trading.book
    if guard.state[ll.MONEY]:
        pass_rows(ready, first_row, market.ts_event, market.mid, guard)
    if guard.state[ll.TOGETHER]:
        for j in range(len(book)):
            if not confirm(book[j], trading.state, trading.orders, ready):
                return SILENT
            _measure(j, book[j], trading.orders, guard)
    else:
        _measure(s, book[s], trading.orders, guard)
    most, limit = room(s, 0 if side > 0 else 1, guard)
    if most < 0:
        return SILENT
    if most < abs(lots):
        note_breach(ready, s, limit, -1, side, abs(lots) - most, 0, event, guard)
    most = min(most, abs(lots))
    if most > rules[at.BAND]:
        count_message(ready, guard)
    return side * most


@compiled
def _measure(s, me, orders, guard):
    """How long and how short a symbol may become by what is under way."""
    longest, shortest = me[at.CONFIRMED], -me[at.CONFIRMED]
    order = me[at.ORDERS]
    while order >= 0:
        lots = orders[order, at.ORDER_LOTS]
        if lots == 0:  # a switch did that, and the trader has not heard of it
            lots = orders[order, at.ORDER_FILLED]
        longest += max(lots, 0)
        shortest -= min(lots, 0)
        order = orders[order, at.ORDER_NEXT]
    guard.reach[s, 0], guard.reach[s, 1] = longest, shortest
