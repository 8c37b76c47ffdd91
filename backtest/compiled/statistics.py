"""Exact quantiles of delays in two passes: coarse bins over all magnitudes, then fine ones."""

from __future__ import annotations

import numpy as np
from numba import njit

MANTISSA = 14
"""Bits that a coarse bin keeps of a value."""
BINS = (64 - MANTISSA) << MANTISSA


@njit(cache=True, nogil=True)
def bin_of(value):
    """The coarse bin of a value that is not negative; bins are ascending."""
    if value < (1 << (MANTISSA + 1)):
        return value
    shift = 0
    while (value >> shift) >= (1 << (MANTISSA + 1)):
        shift += 1
    return (np.int64(shift) << MANTISSA) + (value >> shift)


@njit(cache=True, nogil=True)
def bounds(number):
    """The least value of a bin and the width of the bin."""
    if number < (1 << (MANTISSA + 1)):
        return np.int64(number), np.int64(1)
    shift = (number >> MANTISSA) - 1
    return (number - (shift << MANTISSA)) << shift, np.int64(1) << shift


@njit(cache=True, nogil=True)
def coarse(ts_event, received, begun, ended, status, batch, counts, most, statuses):
    """Count answered events' feed, queueing, service and sojourn by bin [4, BINS].

    ``most`` [5] takes the largest of each, and of ``batch``; ``statuses`` [5] counts all events.
    """
    for i in range(len(ts_event)):
        statuses[status[i]] += 1
        if status[i] == 0:
            delays = (
                received[i] - ts_event[i], begun[i] - received[i],
                ended[i] - begun[i], ended[i] - received[i],
            )  # fmt: skip
            for k in range(4):
                counts[k, bin_of(delays[k])] += 1
                most[k] = max(most[k], delays[k])
            most[4] = max(most[4], batch[i])


@njit(cache=True, nogil=True)
def fine(ts_event, received, begun, ended, status, low, width, shift, counts):
    """Count values from ``low`` on, ``width`` of them [4, q], in steps of 2**shift."""
    for i in range(len(ts_event)):
        if status[i] == 0:
            delays = (
                received[i] - ts_event[i], begun[i] - received[i],
                ended[i] - begun[i], ended[i] - received[i],
            )  # fmt: skip
            for k in range(4):
                for j in range(low.shape[1]):
                    over = delays[k] - low[k, j]
                    if 0 <= over < width[k, j]:
                        counts[k, j, over >> shift[k, j]] += 1
