"""Compiled: answers become orders, and orders that reach the venue become fills."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from backtest.core.compiled import compiled
from backtest.trading import layout as at
from backtest.trading import limit_layout as ll
from backtest.trading.answer_loops import superseded
from backtest.trading.layout import NO_PRICE, SILENT
from backtest.trading.quotes_loops import (
    is_open,
    last_gap,
    last_row,
    take_at_touch,
    taken_at_touch,
    touch_of,
)
from backtest.trading.target_limit_loops import confirm, limited


class Market(NamedTuple):
    """Columns of the window, and the quotes of its rows that are not two-sided."""

    symbol: Any
    ts_event: Any
    bid: Any
    ask: Any
    bid_size: Any
    ask_size: Any
    received: Any
    begun: Any
    ended: Any
    entry: Any
    response: Any
    next_quote: Any
    mid: Any
    bid_since: Any
    ask_since: Any
    stale: Any


class Trading(NamedTuple):
    """What trading keeps between two calls, as ``layout`` has it."""

    state: Any
    queue: Any
    book: Any
    orders: Any
    transit: Any
    fills: Any


@compiled
def enqueue(first_row, base, events, targets, symbol, ended, target, newest, state, queue):
    """Put answers in the queue, and their targets in the column ``target``.

    Those that another one supersedes are silenced. ``base`` is the place of the queue's first row.
    """
    for i in range(len(events)):
        event, wanted = events[i], targets[i]
        row = np.uint64(event - first_row)
        target[row] = wanted
        s, ready, place = np.uint64(symbol[row]), ended[row], state[at.TAIL]
        queue[place, at.ANSWER_EVENT] = event
        queue[place, at.ANSWER_TARGET] = wanted
        silent = superseded(newest[s], event, ready, base + place)
        if silent >= 0:
            queue[silent - base, at.ANSWER_TARGET] = SILENT
        state[at.TAIL] = place + 1


@compiled
def trade(now, frontier, first_row, market, trading, rules, opens, closes, guard):
    """Trade the answers that are ready before ``now``, as far as quotes are known.

    Args:
        frontier: all events before this instant are in the window, ns.
        first_row: number of the event in row 0 of the columns.
        market, trading: a ``Market`` and a ``Trading``.
        rules: as ``layout`` has them; ``opens`` and ``closes``: sessions, ns.
        guard: limits, as ``limit_loops`` has them; ``None``: there are none.

    Returns:
        ``DONE``; ``FULL``, if fills, orders or orders in transit have to grow; or why trading was
        refused, of ``REFUSED_SYMBOL``.
    """
    state, queue, book = trading.state, trading.queue, trading.book
    orders, transit, fills = trading.orders, trading.transit, trading.fills
    symbol, ended = market.symbol, market.ended
    limit = min(now, frontier)
    while True:
        if state[at.FILLS] == len(fills):
            return at.FULL
        if state[at.CHECKED] < state[at.TRANSITS]:
            # Orders that were in transit go first: they were sent before those that are sent now.
            place = state[at.CHECKED]
            state[at.CHECKED] = place + 1
            event, order = transit[place, at.TRANSIT_EVENT], transit[place, at.TRANSIT_ORDER]
            arrived = transit[place, at.TRANSIT_ARRIVED]
            s = symbol[event - first_row]
        else:
            state[at.TRANSITS] = state[at.CHECKED] = state[at.KEPT]
            if not _find_answer(limit, first_row, symbol, ended, state, queue, book):
                return at.DONE
            event = queue[state[at.HEAD], at.ANSWER_EVENT]
            row = event - first_row
            s, ready = symbol[row], ended[row]
            if not confirm(book[s], state, orders, ready):
                state[at.REFUSED_SYMBOL] = s
                return at.POSITION_OVERFLOW
            expected = book[s, at.CONFIRMED] + book[s, at.OUTSTANDING]
            lots = queue[state[at.HEAD], at.ANSWER_TARGET] - expected
            order = state[at.FREE]
            if order < 0 or state[at.KEPT] == len(transit):
                return at.FULL
            if guard is not None:
                if guard.state[ll.BREACHES] == len(guard.breaches):
                    return at.FULL
                if abs(lots) > rules[at.BAND] and ready <= rules[at.END]:
                    lots = limited(s, lots, event, ready, first_row, market, trading, rules, guard)
                    if lots == SILENT:
                        state[at.REFUSED_SYMBOL] = s
                        return ll.EXPOSURE_OVERFLOW
            if abs(lots) <= rules[at.BAND]:
                state[at.HEAD] += 1
                continue
            entry, response = rules[at.ENTRY_LATENCY], rules[at.RESPONSE_LATENCY]
            entry = market.entry[row] if entry < 0 else entry
            response = market.response[row] if response < 0 else response
            arrived = _send(order, lots, ready, entry, response, book[s], state, orders)
            state[at.HEAD] += 1
        # An order that arrives after the end, or while the market is closed, is cancelled.
        if arrived > rules[at.END]:
            continue
        if arrived >= frontier:
            _keep(event, order, arrived, transit, state)
            continue
        if arrived < state[at.HALTED]:
            state[at.KEPT_OUT] += 1
            continue
        if not rules[at.ALWAYS_OPEN] and not is_open(arrived, opens, closes):
            continue
        if not _fill(event, arrived, first_row, market, book[s], orders[order], fills, state):
            state[at.REFUSED_SYMBOL] = s
            return at.POSITION_OVERFLOW


@compiled
def _keep(event, order, arrived, transit, state):
    """Keep an order that meets quotes which are not known yet."""
    transit[state[at.KEPT], at.TRANSIT_EVENT] = event
    transit[state[at.KEPT], at.TRANSIT_ORDER] = order
    transit[state[at.KEPT], at.TRANSIT_ARRIVED] = arrived
    state[at.KEPT] += 1


@compiled
def _find_answer(limit, first_row, symbol, ended, state, queue, book):
    """Move ``state[HEAD]`` to the next answer that is ready before ``limit`` and may need an order.

    Most need none: they are silent, or want what is held where nothing is outstanding.

    Returns:
        Whether there is one.
    """
    for head in range(state[at.HEAD], state[at.TAIL]):
        row = np.uint64(queue[head, at.ANSWER_EVENT] - first_row)
        target, s = queue[head, at.ANSWER_TARGET], np.uint64(symbol[row])
        ready = ended[row] < limit  # if not, those behind it are ready no earlier
        if not ready or (
            target != SILENT and (target != book[s, at.CONFIRMED] or book[s, at.ORDERS] >= 0)
        ):
            state[at.HEAD] = head
            return ready
    state[at.HEAD] = state[at.TAIL]
    return False


@compiled
def _send(order, lots, ready, entry, response, me, state, orders):
    """Send an order, in the free place ``order``. Returns when it reaches the venue.

    A symbol's orders arrive in the order in which they are sent, whatever their latencies.
    """
    state[at.FREE] = orders[order, at.ORDER_NEXT]
    arrived = max(me[at.ARRIVED], ready + min(entry, at.LATEST - max(ready, 0)))
    orders[order, at.ORDER_KNOWN] = arrived + min(response, at.LATEST - max(arrived, 0))
    orders[order, at.ORDER_LOTS] = lots
    orders[order, at.ORDER_FILLED] = 0
    orders[order, at.ORDER_NEXT] = me[at.ORDERS]
    me[at.ORDERS] = order
    me[at.ARRIVED] = arrived
    me[at.OUTSTANDING] += lots
    return arrived


@compiled
def _fill(event, arrived, first_row, market, me, order, fills, state):
    """Fill an order that reaches the open venue, as far as its side is displayed.

    What the fill costs is not decided here: ``attribute`` reads what is noted of it.

    Returns:
        Whether the position fits.
    """
    ts_event, next_quote, mid = market.ts_event, market.next_quote, market.mid
    row = event - first_row
    here = last_row(me, at.POINTER + 4, row, arrived, first_row, ts_event, next_quote)
    buys = order[at.ORDER_LOTS] > 0
    touch = touch_of(buys, market.bid[here], market.ask[here])
    if touch == NO_PRICE:
        return True
    displayed = market.ask_size[here] if buys else market.bid_size[here]
    since = market.ask_since[here] if buys else market.bid_since[here]
    taken = taken_at_touch(me, buys, since)
    lots = min(abs(order[at.ORDER_LOTS]), displayed - taken)
    if lots <= 0:
        return True
    filled = lots if buys else -lots
    order[at.ORDER_FILLED] = filled
    me[at.POSITION] += filled
    fill = fills[state[at.FILLS]]
    state[at.FILLS] += 1
    fill[at.EVENT] = event
    fill[at.SYMBOL] = market.symbol[row]
    fill[at.LOTS] = filled
    fill[at.TRADED] = lots
    fill[at.DISPLAYED] = displayed
    fill[at.TAKEN] = taken
    take_at_touch(me, buys, since, lots)
    fill[at.KNOWN] = order[at.ORDER_KNOWN]
    fill[at.TOUCH] = touch
    fill[at.GAP] = last_gap(here + first_row, market.bid[here], market.ask[here], market.stale)
    fill[at.T0] = ts_event[row]
    fill[at.T1] = market.received[row]
    fill[at.T2] = market.begun[row]
    fill[at.T3] = market.ended[row]
    fill[at.T4] = fill[at.FILLED] = arrived
    fill[at.ORDER], fill[at.MAKER] = -1, 0  # orders that never rest have no id
    fill[at.M4] = fill[at.MF] = mid[here]
    looked = row
    for k in range(4):
        if here != row:  # else there is no later row to look for
            time = fill[at.T0 + k]
            looked = last_row(me, at.POINTER + k, looked, time, first_row, ts_event, next_quote)
        fill[at.M0 + k] = mid[looked]
    return abs(me[at.POSITION]) <= at.MOST_LOTS
