"""Compiled: what depth says of the places of own orders in their queues.

``docs/orders.md`` has the rules. Own orders of a side lie in one list, best price first.
"""

from __future__ import annotations

from backtest.core.compiled import compiled
from backtest.trading import depth_layout as dl
from backtest.trading import order_layout as ol
from backtest.trading.depth_level_loops import size_at
from backtest.trading.layout import NO_PRICE
from backtest.trading.queue_loops import cap_place, meet_level


@compiled
def is_bound(model):
    """Whether a queue model is one of the bracket's, whose places nothing moves."""
    return model == ol.THROUGH or model == ol.OPTIMISTIC


@compiled
def meet_size(place, side, price, size, restates, time, working, rules):
    """A level displays ``size`` lots: it moves the own orders there.

    Args:
        place: of the best own order of the side.
        restates: whether that is part of a snapshot, which only caps.
        time: of the row, ns.
    """
    if is_bound(rules[ol.MODEL]) or rules[ol.MODEL] == ol.L3:
        return
    while place >= 0 and side * working[place][ol.PRICE] >= side * price:
        order = working[place]
        if order[ol.PRICE] == price:
            if restates:
                cap_place(order, time, rules[ol.PAIRING], size)
            else:
                meet_level(order, rules[ol.MODEL], time, rules[ol.PAIRING], size)
        place = order[ol.NEXT]


@compiled
def meet_touch(place, side, price, size, time, working, rules):
    """A touch says what is displayed at its price, and that nothing is at better ones.

    Args:
        place: of the best own order of the side.
        price: of the touch; ``NO_PRICE``: that side is absent.
    """
    if is_bound(rules[ol.MODEL]):
        return
    while place >= 0:
        order = working[place]
        if price != NO_PRICE and side * order[ol.PRICE] < side * price:
            return
        displayed = size if order[ol.PRICE] == price else 0
        meet_level(order, rules[ol.MODEL], time, rules[ol.PAIRING], displayed)
        place = order[ol.NEXT]


@compiled
def meet_snapshot(place, side, of, levels, by_order, time, working, rules):
    """A snapshot has ended: own orders have no more before them than is displayed.

    Args:
        place: of the best own order of the side.
        of: the side's row of ``sides``.
        by_order: whether rows are of single orders; those of levels have capped by themselves.
        time: of the row, ns.
    """
    if is_bound(rules[ol.MODEL]):
        return
    while place >= 0:
        order = working[place]
        size = size_at(of, levels, side * order[ol.PRICE])
        if by_order or size == dl.NOT_LISTED:
            cap_place(order, time, rules[ol.PAIRING], max(size, 0))
        place = order[ol.NEXT]


@compiled
def leave_queue(place, side, price, lots, moment, restated, displayed, working):
    """Some lots of an order of the market are gone from before own orders at its price.

    Where a snapshot has restated it, nobody knows on which side of those it stood that were there
    already: then no more is before them than is displayed now.

    Args:
        place: of the best own order of the side.
        moment: the row since which the order had its place.
        restated: whether that was one of a snapshot.
        displayed: lots at the price now; ``NOT_LISTED``: that is not known.
    """
    while place >= 0 and side * working[place][ol.PRICE] >= side * price:
        order = working[place]
        if order[ol.PRICE] == price and order[ol.AHEAD] != ol.UNKNOWN:
            if moment < order[ol.MOMENT]:
                order[ol.AHEAD] = max(order[ol.AHEAD] - lots * ol.FRACTION, 0)
            elif restated and displayed != dl.NOT_LISTED:
                order[ol.AHEAD] = min(order[ol.AHEAD], displayed * ol.FRACTION)
        place = order[ol.NEXT]
