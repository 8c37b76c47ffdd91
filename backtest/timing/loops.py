"""The simulated server as compiled loops, for the policies and latency models that declare a rule.

Both loops run from where ``state`` stands until all is done or something is needed from outside,
which their result says: one of the codes below. Events are taken in order of arrival: position p
is event ``order[p]``, or event p itself where ``order`` is empty because arrivals keep bus order.
"""

from __future__ import annotations

import numpy as np
from numba import njit

DONE, PAUSED, DRAWS, DISPATCHED, UNKNOWN_SIZE = 0, 1, 2, 3, 4
"""Why a loop returned: the window is over; arrivals from ``stop`` on are not there yet; the next
batch has no draws yet; a batch was sent whose service time is awaited; or the batch's size, in
``state``, is none that the latency profile knows."""

NEXT, HEAD, WAITING, BATCHES, NOW, TAKEN, PENDING, SIZE, FIRST, LAST, HEAP, ROW = range(12)
"""Places in ``state``: next arrival; oldest position that may wait; events that wait; batches sent;
the clock; events in ``taken``; whether their service time is awaited; a size that is unknown; ends
of the list of symbols; entries of the heap; the first event in ``taken`` if those after it follow
without a gap, else -1."""
STATE_SIZE = 12

(
    END,
    STOP,
    LIMIT,
    LINE,
    MAX_AGE,
    WAIT_FOR,
    WAIT,
    ROUNDS,
    LIVE,
    SPAN,
    FIRST_DRAW,
    PER_EVENT,
    MODE,
    SIMPLE,
) = range(14)
"""Places in ``rules``; ``MAX_AGE`` is -1 for none; spans but ``PER_EVENT`` are scaled. ``SIMPLE``:
a service time is ``base`` and ``PER_EVENT`` for each event, and no more."""
RULES_SIZE = 14

OLDEST, NEWEST = 0, 1
"""Modes of ``serve_lines``: the oldest of each symbol, or the newest with the others given up."""

_NO_TIME = np.iinfo(np.int64).min
_NEVER = np.int64(2**62)
_ANSWERED, _DROPPED, _EXPIRED, _CONFLATED, _UNFINISHED = 0, 1, 2, 3, 4


@njit(cache=True, nogil=True)
def receive(symbols, ts_event, feed, latest, received):
    """Receipts: the running maximum of ts_event + feed by symbol, carried in ``latest`` [S].

    Returns whether receipts came in order, given that all before are at most ``latest[-1]``.
    """
    in_order = True
    newest = latest[-1]
    for i in range(len(symbols)):
        s = symbols[i]
        t = max(ts_event[i] + feed[i], latest[s])
        latest[s] = t
        received[i] = t
        if t < newest:
            in_order = False
        else:
            newest = t
    latest[-1] = newest
    return in_order


@njit(cache=True, nogil=True)
def arrivals(ts_event, received, order):
    """Fill ``order`` with event numbers by receipt, then bus order.

    No event is received before it happens, so a heap of those on their way stays small.
    """
    heap = np.empty(1024, dtype=np.int64)
    count = placed = 0
    for e in range(len(received)):
        while count > 0 and received[heap[0]] <= ts_event[e]:
            order[placed] = heap[0]
            placed += 1
            count = _drop(heap, count, received)
        if count == len(heap):
            larger = np.empty(2 * count, dtype=np.int64)
            larger[:count] = heap
            heap = larger
        at = count
        while at > 0:
            parent = (at - 1) >> 1
            if received[heap[parent]] <= received[e]:  # a tie: the parent came before
                break
            heap[at] = heap[parent]
            at = parent
        heap[at] = e
        count += 1
    while count > 0:
        order[placed] = heap[0]
        placed += 1
        count = _drop(heap, count, received)


@njit(cache=True, nogil=True)
def before(received, first, instant):
    """The first event from ``first`` on that is not received before an instant."""
    while first < len(received) and received[first] < instant:
        first += 1
    return first


@njit(cache=True, nogil=True)
def _drop(heap, count, received):
    """Remove the earliest of ``count`` events; how many are left."""
    count -= 1
    e = heap[count]
    at = 0
    while True:
        child = 2 * at + 1
        if child >= count:
            break
        other = child + 1
        if other < count and _earlier(heap[other], heap[child], received):
            child = other
        if not _earlier(heap[child], e, received):
            break
        heap[at] = heap[child]
        at = child
    heap[at] = e
    return count


