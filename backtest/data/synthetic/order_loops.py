"""A market of limit orders, matched first in, first out; each step is an action of one trader.

Random numbers are drawn before and passed in, so that what happens depends on them alone.
"""

from __future__ import annotations

from backtest.core.compiled import compiled
from backtest.data.synthetic.book_loops import add, best_of, modify, reduce, search
from backtest.data.synthetic.order_layout import (
    BEST_BID,
    CANCELS,
    CLOCK,
    COUNT,
    HEAD,
    ID,
    LEVEL_SIZE,
    LIMITS,
    LIVE,
    MEAN_SIZE,
    MODIFIES,
    NEXT,
    NONE,
    PRICE,
    QUOTED,
    REACH,
    ROOM,
    SIDE,
    SIZE,
    STEP,
    TARGET,
    TRADES_AT_ONCE,
)
from backtest.market.depth import (
    ADD,
    ASK,
    BID,
    BOTH,
    CANCEL,
    CLEAR,
    EXECUTE,
    LAST,
    MODIFY,
    SNAPSHOT,
)
from backtest.market.events import NO_PRICE


@compiled
def _row(symbol, me, at, side, price, size, flags, slot_id, action, depth, follows, events):
    """Append a row of depth."""
    depth[at, 0], depth[at, 1], depth[at, 2], depth[at, 3] = symbol, me[CLOCK], side, price
    depth[at, 4], depth[at, 5], depth[at, 6], depth[at, 7] = size, flags, slot_id, action
    follows[at] = events
    return at + 1


@compiled
def _event(symbol, me, at, price, lots, aggressor, events):
    """Append an event: a trade, or the quote if ``lots`` is 0. It shows the last quote."""
    events[at, 0], events[at, 1] = symbol, me[CLOCK]
    for k in range(4):
        events[at, 2 + k] = me[QUOTED + k]
    events[at, 6], events[at, 7], events[at, 8] = price, lots, aggressor
    return at + 1


@compiled
def _touch(me, levels, low):
    """Whether the best levels or their sizes differ from the last quote, which then is theirs."""
    changed = False
    for own in range(2):
        best = me[BEST_BID + own]
        price = NO_PRICE if best < 0 else low + best
        size = 0 if best < 0 else levels[own, best, LEVEL_SIZE]
        if me[QUOTED + own] != price or me[QUOTED + 2 + own] != size:
            me[QUOTED + own], me[QUOTED + 2 + own] = price, size
            changed = True
    return changed


@compiled
def act(low, draws, terms, clock, traders, pools, ladders, depth, follows, events, rows, count):
    """Actions of traders, one for each row of ``draws``.

    Args:
        low: the price of the lowest level.
        draws: random numbers, int64 [n, 6], at least 0.
        terms: see ``order_layout``, int64.
        clock: the time, ns, int64 [1].
        traders, pools, ladders: the symbols' books, int64 [S, SYMBOL_SIZE], [S, orders, ORDER_SIZE]
            and [S, 2, levels, LEVEL_COLUMNS].
        depth, follows: rows to fill, int64 [r, 8] and [r].
        events: events to fill, int64 [e, 9].
        rows, count: how many of both are there already.

    Returns how many actions were done (fewer where the room in ``depth`` or ``events`` ends), and
    the rows and events that are there then.
    """
    for i in range(len(draws)):
        if len(depth) - rows < TRADES_AT_ONCE + 2 or len(events) - count < TRADES_AT_ONCE + 2:
            return i, rows, count
        # A third of all actions share the instant of the one before.
        if draws[i, 1] % 3 > 0:
            clock[0] += draws[i, 0] % (3 * terms[STEP])
        symbol = draws[i, 0] // (3 * terms[STEP]) % len(traders)
        traders[symbol, CLOCK] = clock[0]
        rows, count = _act(
            symbol,
            low,
            draws[i],
            terms,
            traders[symbol],
            pools[symbol],
            ladders[symbol],
            depth,
            follows,
            events,
            rows,
            count,
        )
    return len(draws), rows, count


