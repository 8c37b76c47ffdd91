"""Compiled: the venue of orders that rest: commands and rows of the market, in the order of time.

Symbols do not touch each other, so each is followed by itself: until a command of its own is ready,
and then as far as the market is known.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from backtest.core.compiled import compiled, compiled_inline
from backtest.trading import layout as at
from backtest.trading import limit_layout as ll
from backtest.trading import order_layout as ol
from backtest.trading.answer_loops import superseded
from backtest.trading.desk_loops import hear, quote
from backtest.trading.layout import SILENT
from backtest.trading.limit_loops import count_message, pass_rows
from backtest.trading.message_loops import receive, send
from backtest.trading.order_book_loops import remove, report
from backtest.trading.order_loops import meet_row
from backtest.trading.quotes_loops import last_row, walk
from backtest.trading.sending_loops import allow, measure


class Answered(NamedTuple):
    """Columns of the window that commands of a quoting rule are made of."""

    symbol: Any
    ts_event: Any
    received: Any
    begun: Any
    ended: Any
    entry: Any
    cancel: Any
    replace: Any
    response: Any


@compiled
def work(limit, first_row, ticks, orders, rules, money, opens, closes, guard):
    """Carry out the commands that are ready before ``limit``, and all that happens before it.

    Args:
        limit: every event and every command before this instant is known, ns.
        first_row: number of the event in row 0 of the window.
        ticks, orders: ``Ticks`` and ``Orders``.
        rules, money: as ``order_layout`` and ``layout`` have them; ``opens`` and ``closes``:
            sessions, ns.
        guard: limits, as ``limit_loops`` has them; ``None``: there are none, and what is compiled
            for that knows nothing of them.

    Returns:
        ``DONE``; ``FULL``, if something has to grow; or why ``REFUSED_SYMBOL`` was refused.
    """
    state = orders.state
    while state[at.HEAD] < state[at.TAIL]:
        command = orders.queue[state[at.HEAD]]
        s, ready = command[ol.C_SYMBOL], command[ol.C_READY]
        if ready >= limit:
            break
        if command[ol.C_ACTION] != ol.QUOTE or not _says_nothing(command):
            book = orders.books[s]
            if book[ol.CURSOR] < command[ol.C_EVENT] and not _is_active(book):
                book[ol.CURSOR] = command[ol.C_EVENT]
            code = _advance(s, ready, first_row, ticks, orders, rules, money, opens, closes)
            limited = ready <= money[at.END]
            if guard is not None and code == at.DONE and limited and guard.state[ll.TOGETHER]:
                code = _bring_together(
                    ready, first_row, ticks, orders, rules, money, opens, closes, guard
                )
            if code == at.DONE:
                hear(s, ready, orders)
                code = _carry_out(s, command, first_row, ticks, orders, rules, limited, guard)
            if code != at.DONE:
                state[at.REFUSED_SYMBOL] = s
                return code
        state[at.HEAD] += 1
    for s in range(len(orders.books)):
        if _is_active(orders.books[s]):
            code = _advance(s, limit - 1, first_row, ticks, orders, rules, money, opens, closes)
            if code != at.DONE:
                state[at.REFUSED_SYMBOL] = s
                return code
    return at.DONE


@compiled
def _bring_together(until, first_row, ticks, orders, rules, money, opens, closes, guard):
    """Follow all symbols up to an instant, for limits that hold for several of them."""
    for s in range(len(orders.books)):
        if _is_active(orders.books[s]):
            code = _advance(s, until, first_row, ticks, orders, rules, money, opens, closes)
            if code != at.DONE:
                return code
        hear(s, until, orders)
        measure(s, orders, guard)
    return at.DONE


@compiled
def _says_nothing(command):
    """Whether a quoting rule wants both sides to stay as they are."""
    bid = command[ol.C_BID_OFFSET] == SILENT or command[ol.C_BID_LOTS] == SILENT
    return bid and (command[ol.C_ASK_OFFSET] == SILENT or command[ol.C_ASK_LOTS] == SILENT)


@compiled
def _is_active(book):
    """Whether a symbol's rows must be followed: its latest one is then in the window."""
    return book[ol.WORKING] > 0 or book[ol.FIRST_MESSAGE] >= 0 or book[ol.PINNED] != 0


@compiled_inline
def _advance(s, until, first_row, ticks, orders, rules, money, opens, closes):
    """Follow a symbol up to and including an instant: rows first, then messages, as they come."""
    book = orders.books[s]
    until = min(until, money[at.END])
    while True:
        if not has_room(orders, book):
            return at.FULL
        if abs(book[at.POSITION]) > at.MOST_LOTS:
            return at.POSITION_OVERFLOW
        arrival = at.LATEST
        if book[ol.FIRST_MESSAGE] >= 0:
            arrival = orders.messages[book[ol.FIRST_MESSAGE]][ol.AT4]
        row = book[ol.CURSOR] - first_row if book[ol.CURSOR] >= 0 else -1
        if book[ol.WORKING] == 0 or row < 0:
            # No order meets the rows up to the next message, so they are passed over.
            if row >= 0:
                row = walk(row, min(arrival, until), ticks.ts_event, ticks.next_quote)
                book[ol.CURSOR] = row + first_row
            if arrival > until:
                return at.DONE
            if row >= 0 and ticks.ts_event[row] > arrival:
                row = -1  # the symbol's first row is yet to come
            receive(s, row, first_row, ticks, orders, rules, money, opens, closes)
            continue
        after, time = row, at.LATEST
        if ticks.next_quote[row] > 0:
            after = row + ticks.next_quote[row]
            time = ticks.ts_event[after]
        if book[ol.CLOSES_AT] <= min(time, arrival, until):
            end_all(s, ol.EXPIRED, book[ol.CLOSES_AT], 0, orders)
        elif time <= arrival and time <= until:
            meet_row(s, after, row, ticks, orders, rules, ticks.response[after])
            book[ol.CURSOR] = after + first_row
        elif arrival <= until:
            receive(s, row, first_row, ticks, orders, rules, money, opens, closes)
        else:
            return at.DONE


