"""Compiled: what a trader hears of its orders, and what it sends when it wants other quotes.

``docs/orders.md`` has the rules.
"""

from __future__ import annotations

from backtest.core.compiled import compiled, compiled_inline
from backtest.trading import layout as at
from backtest.trading import limit_layout as ll
from backtest.trading import order_layout as ol
from backtest.trading.layout import SILENT
from backtest.trading.limit_loops import count_message
from backtest.trading.message_loops import send
from backtest.trading.order_book_loops import release
from backtest.trading.sending_loops import allow
from backtest.trading.unresolved_loops import resolve

_LARGE = 4.6e18
"""Below 2^62 by more than what estimates round."""


@compiled_inline
def hear(s, now, orders):
    """Take note of the reports of a symbol that are known by ``now``."""
    book = orders.books[s]
    while book[ol.FIRST_REPORT] >= 0:
        place = book[ol.FIRST_REPORT]
        told = orders.reports[place]
        if told[ol.R_KNOWN] > now:
            return
        book[ol.FIRST_REPORT] = told[ol.R_NEXT]
        if told[ol.R_KIND] == ol.FILLED or told[ol.R_KIND] == ol.TOOK:
            book[at.CONFIRMED] += told[ol.R_LOTS]
        elif told[ol.R_KIND] == ol.FLATTENED:
            book[at.CONFIRMED] += told[ol.R_LOTS]
            book[ol.FLATTENED_LOTS] -= told[ol.R_LOTS]
        resolve(s, told, orders)
        if len(orders.heard) > 0:
            heard = orders.heard[orders.state[ol.HEARD]]
            orders.state[ol.HEARD] += 1
            for k in range(ol.REPORT_SIZE):
                heard[k] = told[k]
            heard[ol.H_SYMBOL] = s
        if told[ol.R_SIDE] != 0:
            _note(orders.desks[s, 0 if told[ol.R_SIDE] > 0 else 1], told)
        release(orders.reports, ol.REPORTS_HELD, place, orders.state)


@compiled
def listen(now, orders):
    """Take note of all reports that are known by ``now``."""
    for s in range(len(orders.books)):
        hear(s, now, orders)


@compiled
def _note(desk, told):
    """One report on an order of one side."""
    kind = told[ol.R_KIND]
    if kind == ol.FILLED or kind == ol.TOOK:
        if told[ol.R_ID] == desk[ol.D_ID]:
            desk[ol.D_FILLED] += abs(told[ol.R_LOTS])
            if desk[ol.D_FILLED] == desk[ol.D_TOTAL]:
                desk[ol.D_ID] = 0
        return
    if kind == ol.EXPIRED or (kind == ol.CANCELLED and told[ol.R_ID] == desk[ol.D_ID]):
        desk[ol.D_ID] = 0
    if kind == ol.ACCEPTED:
        desk[ol.D_ID], desk[ol.D_FILLED] = told[ol.R_ID], 0
    if kind == ol.ACCEPTED or kind == ol.REPLACED:
        desk[ol.D_PRICE], desk[ol.D_TOTAL] = told[ol.R_PRICE], told[ol.R_TOTAL]
    if told[ol.R_ANSWERS]:
        desk[ol.D_WAITING] = 0


