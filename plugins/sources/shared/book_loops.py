"""A book of price levels (L2), and its touch after each message."""

from __future__ import annotations

import numpy as np

from backtest.core.compiled import compiled

BID, ASK = 0, 1
"""Sides of ``keys`` and ``sizes``."""

KNOWN, OPEN, SNAPSHOT, MESSAGE, TIME, SEQ = range(6)
"""``state``: the book began with a snapshot; a message is not at its end yet; its rows are a
snapshot's; its time of receipt; the venue's time of its last row, and the row's number."""

TS, RECV, ROW, FIRST = 0, 1, 2, 3
"""``out``: the venue's time, the receipt and the number of the last row of the message, and from
``FIRST`` the touch: bid, ask, bid size, ask size, 0 where a side is empty."""


@compiled
def touches(rows, keys, sizes, count, state, touch, out):
    """Apply rows to a book; write the touch to ``out`` after each message that changed it.

    A message is the rows of one receipt. It ends where the next one begins, so the last one stays
    open until the next call, or ``close``. Before the first snapshot no row counts.

    Args:
        rows: int64 [7, n]: venue's time, receipt, number, snapshot (0, 1), side (``BID``, ``ASK``),
            price, size (0: the level is gone).
        keys: int64 [2, C], prices of bids and negative prices of asks, rising, so the best is last.
        sizes: int64 [2, C]; C is large enough for n further levels.
        count: levels of each side, int64 [2].
        state: int64 [6].
        touch: the last one that was written, int64 [4].
        out: int64 [7, n + 1].

    Returns:
        How many touches were written, and how many rows came before the first snapshot.
    """
    written, early = 0, 0
    for i in range(rows.shape[1]):
        snapshot = rows[3, i]
        if state[OPEN] and rows[1, i] != state[MESSAGE]:
            written += close(keys, sizes, count, state, touch, out, written)
        if snapshot and not state[SNAPSHOT]:
            # What came before a snapshot is discarded.
            count[BID] = 0
            count[ASK] = 0
            state[KNOWN] = 1
        state[SNAPSHOT] = snapshot
        if not state[KNOWN]:
            early += 1
            continue
        state[OPEN] = 1
        state[MESSAGE] = rows[1, i]
        state[TIME] = rows[0, i]
        state[SEQ] = rows[2, i]
        side = rows[4, i]
        key = rows[5, i] if side == BID else -rows[5, i]
        set_level(keys, sizes, count, side, key, rows[6, i])
    return written, early


@compiled
def set_level(keys, sizes, count, side, key, size):
    """A level of a side now displays ``size``; 0: it is gone."""
    low, high = 0, count[side]
    while low < high:
        middle = (low + high) // 2
        if keys[side, middle] < key:
            low = middle + 1
        else:
            high = middle
    there = low < count[side] and keys[side, low] == key
    if size and there:
        sizes[side, low] = size
    elif size:
        for k in range(count[side], low, -1):
            keys[side, k] = keys[side, k - 1]
            sizes[side, k] = sizes[side, k - 1]
        keys[side, low] = key
        sizes[side, low] = size
        count[side] += 1
    elif there:
        count[side] -= 1
        for k in range(low, count[side]):
            keys[side, k] = keys[side, k + 1]
            sizes[side, k] = sizes[side, k + 1]


@compiled
def close(keys, sizes, count, state, touch, out, at):
    """End the open message: write the touch to column ``at`` if it changed; returns 1 if so."""
    state[OPEN] = 0
    changed = False
    for side in range(2):
        price, size = np.int64(0), np.int64(0)
        if count[side]:
            last = count[side] - 1
            price = keys[side, last] if side == BID else -keys[side, last]
            size = sizes[side, last]
        changed |= price != touch[side] or size != touch[2 + side]
        touch[side] = price
        touch[2 + side] = size
    if not changed:
        return 0
    out[TS, at] = state[TIME]
    out[RECV, at] = state[MESSAGE]
    out[ROW, at] = state[SEQ]
    for k in range(4):
        out[FIRST + k, at] = touch[k]
    return 1


@compiled
def restated(prices, sizes, seen, shown, out, count):
    """What snapshots of the best levels say of each level, as rows of depth.

    A level that is gone is stated with 0 lots. One that is no longer among the best is unknown, so
    its whole side is cleared and stated anew.

    Args:
        prices: int64 [2, N, n], bids and asks, each from the best; 0 where there is no level.
        sizes: int64 [2, N, n].
        seen: int64 [2, N], prices of the snapshot before; 0 where there is no level.
        shown: int64 [2, N], its sizes.
        out: int64 [5, count + (2 + 4 N) n]: number of the snapshot, side (``BID``, ``ASK``), price,
            size and whether it is a clear.
        count: rows that are there already.

    Returns:
        How many rows are there.
    """
    levels = prices.shape[1]
    for i in range(prices.shape[2]):
        for side in range(2):
            sign = 1 if side == BID else -1
            worst = prices[side, levels - 1, i]
            clear = False
            for k in range(levels):
                lost = worst > 0 and seen[side, k] > 0
                clear |= lost and sign * seen[side, k] < sign * worst
            if clear:
                count = _put(out, count, i, side, 0, 0, 1)
            for k in range(levels):
                price = seen[side, k]
                if price > 0 and not clear and _place(prices, side, price, i) < 0:
                    count = _put(out, count, i, side, price, 0, 0)
            for k in range(levels):
                price, size = prices[side, k, i], sizes[side, k, i]
                if price == 0:
                    continue
                same = False
                for j in range(levels):
                    same |= seen[side, j] == price and shown[side, j] == size
                if clear or not same:
                    count = _put(out, count, i, side, price, size, 0)
            for k in range(levels):
                seen[side, k] = prices[side, k, i]
                shown[side, k] = sizes[side, k, i]
    return count


@compiled
def _place(prices, side, price, i):
    """The level of a price in snapshot ``i``, or -1."""
    for k in range(prices.shape[1]):
        if prices[side, k, i] == price:
            return k
    return -1


@compiled
def _put(out, at, snapshot, side, price, size, clear):
    out[0, at] = snapshot
    out[1, at] = side
    out[2, at] = price
    out[3, at] = size
    out[4, at] = clear
    return at + 1
