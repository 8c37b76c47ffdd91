"""Compiled: how long own orders stood where against the touch, and with how many lots.

``docs/orders.md`` has the rules. What an instant changes counts from then on, so rows and messages
of one instant are one change.
"""

from __future__ import annotations

from backtest.core.compiled import compiled
from backtest.trading import order_layout as ol
from backtest.trading.layout import NO_PRICE
from backtest.trading.quotes_loops import quote_of

_BITS = 31
"""Of a digit in which lots x ns are counted; lots and spans have two of them."""


@compiled
def note_standing(s, time, row, changed, ticks, orders):
    """Own orders of a symbol stand as they do now from an instant on.

    Args:
        row: the symbol's latest one, in the window; -1: it has none, and no order.
        changed: whether the open lots may be others than before.
    """
    b, a = NO_PRICE, NO_PRICE
    if row >= 0:
        b, a, _, _ = quote_of(row, ticks)
    book = orders.books[s]
    _note_side(orders.standing[s, 0], book[ol.BUYS], b, time, changed, orders.working)
    _note_side(orders.standing[s, 1], book[ol.SELLS], a, time, changed, orders.working)


@compiled
def end_standing(s, time, orders):
    """No order of a symbol stands from an instant on."""
    for side in range(2):
        _note_side(orders.standing[s, side], -1, NO_PRICE, time, True, orders.working)


@compiled
def _note_side(of, first, touch, time, changed, working):
    """The same of a side, whose best order is ``first``, if it has one."""
    where, lots = ol.NOWHERE, of[ol.S_LOTS]
    if first >= 0:
        side, price = working[first, ol.SIDE], working[first, ol.PRICE]
        where = ol.BETTER
        if touch != NO_PRICE and side * price <= side * touch:
            where = ol.AT if price == touch else ol.BEHIND
    if changed:
        lots = 0
        while first >= 0:
            lots += working[first, ol.TOTAL] - working[first, ol.DONE_LOTS]
            first = working[first, ol.NEXT]
    if where == of[ol.S_WHERE] and lots == of[ol.S_LOTS]:
        return
    if of[ol.S_WHERE] != ol.NOWHERE:
        span = time - of[ol.S_SINCE]
        of[ol.S_TIMES + of[ol.S_WHERE]] += span
        _add_product(of, of[ol.S_LOTS], span)
    of[ol.S_SINCE], of[ol.S_WHERE], of[ol.S_LOTS] = time, where, lots


@compiled
def _add_product(of, lots, span):
    """Add lots x ns, exactly, to the digits of their sum; both are below 2^62."""
    mask = (1 << _BITS) - 1
    low, high, early, late = lots & mask, lots >> _BITS, span & mask, span >> _BITS
    for place, product in (
        (0, low * early), (1, low * late), (1, high * early), (2, high * late),
    ):  # fmt: skip
        of[ol.S_SUM + place] += product
        for k in range(place, 2):
            of[ol.S_SUM + k + 1] += of[ol.S_SUM + k] >> _BITS
            of[ol.S_SUM + k] &= mask
