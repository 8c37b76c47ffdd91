"""Compiled: where an own order stands in the queue of its price, as prints and quotes tell.

Places are counted in parts of a lot (``FRACTION``), sizes in lots. The order is one of a buyer or a
seller: nothing here depends on which. ``docs/orders.md`` has the rules.
"""

from __future__ import annotations

from backtest.core.compiled import compiled
from backtest.trading import order_layout as ol


@compiled
def join(model, displayed, known):
    """The place of an order that joins a queue.

    Args:
        displayed: size at its price, lots; 0 where the price is better than the touch.
        known: whether that is what stands there.
    """
    if model == ol.OPTIMISTIC:
        return 0
    if model == ol.THROUGH:
        return ol.NEVER
    return displayed * ol.FRACTION if known else ol.UNKNOWN


@compiled
def meet_print(order, time, lots):
    """Take note of a print at an order's own price.

    Args:
        order: a working order.
        lots: printed by those who trade against its side.

    Returns:
        Lots that the print leaves for the order, as far as its place goes.
    """
    _forget_paid(order, time)
    # What quotes have taken off the place already was this print: it does not count twice.
    paid = min(order[ol.PAID], lots * ol.FRACTION)
    order[ol.PAID] -= paid
    explained = min(order[ol.FALLEN], lots)
    order[ol.FALLEN] -= explained
    order[ol.TRADED] += lots - explained
    order[ol.PRINTED] += lots
    ahead = order[ol.AHEAD]
    if ahead >= ol.UNKNOWN:
        return 0
    left = lots * ol.FRACTION - paid
    order[ol.AHEAD] = max(ahead - left, 0)
    return max(left - ahead, 0) // ol.FRACTION


@compiled
def meet_quote(order, model, time, pairing, better, equal, displayed):
    """Take note of a quote of an order's own side.

    Args:
        order: a working order.
        model: of the queue.
        pairing: how long a print may come after the quote that it caused, ns.
        better: whether the touch is better than the order's price.
        equal: whether it is that price; if neither, the touch is worse.
        displayed: size at the touch, lots.
    """
    if better:
        order[ol.AWAY] = 1
        return
    ahead, lowered, fallen = order[ol.AHEAD], 0, 0
    if ahead == ol.UNKNOWN:  # what it was is told from here on
        order[ol.JOINED], order[ol.PRINTED] = displayed if equal else 0, 0
    if not equal:
        # Everybody ahead has gone.
        order[ol.AHEAD], order[ol.AWAY] = 0, 1
        lowered = ahead
    elif ahead == ol.UNKNOWN:
        order[ol.AHEAD] = displayed * ol.FRACTION
        _see(order, displayed)
    else:
        shrinks = not order[ol.AWAY] and displayed < order[ol.SEEN]
        lowered, fallen = _advance(order, model, displayed, shrinks)
        if order[ol.AWAY] or displayed != order[ol.SEEN]:
            _see(order, displayed)
    _note_fall(order, time, pairing, lowered, fallen)


@compiled
def meet_level(order, model, time, pairing, displayed):
    """Take note of what the level of an order's price displays, where depth or a quote says it.

    Args:
        order: a working order; the others as for ``meet_quote``.
        displayed: lots; 0: the level is gone.
    """
    ahead, lowered, fallen = order[ol.AHEAD], 0, 0
    if ahead == ol.UNKNOWN:
        order[ol.AHEAD] = displayed * ol.FRACTION
        order[ol.JOINED], order[ol.PRINTED] = displayed, 0
        if displayed == 0:
            lowered = ahead
    elif displayed == order[ol.SEEN]:
        return
    elif displayed < order[ol.SEEN]:
        lowered, fallen = _advance(order, model, displayed, True)
    _see(order, displayed)
    _note_fall(order, time, pairing, lowered, fallen)


@compiled
def _advance(order, model, displayed, shrinks):
    """Move a place that is known up by its share in a fall, and to what is displayed at most.

    Args:
        shrinks: whether less is displayed than the order has seen at its price.

    Returns:
        By how much it moved, in parts of a lot, and the lots of the fall that no print explains.
    """
    ahead, fallen = order[ol.AHEAD], 0
    if shrinks:
        fallen = max(order[ol.SEEN] - displayed - order[ol.TRADED], 0)
        ahead -= _credit(model, ahead, order[ol.SEEN], fallen)
    ahead = min(ahead, displayed * ol.FRACTION)
    lowered = order[ol.AHEAD] - ahead
    order[ol.AHEAD] = ahead
    return lowered, fallen


@compiled
def cap_place(order, time, pairing, displayed):
    """Take note of a level that a snapshot restates: no more than that is ahead of an order."""
    if order[ol.AHEAD] == ol.UNKNOWN:
        order[ol.JOINED], order[ol.PRINTED] = displayed, 0
        if displayed == 0:
            _note_fall(order, time, pairing, ol.UNKNOWN, 0)
    order[ol.AHEAD] = min(order[ol.AHEAD], displayed * ol.FRACTION)
    _see(order, displayed)


@compiled
def _note_fall(order, time, pairing, lowered, fallen):
    """What a quote took off a place, and what fell, a print may still tell of."""
    if lowered > 0 or fallen > 0:
        _forget_paid(order, time)
        order[ol.PAID] = min(order[ol.PAID] + lowered, ol.UNKNOWN)
        order[ol.FALLEN] += fallen
        order[ol.PAID_UNTIL] = time + pairing


@compiled
def _see(order, displayed):
    order[ol.SEEN], order[ol.TRADED], order[ol.AWAY] = displayed, 0, 0


@compiled
def _forget_paid(order, time):
    if time > order[ol.PAID_UNTIL]:
        order[ol.PAID] = order[ol.FALLEN] = 0


@compiled
def _credit(model, ahead, before, fallen):
    """How much of a fall that no print explains was ahead of the order, in parts of a lot.

    c a^n / (a^n + b^n) with a lots ahead and b behind, of a fall of c: the further ahead most of
    the queue is, the likelier it was there (Rigtorp, 2013, "Estimating order queue position").
    """
    if model < ol.POWER or fallen == 0 or ahead == 0:
        return 0
    front = ahead / ol.FRACTION
    behind = before - front
    if behind <= 0:
        return min(fallen * ol.FRACTION, ahead)
    over, under = front, behind
    for _ in range(model - ol.POWER - 1):
        over *= front
        under *= behind
    return min(int(fallen * over / (over + under) * ol.FRACTION), ahead)
