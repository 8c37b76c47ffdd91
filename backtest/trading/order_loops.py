"""Compiled: one symbol's own orders at the venue, and the rows of the market that meet them.

Sides are +1 (buy) and -1 (sell). Times a side, prices of both compare alike: an order's ``key`` is
the larger, the better its price. ``docs/orders.md`` has the rules.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from backtest.core.compiled import compiled
from backtest.trading import layout as at
from backtest.trading import order_layout as ol
from backtest.trading.layout import NO_PRICE
from backtest.trading.queue_loops import meet_print, meet_quote


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
    """What the venue and the trader keep between two calls, as ``order_layout`` has it."""

    state: Any
    commands: Any
    books: Any
    desks: Any
    messages: Any
    working: Any
    reports: Any
    log: Any
    fills: Any


@compiled
def meet_row(s, row, before, ticks, orders, rules, response):
    """A row of the market meets the own orders of its symbol: prints first, then its quote.

    Args:
        row: its place in the window; ``before``: that of the symbol's row before it.
        rules: as ``order_layout`` has them.
        response: latency of the reports that it causes, ns.
    """
    book = orders.books[s]
    if ticks.trade_price[row] != NO_PRICE and ticks.trade_size[row] > 0:
        _meet_trade(s, row, before, ticks, orders, rules, response)
    b, a, size_b, size_a = quote_of(row, ticks)
    b0, a0, size_b0, size_a0 = quote_of(before, ticks)
    same = b == b0 and a == a0 and size_b == size_b0 and size_a == size_a0
    if same and rules[ol.CROSS] != ol.CROSS_FULL:
        return  # an unchanged quote says nothing new
    if book[ol.BUYS] >= 0:
        if a != NO_PRICE and rules[ol.CROSS] != ol.CROSS_NONE:
            _meet_cross(s, 1, row, before, ticks, orders, rules, response)
        if b != NO_PRICE:
            _meet_touch(book[ol.BUYS], 1, b, size_b, ticks.ts_event[row], orders.working, rules)
    if book[ol.SELLS] >= 0:
        if b != NO_PRICE and rules[ol.CROSS] != ol.CROSS_NONE:
            _meet_cross(s, -1, row, before, ticks, orders, rules, response)
        if a != NO_PRICE:
            _meet_touch(book[ol.SELLS], -1, a, size_a, ticks.ts_event[row], orders.working, rules)


@compiled
def quote_of(row, ticks):
    """Bid, ask and their sizes at a row; both sides are absent where they cross."""
    b, a = ticks.bid[row], ticks.ask[row]
    if a != NO_PRICE and b > a:
        return NO_PRICE, NO_PRICE, 0, 0
    return b, a, ticks.bid_size[row], ticks.ask_size[row]


@compiled
def _meet_trade(s, row, before, ticks, orders, rules, response):
    """A print fills the orders of those whom its initiator may have traded with."""
    book, price, lots = orders.books[s], ticks.trade_price[row], ticks.trade_size[row]
    initiator = ticks.aggressor[row]
    if initiator == 0:
        b, a = ticks.bid[before], ticks.ask[before]
        buyer, seller = a != NO_PRICE and price >= a, b != NO_PRICE and price <= b
        if buyer != seller:
            initiator = 1 if buyer else -1
    both = initiator == 0 and rules[ol.INSIDE_BOTH]
    if book[ol.PRINT_TIME] != ticks.ts_event[row]:
        book[ol.PRINT_TIME] = ticks.ts_event[row]
        book[ol.PRINTED_SOLD] = book[ol.PRINTED_BOUGHT] = 0
    if initiator < 0 or both:
        book[ol.PRINTED_SOLD] += lots
        _meet_print(s, 1, price, lots, row, before, ticks, orders, rules, response)
    if initiator > 0 or both:
        book[ol.PRINTED_BOUGHT] += lots
        _meet_print(s, -1, price, lots, row, before, ticks, orders, rules, response)


@compiled
def _meet_print(s, side, price, lots, row, before, ticks, orders, rules, response):
    """Own orders of one side share what a print against it traded, best price first.

    One that the print went through comes before it in the book; one at its price waits for those
    ahead of it.
    """
    book, working = orders.books[s], orders.working
    budget, key = lots, side * price
    place = book[ol.BUYS if side > 0 else ol.SELLS]
    while place >= 0:
        order = working[place]
        after = order[ol.NEXT]
        own = side * order[ol.PRICE]
        if own < key:
            break
        left = order[ol.TOTAL] - order[ol.DONE_LOTS]
        if own > key:
            filled = left if rules[ol.THROUGH_FULL] else min(left, budget)
            if not rules[ol.THROUGH_FULL]:
                budget -= filled
        else:
            filled = min(meet_print(order, ticks.ts_event[row], lots), left, budget)
            budget -= filled
        if filled > 0:
            fill_resting(s, place, filled, row, before, ticks, orders, response)
        place = after


@compiled
def _meet_cross(s, side, row, before, ticks, orders, rules, response):
    """A quote of the other side at an order's price or through it, which nobody printed.

    It fills what that side displays more of at such prices than the row before, less what was
    printed there in the same instant; what own orders take so is no longer there for others.
    """
    book, working = orders.books[s], orders.working
    b, a, size_b, size_a = quote_of(row, ticks)
    b0, a0, size_b0, size_a0 = quote_of(before, ticks)
    price, size, price0, size0 = (a, size_a, a0, size_a0) if side > 0 else (b, size_b, b0, size_b0)
    printed = 0
    if book[ol.PRINT_TIME] == ticks.ts_event[row]:
        printed = book[ol.PRINTED_SOLD] if side > 0 else book[ol.PRINTED_BOUGHT]
    taken = 0
    place = book[ol.BUYS if side > 0 else ol.SELLS]
    while place >= 0:
        order = working[place]
        after = order[ol.NEXT]
        if side * order[ol.PRICE] < side * price:
            break
        left = order[ol.TOTAL] - order[ol.DONE_LOTS]
        if rules[ol.CROSS] == ol.CROSS_DISPLAYED:
            there = price0 != NO_PRICE and side * price0 <= side * order[ol.PRICE]
            left = min(left, size - (size0 if there else 0) - printed - taken)
        if left > 0:
            taken += left
            fill_resting(s, place, left, row, before, ticks, orders, response)
        place = after
    if taken > 0:
        deplete(book, side, ticks.ask_since[row] if side > 0 else ticks.bid_since[row], taken)


@compiled
def deplete(book, side, since, lots):
    """Note what own orders took of the side that they take from, as it stands since an event."""
    column = at.BOUGHT if side > 0 else at.SOLD
    if book[column + 1] != since:
        book[column + 1] = since
        book[column] = 0
    book[column] += lots


@compiled
def _meet_touch(place, side, price, size, time, working, rules):
    """The touch of their own side moves the places of orders in their queues."""
    if rules[ol.MODEL] == ol.THROUGH or rules[ol.MODEL] == ol.OPTIMISTIC:
        return
    while place >= 0:
        order = working[place]
        better, equal = side * price > side * order[ol.PRICE], price == order[ol.PRICE]
        meet_quote(order, rules[ol.MODEL], time, rules[ol.PAIRING], better, equal, size)
        place = order[ol.NEXT]


@compiled
def fill_resting(s, place, lots, row, before, ticks, orders, response):
    """Fill some lots of a resting order, at its own price."""
    book, order = orders.books[s], orders.working[place]
    fill = orders.fills[record_fill(s, order, lots, orders)]
    fill[at.FILLED], fill[at.MAKER] = ticks.ts_event[row], 1
    fill[at.TOUCH], fill[at.GAP] = order[ol.PRICE], 0
    fill[at.DISPLAYED] = fill[at.TAKEN] = 0
    fill[at.MF] = ticks.mid[before]
    order[ol.DONE_LOTS] += lots
    time = ticks.ts_event[row]
    fill[at.KNOWN] = report(
        s, ol.FILLED, order, order[ol.SIDE] * lots, order[ol.PRICE], time, response, orders
    )
    if order[ol.DONE_LOTS] == order[ol.TOTAL]:
        remove(book, place, orders)


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
