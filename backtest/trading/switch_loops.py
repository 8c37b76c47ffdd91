"""Compiled: row by row through the market of all symbols, for the switches of daily loss and
drawdown, where orders rest."""

from __future__ import annotations

from backtest.core.compiled import compiled
from backtest.trading import layout as at
from backtest.trading import limit_layout as ll
from backtest.trading import order_layout as ol
from backtest.trading.depth_loops import follow_rows
from backtest.trading.limit_loops import count_fills, flatten, mark
from backtest.trading.order_book_loops import allot, has_room_for, release, report
from backtest.trading.order_loops import meet_row
from backtest.trading.order_venue_loops import end_all, has_room_to_take, work
from backtest.trading.quotes_loops import is_open
from backtest.trading.standing_loops import note_standing


@compiled
def work_by_row(
    limit, first_row, ticks, orders, depth, rules, money, opens, closes, guard, account
):
    """As ``work``, and after every row in bus order the equity is marked.

    Args:
        account: what fills are booked by: instruments, sums, sums of buckets and their ends.
    """
    watch, trading = guard.state, orders.state
    while True:
        if watch[ll.CANCELLING] and not _cancel(orders, watch):
            return at.FULL
        row = watch[ll.ROW] - first_row
        time = at.LATEST
        if watch[ll.ROW] < watch[ll.STOP] and ticks.ts_event[row] <= money[at.END]:
            time = ticks.ts_event[row]
        until = min(limit, time)
        if time >= limit or _is_due(until, orders, watch):
            watch[ll.EARLIEST] = at.NO_TIME  # until all that is due has been done
            code = work(until, first_row, ticks, orders, depth, rules, money, opens, closes, guard)
            if code == at.DONE:
                code = count_fills(orders, money, guard, account)
            if code != at.DONE:
                return code
            watch[ll.EARLIEST] = _earliest(orders)
        if time >= limit:
            return at.DONE
        s = guard.symbol[row]
        me = orders.books[s]
        full = watch[ll.BREACHES] + 2 > len(guard.breaches)
        if full or not has_room_for(orders, me[ol.WORKING] + 4):
            return at.FULL
        if me[ol.WORKING] > 0:
            code = _meet(s, row, first_row, ticks, orders, depth, rules)
            if code != at.DONE:
                trading[at.REFUSED_SYMBOL] = s
                return code
        me[ol.CURSOR] = watch[ll.ROW]
        halted = time < trading[at.HALTED]
        if halted and (money[at.ALWAYS_OPEN] or is_open(time, opens, closes)):
            _flatten(s, row, ticks, orders, watch)
        code = count_fills(orders, money, guard, account)
        if code == at.DONE:
            code = mark(s, ticks.mid[row], time, trading, guard)
        if code != at.DONE:
            trading[at.REFUSED_SYMBOL] = s
            return code
        watch[ll.CANCEL_RESPONSE] = ticks.response[row]
        watch[ll.ROW] += 1


@compiled
def _meet(s, row, first_row, ticks, orders, depth, rules):
    """A row meets the own orders of its symbol, after the rows of depth before it.

    Returns:
        ``DONE``; ``FULL``, if something has to grow; or why a row of depth was refused.
    """
    me, time = orders.books[s], ticks.ts_event[row]
    before = me[ol.CURSOR] - first_row
    if depth is not None:
        due = min(time, me[ol.CLOSES_AT] - 1)
        code = follow_rows(s, row + first_row, due, before, ticks, orders, depth, rules)
        if code == at.DONE and not has_room_to_take(s, me, orders, depth):
            code = at.FULL
        if code != at.DONE:
            return code
    if me[ol.WORKING] == 0:
        return at.DONE
    if me[ol.CLOSES_AT] <= time:
        end_all(s, ol.EXPIRED, me[ol.CLOSES_AT], 0, orders)
        return at.DONE
    fills = orders.state[at.FILLS]
    meet_row(s, row, before, ticks, orders, depth, rules, ticks.response[row])
    note_standing(s, time, row, orders.state[at.FILLS] != fills, ticks, orders)
    return at.DONE


@compiled
def _is_due(until, orders, watch):
    """Whether a command is ready, or a message arrives, before an instant."""
    state = orders.state
    if state[at.HEAD] < state[at.TAIL] and orders.queue[state[at.HEAD]][ol.C_READY] < until:
        return True
    return watch[ll.EARLIEST] < until


@compiled
def _earliest(orders):
    """When the next message arrives."""
    earliest = at.LATEST
    for s in range(len(orders.books)):
        place = orders.books[s][ol.FIRST_MESSAGE]
        if place >= 0:
            earliest = min(earliest, orders.messages[place][ol.AT4])
    return earliest


@compiled
def _cancel(orders, watch):
    """Cancel all orders that work. Returns whether all could be."""
    for s in range(len(orders.books)):
        if orders.books[s][ol.WORKING] > 0:
            if not has_room_for(orders, orders.books[s][ol.WORKING] + 4):
                return False
            closes_at = orders.books[s][ol.CLOSES_AT]
            if closes_at <= watch[ll.CANCEL_TIME]:
                end_all(s, ol.EXPIRED, closes_at, 0, orders)
                continue
            end_all(s, ol.CANCELLED, watch[ll.CANCEL_TIME], watch[ll.CANCEL_RESPONSE], orders)
    watch[ll.CANCELLING] = 0
    return True


@compiled
def _flatten(s, row, ticks, orders, watch):
    """Close what a row's touch can of a position, and tell the trader."""
    me = orders.books[s]
    here = orders.state[at.FILLS]
    lots = flatten(s, me, row, watch[ll.ROW], ticks, orders.fills, orders.state)
    if lots == 0:
        return
    me[ol.FLATTENED_LOTS] += lots
    place = allot(orders.messages, ol.MESSAGES, orders.state)
    message, fill = orders.messages[place], orders.fills[here]
    message[ol.ID], message[ol.SIDE] = ll.FLATTENED, 1 if lots > 0 else -1
    message[ol.EVENT], message[ol.OWN], message[ol.TOTAL] = -1, -1, abs(lots)
    for k in range(5):
        message[ol.AT0 + k] = fill[at.T0 + k]
    fill[at.KNOWN] = report(
        s, ol.FLATTENED, message, lots, fill[at.TOUCH], fill[at.FILLED], ticks.response[row], orders
    )
    release(orders.messages, ol.MESSAGES, place, orders.state)