@njit(cache=True, nogil=True)
def _earlier(a, b, received):
    return received[a] < received[b] or (received[a] == received[b] and a < b)


@njit(cache=True, nogil=True)
def _span(number, taken, count, rules, scale, symbols, base, sizes, quantiles, seen, rounds):
    """Scaled service time of a batch; -1 where its size is unknown (then in ``rounds[0]``)."""
    passes = 1
    if rules[ROUNDS] == 1:
        passes = 0
        for k in range(count):
            s = symbols[taken[k]]
            seen[s] += 1
            if seen[s] > passes:
                passes = seen[s]
                rounds[passes - 1] = 0
            rounds[seen[s] - 1] += 1
        for k in range(count):
            seen[symbols[taken[k]]] = 0
    else:
        rounds[0] = count
    row = number - rules[FIRST_DRAW]
    if len(sizes) == 0:
        constant = base[0] if len(base) == 1 else base[row]
        if float(passes) * constant + float(rules[PER_EVENT]) * count >= _NEVER:
            return _NEVER
        span = passes * constant + rules[PER_EVENT] * count
    else:
        span = np.int64(0)
        for k in range(passes):
            size = rounds[k]
            if size < sizes[0] or size > sizes[-1]:
                rounds[0] = size
                return np.int64(-1)
            upper = np.searchsorted(sizes, size)
            lower = upper if sizes[upper] == size else upper - 1
            width = max(sizes[upper] - sizes[lower], 1)
            weight = (size - sizes[lower]) / width
            low, high = quantiles[row, lower], quantiles[row, upper]
            span += np.int64(np.rint(low + weight * (high - low)))
    if scale == 1.0:
        return span
    return _NEVER if span * scale >= _NEVER else np.int64(np.rint(span * scale))


@njit(cache=True, nogil=True)
def _complete(now, free, number, count, end, taken, begun, ended, status, batch):
    """Serve what was taken until ``free``."""
    if free <= end:
        for k in range(count):
            e = taken[k]
            begun[e] = now
            ended[e] = free
            batch[e] = number
            status[e] = _ANSWERED
    else:
        for k in range(count):
            _silence(taken[k], _UNFINISHED, begun, ended, status, batch)


@njit(cache=True, nogil=True)
def _stretch(taken, count):
    """The first of some events if the others follow it without a gap, else -1."""
    for k in range(1, count):
        if taken[k] != taken[0] + k:
            return np.int64(-1)
    return taken[0]


@njit(cache=True, nogil=True)
def _silence(e, why, begun, ended, status, batch):
    begun[e] = _NO_TIME
    ended[e] = _NO_TIME
    status[e] = why
    batch[e] = -1


@njit(cache=True, nogil=True)
def _flow(
    head, now, number, stop, end, limit, line, wait_for, wait, draws, first_draw, step, per_event,
    base, received, begun, ended, batch,
):  # fmt: skip
    """Serve on from where nothing waits before ``head``, as long as it is simple; where that ends.

    It is while nobody is dropped, all arrivals that matter lie before ``stop``, and batches end in
    the window. The first four places of a batch are written whether or not it has so many: which
    branch is taken for a batch of one to three is anyone's guess, and a wrong guess costs more than
    the writing. Whoever lies beyond is written again when served.
    """
    most = min(limit, line + 1)
    near = stop - max(wait_for, 4)
    total = len(received)
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
        if count == limit and head + line < total and received[head + line] <= then:
            break
        free = then + base[(number - first_draw) * step] + per_event * count
        if free > end:
            break
        if limit < 4:
            for e in range(head, head + count):
                begun[e] = then
                ended[e] = free
                batch[e] = number
        else:
            for k in range(4):
                begun[head + k] = then
                ended[head + k] = free
                batch[head + k] = number
            for e in range(head + 4, head + count):
                begun[e] = then
                ended[e] = free
                batch[e] = number
        head += count
        now = free
        number += 1
    return head, now, number