@compiled
def _act(symbol, low, draw, terms, me, orders, levels, depth, follows, events, rows, count):
    """One action, and the quote after it if the touch or its size changed."""
    kind = draw[2] % 1000
    side = BID if draw[3] % 2 == 0 else ASK
    size = 1 + (draw[3] // 2) % (2 * terms[MEAN_SIZE] - 1)
    reach = terms[REACH]
    # Near prices are more likely: the least of two draws.
    away = 1 + min(draw[4] % reach, (draw[4] // reach) % reach)
    few, full = me[COUNT] < 4 * reach, me[ROOM] == 0
    crowded = me[COUNT] > terms[TARGET] and draw[1] // 3 % 2 == 0
    other = best_of(-side, me)
    if few or (kind < terms[LIMITS] and not full and not crowded):
        limit = other - side * away if other >= 0 else levels.shape[1] // 2 - side * away
        # One in 16 crosses: it takes what it meets up to two ticks into the other side.
        if draw[5] % 16 == 0 and other >= 0 and not few:
            limit = other + side * (draw[5] // 16 % 3)
        rows, count, size = _take(
            symbol, low, side, limit, size, me, orders, levels, depth, follows, events, rows, count
        )
        if size > 0 and 0 <= limit < levels.shape[1]:
            slot = add(side, limit, size, me, orders, levels)
            rows = _row(
                symbol,
                me,
                rows,
                side,
                low + limit,
                size,
                0,
                orders[slot, ID],
                ADD,
                depth,
                follows,
                count,
            )
    elif kind < terms[CANCELS] or full:
        slot = orders[draw[5] % me[COUNT], LIVE]
        lots = orders[slot, SIZE]
        if draw[4] % 8 == 0:  # part of it
            lots = 1 + (draw[4] // 8) % lots
        rows = _row(
            symbol,
            me,
            rows,
            orders[slot, SIDE],
            low + orders[slot, PRICE],
            lots,
            0,
            orders[slot, ID],
            CANCEL,
            depth,
            follows,
            count,
        )
        reduce(slot, lots, me, orders, levels)
    elif kind < terms[MODIFIES]:
        slot = orders[draw[5] % me[COUNT], LIVE]
        side, price = orders[slot, SIDE], orders[slot, PRICE]
        other = best_of(-side, me)
        moved = other - side * away
        if draw[1] // 6 % 2 == 0 and other >= 0 and 0 <= moved < levels.shape[1]:
            price = moved
        modify(slot, price, size, me, orders, levels)
        rows = _row(
            symbol,
            me,
            rows,
            side,
            low + price,
            size,
            0,
            orders[slot, ID],
            MODIFY,
            depth,
            follows,
            count,
        )
    elif other >= 0:
        rows, count, _ = _take(
            symbol,
            low,
            side,
            other + side * reach,
            size,
            me,
            orders,
            levels,
            depth,
            follows,
            events,
            rows,
            count,
        )
    if _touch(me, levels, low):
        count = _event(symbol, me, count, NO_PRICE, 0, 0, events)
    return rows, count


@compiled
def _take(symbol, low, side, limit, size, me, orders, levels, depth, follows, events, rows, count):
    """Match an order with the other side up to its limit, one resting order after another.

    Each execution is a trade, then a row. Returns rows, events, and the lots that are left.
    """
    for _ in range(TRADES_AT_ONCE):
        best = best_of(-side, me)
        if size == 0 or best < 0 or side * best > side * limit:
            break
        slot = levels[1 if side == BID else 0, best, HEAD]
        lots = min(size, orders[slot, SIZE])
        count = _event(symbol, me, count, low + best, lots, side, events)
        rows = _row(
            symbol,
            me,
            rows,
            -side,
            low + best,
            lots,
            0,
            orders[slot, ID],
            EXECUTE,
            depth,
            follows,
            count,
        )
        reduce(slot, lots, me, orders, levels)
        size -= lots
    # What could not be matched at once is not kept, so that no book is crossed.
    best = best_of(-side, me)
    if best >= 0 and side * best <= side * limit:
        size = 0
    return rows, count, size


@compiled
def restate(symbol, low, me, orders, levels, depth, follows, rows, count):
    """Append a clear and all orders, best levels first, each level's in the order of its queue."""
    rows = _row(symbol, me, rows, BOTH, 0, 0, CLEAR | SNAPSHOT, 0, ADD, depth, follows, count)
    left = me[COUNT]
    for own in range(2):
        side = BID if own == 0 else ASK
        at = best_of(side, me)
        while at >= 0:
            slot = levels[own, at, HEAD]
            while slot != NONE:
                left -= 1
                flags = SNAPSHOT | LAST if left == 0 else SNAPSHOT
                rows = _row(
                    symbol,
                    me,
                    rows,
                    side,
                    low + at,
                    orders[slot, SIZE],
                    flags,
                    orders[slot, ID],
                    ADD,
                    depth,
                    follows,
                    count,
                )
                slot = orders[slot, NEXT]
            at = search(side, me, levels, at - side)
    return rows
