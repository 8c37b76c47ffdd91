"""Compiled: the venue of orders that rest: commands and rows of the market, in the order of time.

Symbols do not touch each other, so each is followed by itself: until a command of its own is ready,
and then as far as the market is known.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from backtest.core.compiled import compiled, compiled_inline
from backtest.trading import layout as at
from backtest.trading import order_layout as ol
from backtest.trading.answer_loops import superseded
from backtest.trading.depth_level_loops import has_room
from backtest.trading.depth_loops import follow_book, follow_rows
from backtest.trading.depth_taking_loops import most_levels
from backtest.trading.desk_loops import hear, quote
from backtest.trading.layout import SILENT
from backtest.trading.message_loops import receive, send
from backtest.trading.order_book_loops import has_room_for, remove, report
from backtest.trading.order_loops import meet_row
from backtest.trading.quotes_loops import last_row, walk
from backtest.trading.standing_loops import end_standing, note_standing


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
def work(limit, first_row, ticks, orders, depth, rules, money, opens, closes):
    """Carry out the commands that are ready before ``limit``, and all that happens before it.

    Args:
        limit: every event and every command before this instant is known, ns.
        first_row: number of the event in row 0 of the window.
        ticks, orders: ``Ticks`` and ``Orders``.
        depth: ``Depth``, whose rows before ``limit`` are all there; ``None``: only the touch is
            known.
        rules, money: as ``order_layout`` and ``layout`` have them; ``opens`` and ``closes``:
            sessions, ns.

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
            code = _advance(s, ready, first_row, ticks, orders, depth, rules, money, opens, closes)
            if code == at.DONE:
                hear(s, ready, orders)
                code = _carry_out(s, command, first_row, ticks, orders, rules, money)
            if code != at.DONE:
                state[at.REFUSED_SYMBOL] = s
                return code
        state[at.HEAD] += 1
    for s in range(len(orders.books)):
        if _is_active(orders.books[s]):
            code = _advance(
                s, limit - 1, first_row, ticks, orders, depth, rules, money, opens, closes
            )
            if code != at.DONE:
                state[at.REFUSED_SYMBOL] = s
                return code
        elif depth is not None:
            code = follow_book(s, limit - 1, first_row, ticks, orders, depth, rules)
            if code != at.DONE:
                state[at.REFUSED_SYMBOL] = s
                return code
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
def _advance(s, until, first_row, ticks, orders, depth, rules, money, opens, closes):
    """Follow a symbol up to and including an instant: rows first, then messages, as they come."""
    book = orders.books[s]
    until = min(until, money[at.END])
    while True:
        if not has_room_for(orders, book[ol.WORKING] + 4):
            return at.FULL
        if abs(book[at.POSITION]) > at.MOST_LOTS:
            return at.POSITION_OVERFLOW
        arrival = at.LATEST
        if book[ol.FIRST_MESSAGE] >= 0:
            arrival = orders.messages[book[ol.FIRST_MESSAGE]][ol.AT4]
        row = book[ol.CURSOR] - first_row if book[ol.CURSOR] >= 0 else -1
        if book[ol.WORKING] == 0 or row < 0:
            # No order meets the rows up to the next message, so they are passed over.
            if depth is not None:
                due = min(arrival, until)
                code = follow_book(s, due, first_row, ticks, orders, depth, rules)
                if code == at.DONE and not _has_room_to_take(s, book, orders, depth):
                    code = at.FULL
                if code != at.DONE:
                    return code
            if row >= 0:
                row = walk(row, min(arrival, until), ticks.ts_event, ticks.next_quote)
                book[ol.CURSOR] = row + first_row
            if arrival > until:
                return at.DONE
            if row >= 0 and ticks.ts_event[row] > arrival:
                row = -1  # the symbol's first row is yet to come
            receive(s, row, first_row, ticks, orders, depth, rules, money, opens, closes)
            note_standing(s, arrival, row, True, ticks, orders)
            continue
        after, time = row, at.LATEST
        if ticks.next_quote[row] > 0:
            after = row + ticks.next_quote[row]
            time = ticks.ts_event[after]
        if depth is not None:
            # Rows of depth up to the symbol's next event, message or close; then that.
            event = after + first_row if after > row else at.LATEST
            due = min(arrival, until, book[ol.CLOSES_AT] - 1)
            code = follow_rows(s, event, due, row, ticks, orders, depth, rules)
            if code == at.DONE and not _has_room_to_take(s, book, orders, depth):
                code = at.FULL
            if code != at.DONE:
                return code
            if book[ol.WORKING] == 0:
                continue
        if book[ol.CLOSES_AT] <= min(time, arrival, until):
            _expire(s, book[ol.CLOSES_AT], orders)
            end_standing(s, book[ol.CLOSES_AT], orders)
        elif time <= arrival and time <= until:
            fills = orders.state[at.FILLS]
            meet_row(s, after, row, ticks, orders, depth, rules, ticks.response[after])
            book[ol.CURSOR] = after + first_row
            note_standing(s, time, after, orders.state[at.FILLS] != fills, ticks, orders)
        elif arrival <= until:
            receive(s, row, first_row, ticks, orders, depth, rules, money, opens, closes)
            note_standing(s, arrival, row, True, ticks, orders)
        else:
            return at.DONE


