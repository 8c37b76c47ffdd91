"""The closed loop: server, strategy and fills interleaved batch by batch, in virtual time.

Two things need it: service times measured on the running model, and strategies that react to their
own fills. Everything else is faster, and the same, in three passes.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from time import perf_counter_ns
from typing import Any

import numpy as np

from backtest.core.arrays import Float32Array, Int64Array, chunks
from backtest.core.columnar import Column, Frame
from backtest.core.compiled import COMPILED_FROM
from backtest.core.room import Room
from backtest.inference.answers import Answers
from backtest.inference.bound_strategy import Inference
from backtest.inference.prediction import checked
from backtest.market.events import EventBatch
from backtest.timing.draws import Draws
from backtest.timing.latency import Composition, LatencyModel, pass_sizes, service_time
from backtest.timing.live_queue import LiveQueue
from backtest.timing.outcomes import Status, Timing
from backtest.timing.server import InferenceServer
from backtest.timing.simulation import bypassed, receive, rule_of
from backtest.trading.live_desk import LiveDesk

_TOLD = 1 << 14
"""Events after which what was predicted is proved, what was served is kept, and people are told."""

_FLOAT32 = np.dtype(np.float32)

Progress = Callable[[int], None]
"""Told how many events have been handed to the strategy."""


@dataclass(frozen=True, slots=True)
class Loop:
    """What a closed loop left behind.

    Attributes:
        timing: as pass 1 has it.
        answers: as pass 2 has them.
        service: unscaled service time of each batch sent, int64 ns [batches].
        sizes: events in each, int64 [batches].
    """

    timing: Timing
    answers: Answers
    service: Int64Array
    sizes: Int64Array

    def frame(self) -> Frame:
        """A row for each batch sent: its size and how long it was served, unscaled ns."""
        return {"size": Column("int64", self.sizes), "service_ns": Column("int64", self.service)}


def why_closed(service: LatencyModel, strategy: Any, scale: float) -> str | None:
    """Why a run cannot be done in three passes; ``None`` where it can."""
    if hasattr(strategy, "on_fills"):
        return "the strategy reacts to its fills"
    if service.live and scale != 0:
        return "service times are measured on the running model"
    return None


class ClosedLoop:
    """One run of a strategy inside the simulated server.

    Args:
        server: the rules of the server.
        inference: the strategy, bound; it is reset first.
        events: the window, with features if the strategy reads them.
        feed: from ts_event to receipt.
        end: when the window ends, ns.
        room: where the result lies.
        session_of: session of each instant, ns [n] to int64 [n], where state is reset at breaks.
        desk: trades as it goes, for a strategy that reacts.
    """

    def __init__(
        self,
        server: InferenceServer,
        inference: Inference,
        events: EventBatch,
        feed: LatencyModel,
        *,
        end: int,
        room: Room,
        session_of: Callable[[Int64Array], Int64Array] | None = None,
        desk: LiveDesk | None = None,
        progress: Progress = lambda done: None,
    ) -> None:
        self._server = server
        self._inference = inference
        self._events = events
        self._feed = feed
        self._end = end
        self._room = room
        self._session_of = session_of
        self._desk = desk
        self._progress = progress
        handed = events.read_only()
        self._columns: list[Any] = [getattr(handed, f.name) for f in fields(EventBatch)]
        self._strategy = strategy = inference.strategy
        self._live = server.latency.live
        self._outputs = strategy.outputs
        self._predictions: Float32Array = room.column(np.float32, strategy.outputs)
        self._draws = Draws(server.seed, "service")
        self._served = _Served(room)
        self._note_size, self._note_span = self._served.sizes.append, self._served.spans.append
        self._unproved: list[slice | Int64Array] = []
        self._handed, self._told = 0, _TOLD

    def run(self, compiled: bool | None = None) -> Loop:
        """Run it; ``compiled`` as for ``queueing.simulate``."""
        strategy, events, server = self._inference.strategy, self._events, self._server
        symbols = len(self._inference.session.symbols)
        strategy.reset(range(symbols))
        self._sessions = np.full(symbols, -1, dtype=np.int64)
        rule = rule_of(server)
        if server.scale == 0:
            timing = bypassed(events, self._room)
            for number, now in enumerate(events.ts_event.tolist()):
                self.serve(np.array([number]), now)
        else:
            if compiled is None:
                compiled = len(events) >= COMPILED_FROM
            received, order = receive(server, events, self._feed, symbols, self._room)
            if self._desk is not None:
                self._desk.received = received
            if compiled and rule is not None:
                timing = self._compiled(rule, received, order, symbols)
            else:
                numbers = events.symbol
                timing = server.run(numbers, received, self._end, serve=self.serve)
        self._prove()
        forecast: Float32Array = self._room.column(np.float32)
        answered = self._room.column(np.bool_)
        for first, last in chunks(len(events)):
            rows = slice(first, last)
            answered[rows] = timing.status[rows] == Status.ANSWERED
            forecast[rows] = self._inference.forecast(self._predictions[rows])
        return Loop(
            timing,
            Answers(self._predictions, forecast, answered),
            *self._served.columns(),
        )

    def _compiled(self, rule: Any, received: Int64Array, order: Int64Array, symbols: int) -> Timing:
        queue = LiveQueue(
            self._server,
            rule,
            self._events.symbol,
            received,
            order,
            symbols=symbols,
            end=self._end,
            room=self._room,
        )
        scale = self._server.scale
        while queue.step():
            span = self._serve(queue.rows, queue.now)
            queue.serve(span if scale == 1 else round(span * scale))
        return queue.timing

    def serve(self, numbers: Int64Array | Sequence[int], now: int) -> int:
        """Hand a batch to the strategy: its unscaled service time, ns."""
        numbers = np.asarray(numbers, dtype=np.int64)
        first, count = int(numbers[0]), len(numbers)
        # In arrival order, so a gapless stretch is a view.
        gapless = bool((numbers == np.arange(first, first + count)).all())
        return self._serve(slice(first, first + count) if gapless else numbers, now)

    def _serve(self, rows: slice | Int64Array, now: int) -> int:
        desk = self._desk
        if desk is not None:
            self._strategy.on_fills(desk.confirmed(now))  # type: ignore[attr-defined]
        batch = self._batch(rows)
        if self._session_of is None:
            begun = perf_counter_ns()
            predictions = self._strategy.predict(batch)
            span = perf_counter_ns() - begun
        else:
            predictions, span = self._predict_by_session(batch)
        count = rows.stop - rows.start if isinstance(rows, slice) else len(rows)
        if (
            type(predictions) is not np.ndarray
            or predictions.shape != (count, self._outputs)
            or predictions.dtype != _FLOAT32
        ):
            checked(self._inference, batch, predictions)
        self._predictions[rows] = predictions
        self._unproved.append(rows)
        if desk is not None:
            self._prove()
        if not self._live:
            span = self._asked(batch)
        self._note_size(count)
        self._note_span(span)
        if desk is not None:
            ended = now + round(span * self._server.scale)
            if ended <= self._end:
                numbers = np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows
                desk.answered(numbers, predictions, now, ended)
        self._handed += count
        if self._handed >= self._told:
            self._told = (self._handed // _TOLD + 1) * _TOLD
            self._prove()
            self._served.keep()
            self._progress(self._handed)
        return span

    def _asked(self, batch: EventBatch) -> int:
        """What the latency model says of a batch, unscaled ns."""
        server = self._server
        if server.scale == 0:
            return 0
        composition = Composition(
            batch.symbol, pass_sizes(batch.symbol.tolist(), server.duplicates)
        )
        u = self._draws[self._served.count] if server.latency.uses_draws else 0.0
        return service_time(server.latency, composition, u)

    def _prove(self) -> None:
        """Check that what was predicted since it was last checked is finite.

        Raises:
            RunError: it is not.
        """
        # A call for each batch would take as long as a small strategy itself. What lies between
        # two batches is proved already, or zero.
        stretches = [rows for rows in self._unproved if isinstance(rows, slice)]
        some = [self._predictions[rows] for rows in self._unproved if not isinstance(rows, slice)]
        if stretches:
            first = min(rows.start for rows in stretches)
            some.append(self._predictions[first : max(rows.stop for rows in stretches)])
        if not all(np.isfinite(predictions).all() for predictions in some):
            for rows in self._unproved:
                checked(self._inference, self._batch(rows), self._predictions[rows])
        self._unproved.clear()

    def _batch(self, rows: slice | Int64Array) -> EventBatch:
        columns: Any = [None if column is None else column[rows] for column in self._columns]
        return EventBatch(*columns)

    def _predict_by_session(self, batch: EventBatch) -> tuple[Float32Array, int]:
        """The same where a symbol's state is reset before its first event of a session."""
        assert self._session_of is not None
        strategy = self._inference.strategy
        sessions = self._session_of(batch.ts_event)
        parts: list[tuple[slice, int | None]] = []
        spent = first = 0
        for row, (symbol, session) in enumerate(zip(batch.symbol, sessions, strict=True)):
            if self._sessions[symbol] == session:
                continue
            if row > first:
                parts.append((slice(first, row), None))
            parts.append((slice(row, row), int(symbol)))
            self._sessions[symbol] = session
            first = row
        parts.append((slice(first, len(batch)), None))
        found = []
        for rows, reset in parts:
            if reset is not None:
                strategy.reset([reset])
                continue
            part = batch.select(rows)
            begun = perf_counter_ns()
            predictions = strategy.predict(part)
            spent += perf_counter_ns() - begun
            found.append(checked(self._inference, part, predictions))
        return np.concatenate(found), spent


class _Served:
    """Sizes and service times of batches, in room beyond the latest few.

    Attributes:
        sizes, spans: of the latest batches.
    """

    def __init__(self, room: Room) -> None:
        self.sizes, self.spans = array("q"), array("q")
        self._columns = room.column(np.int64), room.column(np.int64)
        self._kept = 0

    @property
    def count(self) -> int:
        return self._kept + len(self.spans)

    def columns(self) -> tuple[Int64Array, ...]:
        """Service times and sizes [batches]."""
        self.keep()
        return tuple(column[: self._kept] for column in self._columns)

    def keep(self) -> None:
        """Move the latest to where there is room."""
        total = self.count
        for column, latest in zip(self._columns, (self.spans, self.sizes), strict=True):
            column[self._kept : total] = latest
            del latest[:]
        self._kept = total
