"""Compiled: the book of own orders: their entries, their lists, and what is reported of them.

Sides are +1 (buy) and -1 (sell). Times a side, prices of both compare alike: the larger is better.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from backtest.core.compiled import compiled
from backtest.trading import layout as at
from backtest.trading import order_layout as ol


class Ticks(NamedTuple):
    """Columns of the window."""

    ts_event: Any
    bid: Any
    ask: Any
    bid_size: Any
    ask_size: Any
    trade_price: Any
    trade_size: Any
    aggressor: Any
    response: Any
    next_quote: Any
    mid: Any
    bid_since: Any
    ask_since: Any
    stale: Any


class Orders(NamedTuple):
    """What the venue and the trader keep between two calls, as ``order_layout`` has it.

    ``unresolved`` has the lots of each symbol's buys and sells that may still be filled, as far as
    the trader knows, int64 [S, 2].
    """

    state: Any
    queue: Any
    books: Any
    desks: Any
    messages: Any
    working: Any
    reports: Any
    heard: Any
    log: Any
    fills: Any
    standing: Any
    pending: Any
    unresolved: Any


@compiled
def record_fill(s, message, lots, orders):
    """Note a fill of an order or of the message that makes it take: its row, to be completed."""
    state, side = orders.state, message[ol.SIDE]
    row = state[at.FILLS]
    fill = orders.fills[row]
    state[at.FILLS] = row + 1
    fill[at.EVENT], fill[at.SYMBOL], fill[at.ORDER] = message[ol.EVENT], s, message[ol.ID]
    fill[at.LOTS], fill[at.TRADED] = side * lots, lots
    for k in range(5):
        fill[at.T0 + k] = message[ol.AT0 + k]
        fill[at.M0 + k] = message[ol.MID0 + k]
    orders.books[s][at.POSITION] += side * lots
    return row


@compiled
def report(s, kind, message, lots, price, time, response, orders):
    """Report something of an order to the trader, who hears it later, and in order.

    Args:
        message: the order, or the message that the report answers.
        lots, price: of a fill, the lots with their sign; of others, the order's.
        time: when it happens, ns.
        response: how long its report takes, ns.

    Returns:
        When it is known, ns.
    """
    state, book = orders.state, orders.books[s]
    known = max(book[ol.HEARD_LAST], time + min(response, at.LATEST - max(time, 0)))
    book[ol.HEARD_LAST] = known
    entry = orders.log[state[ol.LOGGED]]
    state[ol.LOGGED] += 1
    entry[ol.L_TIME], entry[ol.L_SYMBOL], entry[ol.L_KNOWN] = time, s, known
    entry[ol.L_KIND], entry[ol.L_ID], entry[ol.L_SIDE] = kind, message[ol.ID], message[ol.SIDE]
    entry[ol.L_LOTS], entry[ol.L_PRICE], entry[ol.L_EVENT] = lots, price, message[ol.EVENT]
    for k in range(5):
        entry[ol.L_T0 + k] = message[ol.AT0 + k]
    place = allot(orders.reports, ol.REPORTS_HELD, state)
    told = orders.reports[place]
    told[ol.R_NEXT], told[ol.R_KNOWN], told[ol.R_KIND] = -1, known, kind
    told[ol.R_ID], told[ol.R_SIDE] = message[ol.ID], message[ol.SIDE]
    told[ol.R_LOTS], told[ol.R_PRICE], told[ol.R_TOTAL] = lots, price, message[ol.TOTAL]
    told[ol.R_OWN], told[ol.R_REPLACES] = message[ol.OWN], 0
    told[ol.R_ANSWERS] = kind in (ol.ACCEPTED, ol.REJECTED, ol.REPLACED, ol.LATE)
    if book[ol.FIRST_REPORT] < 0:
        book[ol.FIRST_REPORT] = place
    else:
        orders.reports[book[ol.LAST_REPORT]][ol.R_NEXT] = place
    book[ol.LAST_REPORT] = place
    return known


@compiled
def allot(entries, kind, state):
    """A free entry of messages, orders or reports; the caller has seen to it that there is one."""
    place = state[ol.FREE + kind]
    state[ol.FREE + kind] = entries[place, ol.NEXT]
    state[ol.SPARE + kind] -= 1
    return place


@compiled
def release(entries, kind, place, state):
    """Free an entry."""
    entries[place, ol.NEXT] = state[ol.FREE + kind]
    state[ol.FREE + kind] = place
    state[ol.SPARE + kind] += 1


@compiled
def insert(book, place, orders):
    """Put an order behind all own ones of its side whose price is no worse."""
    working = orders.working
    order = working[place]
    side = order[ol.SIDE]
    head = ol.BUYS if side > 0 else ol.SELLS
    before, after = -1, book[head]
    while after >= 0 and side * working[after][ol.PRICE] >= side * order[ol.PRICE]:
        before, after = after, working[after][ol.NEXT]
    order[ol.NEXT] = after
    if before < 0:
        book[head] = place
    else:
        working[before][ol.NEXT] = place
    book[ol.WORKING] += 1


@compiled
def unlink(book, place, orders):
    """Take an order out of its side's list; its entry stays as it is."""
    working = orders.working
    head = ol.BUYS if working[place][ol.SIDE] > 0 else ol.SELLS
    before, here = -1, book[head]
    while here != place:
        before, here = here, working[here][ol.NEXT]
    if before < 0:
        book[head] = working[place][ol.NEXT]
    else:
        working[before][ol.NEXT] = working[place][ol.NEXT]
    book[ol.WORKING] -= 1


