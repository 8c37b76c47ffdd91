"""The simulated server over a stream of events: fed chunk by chunk, advanced as far as is certain.

The rules are in the compiled loop of ``server_loops``. Here it is given its arrays, and what it
cannot compute itself: draws, the choices of policies in Python, service times of models in Python
or of the running strategy.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.market.events import EventBatch
from backtest.market.window import Window
from backtest.timing import layout as at
from backtest.timing.arrivals import Arrivals
from backtest.timing.chooser import Chooser
from backtest.timing.latency import LatencyModel, scaled_span
from backtest.timing.loop import Loop
from backtest.timing.policies import CompiledPolicy
from backtest.timing.server_rules import ServerRules
from backtest.timing.service import Service, stated

# Looked up for every batch of a closed loop, so not by way of the module.
_SENT, _SIZE, _STRETCH, _CLOCK, _SPAN = at.SENT, at.COUNT, at.STRETCH, at.CLOCK, at.SPAN
_LONGEST = at.LONGEST
_TIMER, _PENDING = at.TIMER, at.PENDING

_KINDS = {"arrival": at.ARRIVAL, "oldest": at.OLDEST, "newest": at.NEWEST}


class Batch:
    """A batch that was sent and whose service time is awaited; valid until the next call.

    Attributes:
        first: number of its first event if the others follow it without a gap, else -1.
        size: events in it; 0: the timer is served.
        now: when it was sent, ns.
        due: when the timer was due, ns.
    """

    __slots__ = ("due", "first", "now", "size", "taken")

    def __init__(self, taken: Int64Array) -> None:
        self.first = self.size = self.now = 0
        self.due = at.NEVER
        self.taken = taken

    @property
    def events(self) -> Int64Array:
        """Event numbers in order of arrival, int64 [size]."""
        if self.first >= 0:
            return np.arange(self.first, self.first + self.size)
        return self.taken[: self.size].copy()


class Server:
    """One simulated server in a run; at scale 0 an ``InstantServer``.

    Args:
        rules: of the server.
        feed: from ts_event to receipt.
        window: with all of ``COLUMNS``.
        symbols: size of the symbol table.
        end: when the window of time ends, ns; a service that ends later answers nothing.
        live: stop at each batch until ``serve`` gives its service time.

    Raises:
        RunError: a latency model gives what is no span.
    """

    COLUMNS: ClassVar[dict[str, Any]] = {
        "symbol": np.int32,
        "received": np.int64,
        "begun": np.int64,
        "ended": np.int64,
        "status": np.uint8,
        "batch": np.int64,
    }
    """Columns of the window: what is read (``symbol``) and what is written. ``begun`` and ``ended``
    of an unanswered event are ``NO_TIME``, ns, and its ``batch`` is -1; ``status`` is a ``Status``.
    """

    def __new__(cls, rules: ServerRules, *given: Any, **named: Any) -> Self:
        """The class that serves at this scale."""
        kind: Any = InstantServer if rules.scale == 0 else cls
        return super().__new__(kind)

    def __init__(
        self,
        rules: ServerRules,
        feed: LatencyModel,
        window: Window,
        *,
        symbols: int,
        end: int,
        live: bool = False,
    ) -> None:
        self._server, self._window, self._live = rules, window, live
        self._events = self._sure = self._shown = 0
        self._last = False
        policy = rules.policy
        rule = policy.compiled() if stated(policy, "compiled", "select", "ready_at") else None
        by_symbol = rule is not None and rule.takes != "arrival"
        self._arrivals = Arrivals(feed, rules.seed, rules.scale, window, symbols)
        self._service = Service(rules, tabled=not live, distinct=by_symbol)
        self._loop = Loop(self._arrivals, self._service, window, symbols, by_symbol=by_symbol)
        self._every = self._told = 0
        self._serve = self._loop.serve
        self._state, self._rules = self._loop.state, self._loop.rules
        # Views that give and take Python's own numbers, at a quarter of what an array takes.
        self._now_state, self._now_rules = self._state.data, self._rules.data
        self._batch = Batch(self._loop.taken)
        self._set_rules(rule, end)
        self._hand_over()

    def receive(self, events: EventBatch, rows: slice) -> None:
        """Take in the next events, whose ``symbol`` the window already holds.

        Args:
            events: in bus order, none after the end of the window of time.
            rows: their rows, which the window was extended by.

        Raises:
            RunError: the feed gives what is no span.
        """
        window = self._window
        self._events = window.first + rows.stop
        window["status"][rows] = at.ANSWERED
        self._arrivals.receive(events, rows, self._oldest_position)
        self._hand_over()

    def advance(self, *, last: bool = False) -> Batch | None:
        """Go on as far as is certain, or, live, until a batch was sent.

        Args:
            last: no event comes any more.

        Returns:
            A batch whose service time is awaited: give it to ``serve``, then advance again.
            ``None``: more events are needed, or, if these were the last, all are settled.

        Raises:
            RunError: a policy made no choice, or a latency model gave no span.
            UsageError: a batch has a size that the latency model does not know.
        """
        if last and not self._last:
            self._last = True
            self._arrivals.finish()
            self._hand_over()
        while True:
            code = self._serve(self._loop.places)
            if code == _SENT and self._live:
                state, batch = self._now_state, self._batch
                batch.first, batch.size, batch.now = state[_STRETCH], state[_SIZE], state[_CLOCK]
                return batch
            if code == _TIMER:
                batch = self._batch
                batch.first, batch.size, batch.now = -1, 0, self._now_state[_CLOCK]
                batch.due = self.due
                return batch
            if self._chooser is not None:
                self._chooser.forget_expired()
            if code in (at.PAUSED, at.DONE):
                return None
            self._answer(code)

    def serve(self, span: int) -> None:
        """Give the service time of the batch or timer that was sent, scaled ns."""
        self._now_rules[_SPAN] = span if span < _LONGEST else _LONGEST
        if self._now_state[_PENDING] == 2:
            self.start_timer(next_due(self.due, self._every, self.now), self._every)

    @property
    def due(self) -> int:
        """When the timer that is to be served next is or was due, ns; ``NEVER``: there is none."""
        return self._now_rules[at.DUE]

    def start_timer(self, due: int, every: int) -> None:
        """Have a timer served, live: what is due while the server is busy is served once.

        Args:
            due: when it is due first, ns.
            every: from one to the next, ns.
        """
        self._now_rules[at.DUE], self._every = min(due, at.NEVER), every

    def take_received(self) -> Int64Array:
        """Numbers of the events received since this was last asked, int64 [n].

        All that were received when the latest batch was sent; to be asked for each time that
        ``advance`` has returned.
        """
        first, self._told = self._told, self._now_state[at.NEXT]
        positions = np.arange(first, self._told)
        if self._arrivals.in_bus_order:
            return positions
        order = self._arrivals.order
        return order[positions & (len(order) - 1)]

    def take_answered(self) -> Int64Array:
        """Numbers of the events answered since this was last asked, int64 [n].

        In order of readiness: by batch, and in order of arrival within each.
        """
        count = self._now_state[at.ANSWERS]
        self._now_state[at.ANSWERS] = 0
        return self._loop.answers[:count].copy()

    @property
    def now(self) -> int:
        """An instant at or after which every later batch ends, ns."""
        return self._now_state[at.CLOCK]

    @property
    def batches(self) -> int:
        """How many batches have been served."""
        return self._now_state[at.BATCHES]

    @property
    def settled(self) -> int:
        """How many events at the beginning of the run have got all that they will ever get."""
        state, arrivals = self._state, self._arrivals
        pending = self._loop.taken[: state[at.COUNT]].tolist() if state[at.PENDING] == 1 else []
        earliest = arrivals.earliest(self._oldest_position)
        if earliest is not None:
            pending.append(earliest)
        if not pending:
            return self._events
        if arrivals.in_bus_order:
            return min(pending)
        # Who was received before the first of these has been served or given up for good.
        first, received = self._window.first, self._window["received"]
        instant = min(received[event - first] for event in pending)
        late = received[self._sure - first : self._events - first] >= instant
        self._sure += int(late.argmax()) if late.any() else len(late)
        return self._sure

    @property
    def needs(self) -> int:
        """Number of the oldest event whose row it still reads or writes."""
        return self.settled

    @property
    def _oldest_position(self) -> int:
        """The least position that waits or is still to arrive."""
        state = self._state
        if not state[at.IN_LINE]:
            return int(state[at.NEXT])
        if self._rules[at.KIND] in (at.OLDEST, at.NEWEST):
            return int(self._loop.oldest[self._loop.lengths > 0].min())
        status, first = self._window["status"], self._window.first
        position = int(state[at.HEAD])
        row = self._arrivals.event(position) - first
        while row < 0 or status[row] != at.WAITING:
            position += 1
            row = self._arrivals.event(position) - first
        state[at.HEAD] = position
        return position

    def _set_rules(self, rule: CompiledPolicy | None, end: int) -> None:
        server, rules = self._server, self._rules
        limit = server.max_batch or server.latency.max_batch or at.LONGEST
        self._chooser: Chooser | None = None
        kind, wait_for, wait = at.ASKED, 1, 0
        if rule is None:
            self._chooser = Chooser(server.policy, self._window, server.scale, limit)
        else:
            kind, wait_for = _KINDS[rule.takes], rule.wait_for
            wait = scaled_span(rule.wait, server.scale)
            limit = min(limit, rule.most or limit)
        age = -1 if server.max_age is None else scaled_span(server.max_age, server.scale)
        for place, value in (
            (at.KIND, kind),
            (at.LIMIT, limit),
            (at.LINE, server.line_limit),
            (at.MAX_AGE, age),
            (at.WAIT_FOR, wait_for),
            (at.WAIT, wait),
        ):
            rules[place] = min(value, at.LONGEST)
        rules[at.END] = min(end, at.NEVER - 1)
        rules[at.DUE] = at.NEVER

    def _answer(self, code: int) -> None:
        """Give the loop what it stopped for."""
        state, chooser = self._state, self._chooser
        if code == at.DRAWS:
            self._service.draw(self.batches)
            self._hand_over()
        elif code == at.SENT:
            rows = self._loop.taken[: state[at.COUNT]] - self._window.first
            self.serve(self._service.time(self._window["symbol"][rows], self.batches))
        elif code == at.UNKNOWN_SIZE:
            self._service.refuse(int(state[at.SIZE]))
        elif code == at.ASK_READY and chooser is not None:
            chooser.arrive(self._new_in_line())
            state[at.READY_AT] = chooser.ready_at()
            state[at.ASKING] = at.READY_KNOWN
        elif chooser is not None:
            chosen = chooser.choose()
            events = [*chosen.serve, *chosen.conflate]
            self._loop.taken[: len(events)] = events
            state[at.COUNT], state[at.GIVEN_UP] = len(chosen.serve), len(chosen.conflate)
            state[at.ASKING] = at.CHOSEN

    def _new_in_line(self) -> list[int]:
        """Events that have joined a line since this was last asked, in order of arrival."""
        ahead, first, status = int(self._state[at.NEXT]), self._window.first, self._window["status"]
        arrived = [self._arrivals.event(position) for position in range(self._shown, ahead)]
        self._shown = ahead
        return [e for e in arrived if e >= first and status[e - first] == at.WAITING]

    def _hand_over(self) -> None:
        oldest = self._oldest_position
        self._loop.hand_over(self._events, oldest, last=self._last)
        self._batch.taken = self._loop.taken


class InstantServer(Server):
    """The server at scale 0: every event is received, served and answered when it happens.

    Live, each event is a batch by itself, whose service time does not matter. A timer goes before
    the events of its instant.
    """

    def __init__(
        self,
        rules: ServerRules,
        feed: LatencyModel,
        window: Window,
        *,
        symbols: int,
        end: int,
        live: bool = False,
    ) -> None:
        self._window, self._live, self._end = window, live, end
        self._events = self._sent = self._answered = self._taken = self._told = 0
        self._now, self._due, self._every, self._timed = at.NO_TIME, at.NEVER, 0, False
        self._batch = Batch(np.empty(0, dtype=np.int64))

    def receive(self, events: EventBatch, rows: slice) -> None:
        window = self._window
        first, self._events = self._events, window.first + rows.stop
        for name in ("received", "begun", "ended"):
            window[name][rows] = events.ts_event
        window["batch"][rows] = np.arange(first, self._events)
        window["status"][rows] = at.ANSWERED

    def advance(self, *, last: bool = False) -> Batch | None:
        # Live, an event is answered when its batch was served, not when it was sent.
        self._answered = number = self._sent
        here = number < self._events
        upto = self._window["ended"][number - self._window.first] if here else self._end
        if self._due <= upto and (here or last):
            batch, self._timed = self._batch, True
            batch.first, batch.size, batch.now = -1, 0, self._due
            batch.due = self._now = self._due
            return batch
        if not here:
            return None
        self._sent = number + 1 if self._live else self._events
        row = self._sent - 1 - self._window.first
        self._now = int(self._window["ended"][row])
        if not self._live:
            self._answered = self._sent
            return None
        self._batch.first, self._batch.size, self._batch.now = number, 1, self._now
        return self._batch

    def serve(self, span: int) -> None:
        if self._timed:
            self._timed = False
            self.start_timer(next_due(self._due, self._every, self._now), self._every)

    @property
    def due(self) -> int:
        return self._due

    def start_timer(self, due: int, every: int) -> None:
        self._due, self._every = min(due, at.NEVER), every

    def take_received(self) -> Int64Array:
        times = self._window["received"][: self._events - self._window.first]
        first, window = self._told, self._window
        self._told = window.first + int(np.searchsorted(times, self._now, side="right"))
        return np.arange(first, self._told)

    def take_answered(self) -> Int64Array:
        first, self._taken = self._taken, self._answered
        return np.arange(first, self._answered)

    @property
    def now(self) -> int:
        return self._now

    @property
    def batches(self) -> int:
        return self._answered

    @property
    def settled(self) -> int:
        return self._answered


def next_due(due: int, every: int, now: int) -> int:
    """When a timer is due after ``now``, ns, if it is or was due at ``due`` and every so often."""
    return due + ((now - due) // every + 1) * every
