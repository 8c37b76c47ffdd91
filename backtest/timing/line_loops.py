"""Waiting lines by symbol, for policies that take one event of each: the oldest, or the newest.

A line is a chain of positions in the order of arrival. For the oldest a heap holds the first
position of each line, so that symbols come in the order of their oldest events. For the newest the
symbols are chained by the arrival of their newest event: an arrival moves its symbol to the end.
"""

from __future__ import annotations

import numpy as np

from backtest.core.addresses import int32_array, int64_array
from backtest.core.compiled import inlined
from backtest.timing import layout as at
from backtest.timing.order_loops import event_at, silence


@inlined
def join_line(places, s, position):
    """Put an arrival at the end of its symbol's line."""
    state, rules = int64_array(places, at.STATE_ARRAY), int64_array(places, at.RULES_ARRAY)
    newest = int64_array(places, at.NEWEST_ARRAY)
    link = int64_array(places, at.LINK_ARRAY)
    alone = int64_array(places, at.LENGTH_ARRAY)[s] == 0
    if alone:
        int64_array(places, at.OLDEST_ARRAY)[s] = position
    else:
        link[newest[s] & (len(link) - 1)] = position
    newest[s] = position
    if rules[at.KIND] == at.OLDEST:
        if alone:
            _push(places, position)
        return
    # Its symbol is the one with the latest arrival of all now.
    before, after = int64_array(places, at.BEFORE_ARRAY), int64_array(places, at.AFTER_ARRAY)
    if not alone:
        _unlink(places, s)
    tail = state[at.LIST_TAIL]
    before[s] = tail
    after[s] = -1
    if tail < 0:
        state[at.LIST_HEAD] = s
    else:
        after[tail] = s
    state[at.LIST_TAIL] = s


@inlined
def _push(places, position):
    """Add a line's first position to the heap."""
    state, heap = int64_array(places, at.STATE_ARRAY), int64_array(places, at.HEAP_ARRAY)
    place = state[at.ENTRIES]
    state[at.ENTRIES] = place + 1
    while place > 0:
        parent = (place - 1) >> 1
        if heap[parent] <= position:
            break
        heap[place] = heap[parent]
        place = parent
    heap[place] = position


@inlined
def _pop(places):
    """Remove the least position from the heap."""
    state, heap = int64_array(places, at.STATE_ARRAY), int64_array(places, at.HEAP_ARRAY)
    left = state[at.ENTRIES] - 1
    state[at.ENTRIES] = left
    position = heap[left]
    place = np.int64(0)
    while True:
        child = 2 * place + 1
        if child >= left:
            break
        if child + 1 < left and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= position:
            break
        heap[place] = heap[child]
        place = child
    heap[place] = position


@inlined
def _unlink(places, s):
    """Take a symbol out of the list of those with a line."""
    state = int64_array(places, at.STATE_ARRAY)
    before, after = int64_array(places, at.BEFORE_ARRAY), int64_array(places, at.AFTER_ARRAY)
    if before[s] < 0:
        state[at.LIST_HEAD] = after[s]
    else:
        after[before[s]] = after[s]
    if after[s] < 0:
        state[at.LIST_TAIL] = before[s]
    else:
        before[after[s]] = before[s]


@inlined
def _leave_line(places, s, position):
    """Remove the first of a line; the line stays in the list of symbols if it is empty now."""
    length, link = int64_array(places, at.LENGTH_ARRAY), int64_array(places, at.LINK_ARRAY)
    length[s] -= 1
    if length[s] > 0:
        int64_array(places, at.OLDEST_ARRAY)[s] = link[position & (len(link) - 1)]