@compiled
def has_room(orders, book):
    """Whether what one row or message leads to, and a command's own messages, can be noted."""
    state, most = orders.state, book[ol.WORKING] + 4
    return (
        state[at.FILLS] + most <= len(orders.fills)
        and state[ol.LOGGED] + most <= len(orders.log)
        and state[ol.SPARE + ol.REPORTS_HELD] >= most
        and state[ol.SPARE + ol.MESSAGES] >= 2
        and state[ol.SPARE + ol.ORDERS] >= 1
    )


@compiled_inline
def _carry_out(s, command, first_row, ticks, orders, rules, limited, guard):
    """Send what a command asks for. Returns ``DONE``, or why it was refused."""
    action = command[ol.C_ACTION]
    if abs(orders.books[s][at.CONFIRMED]) > at.MOST_LOTS:
        return at.POSITION_OVERFLOW
    if orders.state[ol.SPARE + ol.PENDING] < 2:
        return at.FULL
    if guard is not None:
        if guard.state[ll.BREACHES] + 2 > len(guard.breaches):
            return at.FULL
        if limited and guard.state[ll.MONEY]:
            pass_rows(command[ol.C_READY], first_row, ticks.ts_event, ticks.mid, guard)
    if action == ol.QUOTE:
        book, row = orders.books[s], command[ol.C_EVENT] - first_row
        here = last_row(
            book, at.POINTER, row, command[ol.C_T0], first_row, ticks.ts_event, ticks.next_quote
        )
        anchor = ticks.mid[here]
        return quote(s, command, anchor, first_row, ticks, orders, rules, limited, guard)
    latency, total = command[ol.C_ENTRY], command[ol.C_TOTAL]
    if action == ol.REPLACE:
        latency = command[ol.C_REPLACE]
    elif action != ol.NEW:
        latency = command[ol.C_CANCEL]
    if guard is not None and limited:
        total = allow(
            s, action, command[ol.C_ID], command[ol.C_SIDE], command[ol.C_PRICE], total,
            command, orders, guard,
        )  # fmt: skip
        if total < 0:
            return at.DONE if total == -1 else ll.EXPOSURE_OVERFLOW
        count_message(command[ol.C_READY], guard)
    send(
        s, action, command[ol.C_ID], command[ol.C_SIDE], command[ol.C_PRICE], total,
        command[ol.C_TIF], command[ol.C_POST], latency, command, first_row, ticks, orders,
    )  # fmt: skip
    return at.DONE


@compiled
def end(time, orders):
    """All orders that still work end with the window. Returns ``DONE`` or ``FULL``."""
    for s in range(len(orders.books)):
        if orders.books[s][ol.WORKING] > 0:
            if not has_room(orders, orders.books[s]):
                return at.FULL
            end_all(s, ol.EXPIRED, time, 0, orders)
    return at.DONE


@compiled
def end_all(s, kind, time, response, orders):
    """All working orders of a symbol end, and the trader is told a response later."""
    book = orders.books[s]
    for head in (ol.BUYS, ol.SELLS):
        place = book[head]
        while place >= 0:
            order = orders.working[place]
            after = order[ol.NEXT]
            left = order[ol.TOTAL] - order[ol.DONE_LOTS]
            report(s, kind, order, left, order[ol.PRICE], time, response, orders)
            remove(book, place, orders)
            place = after


@compiled
def enqueue(first_row, base, events, wanted, columns, newest, state, queue):
    """Put what a quoting rule wants after some events at the end of the queue, which has room.

    Answers that another one supersedes are silenced.

    Args:
        first_row: number of the event in row 0 of the window.
        base: place of the queue's first row, counted from the first answer of the run.
        events: numbers [n]; ``wanted``: what is wanted after each [n, 4].
        columns: ``Answered``.
        newest: of each symbol's answers, as ``layout`` has it.
    """
    for k in range(len(events)):
        row, place = events[k] - first_row, state[at.TAIL]
        command, s, ready = queue[place], columns.symbol[row], columns.ended[row]
        command[ol.C_READY], command[ol.C_SYMBOL] = ready, s
        command[ol.C_EVENT], command[ol.C_ACTION] = events[k], ol.QUOTE
        for j in range(4):
            command[ol.C_BID_OFFSET + j] = wanted[k, j]
        command[ol.C_T0], command[ol.C_T1] = columns.ts_event[row], columns.received[row]
        command[ol.C_T2] = columns.begun[row]
        command[ol.C_ENTRY], command[ol.C_CANCEL] = columns.entry[row], columns.cancel[row]
        command[ol.C_REPLACE] = columns.replace[row]
        command[ol.C_RESPONSE] = columns.response[row]
        silent = superseded(newest[s], events[k], ready, base + place)
        if silent >= 0:
            queue[silent - base, ol.C_BID_OFFSET] = SILENT
            queue[silent - base, ol.C_ASK_OFFSET] = SILENT
        state[at.TAIL] = place + 1
