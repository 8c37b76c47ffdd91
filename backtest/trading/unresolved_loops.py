"""Compiled: the lots of an account's orders that may still be filled, as far as the trader knows.

An order counts from when it is sent until a report of its end is heard. Of its lots count those of
its total that are not known to be filled; while replacements of it are under way, those of its
largest total since the first of them was sent.
"""

from __future__ import annotations

from backtest.core.compiled import compiled, compiled_inline
from backtest.trading import order_layout as ol
from backtest.trading.order_book_loops import allot, release


@compiled_inline
def note_sent(s, message, orders):
    """Take note of a message that is sent; it is given the place of what is kept of its order."""
    book, pending = orders.books[s], orders.pending
    book[ol.SENT] += 1
    message[ol.OWN], message[ol.REPLACES] = -1, 0
    if message[ol.ACTION] == ol.NEW:
        place = allot(pending, ol.PENDING, orders.state)
        kept, total = pending[place], message[ol.TOTAL]
        kept[ol.P_NEXT], book[ol.FIRST_PENDING] = book[ol.FIRST_PENDING], place
        kept[ol.P_ID], kept[ol.P_SIDE] = message[ol.ID], message[ol.SIDE]
        kept[ol.P_SENT] = book[ol.SENT]
        kept[ol.P_TOTAL] = kept[ol.P_LARGEST] = total
        kept[ol.P_FILLED] = kept[ol.P_REPLACES] = 0
        message[ol.OWN] = place
        orders.unresolved[s, _side(kept)] += total
    elif message[ol.ACTION] == ol.REPLACE:
        message[ol.REPLACES] = book[ol.SENT]
        place = book[ol.FIRST_PENDING]
        while place >= 0:
            kept = pending[place]
            if kept[ol.P_ID] == message[ol.ID]:
                kept[ol.P_REPLACES] += 1
                largest = max(kept[ol.P_LARGEST], message[ol.TOTAL])
                _set_largest(kept, largest, orders.unresolved[s])
            place = kept[ol.P_NEXT]


@compiled_inline
def resolve(s, told, orders):
    """Take note of a report that is heard."""
    book, pending, unresolved = orders.books[s], orders.pending, orders.unresolved[s]
    kind, place = told[ol.R_KIND], told[ol.R_OWN]
    if place >= 0:
        kept = pending[place]
        ended = kind == ol.CANCELLED or kind == ol.EXPIRED
        if kind == ol.FILLED or kind == ol.TOOK:
            lots = abs(told[ol.R_LOTS])
            kept[ol.P_FILLED] += lots
            unresolved[_side(kept)] -= lots
            ended = kept[ol.P_FILLED] == kept[ol.P_TOTAL]
        elif kind == ol.REPLACED:
            kept[ol.P_TOTAL] = told[ol.R_TOTAL]
        elif kind == ol.REJECTED:
            ended = told[ol.R_REPLACES] == 0  # else it is the replacement that was rejected
        if ended:
            _forget(book, place, pending, unresolved, orders.state)
    if told[ol.R_REPLACES] > 0:
        _answered(book[ol.FIRST_PENDING], told, pending, unresolved)


@compiled
def _answered(place, told, pending, unresolved):
    """A replacement is no longer under way."""
    while place >= 0:
        kept = pending[place]
        if kept[ol.P_ID] == told[ol.R_ID] and kept[ol.P_SENT] < told[ol.R_REPLACES]:
            kept[ol.P_REPLACES] -= 1
            if kept[ol.P_REPLACES] == 0:
                _set_largest(kept, kept[ol.P_TOTAL], unresolved)
        place = kept[ol.P_NEXT]


@compiled
def _set_largest(kept, total, unresolved):
    """Change the total up to which an order may be filled."""
    unresolved[_side(kept)] += total - kept[ol.P_LARGEST]
    kept[ol.P_LARGEST] = total


@compiled
def _side(kept):
    return 0 if kept[ol.P_SIDE] > 0 else 1


@compiled
def _forget(book, place, pending, unresolved, state):
    """An order has ended: nothing of it can be filled any more."""
    kept = pending[place]
    unresolved[_side(kept)] -= kept[ol.P_LARGEST] - kept[ol.P_FILLED]
    before, here = -1, book[ol.FIRST_PENDING]
    while here != place:
        before, here = here, pending[here][ol.P_NEXT]
    if before < 0:
        book[ol.FIRST_PENDING] = kept[ol.P_NEXT]
    else:
        pending[before][ol.P_NEXT] = kept[ol.P_NEXT]
    release(pending, ol.PENDING, place, state)
