"""Compiled: the venue of orders that rest: commands and rows of the market, in the order of time.

Symbols do not touch each other, so each is followed by itself: until a command of its own is ready,
and then as far as the market is known.
"""

from __future__ import annotations

from backtest.core.compiled import compiled, compiled_inline
from backtest.trading import layout as at
from backtest.trading import limit_layout as ll
from backtest.trading import order_layout as ol
from backtest.trading.depth_level_loops import has_room
from backtest.trading.depth_loops import follow_book, follow_rows
from backtest.trading.depth_taking_loops import most_levels
from backtest.trading.desk_loops import hear, quote
from backtest.trading.layout import SILENT
from backtest.trading.limit_loops import count_message, pass_rows
from backtest.trading.message_loops import receive, send
from backtest.trading.order_book_loops import has_room_for, remove, report
from backtest.trading.order_loops import meet_row
from backtest.trading.quotes_loops import last_row, walk
from backtest.trading.sending_loops import allow, measure
from backtest.trading.standing_loops import end_standing, note_standing


@compiled
def work(limit, first_row, ticks, orders, depth, rules, money, opens, closes, guard):
    """Carry out the commands that are ready before ``limit``, and all that happens before it.

    Args:
        limit: every event and every command before this instant is known, ns.
        first_row: number of the event in row 0 of the window.
        ticks, orders: ``Ticks`` and ``Orders``.
        depth: ``Depth``, whose rows before ``limit`` are all there; ``None``: only the touch is
            known.
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
            code = _advance(s, ready, first_row, ticks, orders, depth, rules, money, opens, closes)
            limited = ready <= money[at.END]
            if guard is not None and code == at.DONE and limited and guard.state[ll.TOGETHER]:
                code = _bring_together(
                    ready, first_row, ticks, orders, depth, rules, money, opens, closes, guard
                )
            if code == at.DONE:
                hear(s, ready, orders)
                code = _carry_out(
                    s, command, first_row, ticks, orders, rules, money, limited, guard
                )
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
def _bring_together(until, first_row, ticks, orders, depth, rules, money, opens, closes, guard):
    """Follow all symbols up to an instant, for limits that hold for several of them."""
    for s in range(len(orders.books)):
        if _is_active(orders.books[s]):
            code = _advance(s, until, first_row, ticks, orders, depth, rules, money, opens, closes)
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
                if code == at.DONE and not has_room_to_take(s, book, orders, depth):
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
            if code == at.DONE and not has_room_to_take(s, book, orders, depth):
                code = at.FULL
            if code != at.DONE:
                return code
            if book[ol.WORKING] == 0:
                continue
        if book[ol.CLOSES_AT] <= min(time, arrival, until):
            end_all(s, ol.EXPIRED, book[ol.CLOSES_AT], 0, orders)
        elif time <= arrival and time <= until:
            fills = orders.state[at.FILLS]
            meet_row(s, after, row, ticks, orders, depth, rules, ticks.response[after])
            book[ol.CURSOR] = after + first_row
            filled = orders.state[at.FILLS] != fills
            if filled or ticks.bid[after] != ticks.bid[row] or ticks.ask[after] != ticks.ask[row]:
                note_standing(s, time, after, filled, ticks, orders)
        elif arrival <= until:
            receive(s, row, first_row, ticks, orders, depth, rules, money, opens, closes)
            note_standing(s, arrival, row, True, ticks, orders)
        else:
            return at.DONE


@compiled
def has_room_to_take(s, book, orders, depth):
    """Whether the next event, or a message that takes from every level, finds room."""
    most = book[ol.WORKING] + 4 + most_levels(s, depth.sides)
    return has_room_for(orders, most) and has_room(s, depth)


@compiled_inline
def _carry_out(s, command, first_row, ticks, orders, rules, money, limited, guard):
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
    if action == ol.TARGET:
        return _aim(s, command, first_row, ticks, orders, money, limited, guard)
    if action == ol.QUOTE:
        book, row = orders.books[s], command[ol.C_EVENT] - first_row
        here = last_row(
            book, at.POINTER, row, command[ol.C_T0], first_row, ticks.ts_event, ticks.next_quote
        )
        anchor = ticks.mid[here]
        return quote(s, command, anchor, first_row, ticks, orders, rules, limited, guard)
    latency, order_id, total = command[ol.C_ENTRY], command[ol.C_ID], command[ol.C_TOTAL]
    if action == ol.NEW:
        book = orders.books[s]
        if order_id < 0:  # it is numbered here
            order_id = book[ol.LAST_ID] + 1
        book[ol.LAST_ID] = max(book[ol.LAST_ID], order_id)
    elif action == ol.REPLACE:
        latency = command[ol.C_REPLACE]
    else:
        latency = command[ol.C_CANCEL]
    if guard is not None and limited:
        total = allow(
            s, action, order_id, command[ol.C_SIDE], command[ol.C_PRICE], total,
            command, orders, guard,
        )  # fmt: skip
        if total < 0:
            return at.DONE if total == -1 else ll.EXPOSURE_OVERFLOW
        count_message(command[ol.C_READY], guard)
    send(
        s, action, order_id, command[ol.C_SIDE], command[ol.C_PRICE], total,
        command[ol.C_TIF], command[ol.C_POST], latency, command, first_row, ticks, orders,
    )  # fmt: skip
    return at.DONE


@compiled
def _aim(s, command, first_row, ticks, orders, money, limited, guard):
    """Order the difference of a target to what is held and outstanding, at the touch."""
    book = orders.books[s]
    outstanding = orders.unresolved[s, 0] - orders.unresolved[s, 1]
    lots = command[ol.C_TOTAL] - book[at.CONFIRMED] - outstanding
    if abs(lots) <= money[at.BAND]:
        return at.DONE
    if abs(lots) > at.MOST_LOTS or abs(outstanding + lots) > at.MOST_LOTS:
        return at.POSITION_OVERFLOW
    order_id, side, total = book[ol.LAST_ID] + 1, 1 if lots > 0 else -1, abs(lots)
    book[ol.LAST_ID] = order_id
    if guard is not None and limited:
        total = allow(s, ol.NEW, order_id, side, at.NO_PRICE, total, command, orders, guard)
        if total < 0:
            return at.DONE if total == -1 else ll.EXPOSURE_OVERFLOW
        count_message(command[ol.C_READY], guard)
    send(
        s, ol.NEW, order_id, side, at.NO_PRICE, total, ol.IOC, ol.MAY_TAKE, command[ol.C_ENTRY],
        command, first_row, ticks, orders,
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
    end_standing(s, time, orders)
