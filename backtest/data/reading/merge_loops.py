"""The order of rows by time, where they come as a few sorted runs one after another."""

from __future__ import annotations

import numpy as np

from backtest.core.compiled import compiled

_CROWD = 64
"""Rows of one stretch of time from which on sorting them by insertion no longer pays."""


@compiled
def by_time(ts, seq, order, first):
    """Fill ``order`` (int32) with rows by (ts, seq), equal ones as they come; ``seq`` may be empty.

    Rows are dealt to about as many stretches of time as there are rows, and the few that share one
    are sorted by insertion. ``first`` are zeros, int32 [len(ts) + 2]. Returns false where too many
    do.
    """
    count = len(ts)
    low, high = ts[0], ts[0]
    for i in range(count):
        low, high = min(low, ts[i]), max(high, ts[i])
    # In unsigned numbers, since the times may be further apart than int64 can express. A power of
    # two for the width of a stretch makes finding it a shift instead of a division.
    span = np.uint64(high) - np.uint64(low)
    shift = np.uint64(0)
    while (span >> shift) >= np.uint64(count):
        shift += np.uint64(1)
    stretches = np.int64(span >> shift) + 2
    # A counting sort by stretch: count, add up to where each begins, deal the rows out.
    for i in range(count):
        first[((np.uint64(ts[i]) - np.uint64(low)) >> shift) + np.uint64(1)] += 1
    for k in range(1, stretches):
        # Insertion is quadratic in a crowd: the caller sorts such rows in another way.
        if first[k] > _CROWD:
            return False
        first[k] += first[k - 1]
    for i in range(count):
        k = (np.uint64(ts[i]) - np.uint64(low)) >> shift
        order[first[k]] = i
        first[k] += 1
    # Rows are now at most a few places off, so one insertion pass puts them in order.
    sequenced = len(seq) > 0
    for i in range(1, count):
        row = np.uint64(order[i])
        time = ts[row]
        at = i
        while at > 0:
            other = np.uint64(order[at - 1])
            if ts[other] < time:
                break
            if ts[other] == time and not (sequenced and seq[other] > seq[row]):
                break
            order[at] = other
            at -= 1
        if at < i:
            order[at] = row
    return True


@compiled
def gather(column, order, out):
    """``column`` at the rows of ``order``, in ``out``."""
    for i in range(len(order)):
        out[i] = column[np.uint64(order[i])]
    return out
