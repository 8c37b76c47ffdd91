"""Compiled: the rows of the market meet the own orders of their symbol.

``docs/orders.md`` has the rules.
"""

from __future__ import annotations

from backtest.core.compiled import compiled
from backtest.trading import order_layout as ol
from backtest.trading.depth_level_loops import take_from_level
from backtest.trading.depth_loops import follow_event
from backtest.trading.layout import NO_PRICE
from backtest.trading.order_book_loops import fill_resting
from backtest.trading.queue_loops import meet_print, meet_quote
from backtest.trading.quotes_loops import quote_of, take_at_touch


@compiled
def meet_row(s, row, before, ticks, orders, depth, rules, response):
    """A row of the market meets the own orders of its symbol: prints first, then its quote.

    Args:
        row: its place in the window; ``before``: that of the symbol's row before it.
        depth: ``Depth``, followed up to the row, or ``None``.
        rules: as ``order_layout`` has them.
        response: latency of the reports that it causes, ns.
    """
    book = orders.books[s]
    if ticks.trade_price[row] != NO_PRICE and ticks.trade_size[row] > 0:
        _meet_trade(s, row, before, ticks, orders, rules, response)
    b, a, size_b, size_a = quote_of(row, ticks)
    b0, a0, size_b0, size_a0 = quote_of(before, ticks)
    same = b == b0 and a == a0 and size_b == size_b0 and size_a == size_a0
    if depth is not None:
        taken_a = taken_b = 0
        if not same or rules[ol.CROSS] == ol.CROSS_FULL:
            if book[ol.BUYS] >= 0 and a != NO_PRICE and rules[ol.CROSS] != ol.CROSS_NONE:
                taken_a = _meet_cross(s, 1, row, before, ticks, orders, rules, response)
            if book[ol.SELLS] >= 0 and b != NO_PRICE and rules[ol.CROSS] != ol.CROSS_NONE:
                taken_b = _meet_cross(s, -1, row, before, ticks, orders, rules, response)
        follow_event(s, row, ticks, orders, depth, rules)
        # What own orders got is no longer there, of the level as the quote has stated it.
        if taken_a > 0:
            take_from_level(depth.sides[2 * s + 1], depth.levels, -a, taken_a)
        if taken_b > 0:
            take_from_level(depth.sides[2 * s], depth.levels, b, taken_b)
        return
    if same and rules[ol.CROSS] != ol.CROSS_FULL:
        return  # an unchanged quote says nothing new
    if book[ol.BUYS] >= 0:
        if a != NO_PRICE and rules[ol.CROSS] != ol.CROSS_NONE:
            taken = _meet_cross(s, 1, row, before, ticks, orders, rules, response)
            if taken > 0:
                take_at_touch(book, True, ticks.ask_since[row], taken)
        if b != NO_PRICE:
            _meet_touch(book[ol.BUYS], 1, b, size_b, ticks.ts_event[row], orders.working, rules)
    if book[ol.SELLS] >= 0:
        if b != NO_PRICE and rules[ol.CROSS] != ol.CROSS_NONE:
            taken = _meet_cross(s, -1, row, before, ticks, orders, rules, response)
            if taken > 0:
                take_at_touch(book, False, ticks.bid_since[row], taken)
        if a != NO_PRICE:
            _meet_touch(book[ol.SELLS], -1, a, size_a, ticks.ts_event[row], orders.working, rules)


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
    if rules[ol.MODEL] == ol.L3:
        return  # executions of single orders tell more
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
            time, mid = ticks.ts_event[row], ticks.mid[before]
            fill_resting(s, place, filled, time, mid, orders, response)
        place = after


@compiled
def _meet_cross(s, side, row, before, ticks, orders, rules, response):
    """A quote of the other side at an order's price or through it, which nobody printed.

    It fills what that side displays more of at such prices than the row before, less what was
    printed there in the same instant. Returns the lots, which are no longer there for others.
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
            time, mid = ticks.ts_event[row], ticks.mid[before]
            fill_resting(s, place, left, time, mid, orders, response)
        place = after
    return taken


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