@compiled
def remove(book, place, orders):
    """Take an order out of its side's list, and free its entry."""
    unlink(book, place, orders)
    release(orders.working, ol.ORDERS, place, orders.state)


@compiled
def fill_resting(s, place, lots, time, mid, orders, response):
    """Fill some lots of a resting order, at its own price.

    Args:
        time: of the row that fills it, ns.
        mid: doubled, of the symbol's last two-sided quote before that row.
        response: latency of the report, ns.
    """
    book, order = orders.books[s], orders.working[place]
    fill = orders.fills[record_fill(s, order, lots, orders)]
    fill[at.FILLED], fill[at.MAKER] = time, 1
    fill[at.TOUCH], fill[at.GAP] = order[ol.PRICE], 0
    fill[at.AHEAD], fill[at.PRINTED] = order[ol.JOINED], order[ol.PRINTED]
    fill[at.MF] = mid
    order[ol.DONE_LOTS] += lots
    fill[at.KNOWN] = report(
        s, ol.FILLED, order, order[ol.SIDE] * lots, order[ol.PRICE], time, response, orders
    )
    if order[ol.DONE_LOTS] == order[ol.TOTAL]:
        remove(book, place, orders)


@compiled
def has_room_for(orders, most):
    """Whether what one row or message leads to, and a command's own messages, can be noted.

    Args:
        most: fills and reports that it leads to at most.
    """
    state = orders.state
    return (
        state[at.FILLS] + most <= len(orders.fills)
        and state[ol.LOGGED] + most <= len(orders.log)
        and state[ol.SPARE + ol.REPORTS_HELD] >= most
        and state[ol.SPARE + ol.MESSAGES] >= 2
        and state[ol.SPARE + ol.ORDERS] >= 1
        and (len(orders.heard) == 0 or _can_hear(most, orders))
    )


@compiled
def _can_hear(more, orders):
    """Whether all reports that are held, and so many more, can be handed on once they are heard."""
    held = len(orders.reports) - orders.state[ol.SPARE + ol.REPORTS_HELD]
    return orders.state[ol.HEARD] + held + more <= len(orders.heard)


@compiled
def answer(s, kind, order, message, orders):
    """Report on a message at its arrival, with the order's lots and price."""
    known = report(
        s, kind, message, order[ol.TOTAL], order[ol.PRICE], message[ol.AT4], message[ol.RESPONSE],
        orders,
    )  # fmt: skip
    orders.reports[orders.books[s][ol.LAST_REPORT]][ol.R_REPLACES] = message[ol.REPLACES]
    return known


@compiled
def find(book, order_id, working):
    """The symbol's working order with an id; -1: there is none."""
    for head in (ol.BUYS, ol.SELLS):
        place = book[head]
        while place >= 0:
            if working[place][ol.ID] == order_id:
                return place
            place = working[place][ol.NEXT]
    return -1


@compiled
def withdraw(s, place, message, asked, orders):
    """Cancel a working order, since a message asked for it or meets it."""
    order = orders.working[place]
    report(
        s, ol.CANCELLED, order, order[ol.TOTAL] - order[ol.DONE_LOTS], order[ol.PRICE],
        message[ol.AT4], message[ol.RESPONSE], orders,
    )  # fmt: skip
    told = orders.reports[orders.books[s][ol.LAST_REPORT]]
    told[ol.R_ANSWERS] = asked
    told[ol.R_REPLACES] = message[ol.REPLACES] if asked else 0
    _name_message(message, orders)
    remove(orders.books[s], place, orders)


@compiled
def _name_message(message, orders):
    """The latest entry of the log is due to a message other than that which made the order."""
    entry = orders.log[orders.state[ol.LOGGED] - 1]
    entry[ol.L_EVENT] = message[ol.EVENT]
    for k in range(5):
        entry[ol.L_T0 + k] = message[ol.AT0 + k]
