"""Pass 3 as compiled loops: standing quotes, orders, fills and their attribution, in exact int64.

The plain twins are ``execution.trade`` and ``accounting.attribute``. Rows are events in bus order;
``link`` chains a symbol's valid quotes forward (``INVALID``: the row sets none; -1: the last one).
Whatever might not fit 64 bits is noticed before it is used, and then said by ``OVERFLOW``.
"""

from __future__ import annotations

import numpy as np
from numba import njit

INVALID = -2
SILENT = np.iinfo(np.int64).min
"""In ``wanted``: the event has no say."""

DONE, FULL, CROWDED, OVERFLOW = 0, 1, 2, 3
"""Why ``trade`` returned: all done; no room for another fill, or for another order on its way; a
number that 64 bits do not hold."""

CURRENT, CONFIRMED, OUTSTANDING, POSITION, ARRIVED, QUOTE, BOUGHT, SOLD, ORDERS, POINTER = range(10)
"""Places in a symbol's row of ``book``; five pointers into its quotes follow."""
BOOK_SIZE = POINTER + 5

EVENT, SYMBOL, LOTS, PRICE, T0, T1, T2, T3, T4, CASH, DECISION, COST = range(12)
"""Columns of ``fills``; one for each cost follows."""
FILL_SIZE = COST + 7

_LARGE = 4.6e18
_FAR = np.int64(2**62)
_LAST = np.iinfo(np.int64).max
_NO_PRICE = np.iinfo(np.int64).min


@njit(cache=True, nogil=True)
def stand(
    first, symbol, ts_event, bid, ask, status, ended,
    link, wanted, current, latest, ends, marks, clock, standing, say,
):  # fmt: skip
    """Follow the quotes through rows ``first`` on: columns of one chunk, ``link`` and ``wanted`` of
    all. ``current`` [S] is each symbol's standing row, ``latest`` [S] its newest answered one with
    its instant in ``ended``; ``marks`` [k, S] takes the doubled mids at ``ends``, ``clock`` where
    that stands.

    Returns whether each symbol's answers become ready in the order of its events.
    """
    in_order = True
    symbols = len(current)
    mark = clock[0]
    for i in range(len(symbol)):
        row = first + i
        while mark < len(ends) and ts_event[i] > ends[mark]:
            for s in range(symbols):
                marks[mark, s] = current[s, 1]
            mark += 1
        s = symbol[i]
        b, a = bid[i], ask[i]
        if b != _NO_PRICE and a != _NO_PRICE and b <= a:
            if current[s, 0] >= 0:
                link[current[s, 0]] = row
            current[s, 0] = row
            current[s, 1] = b + a
            link[row] = -1
        else:
            link[row] = INVALID
        standing[i] = current[s, 0]
        say[i] = 0
        if status[i] == 0:
            before = latest[s, 0]
            if before >= 0:
                if latest[s, 1] == ended[i]:
                    if before >= first:
                        say[before - first] = 0
                    else:
                        wanted[before] = SILENT
                elif latest[s, 1] > ended[i]:
                    in_order = False
            latest[s, 0] = row
            latest[s, 1] = ended[i]
            say[i] = 1
    clock[0] = mark
    return in_order


@njit(cache=True, nogil=True)
def finish_marks(current, marks, clock):
    """The marks after the last event."""
    for mark in range(clock[0], len(marks)):
        for s in range(len(current)):
            marks[mark, s] = current[s, 1]


@njit(cache=True, nogil=True)
def paper(symbol, ts_event, standing, target, say, bid, ask, pending, held, band):
    """Trade every event's ``target`` at its own mid: ``held`` [S, 2] takes position and what it
    cost in half-tick-lots. ``pending`` [S, 4] is each symbol's newest event: its instant, whether
    it has a say, target, doubled mid. ``bid`` and ``ask`` are of the standing quotes.

    Returns whether everything fitted 64 bits.
    """
    for i in range(len(symbol)):
        s = symbol[i]
        if pending[s, 0] != ts_event[i] and not _hold(pending[s], held[s], band):
            return False
        pending[s, 0] = ts_event[i]
        pending[s, 1] = say[i]
        pending[s, 2] = target[i]
        pending[s, 3] = bid[i] + ask[i]
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
    change = newest[2] - held[0]
    newest[1] = 0
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
        following = link[row]
        if following < 0 or ts_event[following] > time:
            return row
        row = following


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
def _add(sums, k, amount):
    """Add to a sum; whether it still fits."""
    total = sums[k] + amount
    if ((sums[k] ^ total) & (amount ^ total)) < 0:
        return False
    sums[k] = total
    return True


