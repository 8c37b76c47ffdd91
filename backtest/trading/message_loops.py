"""Compiled: messages reach the venue, where orders are taken, rest, move and go.

``docs/orders.md`` has the rules.
"""

from __future__ import annotations

from backtest.core.compiled import compiled
from backtest.trading import layout as at
from backtest.trading import order_layout as ol
from backtest.trading.depth_taking_loops import join_level, takable_of_levels, take_levels
from backtest.trading.layout import NO_PRICE
from backtest.trading.order_book_loops import (
    allot,
    answer,
    find,
    insert,
    record_fill,
    release,
    report,
    unlink,
    withdraw,
)
from backtest.trading.queue_loops import join
from backtest.trading.quotes_loops import (
    is_open,
    last_gap,
    last_row,
    quote_of,
    session_close,
    take_at_touch,
    taken_at_touch,
    touch_of,
)
from backtest.trading.unresolved_loops import note_sent


@compiled
def send(
    s, action, order_id, side, price, total, tif, post, latency, command, first_row, ticks, orders
):
    """Put a message in its symbol's channel, in which none overtakes another.

    Args:
        latency: until it arrives, ns.
        command: what it follows from; the symbol's rows have been followed until it was ready.
    """
    book = orders.books[s]
    place = allot(orders.messages, ol.MESSAGES, orders.state)
    message = orders.messages[place]
    ready = command[ol.C_READY]
    arrived = max(book[at.ARRIVED], ready + min(latency, at.LATEST - max(ready, 0)))
    book[at.ARRIVED] = arrived
    message[ol.NEXT], message[ol.ACTION], message[ol.ID] = -1, action, order_id
    message[ol.SIDE], message[ol.PRICE], message[ol.TOTAL] = side, price, total
    message[ol.TIF], message[ol.POST] = tif, post
    message[ol.EVENT], message[ol.RESPONSE] = command[ol.C_EVENT], command[ol.C_RESPONSE]
    message[ol.AT0], message[ol.AT1] = command[ol.C_T0], command[ol.C_T1]
    message[ol.AT2], message[ol.AT3], message[ol.AT4] = command[ol.C_T2], ready, arrived
    note_sent(s, message, orders)
    _note_mids(message, command, book, first_row, ticks)
    if book[ol.FIRST_MESSAGE] < 0:
        book[ol.FIRST_MESSAGE] = place
    else:
        orders.messages[book[ol.LAST_MESSAGE]][ol.NEXT] = place
    book[ol.LAST_MESSAGE] = place


@compiled
def _note_mids(message, command, book, first_row, ticks):
    """The doubled mids at the instants before a message was sent: their rows will be gone."""
    message[ol.MID3] = NO_PRICE
    here = book[ol.CURSOR] - first_row
    if book[ol.CURSOR] >= 0 and ticks.ts_event[here] <= command[ol.C_READY]:
        message[ol.MID3] = ticks.mid[here]
    if book[ol.STANDING] >= 0:
        _note_standing(message, book, first_row, ticks)
        return
    if command[ol.C_EVENT] < 0:  # one that no event led to has one instant
        message[ol.MID0] = message[ol.MID1] = message[ol.MID2] = message[ol.MID3]
        return
    row = command[ol.C_EVENT] - first_row
    for k in range(3):
        time = command[ol.C_T0 + k]
        row = last_row(book, at.POINTER + k, row, time, first_row, ticks.ts_event, ticks.next_quote)
        message[ol.MID0 + k] = ticks.mid[row]


@compiled
def _note_standing(message, book, first_row, ticks):
    """The same for a message that an event of another symbol led to, or none.

    Instants before the symbol had a two-sided quote have the mid of the next one.
    """
    mid = message[ol.MID3]
    for k in range(2, -1, -1):
        time, row = message[ol.AT0 + k], book[ol.STANDING] - first_row
        if ticks.ts_event[row] <= time:
            row = last_row(
                book, at.POINTER + k, row, time, first_row, ticks.ts_event, ticks.next_quote
            )
            mid = mid if ticks.mid[row] == NO_PRICE else ticks.mid[row]
        message[ol.MID0 + k] = mid


