"""Pass 3 as compiled loops: standing quotes, orders, fills and their attribution, in exact int64.

The plain twins are ``execution.trade`` and ``accounting.attribute``. Rows are events in bus order;
``link`` chains a symbol's valid quotes forward by how many rows lie between (``LAST``: none yet;
``INVALID``: the row sets none). Whatever might not fit is noticed before it is used.
"""

from __future__ import annotations

import numpy as np
from numba import njit

LAST, INVALID = 0, -1
SILENT = np.iinfo(np.int64).min
"""In ``wanted``: the event has no say."""

QUOTED, SAYS = 1, 2
"""Flags of an event: its symbol trades, after warm-up, at a quote that stands; it is answered, and
its symbol's newest answer of that instant."""

DONE, FULL, CROWDED, OVERFLOW, EARLY = 0, 1, 2, 3, 4
"""Why ``trade`` returned: all done; no room for another fill, or for another order on its way; a
number that 64 bits do not hold; an order arrives at quotes that are not known yet."""

CURRENT, CONFIRMED, OUTSTANDING, POSITION, ARRIVED, QUOTE, BOUGHT, SOLD, ORDERS, POINTER = range(10)
"""Places in a symbol's row of ``book``; five pointers into its quotes follow."""
BOOK_SIZE = POINTER + 5

EVENT, SYMBOL, LOTS, PRICE, T0, T1, T2, T3, T4, CASH, DECISION, COST = range(12)
"""Columns of ``fills``; one for each cost follows."""
FILL_SIZE = COST + 7

_LARGE = 4.6e18
_MODEST = np.int64(2**60)
_FAR = np.int64(2**62)
_LATEST = np.iinfo(np.int64).max
_NO_PRICE = np.iinfo(np.int64).min
_REACH = np.iinfo(np.int32).max


@njit(cache=True, nogil=True)
def final_mids(symbol, bid, ask, known, mids):
    """From the end of a chunk backward: ``mids`` [S] takes the doubled mid of each symbol's last
    valid quote, unless it is ``known`` [S] already. Returns whether all are."""
    left = 0
    for s in range(len(known)):
        left += not known[s]
    for i in range(len(symbol) - 1, -1, -1):
        if left == 0:
            break
        s = symbol[i]
        b, a = bid[i], ask[i]
        if not known[s] and b != _NO_PRICE and a != _NO_PRICE and b <= a:
            known[s] = True
            mids[s] = b + a
            left -= 1
    return left == 0


@njit(cache=True, nogil=True)
def stand(
    first, warmup, symbol, ts_event, bid, ask, status, ended,
    link, wanted, current, latest, tradable, ends, marks, clock, standing, mids, flags,
):  # fmt: skip
    """Follow the quotes through rows ``first`` on: columns of one chunk, ``link`` and ``wanted`` of
    all. ``current`` [S] is each symbol's standing row and doubled mid, ``latest`` [S] its newest
    answered row with its instant in ``ended``; ``marks`` [k, S] takes the doubled mids at ``ends``,
    ``clock`` where that stands. ``standing``, ``mids`` and ``flags`` take what holds at each event.

    Returns whether each symbol's answers become ready in the order of its events.
    """
    in_order = True
    symbols = len(current)
    mark = clock[0]
    due = ends[mark] if mark < len(ends) else _LATEST
    for i in range(len(symbol)):
        row = first + i
        while ts_event[i] > due:
            for s in range(symbols):
                marks[mark, s] = current[s, 1]
            mark += 1
            due = ends[mark] if mark < len(ends) else _LATEST
        s = np.uint64(symbol[i])
        b, a = bid[i], ask[i]
        before = current[s, 0]
        if b != _NO_PRICE and a != _NO_PRICE and b <= a:
            if before >= 0:
                if row - before > _REACH:
                    in_order = False
                link[np.uint64(before)] = row - before
            before = row
            current[s, 0] = row
            current[s, 1] = b + a
            link[np.uint64(row)] = LAST
        else:
            link[np.uint64(row)] = INVALID
        standing[i] = before
        mids[i] = current[s, 1]
        flag = np.uint8(0)
        if before >= 0 and row >= warmup and tradable[s]:
            flag = np.uint8(QUOTED)
        if status[i] == 0:
            flag |= np.uint8(SAYS)
            other = latest[s, 0]
            if other >= 0:
                if latest[s, 1] == ended[i]:
                    if other >= first:
                        flags[other - first] &= np.uint8(QUOTED)
                    else:
                        wanted[other] = SILENT
                elif latest[s, 1] > ended[i]:
                    in_order = False
            latest[s, 0] = row
            latest[s, 1] = ended[i]
        flags[i] = flag
    clock[0] = mark
    return in_order