@njit(cache=True, nogil=True)
def _flow_by_symbol(
    head, now, number, stop, end, limit, line, newest, draws, first_draw, step, per_event,
    base, received, symbols, stamps, begun, ended, status, batch,
):  # fmt: skip
    """The same for policies that take one event of each symbol, as long as nobody is left waiting.

    ``stamps`` [S] take the newest position of each symbol among those that are served together.
    """
    most = line + 1
    near = stop - 4
    if limit < 4:
        return head, now, number
    while head < near and number < draws:
        then = max(now, received[head])
        count = np.int64(1)
        for k in range(1, 4):
            count += received[head + k] <= then
        if count < 4:
            s0, s1, s2 = symbols[head], symbols[head + 1], symbols[head + 2]
            two, three = count > 1, count > 2
            # Whether a newer event of the same symbol comes with it.
            old0 = (two & (s1 == s0)) | (three & (s2 == s0))
            old1 = three & (s2 == s1)
            older = np.int64(old0) + np.int64(old1)
            if older and not newest:
                break
            free = then + base[(number - first_draw) * step] + per_event * (count - older)
            if free > end:
                break
            for k in range(3):
                begun[head + k] = then
                ended[head + k] = free
                batch[head + k] = number
            if older:
                if old0:
                    _silence(head, _CONFLATED, begun, ended, status, batch)
                if old1:
                    _silence(head + 1, _CONFLATED, begun, ended, status, batch)
        else:
            while count < most and head + count < stop and received[head + count] <= then:
                count += 1
            if head + count >= stop or count > line:
                break
            served = np.int64(0)
            for p in range(head, head + count):
                served += stamps[symbols[p]] < head
                stamps[symbols[p]] = p
            free = then + base[(number - first_draw) * step] + per_event * served
            if served > limit or free > end or (served < count and not newest):
                for p in range(head, head + count):
                    stamps[symbols[p]] = -1
                break
            for p in range(head, head + count):
                if stamps[symbols[p]] == p:
                    begun[p] = then
                    ended[p] = free
                    batch[p] = number
                else:
                    _silence(p, _CONFLATED, begun, ended, status, batch)
        head += count
        now = free
        number += 1
    return head, now, number


@njit(cache=True, nogil=True)
def serve_in_order(
    state, rules, scale, order, received, symbols, lines,
    base, sizes, quantiles, seen, rounds, taken, begun, ended, status, batch,
):  # fmt: skip
    """Policies that take the first of all that wait: ``one``, ``all``, ``at-most``, ``deadline``.

    ``status`` starts as zeros: what is before ``HEAD`` is settled, and what is not dropped from
    there to ``NEXT`` waits.
    """
    total = len(received)
    mapped = len(order) > 0
    end, stop, limit, line = rules[END], rules[STOP], rules[LIMIT], rules[LINE]
    max_age, wait_for, wait = rules[MAX_AGE], rules[WAIT_FOR], rules[WAIT]
    first_draw, per_event = rules[FIRST_DRAW], rules[PER_EVENT]
    live, simple, step = rules[LIVE] == 1, rules[SIMPLE] == 1, np.int64(len(base) > 1)
    draws = first_draw + len(base) if step else _NEVER
    ahead, head, waiting, now = state[NEXT], state[HEAD], state[WAITING], state[NOW]
    code = DONE
    number = state[BATCHES]
    if state[PENDING]:
        free = now + rules[SPAN]
        _complete(now, free, number, state[TAKEN], end, taken, begun, ended, status, batch)
        now = free
        number += 1
        state[PENDING] = 0
    flows = simple and not (live or mapped) and max_age < 0
    while now <= end:
        if waiting == 0 and flows:
            head, now, number = _flow(
                ahead, now, number, min(stop, total), end, limit, line, wait_for, wait, draws,
                first_draw, step, per_event, base, received, begun, ended, batch,
            )  # fmt: skip
            ahead = head
        while ahead < total:
            e = order[ahead] if mapped else ahead
            if received[e] > now:
                break
            if ahead >= stop:
                break
            ahead += 1
            s = symbols[e]
            if lines[s] >= line:
                _silence(e, _DROPPED, begun, ended, status, batch)
            else:
                lines[s] += 1
                waiting += 1
        if ahead >= stop and ahead < total:
            code = PAUSED
            break
        arrival = end + 1
        if ahead < total:
            arrival = received[order[ahead] if mapped else ahead]
        if waiting == 0:
            if ahead == total:
                break
            now = arrival
            continue
        e = order[head] if mapped else head
        while status[e] != _ANSWERED:
            head += 1
            e = order[head] if mapped else head
        if waiting < wait_for:
            ready = received[e] + wait
            if ready > now:
                now = min(ready, arrival)
                continue
        if max_age >= 0:
            while waiting > 0 and now - received[e] > max_age:
                _silence(e, _EXPIRED, begun, ended, status, batch)
                lines[symbols[e]] -= 1
                waiting -= 1
                head += 1
                while waiting > 0:
                    e = order[head] if mapped else head
                    if status[e] == _ANSWERED:
                        break
                    head += 1
            if waiting == 0:
                continue
        if number >= draws:
            code = DRAWS
            break
        count = 0
        while count < limit and waiting > 0:
            e = order[head] if mapped else head
            head += 1
            if status[e] == _ANSWERED:
                taken[count] = e
                count += 1
                waiting -= 1
                lines[symbols[e]] -= 1
        if live:
            state[TAKEN], state[PENDING], state[ROW] = count, 1, _stretch(taken, count)
            code = DISPATCHED
            break
        if simple:
            span = base[(number - first_draw) * step] + per_event * count
        else:
            span = _span(
                number, taken, count, rules, scale, symbols,
                base, sizes, quantiles, seen, rounds,
            )  # fmt: skip
            if span < 0:
                state[SIZE] = rounds[0]
                return UNKNOWN_SIZE
        free = now + span
        _complete(now, free, number, count, end, taken, begun, ended, status, batch)
        now = free
        number += 1
    state[NEXT], state[HEAD], state[WAITING], state[NOW] = ahead, head, waiting, now
    state[BATCHES] = number
    if code != DONE:
        return code
    while ahead < total:
        e = order[ahead] if mapped else ahead
        if received[e] > end:
            break
        ahead += 1
        s = symbols[e]
        if lines[s] >= line:
            _silence(e, _DROPPED, begun, ended, status, batch)
        else:
            lines[s] += 1
    for p in range(head, total):
        e = order[p] if mapped else p
        if status[e] == _ANSWERED:
            _silence(e, _UNFINISHED, begun, ended, status, batch)
    return DONE


