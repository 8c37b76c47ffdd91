"""Compiled: row by row through the market of all symbols, for the switches of daily loss and
drawdown, where orders bring positions to their targets."""

from __future__ import annotations

from backtest.core.compiled import compiled
from backtest.trading import layout as at
from backtest.trading import limit_layout as ll
from backtest.trading.limit_loops import count_fills, flatten, mark
from backtest.trading.quotes_loops import is_open
from backtest.trading.target_loops import trade


@compiled
def trade_by_row(limit, first_row, market, trading, rules, opens, closes, guard, account):
    """As ``trade``, and after every row in bus order the equity is marked.

    Args:
        limit: every event and every answer before this instant is known, ns.
        account: what fills are booked by: instruments, sums, sums of buckets and their ends.
    """
    watch, state = guard.state, trading.state
    while True:
        watch[ll.CANCELLING] = 0  # orders do not rest
        row = watch[ll.ROW] - first_row
        time = at.LATEST
        if watch[ll.ROW] < watch[ll.STOP] and market.ts_event[row] <= rules[at.END]:
            time = market.ts_event[row]
        until = min(limit, time)
        if _is_due(until, first_row, market, trading, watch):
            if watch[ll.EARLIEST] != at.NO_TIME:  # else it goes on where something was full
                state[at.CHECKED] = state[at.KEPT] = 0
            watch[ll.EARLIEST] = at.NO_TIME
            code = trade(until, until, first_row, market, trading, rules, opens, closes, guard)
            if code == at.DONE:
                code = count_fills(trading, rules, guard, account)
            if code != at.DONE:
                return code
            watch[ll.EARLIEST] = _earliest(trading)
        if time >= limit:
            return at.DONE
        full = watch[ll.BREACHES] + 2 > len(guard.breaches) or state[at.FREE] < 0
        if full or state[at.FILLS] == len(trading.fills):
            return at.FULL
        s, halted = market.symbol[row], time < state[at.HALTED]
        if halted and (rules[at.ALWAYS_OPEN] or is_open(time, opens, closes)):
            _flatten(s, row, market, trading, rules, watch)
        code = count_fills(trading, rules, guard, account)
        if code == at.DONE:
            code = mark(s, market.mid[row], time, state, guard)
        if code != at.DONE:
            state[at.REFUSED_SYMBOL] = s
            return code
        watch[ll.ROW] += 1


@compiled
def _is_due(until, first_row, market, trading, watch):
    """Whether an answer is ready, or an order arrives, before an instant."""
    state = trading.state
    if state[at.HEAD] < state[at.TAIL]:
        event = trading.queue[state[at.HEAD], at.ANSWER_EVENT]
        if market.ended[event - first_row] < until:
            return True
    return watch[ll.EARLIEST] < until


@compiled
def _earliest(trading):
    """When the next order arrives."""
    earliest = at.LATEST
    for k in range(trading.state[at.TRANSITS]):
        earliest = min(earliest, trading.transit[k, at.TRANSIT_ARRIVED])
    return earliest


@compiled
def _flatten(s, row, market, trading, rules, watch):
    """Close what a row's touch can of a position; a confirmation tells of it."""
    state, me, orders = trading.state, trading.book[s], trading.orders
    fill = trading.fills[state[at.FILLS]]
    lots = flatten(s, me, row, watch[ll.ROW], market, trading.fills, state)
    if lots == 0:
        return
    response = rules[at.RESPONSE_LATENCY]
    response = market.response[row] if response < 0 else response
    time, order = market.ts_event[row], state[at.FREE]
    state[at.FREE] = orders[order, at.ORDER_NEXT]
    fill[at.KNOWN] = time + min(response, at.LATEST - max(time, 0))
    orders[order, at.ORDER_KNOWN], orders[order, at.ORDER_NEXT] = fill[at.KNOWN], me[at.ORDERS]
    orders[order, at.ORDER_LOTS], orders[order, at.ORDER_FILLED] = 0, lots
    me[at.ORDERS] = order
