"""Compiled: following the quotes of every symbol through the rows of a window."""

from __future__ import annotations

import numpy as np

from backtest.core.compiled import compiled
from backtest.trading.layout import (
    BOUGHT,
    DONE,
    F_EVENT,
    F_MARK,
    F_STALE,
    FULL,
    LATEST,
    NO_PRICE,
    NO_TIME,
    Q_ASK,
    Q_ASK_SINCE,
    Q_ASK_SIZE,
    Q_BID,
    Q_BID_SINCE,
    Q_BID_SIZE,
    Q_EVENT,
    Q_LAST_ASK,
    Q_LAST_ASK_SIZE,
    Q_LAST_BID,
    Q_LAST_BID_SIZE,
    Q_LAST_TIME,
    Q_TIME,
    SOLD,
    STALE_ASK,
    STALE_ASK_SIZE,
    STALE_BID,
    STALE_BID_SIZE,
    STALE_EVENT,
    STALE_TIME,
)


@compiled
def follow(
    state, stop, first_row, symbol, ts_event, bid, ask, bid_size, ask_size,
    next_quote, mid, bid_since, ask_since, quotes, stale, ends, marks,
):  # fmt: skip
    """Follow the quotes through the events from ``state[F_EVENT]`` to ``stop - 1``.

    Args:
        first_row: number of the event in row 0 of the columns.
        next_quote: takes how many rows further the symbol's next row lies; 0: none yet.
        mid: takes the doubled mid of the symbol's last two-sided quote at each row.
        bid_since, ask_since: take the event that last changed that side's price or size.
        quotes, stale: as ``layout`` has them.
        marks: takes the doubled mids of all symbols at the instants ``ends`` [k, S].

    Returns:
        ``DONE``, or ``FULL``: ``stale`` has to grow.
    """
    mark = state[F_MARK]
    due = ends[mark] if mark < len(ends) else LATEST
    for event in range(state[F_EVENT], stop):
        row = np.uint64(event - first_row)
        time, s = ts_event[row], np.uint64(symbol[row])
        of = quotes[s]
        b, a = bid[row], ask[row]
        two_sided = b != NO_PRICE and b <= a  # an absent ask is below every bid
        if not two_sided and state[F_STALE] == len(stale):
            state[F_EVENT] = event
            return FULL
        while time > due:
            take_marks(quotes, marks[mark])
            mark += 1
            state[F_MARK] = mark
            due = ends[mark] if mark < len(ends) else LATEST
        before = of[Q_EVENT]
        if before >= first_row:  # else its row has been given up: nobody walks from there
            next_quote[np.uint64(before - first_row)] = event - before
        next_quote[row] = 0
        if two_sided:
            mid[row] = b + a
        else:
            mid[row] = _keep_last(event, of, state, stale)
        # A side that is withdrawn, and one that returns, has another price than before.
        if b != of[Q_BID] or bid_size[row] != of[Q_BID_SIZE]:
            of[Q_BID_SINCE] = event
        if a != of[Q_ASK] or ask_size[row] != of[Q_ASK_SIZE]:
            of[Q_ASK_SINCE] = event
        bid_since[row], ask_since[row] = of[Q_BID_SINCE], of[Q_ASK_SINCE]
        of[Q_EVENT], of[Q_TIME], of[Q_BID], of[Q_ASK] = event, time, b, a
        of[Q_BID_SIZE], of[Q_ASK_SIZE] = bid_size[row], ask_size[row]
    state[F_EVENT] = stop
    return DONE


@compiled
def _keep_last(event, of, state, stale):
    """For a row that is not two-sided, the doubled mid of the last quote that was.

    That quote is copied to ``stale`` beside the row's number: its own row may be long gone, while
    sizing and the impact formula still ask for it.
    """
    if of[Q_BID] != NO_PRICE and of[Q_BID] <= of[Q_ASK]:  # the row before was two-sided
        of[Q_LAST_TIME], of[Q_LAST_BID], of[Q_LAST_ASK] = of[Q_TIME], of[Q_BID], of[Q_ASK]
        of[Q_LAST_BID_SIZE], of[Q_LAST_ASK_SIZE] = of[Q_BID_SIZE], of[Q_ASK_SIZE]
    if of[Q_LAST_BID] == NO_PRICE:
        return NO_PRICE
    kept = stale[state[F_STALE]]
    state[F_STALE] += 1
    kept[STALE_EVENT], kept[STALE_TIME] = event, of[Q_LAST_TIME]
    kept[STALE_BID], kept[STALE_ASK] = of[Q_LAST_BID], of[Q_LAST_ASK]
    kept[STALE_BID_SIZE], kept[STALE_ASK_SIZE] = of[Q_LAST_BID_SIZE], of[Q_LAST_ASK_SIZE]
    return of[Q_LAST_BID] + of[Q_LAST_ASK]


