"""Waiting in the order of arrival, for policies that take the first that wait, and for those that
choose for themselves in Python.

What waits is marked as such in the status column; ``head`` is a position before which nothing does.
"""

from __future__ import annotations

import numpy as np

from backtest.core.addresses import int32_array, int64_array, uint8_array
from backtest.core.compiled import inlined
from backtest.timing import layout as at


@inlined
def event_at(order, position):
    """The event that arrived at a position: the same number where arrivals keep bus order."""
    return order[position & (len(order) - 1)] if len(order) > 1 else position


@inlined
def silence(places, row, why):
    """Settle an event without an answer."""
    int64_array(places, at.BEGUN_ARRAY)[row] = at.NO_TIME
    int64_array(places, at.ENDED_ARRAY)[row] = at.NO_TIME
    uint8_array(places, at.STATUS_ARRAY)[row] = why
    int64_array(places, at.BATCH_ARRAY)[row] = -1


@inlined
def _oldest_waiting(places, head):
    """The first position from ``head`` on whose event is in line; there must be one.

    Where events arrive out of bus order, the row of one that was settled may be gone already.
    """
    order, status = int64_array(places, at.ORDER_ARRAY), uint8_array(places, at.STATUS_ARRAY)
    first = int64_array(places, at.RULES_ARRAY)[at.FIRST]
    while True:
        row = event_at(order, head) - first
        if row >= 0 and status[row] == at.WAITING:
            return head
        head += 1


@inlined
def ready_at(places, now, head, waiting):
    """When what waits may be sent, and the position of the oldest where that matters."""
    rules, order = int64_array(places, at.RULES_ARRAY), int64_array(places, at.ORDER_ARRAY)
    ready = now
    if rules[at.KIND] == at.ASKED:
        ready = int64_array(places, at.STATE_ARRAY)[at.READY_AT]
    elif waiting < rules[at.WAIT_FOR]:
        head = _oldest_waiting(places, head)
        row = event_at(order, head) - rules[at.FIRST]
        ready = int64_array(places, at.RECEIVED_ARRAY)[row] + rules[at.WAIT]
    return ready, head


@inlined
def join_order(places, s, position):
    """Arrivals wait where they are in the order of arrival."""


@inlined
def expire_order(places, now, head, waiting):
    """Discard what has waited longer than ``max_age``, the oldest first."""
    rules, order = int64_array(places, at.RULES_ARRAY), int64_array(places, at.ORDER_ARRAY)
    received, symbols = int64_array(places, at.RECEIVED_ARRAY), int32_array(places, at.SYMBOL_ARRAY)
    while waiting > 0:
        head = _oldest_waiting(places, head)
        row = event_at(order, head) - rules[at.FIRST]
        if now - received[row] <= rules[at.MAX_AGE]:
            break
        silence(places, row, at.EXPIRED)
        int64_array(places, at.LENGTH_ARRAY)[symbols[row]] -= 1
        waiting -= 1
        head += 1
    return head, waiting


@inlined
def choose_first(places, head, waiting):
    """Fill ``taken`` with the next batch, whose events are in line no longer; how many."""
    rules, taken = int64_array(places, at.RULES_ARRAY), int64_array(places, at.TAKEN_ARRAY)
    length, order = int64_array(places, at.LENGTH_ARRAY), int64_array(places, at.ORDER_ARRAY)
    symbols = int32_array(places, at.SYMBOL_ARRAY)
    if rules[at.KIND] == at.ASKED:
        count, waiting = _accept(places, waiting)
        return count, head, waiting
    count = np.int64(0)
    while count < rules[at.LIMIT] and waiting > 0:
        head = _oldest_waiting(places, head)
        e = event_at(order, head)
        taken[count] = e
        length[symbols[e - rules[at.FIRST]]] -= 1
        count += 1
        waiting -= 1
        head += 1
    return count, head, waiting


@inlined
def _accept(places, waiting):
    """Take what a policy in Python chose: the caller has filled ``taken``, first with those to
    serve, then with those that are given up for them."""
    state, rules = int64_array(places, at.STATE_ARRAY), int64_array(places, at.RULES_ARRAY)
    taken, symbols = int64_array(places, at.TAKEN_ARRAY), int32_array(places, at.SYMBOL_ARRAY)
    count, every = state[at.COUNT], state[at.COUNT] + state[at.GIVEN_UP]
    for k in range(every):
        row = taken[k] - rules[at.FIRST]
        int64_array(places, at.LENGTH_ARRAY)[symbols[row]] -= 1
        if k >= count:
            silence(places, row, at.CONFLATED)
    state[at.ASKING] = at.NOT_ASKED
    return count, waiting - every