@njit(cache=True, nogil=True)
def trade(
    state, first, last, events, symbol, ts_event, bid, ask, bid_size, ask_size, link, wanted,
    received, begun, ended, entry, response,
    book, pool, instruments, mids, rules, opens, closes, ends, fills, sums, booked,
):  # fmt: skip
    """Orders and fills of the events ``first`` to ``last``, from ``state[0]`` on.

    Args:
        state: the next event, fills so far, the first free entry of ``pool``.
        events: if not empty, the rows to decide on instead, ``first`` to ``last`` being places
            among them; each symbol's in order.
        entry, response: latencies of the events from ``first`` on.
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
    for i in range(state[0], last):
        state[0] = i
        e = events[i] if listed else i
        s = symbol[e]
        me = book[s]
        if not listed and link[e] != INVALID:
            me[CURRENT] = e
        target = wanted[e]
        if target == SILENT:
            continue
        ready = ended[e]
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
        if abs(float(target) - float(me[CONFIRMED]) - float(me[OUTSTANDING])) > _LARGE:
            return OVERFLOW
        order = target - me[CONFIRMED] - me[OUTSTANDING]
        if abs(order) <= band:
            continue
        if state[1] == len(fills):
            return FULL
        if state[2] < 0:
            return CROWDED
        arrived = max(me[ARRIVED], ready + min(entry[i - first], _FAR))
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
            touch = ask[p4] if order > 0 else bid[p4]
            displayed = _FAR
            if not unlimited:
                displayed = ask_size[p4] if order > 0 else bid_size[p4]
            lots = min(abs(order), displayed - me[taken])
            if lots > 0:
                me[taken] += lots
                filled = side * lots
                moved = np.int64(0)
                if c_over > 0:
                    spread = 2 * (ask[p4] - bid[p4])
                    push = float(c_over) * float(spread) * float(lots)
                    if push > _LARGE or float(c_under) * float(displayed) > _LARGE:
                        return OVERFLOW
                    over, under = c_over * spread * lots, c_under * displayed
                    moved = (over + under - 1) // under
                p0 = _walk(max(me[POINTER], me[CURRENT]), ts_event[e], ts_event, link)
                p1 = _walk(max(me[POINTER + 1], p0), received[e], ts_event, link)
                p2 = _walk(max(me[POINTER + 2], p1), begun[e], ts_event, link)
                p3 = _walk(max(me[POINTER + 3], p2), ready, ts_event, link)
                me[POINTER], me[POINTER + 1], me[POINTER + 2], me[POINTER + 3] = p0, p1, p2, p3
                m0, m1, m2 = bid[p0] + ask[p0], bid[p1] + ask[p1], bid[p2] + ask[p2]
                m3, m4 = bid[p3] + ask[p3], bid[p4] + ask[p4]
                price = 2 * touch + side * moved
                worth, per_lot, rate_over, rate_under = instruments[s]
                largest = abs(float(price)) + moved + abs(float(mids[s]))
                for m in (m0, m1, m2, m3, m4):
                    largest += abs(float(m))
                money = largest * lots * worth
                if money > _LARGE:
                    return OVERFLOW
                notional = lots * abs(price) * worth
                whole, rest = notional // rate_under, notional % rate_under
                charged = abs(float(whole) * rate_over) + abs(float(per_lot) * lots)
                if charged + money > _LARGE or abs(float(rest) * rate_over) > _LARGE / 2:
                    return OVERFLOW
                fee = per_lot * lots + whole * rate_over
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
                fits = _add(sums[s], 9, 1) and _add(sums[s], 10, lots)
                low, high = 0, len(ends)
                while low < high:
                    middle = (low + high) >> 1
                    if ends[middle] < arrived:
                        low = middle + 1
                    else:
                        high = middle
                bucket = booked[s, low] if len(booked) else sums[s]
                if len(booked):
                    fits = fits and _add(bucket, 0, filled) and _add(bucket, 1, row[CASH])
                for c in range(9):
                    fits = fits and _add(sums[s], c, row[CASH + c])
                    if len(booked) and c >= 2:
                        fits = fits and _add(bucket, c, row[CASH + c])
                if not fits:
                    return OVERFLOW
        me[OUTSTANDING] += order
        at = state[2]
        state[2] = pool[at, 3]
        pool[at, 0] = arrived + min(response[i - first], _LAST - arrived)
        pool[at, 1] = order
        pool[at, 2] = filled
        pool[at, 3] = me[ORDERS]
        me[ORDERS] = at
    state[0] = last
    return DONE
