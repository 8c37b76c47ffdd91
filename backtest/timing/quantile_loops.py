"""Exact quantiles of delays in two passes: coarse bins over all magnitudes, then fine ones."""

from __future__ import annotations

import numpy as np

from backtest.core.compiled import compiled

MANTISSA = 14
"""Bits that a coarse bin keeps of a value."""
BINS = (64 - MANTISSA) << MANTISSA


@compiled
def bin_of(value):
    """The coarse bin of a value that is not negative; bins are ascending."""
    shift = np.int64(0)
    while (value >> shift) >= (1 << (MANTISSA + 1)):
        shift += 1
    return (shift << MANTISSA) + (value >> shift)


@compiled
def bounds(number):
    """The least value of a bin and the width of the bin."""
    if number < (1 << (MANTISSA + 1)):
        return np.int64(number), np.int64(1)
    shift = (number >> MANTISSA) - 1
    return (number - (shift << MANTISSA)) << shift, np.int64(1) << shift


@compiled
def coarse(ts_event, received, begun, ended, status, batch, counts, most, statuses):
    """Count answered events' feed, queueing, service and sojourn by bin [4, BINS].

    ``most`` [5] takes the largest of each, and of ``batch``; ``statuses`` [5] counts all events.
    """
    fed, queued, served, stayed = counts[0], counts[1], counts[2], counts[3]
    most0, most1, most2, most3, most4 = most[0], most[1], most[2], most[3], most[4]
    for i in range(len(ts_event)):
        statuses[status[i]] += 1
        if status[i] == 0:
            feed, queueing = received[i] - ts_event[i], begun[i] - received[i]
            service, sojourn = ended[i] - begun[i], ended[i] - received[i]
            fed[np.uint64(bin_of(feed))] += 1
            queued[np.uint64(bin_of(queueing))] += 1
            served[np.uint64(bin_of(service))] += 1
            stayed[np.uint64(bin_of(sojourn))] += 1
            most0, most1 = max(most0, feed), max(most1, queueing)
            most2, most3 = max(most2, service), max(most3, sojourn)
            most4 = max(most4, batch[i])
    most[0], most[1], most[2], most[3], most[4] = most0, most1, most2, most3, most4


@compiled
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