@njit(cache=True, nogil=True)
def wish(flags, target, wanted):
    """Of one chunk: ``wanted`` takes the targets of the events that have a say."""
    for i in range(len(flags)):
        wanted[i] = target[i] if flags[i] == QUOTED | SAYS else SILENT


@njit(cache=True, nogil=True)
def finish_marks(current, marks, clock):
    """The marks after the last event."""
    for mark in range(clock[0], len(marks)):
        for s in range(len(current)):
            marks[mark, s] = current[s, 1]


@njit(cache=True, nogil=True)
def paper(symbol, ts_event, flags, target, mids, pending, held, band):
    """Trade the ``target`` of every event of a chunk at its own mid: ``held`` [S, 2] takes position
    and what it cost in half-tick-lots. ``pending`` [S, 4] is each symbol's newest event: its
    instant, whether it is ``QUOTED``, target, doubled mid.

    Returns whether everything fitted 64 bits.
    """
    for i in range(len(symbol)):
        s = np.uint64(symbol[i])
        if pending[s, 0] != ts_event[i] and not _hold(pending[s], held[s], band):
            return False
        pending[s, 0] = ts_event[i]
        pending[s, 1] = flags[i] & QUOTED
        pending[s, 2] = target[i]
        pending[s, 3] = mids[i]
    return True


@njit(cache=True, nogil=True)
def finish_paper(pending, held, band):
    """Trade each symbol's last event; whether everything fitted."""
    for s in range(len(pending)):
        if not _hold(pending[s], held[s], band):
            return False
    return True


@njit(cache=True, nogil=True)
def _hold(newest, held, band):
    if newest[1] == 0:
        return True
    newest[1] = 0
    if newest[2] == held[0]:
        return True
    change = newest[2] - held[0]
    if abs(float(newest[2]) - float(held[0])) * (abs(newest[3]) + 1.0) > _LARGE:
        return False
    if abs(change) <= band:
        return True
    held[0] = newest[2]
    cost = change * newest[3]
    total = held[1] + cost
    if ((held[1] ^ total) & (cost ^ total)) < 0:
        return False
    held[1] = total
    return True


@njit(cache=True, nogil=True)
def _walk(row, time, ts_event, link):
    """From a quote that stands at or before ``time`` to the one that stands then."""
    while True:
        step = link[np.uint64(row)]
        if step <= 0 or ts_event[np.uint64(row + step)] > time:
            return row
        row += step


@njit(cache=True, nogil=True)
def _is_open(time, opens, closes):
    low, high = 0, len(opens)
    while low < high:
        middle = (low + high) >> 1
        if opens[middle] <= time:
            low = middle + 1
        else:
            high = middle
    return low > 0 and time < closes[low - 1]


