"""What the server's compiled loops and their caller both name: codes, and places in arrays."""

from __future__ import annotations

RUNNING, DONE, PAUSED, DRAWS, SENT, ASK_READY, ASK_CHOICE, UNKNOWN_SIZE, TIMER = range(9)
"""Why the loop returned: the window is over; what is certain of the arrivals is used up; the next
batch has no draws yet; a batch was sent whose service time is awaited; a policy in Python is to
tell when it is ready, or whom it chooses; the latency profile knows no such size of a pass; the
timer is served, whose service time is awaited."""

ARRIVAL, OLDEST, NEWEST, ASKED = range(4)
"""Kinds of policy: the first of all that wait; the oldest event of each symbol; the newest of each,
with the older ones given up; whatever a policy in Python chooses."""

PACKED, ROUNDS, SINGLE = range(3)
"""How a batch is split into passes: in one, in rounds of distinct symbols, one for each event."""

ANSWERED, DROPPED, EXPIRED, CONFLATED, UNFINISHED, WAITING = range(6)
"""Values of the status column: those of ``Status``, and what is in line or in service. A row that
has not arrived is ANSWERED until it turns out otherwise: most are, and need no writing."""

NOT_ASKED, READY_KNOWN, CHOSEN = range(3)
"""What a policy in Python has already been asked at this instant."""

(
    NEXT, HEAD, IN_LINE, CLOCK, BATCHES, PENDING, COUNT, GIVEN_UP, STRETCH, LIST_HEAD, LIST_TAIL,
    ENTRIES, ANSWERS, CLOSED, ASKING, READY_AT, SIZE,
) = range(17)  # fmt: skip
"""Places in the state, kept from call to call: position of the next arrival; position before which
nothing waits (of the kinds that need it); events in line; the clock, ns; batches served; whether
a batch is in service whose service time is awaited (1), or the timer (2); events in ``taken`` that
are served, and those after them that are given up; the first event of that batch if the others
follow it without a gap, else -1; ends of the list of symbols; entries of the heap; events in
``answers``; whether the server has stopped for good; what a policy in Python was asked, and when it
said it is ready, ns; the size of a pass that is unknown."""
STATE_SIZE = 17

(
    FIRST, STOP, EVENTS, LAST, END, KIND, LIMIT, LINE, MAX_AGE, WAIT_FOR, WAIT, PASSES, AWAITED,
    FAST, SIMPLE, FIRST_DRAW, PER_EVENT, SPAN, DUE,
) = range(19)  # fmt: skip
"""Places in the rules, set by the caller: number of the event in row 0; position after the arrivals
that are known; number after the newest event; whether no more will come; when the window ends, ns;
the kind of policy; events in a batch at most, and in a line; spans, ns, scaled but for
``PER_EVENT``: how long an event may wait (-1: for ever), how many events are sent at once and how
long the oldest of fewer is kept waiting; how a batch is split into passes; whether the caller gives
each service time, in ``SPAN``; whether the fast paths apply; whether a service time is ``base`` and
``PER_EVENT`` for each event, and no more; number of the batch that ``base`` begins with; when the
timer is due, ns (``NEVER``: there is none)."""
RULES_SIZE = 19

(
    STATE_ARRAY, RULES_ARRAY, RECEIVED_ARRAY, BEGUN_ARRAY, ENDED_ARRAY, BATCH_ARRAY, SYMBOL_ARRAY,
    STATUS_ARRAY, ORDER_ARRAY, LINK_ARRAY, LENGTH_ARRAY, OLDEST_ARRAY, NEWEST_ARRAY, BEFORE_ARRAY,
    AFTER_ARRAY, HEAP_ARRAY, STAMPS_ARRAY, TAKEN_ARRAY, ANSWERS_ARRAY, BASE_ARRAY, SIZES_ARRAY,
    SEEN_ARRAY, ROUNDS_ARRAY, QUANTILES_ARRAY, SCALE_ARRAY,
) = range(25)  # fmt: skip
"""Numbers of the arrays that the loop is handed."""

LONGEST = 2**62
"""A span that no clock outlives, ns: what cannot be counted is cut to it."""

NEVER = 2**63 - 1
"""An instant that no clock reaches, ns."""

NO_TIME = -(2**63)
