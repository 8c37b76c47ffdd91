"""The simulated inference server: one model, a waiting line for each symbol, virtual nanoseconds.

At one instant first a service completes, then every event of that instant arrives, then the
batching policy may send a batch. Nothing here knows what is predicted: when an answer is ready
depends on arrivals, the policy and service times alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from backtest.core.arrays import Int32Array, Int64Array
from backtest.errors import RunError
from backtest.market.events import NO_TIME
from backtest.timing.draws import Draws
from backtest.timing.latency import Composition, LatencyModel, pass_sizes, scaled, service_time
from backtest.timing.outcomes import Status, Timing
from backtest.timing.policies import BatchingPolicy, Selection, Waiting

Serve = Callable[[Sequence[int], int], int]
"""(event numbers of a batch in arrival order, now) to its unscaled service time, ns."""


@dataclass(frozen=True, slots=True)
class InferenceServer:
    """The rules of one simulated server.

    Attributes:
        policy: decides what rides together.
        latency: service time of a batch.
        duplicates: how the strategy serves several events of a symbol in one batch.
        line_limit: events of one symbol that may wait; what is in service does not count.
        max_batch: the most events in a batch; by default the most that ``latency`` knows of.
        max_age: an event that has waited longer when a batch is sent is discarded, ns.
        scale: latency scale; 0 answers every event at its ``ts_event``.
        seed: of the service time draws.
    """

    policy: BatchingPolicy
    latency: LatencyModel
    duplicates: Literal["rounds", "packed"] = "packed"
    line_limit: int = 100
    max_batch: int | None = None
    max_age: int | None = None
    scale: float = 1.0
    seed: int = 0

    def simulate(
        self, symbols: Int32Array, ts_event: Int64Array, feed: Int64Array, *, end: int
    ) -> Timing:
        """Serve every event of a window, in plain Python: ``queueing.simulate`` says the same.

        Args:
            symbols: int32 [n], in bus order.
            ts_event: none after ``end``, int64 ns [n].
            feed: feed latency, unscaled and not negative, int64 ns [n].
            end: when the window ends, ns; a service that ends later answers nothing.
        """
        if self.scale == 0:
            return bypassed(ts_event)
        return self.run(symbols, receipts(symbols, ts_event, scaled(feed, self.scale)), end)

    def run(
        self, symbols: Int32Array, received: Int64Array, end: int, serve: Serve | None = None
    ) -> Timing:
        """The same from receipts, int64 ns [n], at a scale above 0.

        Args:
            symbols: int32 [n], in bus order.
            received: int64 ns [n].
            end: when the window ends, ns.
            serve: says how long a batch takes, by default the latency model.
        """
        return _Simulation(self, symbols, received, end, serve).run()


def bypassed(ts_event: Int64Array) -> Timing:
    """The timing at scale 0: every event is answered at its ts_event."""
    batch = np.arange(len(ts_event), dtype=np.int64)
    status = np.full(len(ts_event), Status.ANSWERED, dtype=np.uint8)
    return Timing(ts_event, ts_event, ts_event, status, batch)


def receipts(symbols: Int32Array, ts_event: Int64Array, feed: Int64Array) -> Int64Array:
    """Receipt of each event: the running maximum within its symbol of ts_event + feed, ns [n]."""
    received = ts_event + feed
    for symbol in np.unique(symbols):
        rows = symbols == symbol
        received[rows] = np.maximum.accumulate(received[rows])
    return received


class _Simulation:
    """One pass of the events through the server."""

    def __init__(
        self,
        server: InferenceServer,
        symbols: Int32Array,
        received: Int64Array,
        end: int,
        serve: Serve | None,
    ) -> None:
        self._serve = serve or self._timed
        self._server = server
        self._end = end
        self._limit = server.max_batch or server.latency.max_batch or max(len(received), 1)
        self._max_age = None if server.max_age is None else round(server.max_age * server.scale)
        self._draws = Draws(server.seed, "service")
        self._all_received = received
        self._received: list[int] = received.tolist()
        self._symbols: list[int] = symbols.tolist()
        in_time = np.flatnonzero(received <= end)
        self._arrivals: list[int] = in_time[np.argsort(received[in_time], kind="stable")].tolist()
        self._next = 0
        self._waiting = Waiting(self._received, self._symbols, server.scale)
        count = len(received)
        self._begun = [NO_TIME] * count
        self._ended = [NO_TIME] * count
        self._status = [int(Status.UNFINISHED)] * count
        self._batch = [-1] * count
        self._batches = 0

    def run(self) -> Timing:
        now = NO_TIME
        while now <= self._end:
            self._admit(now)
            if not self._waiting:
                if self._next == len(self._arrivals):
                    break
                now = self._next_arrival()
                continue
            ready = self._server.policy.ready_at(self._waiting)
            if not isinstance(ready, int | np.integer):
                raise _no_choice(self._server.policy, f"ready_at gave {ready!r}, not whole ns")
            now = self._dispatch(now) if ready <= now else min(ready, self._next_arrival())
        self._admit(self._end)
        return Timing(
            self._all_received,
            np.array(self._begun, dtype=np.int64),
            np.array(self._ended, dtype=np.int64),
            np.array(self._status, dtype=np.uint8),
            np.array(self._batch, dtype=np.int64),
        )

    def _next_arrival(self) -> int:
        if self._next == len(self._arrivals):
            return self._end + 1
        return self._received[self._arrivals[self._next]]

    def _admit(self, now: int) -> None:
        lines, limit = self._waiting.lines, self._server.line_limit
        while self._next < len(self._arrivals):
            event = self._arrivals[self._next]
            if self._received[event] > now:
                return
            self._next += 1
            line = lines.get(self._symbols[event])
            if line is not None and len(line) >= limit:
                self._status[event] = Status.DROPPED
            else:
                self._waiting.add(event)

    def _dispatch(self, now: int) -> int:
        """Send a batch; the instant at which the server is free again."""
        if self._max_age is not None:
            self._give_up(self._expired(now, self._max_age), Status.EXPIRED)
            if not self._waiting:
                return now
        serve = self._chosen()
        span = self._serve(serve, now)
        ended = now + round(span * self._server.scale)
        if ended <= self._end:
            for event in serve:
                self._begun[event] = now
                self._ended[event] = ended
                self._status[event] = Status.ANSWERED
                self._batch[event] = self._batches
        self._batches += 1
        return ended

    def _chosen(self) -> Sequence[int]:
        """The events that the policy chooses to serve; they wait no longer."""
        policy = self._server.policy
        chosen = policy.select(self._waiting, self._limit)
        if not isinstance(chosen, Selection):
            raise _no_choice(policy, f"it gave a {type(chosen).__name__}, not a Selection")
        if not 1 <= len(chosen.serve) <= self._limit:
            raise _no_choice(
                policy,
                f"it chose {len(chosen.serve)} events where 1 to {self._limit} may be served",
            )
        try:
            self._give_up(chosen.conflate, Status.CONFLATED)
            self._waiting.remove(chosen.serve)
        except KeyError as error:
            raise _no_choice(
                policy, f"it chose event {error}, which does not wait, or chose it twice"
            ) from None
        return chosen.serve

    def _timed(self, events: Sequence[int], now: int) -> int:
        symbols = [self._symbols[event] for event in events]
        composition = Composition(
            np.array(symbols, dtype=np.int32), pass_sizes(symbols, self._server.duplicates)
        )
        return service_time(self._server.latency, composition, self._draws[self._batches])

    def _expired(self, now: int, max_age: int) -> list[int]:
        expired = []
        for event in self._waiting:
            if now - self._received[event] <= max_age:
                break
            expired.append(event)
        return expired

    def _give_up(self, events: Sequence[int], status: Status) -> None:
        self._waiting.remove(events)
        for event in events:
            self._status[event] = status


def _no_choice(policy: BatchingPolicy, problem: str) -> RunError:
    return RunError(problem, place=f"batching policy {type(policy).__name__}")