@njit(cache=True, nogil=True)
def _push(heap, count, value):
    at = count
    while at > 0:
        parent = (at - 1) >> 1
        if heap[parent] <= value:
            break
        heap[at] = heap[parent]
        at = parent
    heap[at] = value


@njit(cache=True, nogil=True)
def _pop(heap, count):
    """Remove the least of ``count`` values."""
    value = heap[count - 1]
    count -= 1
    at = 0
    while True:
        child = 2 * at + 1
        if child >= count:
            break
        if child + 1 < count and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = value


@njit(cache=True, nogil=True)
def _unlink(s, state, before, after):
    if before[s] < 0:
        state[FIRST] = after[s]
    else:
        after[before[s]] = after[s]
    if after[s] < 0:
        state[LAST] = before[s]
    else:
        before[after[s]] = before[s]


@njit(cache=True, nogil=True)
def serve_lines(
    state, rules, scale, order, received, symbols, lines, first, last, link, heap, before, after,
    stamps, base, sizes, quantiles, seen, rounds, taken, begun, ended, status, batch,
):  # fmt: skip
    """Policies that take one event of each symbol: the oldest, or the newest.

    A symbol's line is a chain of positions from ``first`` to ``last`` over ``link``. For the oldest
    a heap holds each line's first position; for the newest the symbols are chained (``before``,
    ``after``) by the arrival of their newest event.
    """
    total = len(received)
    mapped = len(order) > 0
    end, stop, limit, line = rules[END], rules[STOP], rules[LIMIT], rules[LINE]
    max_age, newest = rules[MAX_AGE], rules[MODE] == NEWEST
    first_draw, per_event = rules[FIRST_DRAW], rules[PER_EVENT]
    live, simple, step = rules[LIVE] == 1, rules[SIMPLE] == 1, np.int64(len(base) > 1)
    draws = first_draw + len(base) if step else _NEVER
    ahead, waiting, now, entries = state[NEXT], state[WAITING], state[NOW], state[HEAP]
    code = DONE
    number = state[BATCHES]
    if state[PENDING]:
        free = now + rules[SPAN]
        _complete(now, free, number, state[TAKEN], end, taken, begun, ended, status, batch)
        now = free
        number += 1
        state[PENDING] = 0
    flows = simple and not (live or mapped) and max_age < 0
    while now <= end:
        if waiting == 0 and flows:
            ahead, now, number = _flow_by_symbol(
                ahead, now, number, min(stop, total), end, limit, line, newest, draws, first_draw,
                step, per_event, base, received, symbols, stamps, begun, ended, status, batch,
            )  # fmt: skip
        while ahead < total:
            e = order[ahead] if mapped else ahead
            if received[e] > now or ahead >= stop:
                break
            s = symbols[e]
            if lines[s] >= line:
                _silence(e, _DROPPED, begun, ended, status, batch)
            else:
                if lines[s] == 0:
                    first[s] = ahead
                    if not newest:
                        _push(heap, entries, ahead)
                        entries += 1
                else:
                    link[last[s]] = ahead
                    if newest:
                        _unlink(s, state, before, after)
                if newest:
                    before[s] = state[LAST]
                    after[s] = -1
                    if state[LAST] < 0:
                        state[FIRST] = s
                    else:
                        after[state[LAST]] = s
                    state[LAST] = s
                last[s] = ahead
                lines[s] += 1
                waiting += 1
            ahead += 1
        if ahead >= stop and ahead < total:
            code = PAUSED
            break
        if waiting == 0:
            if ahead == total:
                break
            now = received[order[ahead] if mapped else ahead]
            continue
        if max_age >= 0:
            s = state[FIRST]
            while (s >= 0) if newest else (entries > 0):
                p = first[s] if newest else heap[0]
                e = order[p] if mapped else p
                if now - received[e] <= max_age:
                    if not newest:
                        break
                    s = after[s]
                    continue
                t = symbols[e]
                _silence(e, _EXPIRED, begun, ended, status, batch)
                waiting -= 1
                lines[t] -= 1
                if not newest:
                    _pop(heap, entries)
                    entries -= 1
                if lines[t] > 0:
                    first[t] = link[p]
                    if not newest:
                        _push(heap, entries, link[p])
                        entries += 1
                elif newest:
                    _unlink(t, state, before, after)
                    s = after[t]
            if waiting == 0:
                continue
        if number >= draws:
            code = DRAWS
            break
        count = 0
        if newest:
            while count < limit and state[FIRST] >= 0:
                s = state[FIRST]
                p = first[s]
                while p != last[s]:
                    e = order[p] if mapped else p
                    _silence(e, _CONFLATED, begun, ended, status, batch)
                    p = link[p]
                taken[count] = order[p] if mapped else p
                count += 1
                waiting -= lines[s]
                lines[s] = 0
                _unlink(s, state, before, after)
        else:
            while count < limit and entries > 0:
                taken[count] = heap[0]
                count += 1
                _pop(heap, entries)
                entries -= 1
            for k in range(count):
                p = taken[k]
                taken[k] = order[p] if mapped else p
                s = symbols[taken[k]]
                lines[s] -= 1
                waiting -= 1
                if lines[s] > 0:
                    first[s] = link[p]
                    _push(heap, entries, link[p])
                    entries += 1
        if live:
            state[TAKEN], state[PENDING], state[ROW] = count, 1, _stretch(taken, count)
            code = DISPATCHED
            break
        if simple:
            span = base[(number - first_draw) * step] + per_event * count
        else:
            span = _span(
                number, taken, count, rules, scale, symbols,
                base, sizes, quantiles, seen, rounds,
            )  # fmt: skip
            if span < 0:
                state[SIZE] = rounds[0]
                return UNKNOWN_SIZE
        free = now + span
        _complete(now, free, number, count, end, taken, begun, ended, status, batch)
        now = free
        number += 1
    state[NEXT], state[WAITING], state[NOW], state[HEAP] = ahead, waiting, now, entries
    state[BATCHES] = number
    if code != DONE:
        return code
    while ahead < total:
        e = order[ahead] if mapped else ahead
        if received[e] > end:
            break
        s = symbols[e]
        if lines[s] >= line:
            _silence(e, _DROPPED, begun, ended, status, batch)
        else:
            if lines[s] == 0:
                first[s] = ahead
            else:
                link[last[s]] = ahead
            last[s] = ahead
            lines[s] += 1
        ahead += 1
    for s in range(len(lines)):
        p = first[s]
        for _ in range(lines[s]):
            _silence(order[p] if mapped else p, _UNFINISHED, begun, ended, status, batch)
            p = link[p]
    for p in range(ahead, total):
        _silence(order[p] if mapped else p, _UNFINISHED, begun, ended, status, batch)
    return DONE