@compiled
def receive(s, row, first_row, ticks, orders, depth, rules, money, opens, closes):
    """The symbol's first message arrives, after all rows up to ``row``, its latest one.

    Args:
        row: in the window; -1: there is none yet.
        depth: ``Depth``, followed as far, or ``None``.
        money: the rules of ``layout``.
    """
    book = orders.books[s]
    place = book[ol.FIRST_MESSAGE]
    message = orders.messages[place]
    book[ol.FIRST_MESSAGE] = message[ol.NEXT]
    message[ol.MID4] = NO_PRICE if row < 0 else ticks.mid[row]
    action = message[ol.ACTION]
    if action == ol.NEW:
        _enter(s, message, row, first_row, ticks, orders, depth, rules, money, opens, closes)
    elif action == ol.CANCEL_ALL:
        if message[ol.SIDE] >= 0:
            _cancel_side(s, book[ol.BUYS], message, orders)
        if message[ol.SIDE] <= 0:
            _cancel_side(s, book[ol.SELLS], message, orders)
    else:
        working = find(book, message[ol.ID], orders.working)
        if working < 0:
            answer(s, ol.LATE, message, message, orders)
        elif action == ol.CANCEL:
            message[ol.SIDE] = orders.working[working][ol.SIDE]
            withdraw(s, working, message, True, orders)
        else:
            _replace(s, working, message, row, first_row, ticks, orders, depth, rules)
    release(orders.messages, ol.MESSAGES, place, orders.state)


@compiled
def _cancel_side(s, place, message, orders):
    while place >= 0:
        after = orders.working[place][ol.NEXT]
        withdraw(s, place, message, False, orders)
        place = after


@compiled
def _enter(s, message, row, first_row, ticks, orders, depth, rules, money, opens, closes):
    """A new order: refused, or taken as far as it may take, and resting with what is left."""
    book = orders.books[s]
    arrived = message[ol.AT4]
    closed = not money[at.ALWAYS_OPEN] and not is_open(arrived, opens, closes)
    known = find(book, message[ol.ID], orders.working) >= 0
    if arrived < orders.state[at.HALTED]:  # a switch keeps it out
        closed = True
        orders.state[at.KEPT_OUT] += 1
    if closed or known or row < 0 or message[ol.MID3] == NO_PRICE:
        answer(s, ol.REJECTED, message, message, orders)
        return
    if message[ol.PRICE] == NO_PRICE and not _set_price(message, row, ticks):
        answer(s, ol.REJECTED, message, message, orders)
        return
    if not _post_only(message, row, ticks):
        answer(s, ol.REJECTED, message, message, orders)
        return
    lots = message[ol.TOTAL]
    if message[ol.TIF] == ol.FOK and _takable(s, book, message, lots, row, ticks, depth) < lots:
        answer(s, ol.ACCEPTED, message, message, orders)
        answer(s, ol.CANCELLED, message, message, orders)
        return
    if not _meet_own(s, message, orders, rules):
        answer(s, ol.REJECTED, message, message, orders)
        return
    answer(s, ol.ACCEPTED, message, message, orders)
    left = lots - _take(s, message, lots, row, first_row, ticks, orders, depth)
    if left == 0:
        return
    if message[ol.TIF] != ol.GTC:
        _report_left(s, message, left, orders)
        return
    book[ol.CLOSES_AT] = at.LATEST
    if not money[at.ALWAYS_OPEN]:
        book[ol.CLOSES_AT] = session_close(arrived, opens, closes)
    place = allot(orders.working, ol.ORDERS, orders.state)
    orders.working[place][ol.DONE_LOTS] = lots - left
    _rest(s, place, message, row, ticks, orders, depth, rules)


@compiled
def _set_price(message, row, ticks):
    """Give an order without a price that of the touch. Returns whether there is one."""
    touch = touch_of(message[ol.SIDE] > 0, ticks.bid[row], ticks.ask[row])
    message[ol.PRICE] = touch if touch != NO_PRICE else message[ol.MID4] // 2
    return touch != NO_PRICE


@compiled
def _report_left(s, message, left, orders):
    report(
        s, ol.CANCELLED, message, left, message[ol.PRICE], message[ol.AT4], message[ol.RESPONSE],
        orders,
    )  # fmt: skip


@compiled
def _replace(s, place, message, row, first_row, ticks, orders, depth, rules):
    """Change a working order, which keeps its place only where it shrinks."""
    book, order = orders.books[s], orders.working[place]
    message[ol.SIDE], message[ol.POST], message[ol.OWN] = (
        order[ol.SIDE],
        order[ol.POST],
        order[ol.OWN],
    )
    left = message[ol.TOTAL] - order[ol.DONE_LOTS]
    if left <= 0:
        withdraw(s, place, message, True, orders)
        return
    if message[ol.PRICE] == order[ol.PRICE] and message[ol.TOTAL] <= order[ol.TOTAL]:
        order[ol.TOTAL] = message[ol.TOTAL]
        answer(s, ol.REPLACED, message, message, orders)
        return
    if not _post_only(message, row, ticks) or not _meet_own(s, message, orders, rules):
        answer(s, ol.REJECTED, message, message, orders)
        return
    answer(s, ol.REPLACED, message, message, orders)
    unlink(book, place, orders)
    taken = _take(s, message, left, row, first_row, ticks, orders, depth)
    order[ol.DONE_LOTS] += taken
    if taken == left:
        release(orders.working, ol.ORDERS, place, orders.state)
        return
    _rest(s, place, message, row, ticks, orders, depth, rules)


