"""The simulated server: one loop that serves any policy, and stops where it needs its caller.

At one instant a service ends first, then all arrivals of that instant join their lines, then the
timer is served if it is due, or a batch may be sent. Events are taken by their position in the
order of arrival. Nothing is sent while an arrival of the same instant may still come, so a run does
not depend on how its events are cut into chunks.
"""

from __future__ import annotations

import numpy as np

from backtest.core.addresses import int32_array, int64_array, uint8_array
from backtest.core.compiled import compiled_counting, inlined
from backtest.timing import layout as at
from backtest.timing.fast_loops import serve_arrivals, serve_symbols
from backtest.timing.line_loops import choose_newest, choose_oldest, expire_lines, join_line
from backtest.timing.order_loops import (
    choose_first,
    event_at,
    expire_order,
    join_order,
    ready_at,
    silence,
)
from backtest.timing.span_loops import span_of_passes


def _machine(name, serve_fast, join, expire, choose):
    """The loop with the phases that depend on which events wait where; the rest is the same."""

    def serve(places):
        """Run until the window is over or the caller is needed; the code that says which."""
        state, rules = int64_array(places, at.STATE_ARRAY), int64_array(places, at.RULES_ARRAY)
        order, received = (
            int64_array(places, at.ORDER_ARRAY),
            int64_array(places, at.RECEIVED_ARRAY),
        )
        first, stop, end = rules[at.FIRST], rules[at.STOP], rules[at.END]
        ahead, head, waiting = state[at.NEXT], state[at.HEAD], state[at.IN_LINE]
        now, number, due = state[at.CLOCK], state[at.BATCHES], rules[at.DUE]
        if state[at.PENDING] == 2:
            state[at.PENDING] = 0
            now += rules[at.SPAN]  # the timer, with which no event is answered
        if state[at.PENDING] == 1:
            # The batch that the caller was to time: its service ends before anything else happens.
            state[at.PENDING] = 0
            now = _complete(places, now, rules[at.SPAN], number, state[at.COUNT])
            number += 1
        code = at.RUNNING
        while now <= end:
            if waiting == 0 and rules[at.FAST] == 1:
                ahead, now, number = serve_fast(places, ahead, now, number)
            if waiting == 0:
                head = ahead  # all before has been served or given up
            ahead, waiting = _admit(places, now, ahead, waiting, join)
            if ahead == stop and rules[at.LAST] == 0:
                code = at.PAUSED  # another event may arrive at this very instant
                break
            if due <= now:
                # Before the events that wait, whose arrivals of this instant are in line.
                state[at.COUNT], state[at.PENDING] = 0, 2
                code = at.TIMER
                break
            arrival = end + 1  # nothing arrives any more
            if ahead < stop:
                arrival = received[event_at(order, ahead) - first]
            if waiting == 0:
                if ahead == stop and due > end:
                    break
                now = min(arrival, due)
                continue
            # Before anything is decided: what has expired may change whether a batch is ready.
            code = _lacking(places, number)
            if code != at.RUNNING:
                break
            ready, head = ready_at(places, now, head, waiting)
            if ready > now:
                # Sent at that instant, unless an arrival before changes what waits.
                now = min(ready, arrival, due)
                state[at.ASKING] = at.NOT_ASKED
                continue
            if rules[at.MAX_AGE] >= 0:
                head, waiting = expire(places, now, head, waiting)
                if waiting == 0:
                    state[at.ASKING] = at.NOT_ASKED
                    continue
            if state[at.ASKING] == at.READY_KNOWN:
                code = at.ASK_CHOICE
                break
            count, head, waiting = choose(places, head, waiting)
            if rules[at.AWAITED] == 1:
                state[at.COUNT], state[at.PENDING] = count, 1
                state[at.STRETCH] = _stretch(places, count)
                code = at.SENT
                break
            span = _span(places, number, count)
            if span < 0:
                return at.UNKNOWN_SIZE
            now = _complete(places, now, span, number, count)
            number += 1
        if code == at.RUNNING:
            # The clock is beyond the window, or nothing waits and nothing will come.
            _close(places, ahead)
            head, ahead, waiting = stop, stop, np.int64(0)
            code = at.DONE if rules[at.LAST] == 1 else at.PAUSED
        state[at.NEXT], state[at.HEAD], state[at.IN_LINE] = ahead, head, waiting
        state[at.CLOCK], state[at.BATCHES] = now, number
        return code

    serve.__qualname__ = name
    return compiled_counting(serve)


@inlined
def _complete(places, now, span, number, count):
    """Serve what was taken from now on; when that ends. Too late for the window is no answer."""
    state, rules = int64_array(places, at.STATE_ARRAY), int64_array(places, at.RULES_ARRAY)
    taken, answers = int64_array(places, at.TAKEN_ARRAY), int64_array(places, at.ANSWERS_ARRAY)
    begun, ended = int64_array(places, at.BEGUN_ARRAY), int64_array(places, at.ENDED_ARRAY)
    batch, status = int64_array(places, at.BATCH_ARRAY), uint8_array(places, at.STATUS_ARRAY)
    first, answered = rules[at.FIRST], state[at.ANSWERS]
    free = now + span
    if free > rules[at.END]:
        for k in range(count):
            silence(places, taken[k] - first, at.UNFINISHED)
        return free
    for k in range(count):
        row = taken[k] - first
        begun[row] = now
        ended[row] = free
        batch[row] = number
        status[row] = at.ANSWERED
        answers[answered + k] = taken[k]
    state[at.ANSWERS] = answered + count
    return free