@njit(cache=True, nogil=True)
def trade(
    state, first, last, frontier, events, symbol, ts_event, bid, ask, bid_size, ask_size, link,
    wanted, received, begun, ended, entry, response,
    book, pool, instruments, mids, rules, opens, closes, ends, fills, sums, booked,
):  # fmt: skip
    """Orders and fills of the events ``first`` to ``last``, from ``state[0]`` on.

    Args:
        state: the next event, fills so far, the first free entry of ``pool``.
        frontier: every event before this instant is linked, ns.
        events: if not empty, the rows to decide on instead, ``first`` to ``last`` being places
            among them; each symbol's in order.
        entry, response: latencies of the events from ``first`` on, or one for all.
        book: a row a symbol.
        pool: orders on their way: response arrives, lots ordered, lots filled, next entry.
        instruments: worth of a half-tick-lot, fee per lot, fee rate's numerator and denominator.
        mids: doubled mids at the window's end [S].
        rules: no-trade band, impact's numerator and denominator, end, whether always open,
            whether sizes are unlimited.
        sums: by symbol: cash, decision, costs, fills, lots.
        booked: by symbol and bucket: lots, cash, costs.
    """
    band, c_over, c_under, end = rules[0], rules[1], rules[2], rules[3]
    always, unlimited = rules[4] == 1, rules[5] == 1
    listed = len(events) > 0
    # Latencies that are the same for all are given once.
    varied = np.int64(len(entry) > 1)
    answers = np.int64(len(response) > 1)
    near = 0
    for i in range(state[0], last):
        state[0] = i
        e = np.uint64(events[i] if listed else i)
        s = np.uint64(symbol[e])
        me = book[s]
        if not listed and link[e] != INVALID:
            me[CURRENT] = e
        target = wanted[e]
        if target == SILENT or (me[ORDERS] < 0 and target == me[CONFIRMED]):
            continue
        ready = ended[e]
        if ready >= frontier:  # a newer answer may yet have its say at that instant
            return EARLY
        before, at = -1, me[ORDERS]
        while at >= 0:
            after = pool[at, 3]
            if pool[at, 0] <= ready:
                me[OUTSTANDING] -= pool[at, 1]
                me[CONFIRMED] += pool[at, 2]
                if before < 0:
                    me[ORDERS] = after
                else:
                    pool[before, 3] = after
                pool[at, 3] = state[2]
                state[2] = at
            else:
                before = at
            at = after
        confirmed, outstanding = me[CONFIRMED], me[OUTSTANDING]
        large = max(abs(target), abs(confirmed), abs(outstanding)) > _MODEST
        if large and abs(float(target) - float(confirmed) - float(outstanding)) > _LARGE:
            return OVERFLOW
        order = target - confirmed - outstanding
        if abs(order) <= band:
            continue
        if state[1] == len(fills):
            return FULL
        if state[2] < 0:
            return CROWDED
        arrived = max(me[ARRIVED], ready + min(entry[(i - first) * varied], _FAR))
        if arrived >= frontier and arrived <= end:
            return EARLY
        me[ARRIVED] = arrived
        filled = np.int64(0)
        if arrived <= end and (always or _is_open(arrived, opens, closes)):
            p4 = _walk(max(me[POINTER + 4], me[CURRENT]), arrived, ts_event, link)
            me[POINTER + 4] = p4
            if me[QUOTE] != p4:
                me[QUOTE] = p4
                me[BOUGHT] = 0
                me[SOLD] = 0
            side = np.int64(1) if order > 0 else np.int64(-1)
            taken = BOUGHT if order > 0 else SOLD
            q4 = np.uint64(p4)
            touch = ask[q4] if order > 0 else bid[q4]
            displayed = _FAR
            if not unlimited:
                displayed = ask_size[q4] if order > 0 else bid_size[q4]
            lots = min(abs(order), displayed - me[taken])
            if lots > 0:
                me[taken] += lots
                filled = side * lots
                moved = np.int64(0)
                if c_over > 0:
                    spread = 2 * (ask[q4] - bid[q4])
                    push = float(c_over) * float(spread) * float(lots)
                    if push > _LARGE or float(c_under) * float(displayed) > _LARGE:
                        return OVERFLOW
                    over, under = c_over * spread * lots, c_under * displayed
                    moved = (over + under - 1) // under
                m4 = bid[q4] + ask[q4]
                m0 = m1 = m2 = m3 = m4
                p0 = p1 = p2 = p3 = p4
                if p4 != me[CURRENT]:  # else the quote has stood all the while
                    p0 = _walk(max(me[POINTER], me[CURRENT]), ts_event[e], ts_event, link)
                    p1 = _walk(max(me[POINTER + 1], p0), received[e], ts_event, link)
                    p2 = _walk(max(me[POINTER + 2], p1), begun[e], ts_event, link)
                    p3 = _walk(max(me[POINTER + 3], p2), ready, ts_event, link)
                    m0, m1 = bid[p0] + ask[p0], bid[p1] + ask[p1]
                    m2, m3 = bid[p2] + ask[p2], bid[p3] + ask[p3]
                me[POINTER], me[POINTER + 1], me[POINTER + 2], me[POINTER + 3] = p0, p1, p2, p3
                price = 2 * touch + side * moved
                worth, per_lot, rate_over, rate_under = instruments[s]
                largest = abs(float(price)) + moved + abs(float(mids[s]))
                for m in (m0, m1, m2, m3, m4):
                    largest += abs(float(m))
                money = largest * lots * worth
                if money > _LARGE:
                    return OVERFLOW
                whole = rest = np.int64(0)
                if rate_over != 0:
                    notional = lots * abs(price) * worth
                    whole = notional // rate_under
                    rest = notional - whole * rate_under
                charged = abs(float(whole) * rate_over) + abs(float(per_lot) * lots)
                if charged + money > _LARGE or abs(float(rest) * rate_over) > _LARGE / 2:
                    return OVERFLOW
                fee = per_lot * lots + whole * rate_over
                if rest != 0:
                    fee -= -(rest * rate_over) // rate_under
                q = filled * worth
                k = state[1]
                row = fills[k]
                row[EVENT], row[SYMBOL], row[LOTS], row[PRICE] = e, s, filled, price
                row[T0], row[T1], row[T2], row[T3], row[T4] = (
                    ts_event[e], received[e], begun[e], ready, arrived
                )  # fmt: skip
                row[CASH] = -q * price - fee
                row[DECISION] = q * (mids[s] - m0)
                row[COST] = q * (m1 - m0)
                row[COST + 1] = q * (m2 - m1)
                row[COST + 2] = q * (m3 - m2)
                row[COST + 3] = q * (m4 - m3)
                row[COST + 4] = q * (price - side * moved - m4)
                row[COST + 5] = q * side * moved
                row[COST + 6] = fee
                state[1] = k + 1
                me[POSITION] += filled
                sums[s, 9] += 1
                sums[s, 10] += lots
                over = min(sums[s, 10], np.int64(0))
                for c in range(9):
                    total = sums[s, c] + row[CASH + c]
                    over |= (sums[s, c] ^ total) & (row[CASH + c] ^ total)
                    sums[s, c] = total
                if len(booked):
                    while near < len(ends) and ends[near] < arrived:
                        near += 1
                    while near > 0 and ends[near - 1] >= arrived:
                        near -= 1
                    bucket = booked[s, near]
                    total = bucket[0] + filled
                    over |= (bucket[0] ^ total) & (filled ^ total)
                    bucket[0] = total
                    total = bucket[1] + row[CASH]
                    over |= (bucket[1] ^ total) & (row[CASH] ^ total)
                    bucket[1] = total
                    for c in range(2, 9):
                        total = bucket[c] + row[CASH + c]
                        over |= (bucket[c] ^ total) & (row[CASH + c] ^ total)
                        bucket[c] = total
                if over < 0:
                    return OVERFLOW
        me[OUTSTANDING] += order
        at = state[2]
        state[2] = pool[at, 3]
        pool[at, 0] = arrived + min(response[(i - first) * answers], _LATEST - arrived)
        pool[at, 1] = order
        pool[at, 2] = filled
        pool[at, 3] = me[ORDERS]
        me[ORDERS] = at
    state[0] = last
    return DONE


@njit(cache=True, nogil=True)
def columns_of(fills, order, columns):
    """Fills [k, FILL_SIZE] in an order, column by column."""
    for i in range(len(order)):
        row = fills[order[i]]
        for c in range(len(columns)):
            columns[c, i] = row[c]