@compiled
def _post_only(message, row, ticks):
    """Whether an order that must not take may enter; where it would take, it can slide."""
    side = message[ol.SIDE]
    b, a, _, _ = quote_of(row, ticks)
    other = a if side > 0 else b
    if message[ol.POST] == ol.MAY_TAKE or other == NO_PRICE:
        return True
    if side * message[ol.PRICE] < side * other:
        return True
    if message[ol.POST] == ol.SLIDE:
        message[ol.PRICE] = other - side
        return True
    return False


@compiled
def _meet_own(s, message, orders, rules):
    """Cancel own orders of the other side that an order would meet, or refuse it for them.

    Returns:
        Whether it may enter.
    """
    book, side = orders.books[s], message[ol.SIDE]
    place = book[ol.SELLS if side > 0 else ol.BUYS]
    while place >= 0 and side * orders.working[place][ol.PRICE] <= side * message[ol.PRICE]:
        if rules[ol.REJECT_SELF_TRADE]:
            return False
        after = orders.working[place][ol.NEXT]
        withdraw(s, place, message, False, orders)
        place = after
    return True


@compiled
def _takable(s, book, message, lots, row, ticks, depth):
    """Lots that an order can take at once; 0 where its price does not reach the touch."""
    buys = message[ol.SIDE] > 0
    touch = touch_of(buys, ticks.bid[row], ticks.ask[row])
    if touch == NO_PRICE or message[ol.SIDE] * message[ol.PRICE] < message[ol.SIDE] * touch:
        return 0
    if depth is not None:
        return takable_of_levels(s, message, lots, touch, depth)
    displayed = ticks.ask_size[row] if buys else ticks.bid_size[row]
    since = ticks.ask_since[row] if buys else ticks.bid_since[row]
    return max(min(lots, displayed - taken_at_touch(book, buys, since)), 0)


@compiled
def _take(s, message, lots, row, first_row, ticks, orders, depth):
    """Fill what can be taken at once: at the touch, or level by level. Returns the lots."""
    book, buys = orders.books[s], message[ol.SIDE] > 0
    taken = _takable(s, book, message, lots, row, ticks, depth)
    if taken == 0:
        return 0
    if depth is not None:
        touch = ticks.ask[row] if buys else ticks.bid[row]
        return take_levels(s, message, taken, touch, row, first_row, ticks, orders, depth)
    bid, ask = ticks.bid[row], ticks.ask[row]
    since = ticks.ask_since[row] if buys else ticks.bid_since[row]
    fill = orders.fills[record_fill(s, message, taken, orders)]
    fill[at.FILLED], fill[at.MAKER] = message[ol.AT4], 0
    fill[at.TOUCH] = ask if buys else bid
    fill[at.DISPLAYED] = ticks.ask_size[row] if buys else ticks.bid_size[row]
    fill[at.TAKEN] = taken_at_touch(book, buys, since)
    take_at_touch(book, buys, since, taken)
    fill[at.GAP] = last_gap(row + first_row, bid, ask, ticks.stale)
    fill[at.MF] = fill[at.M4]
    fill[at.KNOWN] = report(
        s, ol.TOOK, message, message[ol.SIDE] * taken, fill[at.TOUCH], message[ol.AT4],
        message[ol.RESPONSE], orders,
    )  # fmt: skip
    return taken


@compiled
def _rest(s, place, message, row, ticks, orders, depth, rules):
    """Give an order its place behind those that stand at its price.

    Args:
        place: of its entry, whose ``DONE_LOTS`` are known and which is in no list.
    """
    book, order = orders.books[s], orders.working[place]
    for k in range(ol.COMMON):
        order[k] = message[k]
    b, a, size_b, size_a = quote_of(row, ticks)
    touch, size = (b, size_b) if order[ol.SIDE] > 0 else (a, size_a)
    order[ol.SEEN] = order[ol.TRADED] = order[ol.PAID] = order[ol.FALLEN] = 0
    order[ol.AWAY], order[ol.PAID_UNTIL], order[ol.PRINTED] = 1, at.NO_TIME, 0
    if depth is not None:
        join_level(s, order, touch, depth, rules[ol.MODEL])
    elif touch == order[ol.PRICE]:
        order[ol.SEEN], order[ol.AWAY] = size, 0
        order[ol.AHEAD] = join(rules[ol.MODEL], size, True)
    else:
        better = touch != NO_PRICE and order[ol.SIDE] * order[ol.PRICE] > order[ol.SIDE] * touch
        order[ol.AHEAD] = join(rules[ol.MODEL], 0, better)
    order[ol.JOINED] = ol.NOT_KNOWN
    if order[ol.AHEAD] < ol.UNKNOWN:
        order[ol.JOINED] = order[ol.AHEAD] // ol.FRACTION
    insert(book, place, orders)