@inlined
def _admit(places, now, ahead, waiting, join):
    """All arrivals until now join their lines, or are dropped where these are full."""
    rules, length = int64_array(places, at.RULES_ARRAY), int64_array(places, at.LENGTH_ARRAY)
    order, received = int64_array(places, at.ORDER_ARRAY), int64_array(places, at.RECEIVED_ARRAY)
    symbols, status = int32_array(places, at.SYMBOL_ARRAY), uint8_array(places, at.STATUS_ARRAY)
    first, stop, line = rules[at.FIRST], rules[at.STOP], rules[at.LINE]
    while ahead < stop:
        row = event_at(order, ahead) - first
        if received[row] > now:
            break
        s = np.int64(symbols[row])
        if length[s] >= line:
            silence(places, row, at.DROPPED)
        else:
            status[row] = at.WAITING
            join(places, s, ahead)
            length[s] += 1
            waiting += 1
        ahead += 1
    return ahead, waiting


@inlined
def _lacking(places, number):
    """What the caller has to give before it is known whether a batch is sent: ``RUNNING`` if
    nothing."""
    state, rules = int64_array(places, at.STATE_ARRAY), int64_array(places, at.RULES_ARRAY)
    drawn = len(int64_array(places, at.BASE_ARRAY))
    if drawn > 1 and number >= rules[at.FIRST_DRAW] + drawn:
        return at.DRAWS
    if rules[at.KIND] == at.ASKED and state[at.ASKING] == at.NOT_ASKED:
        return at.ASK_READY
    return at.RUNNING


@inlined
def _stretch(places, count):
    """The first event of a batch if the others follow it without a gap, else -1."""
    taken = int64_array(places, at.TAKEN_ARRAY)
    for k in range(1, count):
        if taken[k] != taken[0] + k:
            return np.int64(-1)
    return taken[0]


@inlined
def _span(places, number, count):
    """Scaled service time of a batch; -1 where the latency model does not know a size."""
    rules, base = int64_array(places, at.RULES_ARRAY), int64_array(places, at.BASE_ARRAY)
    if rules[at.SIMPLE] == 0:
        return span_of_passes(places, number, count)
    draw = number - rules[at.FIRST_DRAW] if len(base) > 1 else np.int64(0)
    return base[draw] + rules[at.PER_EVENT] * count


@compiled_counting
def _close(places, ahead):
    """No batch is sent any more: settle what is in line, and all arrivals that are known."""
    state, rules = int64_array(places, at.STATE_ARRAY), int64_array(places, at.RULES_ARRAY)
    order, received = int64_array(places, at.ORDER_ARRAY), int64_array(places, at.RECEIVED_ARRAY)
    symbols, status = int32_array(places, at.SYMBOL_ARRAY), uint8_array(places, at.STATUS_ARRAY)
    length, first = int64_array(places, at.LENGTH_ARRAY), rules[at.FIRST]
    if state[at.CLOSED] == 0:
        state[at.CLOSED] = 1
        for row in range(rules[at.EVENTS] - first):
            if status[row] == at.WAITING:
                silence(places, row, at.UNFINISHED)
    for position in range(ahead, rules[at.STOP]):
        row = event_at(order, position) - first
        s = symbols[row]
        # Lines fill up until the window ends, and what finds them full is still dropped.
        in_time = received[row] <= rules[at.END]
        if in_time and length[s] >= rules[at.LINE]:
            silence(places, row, at.DROPPED)
        else:
            length[s] += in_time
            silence(places, row, at.UNFINISHED)


@inlined
def _fast_first(places, ahead, now, number):
    """Serve on while it is simple; position after what was served, clock, batch number."""
    state = int64_array(places, at.STATE_ARRAY)
    answers = int64_array(places, at.ANSWERS_ARRAY)
    after, now, number = serve_arrivals(places, ahead, now, number)
    answered = state[at.ANSWERS]
    for e in range(ahead, after):
        answers[answered + e - ahead] = e
    state[at.ANSWERS] = answered + after - ahead
    return after, now, number


@inlined
def _fast_lines(places, ahead, now, number):
    """The same for policies that take one event of each symbol: some are given up."""
    state, rules = int64_array(places, at.STATE_ARRAY), int64_array(places, at.RULES_ARRAY)
    status = uint8_array(places, at.STATUS_ARRAY)
    answers = int64_array(places, at.ANSWERS_ARRAY)
    after, now, number = serve_symbols(places, ahead, now, number)
    answered = state[at.ANSWERS]
    for e in range(ahead, after):
        answers[answered] = e
        answered += status[e - rules[at.FIRST]] == at.ANSWERED
    state[at.ANSWERS] = answered
    return after, now, number


@inlined
def _expire_lines(places, now, head, waiting):
    return head, expire_lines(places, now, waiting)


@inlined
def _choose_lines(places, head, waiting):
    rules = int64_array(places, at.RULES_ARRAY)
    if rules[at.KIND] == at.OLDEST:
        count, waiting = choose_oldest(places, waiting)
    else:
        count, waiting = choose_newest(places, waiting)
    return count, head, waiting


serve_first = _machine("serve_first", _fast_first, join_order, expire_order, choose_first)
"""For policies that take the first that wait, and for those in Python."""

serve_lines = _machine("serve_lines", _fast_lines, join_line, _expire_lines, _choose_lines)
"""For policies that take one event of each symbol. Compiled apart, since few runs need both."""