@compiled_inline
def quote(s, command, anchor, first_row, ticks, orders, rules, limited, guard):
    """Compare the quotes that are wanted with those that work, and send the least that is needed.

    Args:
        command: what is wanted, and when.
        anchor: doubled mid that offsets are from, half ticks.
        limited: whether limits hold.

    Returns:
        ``DONE``, or what cannot be counted.
    """
    desks, book = orders.desks[s], orders.books[s]
    held = book[at.CONFIRMED]
    largest = abs(float(anchor)) + abs(float(held)) * abs(float(rules[ol.SKEW]))
    for k in range(0, 4, 2):
        if command[ol.C_BID_OFFSET + k] != SILENT:
            largest += abs(float(command[ol.C_BID_OFFSET + k]))
    if largest * float(rules[ol.SKEW_UNDER]) > _LARGE:
        return ol.PRICE_OVERFLOW
    bid, ask = _prices(command, anchor, held, rules)
    limit = rules[ol.POSITION_LIMIT]
    for k in range(2):
        side = 1 - 2 * k
        offset, lots = command[ol.C_BID_OFFSET + 2 * k], command[ol.C_BID_LOTS + 2 * k]
        desk = desks[k]
        if offset == SILENT or lots == SILENT or desk[ol.D_WAITING]:
            continue
        if desk[ol.D_SENT] > command[ol.C_READY] - rules[ol.MIN_INTERVAL]:
            continue
        lots = max(min(lots, limit - side * held), 0)
        price = bid if k == 0 else ask
        if not _send_side(
            s, side, price, lots, command, desk, first_row, ticks, orders, rules, limited, guard
        ):
            return ll.EXPOSURE_OVERFLOW
    return at.DONE


@compiled
def _prices(command, anchor, held, rules):
    """Bid and ask in ticks, rounded away from each other; held lots move both against them."""
    under = rules[ol.SKEW_UNDER]
    shift = rules[ol.SKEW] * held
    below, above = command[ol.C_BID_OFFSET], command[ol.C_ASK_OFFSET]
    silent = below == SILENT or above == SILENT  # a side that is silent is given any price
    below, above = 0 if below == SILENT else below, 0 if above == SILENT else above
    bid = ((anchor - below) * under - shift) // (2 * under)
    ask = -((-(anchor + above) * under + shift) // (2 * under))
    both = command[ol.C_BID_LOTS] > 0 and command[ol.C_ASK_LOTS] > 0
    if both and not silent and bid >= ask:
        both_sides = bid + ask
        bid, ask = (both_sides - 1) // 2, -((-both_sides - 1) // 2)
    return bid, ask


@compiled_inline
def _send_side(
    s, side, price, lots, command, desk, first_row, ticks, orders, rules, limited, guard
):
    """What brings one side's order to where it is wanted: nothing, or one message.

    Returns:
        Whether what is at stake can be counted, where limits hold.
    """
    book = orders.books[s]
    near = False
    if desk[ol.D_ID] == 0:
        if lots == 0:
            return True
        action, order_id, total = ol.NEW, book[ol.LAST_ID] + 1, lots
        latency = command[ol.C_ENTRY]
    elif lots == 0:
        action, order_id, total, latency = ol.CANCEL, desk[ol.D_ID], 0, command[ol.C_CANCEL]
    else:
        near = abs(price - desk[ol.D_PRICE]) <= rules[ol.REQUOTE_BAND]
        left = desk[ol.D_TOTAL] - desk[ol.D_FILLED]
        if near and abs(lots - left) <= rules[ol.RESIZE_BAND]:
            return True
        price = desk[ol.D_PRICE] if near else price
        action, order_id, total = ol.REPLACE, desk[ol.D_ID], desk[ol.D_FILLED] + lots
        latency = command[ol.C_REPLACE]
    if guard is not None and limited:
        allowed = allow(s, action, order_id, side, price, total, command, orders, guard)
        if allowed < 0:
            return allowed == -1
        if allowed < total and near:  # with fewer lots it may be as it should
            left = desk[ol.D_TOTAL] - desk[ol.D_FILLED]
            if abs(allowed - desk[ol.D_FILLED] - left) <= rules[ol.RESIZE_BAND]:
                return True
        total = allowed
        count_message(command[ol.C_READY], guard)
    if action == ol.NEW:
        book[ol.LAST_ID] = order_id
    send(
        s, action, order_id, side, price, total, ol.GTC, rules[ol.POST_ONLY], latency, command,
        first_row, ticks, orders,
    )  # fmt: skip
    desk[ol.D_WAITING], desk[ol.D_SENT] = 1, command[ol.C_READY]
    return True