@compiled
def take_marks(quotes, mids):
    """The doubled mid of every symbol as it is now; 0 where there is none to hold a position at."""
    for s in range(len(quotes)):
        of = quotes[s]
        if of[Q_BID] != NO_PRICE and of[Q_BID] <= of[Q_ASK]:
            mids[s] = of[Q_BID] + of[Q_ASK]
        elif of[Q_LAST_BID] != NO_PRICE:
            mids[s] = of[Q_LAST_BID] + of[Q_LAST_ASK]
        else:
            mids[s] = 0


@compiled
def finish_marks(state, quotes, marks):
    """The marks that are due after the last event."""
    for mark in range(state[F_MARK], len(marks)):
        take_marks(quotes, marks[mark])
    state[F_MARK] = len(marks)


@compiled
def is_open(time, opens, closes):
    """Whether an instant lies in one of the sessions [open, close), which ascend."""
    return time < session_close(time, opens, closes)


@compiled
def session_close(time, opens, closes):
    """When the latest session that has opened by an instant closes; ``NO_TIME``: none has."""
    low, high = 0, len(opens)
    while low < high:
        middle = (low + high) >> 1
        if opens[middle] <= time:
            low = middle + 1
        else:
            high = middle
    return closes[low - 1] if low > 0 else NO_TIME


@compiled
def find_closing(
    symbol, ts_event, bid, ask, bid_size, ask_size, end, always_open, opens, closes, known, found
):
    """From the end of a chunk backward: ``found`` [S, 4] takes bid, ask and sizes of each symbol's
    last two-sided quote inside a session and not after ``end``, unless it is ``known`` [S] already.

    Returns:
        Whether all are known.
    """
    missing = 0
    for s in range(len(known)):
        missing += not known[s]
    for row in range(len(symbol) - 1, -1, -1):
        if missing == 0:
            break
        s = symbol[row]
        b, a, time = bid[row], ask[row], ts_event[row]
        if known[s] or b == NO_PRICE or b > a or time > end:
            continue
        if always_open or is_open(time, opens, closes):
            known[s] = True
            found[s, 0], found[s, 1] = b, a
            found[s, 2], found[s, 3] = bid_size[row], ask_size[row]
            missing -= 1
    return missing == 0


@compiled
def last_row(me, pointer, row, time, first_row, ts_event, next_quote):
    """The symbol's last row at or before ``time``, from one of its rows that is.

    The row where such a search ended last time, which ``me[pointer]`` keeps, shortens the way where
    it lies on it. Answers that overtake each other go back in time: they start from their own row.
    """
    last = me[pointer] - first_row
    if last > row and ts_event[last] <= time:
        row = last
    row = walk(row, time, ts_event, next_quote)
    me[pointer] = row + first_row
    return row


@compiled
def walk(row, time, ts_event, next_quote):
    """The symbol's last row at or before ``time``, row by row from one of its rows that is."""
    while True:
        step = np.int64(next_quote[row])
        if step == 0 or ts_event[row + step] > time:
            return row
        row += step


@compiled
def last_gap(event, bid, ask, stale):
    """Ask - bid of the last two-sided quote at a row, which has one; the row's own if it is."""
    if bid != NO_PRICE and bid <= ask:
        return ask - bid
    low, high = 0, len(stale)
    while low < high:
        middle = (low + high) >> 1
        if stale[middle, STALE_EVENT] < event:
            low = middle + 1
        else:
            high = middle
    return stale[low, STALE_ASK] - stale[low, STALE_BID]


@compiled
def touch_of(buys, bid, ask):
    """The price at which an order takes: ``NO_PRICE`` where that side of the quote is absent, or
    crossed by the other one."""
    if ask != NO_PRICE and bid > ask:
        return NO_PRICE
    return ask if buys else bid


@compiled
def taken_at_touch(me, buys, since):
    """Lots that own orders have taken of what a touch displays.

    They come back only when that side's own price or size changes: ``since`` is the event that last
    did so.
    """
    side = BOUGHT if buys else SOLD
    if me[side + 1] != since:
        me[side + 1] = since
        me[side] = 0
    return me[side]


@compiled
def take_at_touch(me, buys, since, lots):
    """Take some more of it."""
    taken = taken_at_touch(me, buys, since)
    me[BOUGHT if buys else SOLD] = taken + lots


@compiled
def quote_of(row, ticks):
    """Bid, ask and their sizes at a row; both sides are absent where they cross."""
    b, a = ticks.bid[row], ticks.ask[row]
    if a != NO_PRICE and b > a:
        return NO_PRICE, NO_PRICE, 0, 0
    return b, a, ticks.bid_size[row], ticks.ask_size[row]