@compiled
def _has_room_to_take(s, book, orders, depth):
    """Whether the next event, or a message that takes from every level, finds room."""
    most = book[ol.WORKING] + 4 + most_levels(s, depth.sides)
    return has_room_for(orders, most) and has_room(s, depth)


@compiled_inline
def _carry_out(s, command, first_row, ticks, orders, rules, money):
    """Send what a command asks for. Returns ``DONE``, or why it was refused."""
    action = command[ol.C_ACTION]
    if abs(orders.books[s][at.CONFIRMED]) > at.MOST_LOTS:
        return at.POSITION_OVERFLOW
    if orders.state[ol.SPARE + ol.PENDING] < 2:
        return at.FULL
    if action == ol.TARGET:
        return _aim(s, command, first_row, ticks, orders, money)
    if action == ol.QUOTE:
        book, row = orders.books[s], command[ol.C_EVENT] - first_row
        here = last_row(
            book, at.POINTER, row, command[ol.C_T0], first_row, ticks.ts_event, ticks.next_quote
        )
        fits = quote(s, command, ticks.mid[here], first_row, ticks, orders, rules)
        return at.DONE if fits else ol.PRICE_OVERFLOW
    latency, order_id = command[ol.C_ENTRY], command[ol.C_ID]
    if action == ol.NEW:
        book = orders.books[s]
        if order_id < 0:  # it is numbered here
            order_id = book[ol.LAST_ID] + 1
        book[ol.LAST_ID] = max(book[ol.LAST_ID], order_id)
    elif action == ol.REPLACE:
        latency = command[ol.C_REPLACE]
    else:
        latency = command[ol.C_CANCEL]
    send(
        s, action, order_id, command[ol.C_SIDE], command[ol.C_PRICE], command[ol.C_TOTAL],
        command[ol.C_TIF], command[ol.C_POST], latency, command, first_row, ticks, orders,
    )  # fmt: skip
    return at.DONE


@compiled
def _aim(s, command, first_row, ticks, orders, money):
    """Order the difference of a target to what is held and outstanding, at the touch."""
    book = orders.books[s]
    outstanding = orders.unresolved[s, 0] - orders.unresolved[s, 1]
    lots = command[ol.C_TOTAL] - book[at.CONFIRMED] - outstanding
    if abs(lots) <= money[at.BAND]:
        return at.DONE
    if abs(lots) > at.MOST_LOTS or abs(outstanding + lots) > at.MOST_LOTS:
        return at.POSITION_OVERFLOW
    book[ol.LAST_ID] += 1
    send(
        s, ol.NEW, book[ol.LAST_ID], 1 if lots > 0 else -1, at.NO_PRICE, abs(lots), ol.IOC,
        ol.MAY_TAKE, command[ol.C_ENTRY], command, first_row, ticks, orders,
    )  # fmt: skip
    return at.DONE


@compiled
def stand(until, first_row, ticks, books):
    """Move each symbol's ``STANDING`` on to its latest row at or before an instant."""
    for s in range(len(books)):
        if books[s][ol.STANDING] >= 0:
            row = books[s][ol.STANDING] - first_row
            row = walk(row, until, ticks.ts_event, ticks.next_quote)
            books[s][ol.STANDING] = row + first_row


@compiled
def end(time, orders):
    """All orders that still work end with the window. Returns ``DONE`` or ``FULL``."""
    for s in range(len(orders.books)):
        if orders.books[s][ol.WORKING] > 0:
            if not has_room_for(orders, orders.books[s][ol.WORKING] + 4):
                return at.FULL
            _expire(s, time, orders)
            end_standing(s, time, orders)
    return at.DONE


@compiled
def _expire(s, time, orders):
    """All working orders of a symbol end."""
    book = orders.books[s]
    for head in (ol.BUYS, ol.SELLS):
        place = book[head]
        while place >= 0:
            order = orders.working[place]
            after = order[ol.NEXT]
            left = order[ol.TOTAL] - order[ol.DONE_LOTS]
            report(s, ol.EXPIRED, order, left, order[ol.PRICE], time, 0, orders)
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
