"""Fast paths of the server: while nothing is left waiting, dropped or uncertain.

They end before the first batch that is not as simple as that, which the
state machine then serves, and return the position after what they served, the clock and the number
of the next batch. Arrivals keep bus order here, so a position is the number of an event.
"""

from __future__ import annotations

import numpy as np

from backtest.core.addresses import int32_array, int64_array
from backtest.core.compiled import compiled_counting
from backtest.timing import layout as at
from backtest.timing.order_loops import silence


@compiled_counting
def serve_arrivals(places, ahead, now, number):
    """Serve batches of the first that wait from event ``ahead`` on.

    All arrivals that matter must be known. The first four places of a batch are written
    whether or not it has so many: which branch is taken for a batch of one to three cannot be
    predicted, and a wrong prediction costs more than the writing. What lies beyond the batch is
    written again when it is served.
    """
    rules, base = int64_array(places, at.RULES_ARRAY), int64_array(places, at.BASE_ARRAY)
    received, begun = int64_array(places, at.RECEIVED_ARRAY), int64_array(places, at.BEGUN_ARRAY)
    ended, batch = int64_array(places, at.ENDED_ARRAY), int64_array(places, at.BATCH_ARRAY)
    end, limit, line = rules[at.END], rules[at.LIMIT], rules[at.LINE]
    wait_for, wait, per_event = rules[at.WAIT_FOR], rules[at.WAIT], rules[at.PER_EVENT]
    first_draw, step = rules[at.FIRST_DRAW], np.int64(len(base) > 1)
    draws = first_draw + len(base) if len(base) > 1 else at.LONGEST
    head, stop = ahead - rules[at.FIRST], rules[at.STOP] - rules[at.FIRST]
    most = min(limit, line + 1)
    if line < 4:
        return ahead, now, number
    near = stop - max(wait_for, 4)
    while head < near and number < draws:
        ready = received[head]
        if wait_for > 1:
            ready = min(ready + wait, received[head + wait_for - 1])
        then = max(now, ready)
        count = np.int64(1)
        for k in range(1, 4):
            count += received[head + k] <= then
        if count == 4:
            while count < most and head + count < stop and received[head + count] <= then:
                count += 1
            if head + count >= stop or count > line:
                break
        count = min(count, limit)
        # More arrivals than a line holds, of whatever symbols: someone may be dropped.
        if count == limit and received[min(head + line, stop - 1)] <= then:
            break
        free = then + base[(number - first_draw) * step] + per_event * count
        if free > end:
            break
        if limit < 4:
            for row in range(head, head + count):
                begun[row] = then
                ended[row] = free
                batch[row] = number
        else:
            for k in range(4):
                begun[head + k] = then
                ended[head + k] = free
                batch[head + k] = number
            for row in range(head + 4, head + count):
                begun[row] = then
                ended[row] = free
                batch[row] = number
        head += count
        now = free
        number += 1
    return head + rules[at.FIRST], now, number


@compiled_counting
def serve_symbols(places, ahead, now, number):
    """The same for policies that take one event of each symbol, as long as all that wait go.

    ``stamps`` [S] take the number of the newest event of each symbol among those that go together.
    """
    rules, base = int64_array(places, at.RULES_ARRAY), int64_array(places, at.BASE_ARRAY)
    received, begun = int64_array(places, at.RECEIVED_ARRAY), int64_array(places, at.BEGUN_ARRAY)
    ended, batch = int64_array(places, at.ENDED_ARRAY), int64_array(places, at.BATCH_ARRAY)
    symbols, stamps = int32_array(places, at.SYMBOL_ARRAY), int64_array(places, at.STAMPS_ARRAY)
    end, limit, line, first = rules[at.END], rules[at.LIMIT], rules[at.LINE], rules[at.FIRST]
    first_draw, per_event = rules[at.FIRST_DRAW], rules[at.PER_EVENT]
    step, newest = np.int64(len(base) > 1), rules[at.KIND] == at.NEWEST
    draws = first_draw + len(base) if len(base) > 1 else at.LONGEST
    head, stop = ahead - first, rules[at.STOP] - first
    most = line + 1
    near = stop - 4
    if limit < 4 or line < 4:
        return ahead, now, number
    while head < near and number < draws:
        then = max(now, received[head])
        count = np.int64(1)
        for k in range(1, 4):
            count += received[head + k] <= then
        if count < 4:
            s0, s1, s2 = symbols[head], symbols[head + 1], symbols[head + 2]
            two, three = count > 1, count > 2
            # Whether a newer event of the same symbol goes with it.
            old0 = (two & (s1 == s0)) | (three & (s2 == s0))
            old1 = three & (s2 == s1)
            older = np.int64(old0) + np.int64(old1)
            if older > 0 and not newest:
                break
            free = then + base[(number - first_draw) * step] + per_event * (count - older)
            if free > end:
                break
            for k in range(3):
                begun[head + k] = then
                ended[head + k] = free
                batch[head + k] = number
            if older > 0:
                if old0:
                    silence(places, head, at.CONFLATED)
                if old1:
                    silence(places, head + 1, at.CONFLATED)
        else:
            while count < most and head + count < stop and received[head + count] <= then:
                count += 1
            if head + count >= stop or count > line:
                break
            served = np.int64(0)
            for row in range(head, head + count):
                served += stamps[symbols[row]] < first + head
                stamps[symbols[row]] = first + row
            free = then + base[(number - first_draw) * step] + per_event * served
            if served > limit or free > end or (served < count and not newest):
                for row in range(head, head + count):
                    stamps[symbols[row]] = -1
                break
            for row in range(head, head + count):
                if stamps[symbols[row]] == first + row:
                    begun[row] = then
                    ended[row] = free
                    batch[row] = number
                else:
                    silence(places, row, at.CONFLATED)
        head += count
        now = free
        number += 1
    return head + rules[at.FIRST], now, number
