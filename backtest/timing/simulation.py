"""Pass 1 at machine speed: the server's rules in compiled loops where policy and latency allow it.

The plain simulation in ``backtest.timing.server`` is the reference, and the path of policies and
latency models that state no rule of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backtest.core.arrays import CHUNK, Int32Array, Int64Array, writable
from backtest.core.compiled import COMPILED_FROM
from backtest.core.room import Room
from backtest.market.events import EventBatch
from backtest.timing.draws import Draws
from backtest.timing.latency import (
    LatencyModel,
    SpanTable,
    checked_spans,
    checked_table,
    feed_spans,
    scaled,
)
from backtest.timing.outcomes import Timing
from backtest.timing.policies import BatchingPolicy, Rule
from backtest.timing.server import InferenceServer

_DRAWS = 1 << 14

LONGEST = 2**62
"""A span that no clock outlives, ns."""

Progress = Callable[[int], None]
"""Told how many events have been timed."""

Settled = Callable[[Timing, slice], None]
"""Given the timing, and rows of it that do not change any more."""


def simulate(
    server: InferenceServer,
    events: EventBatch,
    feed: LatencyModel,
    *,
    symbols: int,
    end: int,
    room: Room | None = None,
    progress: Progress = lambda done: None,
    settled: Settled = lambda timing, rows: None,
    compiled: bool | None = None,
) -> Timing:
    """Serve every event of a window.

    Args:
        server: the rules.
        events: in bus order, none after ``end``.
        feed: from ts_event to receipt.
        symbols: size of the symbol table.
        end: when the window ends, ns; a service that ends later answers nothing.
        room: where the result lies; by default in memory.
        progress: told how far it is.
        settled: given the timing with each stretch of ``CHUNK`` events, in order and the last one
            shorter, as soon as nothing about it changes any more.
        compiled: run the compiled loops, or the plain ones; by default whatever suits.
    """
    room = room or Room(len(events))
    if compiled is None:
        compiled = len(events) >= COMPILED_FROM
    rule = rule_of(server)
    if not compiled:
        spans = feed_spans(feed, events, server.seed)
        timing = server.simulate(events.symbol, events.ts_event, spans, end=end)
    elif server.scale == 0:
        timing = bypassed(events, room)
    else:
        received, order = receive(server, events, feed, symbols, room)
        if rule is not None:
            queue = Queue(
                server, rule, events.symbol, received, order, symbols=symbols, end=end, room=room
            )
            _run(queue, room, progress, settled)
            return queue.timing
        timing = server.run(events.symbol, received, end)
    for first in range(0, len(events), CHUNK):
        settled(timing, slice(first, min(first + CHUNK, len(events))))
    return timing


def _run(queue: Queue, room: Room, progress: Progress, settled: Settled) -> None:
    count, told = len(queue.timing.received), 0
    for stop in [*range(CHUNK, count, CHUNK), count]:
        queue.advance(stop)
        sure = count if stop == count else queue.settled
        while told < sure and (told + CHUNK <= sure or sure == count):
            settled(queue.timing, slice(told, min(told + CHUNK, count)))
            told += CHUNK
        progress(stop)
        room.release()


def rule_of(server: InferenceServer) -> Rule | None:
    """The rule that the compiled server follows; ``None`` where only plain Python will do."""
    rule = server.policy.rule() if _own(server.policy, "rule", "select", "ready_at") else None
    timed = server.latency.live or _own(server.latency, "table", "spans", "service")
    return rule if timed else None


def _own(part: BatchingPolicy | LatencyModel, name: str, *overridable: str) -> bool:
    """Whether the class that last defines a method also states its compiled twin."""
    for kind in type(part).__mro__:
        if any(method in vars(kind) for method in (name, *overridable)):
            return name in vars(kind)
    return False


def bypassed(events: EventBatch, room: Room) -> Timing:
    """The timing at scale 0: every event is answered at its ts_event."""
    batch = room.column(np.int64)
    status = room.column(np.uint8)  # Status.ANSWERED is 0
    for first in range(0, len(events), CHUNK):
        last = min(first + CHUNK, len(events))
        batch[first:last] = np.arange(first, last)
        room.release()
    return Timing(events.ts_event, events.ts_event, events.ts_event, status, batch)


def receive(
    server: InferenceServer, events: EventBatch, feed: LatencyModel, symbols: int, room: Room
) -> tuple[Int64Array, Int64Array]:
    """Receipts, and the order of arrival: empty where it is bus order."""
    if type(feed).feed is LatencyModel.feed and not feed.uses_draws:
        every = checked_spans(feed, feed.spans(np.ones(1, dtype=np.int64), np.zeros(1)), 1)
        if not every.any():
            return events.ts_event, np.empty(0, dtype=np.int64)
    from backtest.timing import loops

    received = room.column(np.int64)
    latest = np.full(symbols + 1, np.iinfo(np.int64).min, dtype=np.int64)
    in_order = True
    for first in range(0, len(events), CHUNK):
        last = min(first + CHUNK, len(events))
        chunk = events.select(slice(first, last))
        spans = feed_spans(feed, chunk, server.seed, first)
        spans = np.require(scaled(spans, server.scale), np.int64, ["C", "W"])
        columns = (writable(chunk.symbol), writable(chunk.ts_event))
        in_order &= loops.receive(*columns, spans, latest, received[first:last])
        room.release()
    if in_order:
        return received, np.empty(0, dtype=np.int64)
    order = room.column(np.int64)
    loops.arrivals(writable(events.ts_event), received, order)
    return received, order


class Queue:
    """The compiled server over given receipts, advanced as far and as often as asked.

    Args:
        server: the rules.
        rule: the policy's.
        symbols_of: symbol of each event, int32 [n].
        received: receipts, int64 ns [n].
        order: event numbers by receipt, then bus order, int64 [n]; empty where that is bus order.
        symbols: size of the symbol table.
        end: when the window ends, ns.
        room: where the result lies.
        live: stop at each batch, as ``LiveQueue`` does.
    """

    def __init__(
        self,
        server: InferenceServer,
        rule: Rule,
        symbols_of: Int32Array,
        received: Int64Array,
        order: Int64Array,
        *,
        symbols: int,
        end: int,
        room: Room,
        live: bool = False,
    ) -> None:
        from backtest.timing import loops

        self._loops = loops
        self._server = server
        self._live = live
        count = len(received)
        limit = server.max_batch or server.latency.max_batch or max(count, 1)
        limit = min(limit, rule.most or limit)
        largest = min(limit, count, symbols * server.line_limit) + 1
        self._state = np.zeros(loops.STATE_SIZE, dtype=np.int64)
        self._state[loops.NOW] = np.iinfo(np.int64).min
        self._state[[loops.FIRST, loops.LAST]] = -1
        self._rules = np.zeros(loops.RULES_SIZE, dtype=np.int64)
        age = server.max_age
        for place, value in (
            (loops.END, end),
            (loops.LIMIT, limit),
            (loops.LINE, server.line_limit),
            (loops.MAX_AGE, -1 if age is None else _scaled(age, server.scale)),
            (loops.WAIT_FOR, rule.wait_for),
            (loops.WAIT, _scaled(rule.wait, server.scale)),
            (loops.ROUNDS, server.duplicates == "rounds" and rule.takes == "arrival"),
            (loops.LIVE, live),
            (loops.MODE, loops.NEWEST if rule.takes == "newest" else loops.OLDEST),
        ):
            self._rules[place] = min(int(value), LONGEST)
        self._rules[loops.END] = end
        self.taken = np.zeros(largest, dtype=np.int64)
        self.timing = Timing(
            received,
            room.column(np.int64),
            room.column(np.int64),
            room.column(np.uint8),
            room.column(np.int64),
        )
        per_symbol = (np.zeros(symbols, dtype=np.int64) for _ in range(5))
        lines, first, last, before, after = per_symbol
        self._first_draw = 0
        self._count, self._sure, self._done = count, 0, False
        self._lines = lines
        self._first = None if rule.takes == "arrival" else first
        self._columns: tuple[Any, ...] = (order, received, writable(symbols_of), lines)
        self._loop: Any = loops.serve_in_order
        if rule.takes != "arrival":
            self._loop = loops.serve_lines
            heap = np.zeros(symbols + 1, dtype=np.int64)
            stamps = np.full(symbols, -1, dtype=np.int64)
            self._columns += (first, last, room.column(np.int64), heap, before, after, stamps)
        self._seen = np.zeros(symbols, dtype=np.int64)
        self._rounds = np.zeros(max(largest, 1), dtype=np.int64)
        t = self.timing
        self._results = (self.taken, t.begun, t.ended, t.status, t.batch)
        self._draw(0)

    def advance(self, stop: int) -> None:
        """Go on until the arrivals before position ``stop`` are used up.

        Raises:
            UsageError: a batch has a size that the latency model does not know.
        """
        loops = self._loops
        self._rules[loops.STOP] = stop
        code = loops.DRAWS
        while code == loops.DRAWS and not self._done:
            code = self._loop(
                self._state, self._rules, float(self._server.scale), *self._columns,
                *self._table, self._seen, self._rounds, *self._results,
            )  # fmt: skip
            if code == loops.DRAWS:
                self._draw(int(self._state[loops.BATCHES]))
            if code == loops.UNKNOWN_SIZE:
                size = self._state[loops.SIZE : loops.SIZE + 1]
                self._server.latency.spans(size, np.zeros(1))
            self._done = bool(code == loops.DONE)

    @property
    def number(self) -> int:
        """How many batches have been sent and served."""
        return int(self._state[self._loops.BATCHES])

    @property
    def settled(self) -> int:
        """How many events at the beginning are served or given up for good."""
        if self._done:
            return self._count
        head = self._state[self._loops.HEAD : self._loops.HEAD + 1]
        waiting = head if self._first is None else self._first[self._lines > 0]
        place = int(min(self._state[self._loops.NEXT], waiting.min(initial=self._count)))
        order, received = self._columns[:2]
        if place == self._count or not len(order):
            return place
        self._sure = int(self._loops.before(received, self._sure, received[order[place]]))
        return self._sure

    def _draw(self, first: int) -> None:
        server, latency = self._server, self._server.latency
        table: SpanTable | None = None
        if not self._live:
            draws = Draws(server.seed, "service") if latency.uses_draws else None
            u = draws.range(first, first + _DRAWS) if draws else np.zeros(1)
            table = latency.table(u)
        table = checked_table(latency, table or SpanTable(np.zeros(1, dtype=np.int64)))
        longest = int(table.base.max()) + table.per_event * len(self.taken)
        self._rules[self._loops.SIMPLE] = (
            server.scale == 1
            and not self._rules[self._loops.ROUNDS]
            and not len(table.sizes)
            and longest < LONGEST
        )
        self._rules[self._loops.FIRST_DRAW] = first
        self._rules[self._loops.PER_EVENT] = table.per_event
        self._table = (
            writable(table.base),
            writable(np.asarray(table.sizes, dtype=np.int64)),
            writable(table.quantiles),
        )


def _scaled(span: int, scale: float) -> int:
    return round(span * scale)