@inlined
def expire_lines(places, now, waiting):
    """Discard what has waited longer than ``max_age``; events that still wait."""
    if int64_array(places, at.RULES_ARRAY)[at.KIND] == at.OLDEST:
        return _expire_heap(places, now, waiting)
    state, rules = int64_array(places, at.STATE_ARRAY), int64_array(places, at.RULES_ARRAY)
    oldest, length = int64_array(places, at.OLDEST_ARRAY), int64_array(places, at.LENGTH_ARRAY)
    order, received = int64_array(places, at.ORDER_ARRAY), int64_array(places, at.RECEIVED_ARRAY)
    after = int64_array(places, at.AFTER_ARRAY)
    s = state[at.LIST_HEAD]
    while s >= 0:  # the list is by newest events, so each symbol's oldest is looked at
        row = event_at(order, oldest[s]) - rules[at.FIRST]
        if now - received[row] <= rules[at.MAX_AGE]:
            s = after[s]
            continue
        silence(places, row, at.EXPIRED)
        waiting -= 1
        _leave_line(places, s, oldest[s])
        if length[s] == 0:
            _unlink(places, s)
            s = after[s]
    return waiting


@inlined
def _expire_heap(places, now, waiting):
    """The same where the heap has the oldest of all on top."""
    rules, heap = int64_array(places, at.RULES_ARRAY), int64_array(places, at.HEAP_ARRAY)
    order, received = int64_array(places, at.ORDER_ARRAY), int64_array(places, at.RECEIVED_ARRAY)
    oldest, length = int64_array(places, at.OLDEST_ARRAY), int64_array(places, at.LENGTH_ARRAY)
    while waiting > 0:
        row = event_at(order, heap[0]) - rules[at.FIRST]
        if now - received[row] <= rules[at.MAX_AGE]:
            break
        silence(places, row, at.EXPIRED)
        waiting -= 1
        s = np.int64(int32_array(places, at.SYMBOL_ARRAY)[row])
        _leave_line(places, s, heap[0])
        _pop(places)
        if length[s] > 0:
            _push(places, oldest[s])
    return waiting


@inlined
def choose_oldest(places, waiting):
    """Take the oldest event of each symbol, in order of arrival; how many, and how many wait."""
    state, rules = int64_array(places, at.STATE_ARRAY), int64_array(places, at.RULES_ARRAY)
    heap, taken = int64_array(places, at.HEAP_ARRAY), int64_array(places, at.TAKEN_ARRAY)
    order, symbols = int64_array(places, at.ORDER_ARRAY), int32_array(places, at.SYMBOL_ARRAY)
    oldest, length = int64_array(places, at.OLDEST_ARRAY), int64_array(places, at.LENGTH_ARRAY)
    count = np.int64(0)
    while count < rules[at.LIMIT] and state[at.ENTRIES] > 0:
        taken[count] = heap[0]
        count += 1
        _pop(places)
    # The next of each line joins the heap only now, lest a symbol be taken twice.
    for k in range(count):
        position = taken[k]
        taken[k] = event_at(order, position)
        s = np.int64(symbols[taken[k] - rules[at.FIRST]])
        _leave_line(places, s, position)
        if length[s] > 0:
            _push(places, oldest[s])
    return count, waiting - count


@inlined
def choose_newest(places, waiting):
    """Take the newest event of each symbol and give up the older ones; how many, how many wait."""
    state, rules = int64_array(places, at.STATE_ARRAY), int64_array(places, at.RULES_ARRAY)
    order, link = int64_array(places, at.ORDER_ARRAY), int64_array(places, at.LINK_ARRAY)
    oldest, newest = int64_array(places, at.OLDEST_ARRAY), int64_array(places, at.NEWEST_ARRAY)
    length, taken = int64_array(places, at.LENGTH_ARRAY), int64_array(places, at.TAKEN_ARRAY)
    count = np.int64(0)
    while count < rules[at.LIMIT] and state[at.LIST_HEAD] >= 0:
        s = state[at.LIST_HEAD]
        position = oldest[s]
        while position != newest[s]:
            silence(places, event_at(order, position) - rules[at.FIRST], at.CONFLATED)
            position = link[position & (len(link) - 1)]
        taken[count] = event_at(order, position)
        count += 1
        waiting -= length[s]
        length[s] = 0
        _unlink(places, s)
    return count, waiting
