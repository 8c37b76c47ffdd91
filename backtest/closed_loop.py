"""The closed loop: server, strategy and fills interleaved batch by batch, in virtual time.

Two things need it: service times measured on the running model, and strategies that react to their
own fills. Everything else is faster, and the same, in three passes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from heapq import heappop, heappush
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.accounting import Answers, Ledger
from backtest.compiled import COMPILED_FROM
from backtest.errors import UsageError
from backtest.events import NO_TIME, EventBatch, Float32Array, Int64Array
from backtest.execution import Confirmation, OrderRules
from backtest.latency import Composition, Draws, LatencyModel, pass_sizes
from backtest.predictions import Inference, checked
from backtest.queueing import Queue, bypassed, receive, rule_of
from backtest.room import Room
from backtest.server import InferenceServer, Status, Timing
from backtest.settlement import chunks, quote_chain
from backtest.trader import Trader, Uncompiled, sized

if TYPE_CHECKING:
    import pyarrow as pa

_TOLD = 1 << 14

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

    def table(self) -> pa.Table:
        """A row for each batch sent: its size and how long it was served, unscaled ns."""
        import pyarrow as pa

        return pa.table({"size": self.sizes, "service_ns": self.service})


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
        self._columns = [(f.name, getattr(events, f.name)) for f in fields(EventBatch)]
        self._present = [(k, c) for k, (_, c) in enumerate(self._columns) if c is not None]
        strategy = inference.strategy
        self._predictions: Float32Array = room.column(np.float32, strategy.outputs)
        self._draws = Draws(server.seed, "service")
        self._spans: list[int] = []
        self._sizes: list[int] = []
        self._handed = 0

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
        strategy_forecast: Float32Array = self._room.column(np.float32)
        answered = self._room.column(np.bool_)
        for first, last in chunks(len(events)):
            rows = slice(first, last)
            answered[rows] = timing.status[rows] == Status.ANSWERED
            strategy_forecast[rows] = strategy.forecast(self._predictions[rows])
        return Loop(
            timing,
            Answers(self._predictions, strategy_forecast, answered),
            np.array(self._spans, dtype=np.int64),
            np.array(self._sizes, dtype=np.int64),
        )

    def _compiled(self, rule: Any, received: Int64Array, order: Int64Array, symbols: int) -> Timing:
        queue = Queue(
            self._server,
            rule,
            self._events.symbol,
            received,
            order,
            symbols=symbols,
            end=self._end,
            room=self._room,
            live=True,
        )
        scale = self._server.scale
        count = len(received)
        while queue.advance(count):
            span = self.serve(queue.batch, queue.now)
            queue.serve(span if scale == 1 else round(span * scale))
        return queue.timing

    def serve(self, numbers: Int64Array | Sequence[int], now: int) -> int:
        """Hand a batch to the strategy: its unscaled service time, ns."""
        numbers = np.asarray(numbers, dtype=np.int64)
        if self._desk is not None:
            self._inference.strategy.on_fills(self._desk.confirmed(now))  # type: ignore[attr-defined]
        batch = self._batch(numbers)
        predictions, measured = self._predict(batch)
        self._predictions[numbers] = predictions
        count = len(numbers)
        server = self._server
        if server.latency.live:
            span = measured
        elif server.scale == 0:
            span = 0
        else:
            symbols = batch.symbol.tolist()
            composition = Composition(batch.symbol, pass_sizes(symbols, server.duplicates))
            u = self._draws[len(self._spans)] if server.latency.uses_draws else 0.0
            span = server.latency.service(composition, u)
        self._spans.append(span)
        self._sizes.append(count)
        if self._desk is not None:
            ended = now + round(span * server.scale)
            if ended <= self._end:
                self._desk.answered(numbers, predictions, now, ended)
        before = self._handed
        self._handed += count
        if self._handed // _TOLD > before // _TOLD:
            self._progress(self._handed)
        return span

    def _batch(self, numbers: Int64Array) -> EventBatch:
        first, last = int(numbers[0]), int(numbers[-1]) + 1
        # In arrival order, so a gapless stretch is a view.
        rows: Any = slice(first, last) if self._gapless(numbers, first, last) else numbers
        values: list[Any] = [None] * len(self._columns)
        for k, column in self._present:
            values[k] = column[rows]
        return EventBatch(*values)

    @staticmethod
    def _gapless(numbers: Int64Array, first: int, last: int) -> bool:
        return last - first == len(numbers) and bool((numbers[1:] > numbers[:-1]).all())

    def _predict(self, batch: EventBatch) -> tuple[Float32Array, int]:
        if self._session_of is not None:
            return self._predict_by_session(batch)
        begun = perf_counter_ns()
        predictions = self._inference.strategy.predict(batch)
        spent = perf_counter_ns() - begun
        return checked(self._inference, batch, predictions), spent

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


class LiveDesk:
    """Sends orders as answers become ready, and tells of fills when they are known.

    Orders of an instant are sent when it is over: only the newest answer of an instant trades.

    Args:
        ledger: the run as far as it is known: no timing, no answers.
        rules: of orders.
        forecast: the strategy's.
    """

    def __init__(
        self, ledger: Ledger, rules: OrderRules, forecast: Callable[[Float32Array], Float32Array]
    ) -> None:
        room = ledger.room or Room(len(ledger.events))
        self._ledger = ledger
        self._rules = rules
        self._forecast = forecast
        self._tradable = np.array([i.tradable for i in ledger.instruments])
        link, self._standing, mids = quote_chain(ledger, room)
        self._wanted: Int64Array = room.column(np.int64)
        timing = ledger.timing
        symbols = len(ledger.symbols)
        try:
            self._trader = Trader(
                ledger,
                rules,
                link,
                self._wanted,
                mids,
                np.empty(0, dtype=np.int64),
                np.zeros((symbols, 11), dtype=np.int64),
                np.zeros((0, 0, 9), dtype=np.int64),
            )
        except Uncompiled:
            raise UsageError(
                "fees in fractions of a billionth cannot be traded in a closed loop",
                place=f"strategy {type(forecast).__name__}",
                remedy="Round fee_per_lot in the dataset card to nine decimals.",
            ) from None
        self._begun, self._ended = timing.begun, timing.ended
        self._all_received = timing.received
        self._ready = NO_TIME
        self._newest: dict[int, tuple[int, float]] = {}
        self._unknown: list[tuple[int, int, Confirmation]] = []
        self._count = 0

    @property
    def received(self) -> Int64Array:
        """Receipts, to be set before the first answer."""
        return self._all_received

    @received.setter
    def received(self, received: Int64Array) -> None:
        self._all_received[:] = received

    def answered(
        self, numbers: Int64Array, predictions: Float32Array, begun: int, ended: int
    ) -> None:
        """A batch is ready at ``ended``, which never comes before an earlier one's."""
        if ended != self._ready:
            self._send()
            self._ready = ended
        self._begun[numbers] = begun
        self._ended[numbers] = ended
        symbols = self._ledger.events.symbol[numbers].tolist()
        forecasts = self._forecast(predictions).tolist()
        for symbol, number, forecast in zip(symbols, numbers.tolist(), forecasts, strict=True):
            newest = self._newest.get(symbol)
            if newest is None or newest[0] < number:
                self._newest[symbol] = number, forecast

    def confirmed(self, now: int) -> list[Confirmation]:
        """Fills that became known since they were last asked for, by when they did."""
        if self._ready < now:
            self._send()
        known = []
        while self._unknown and self._unknown[0][0] <= now:
            known.append(heappop(self._unknown)[2])
        return known

    def _send(self) -> None:
        chosen = list(self._newest.values())
        self._newest.clear()
        rows = np.array([number for number, _ in chosen], dtype=np.int64)
        forecast = np.array([forecast for _, forecast in chosen], dtype=np.float32)
        standing = self._standing[rows]
        symbols = self._ledger.events.symbol[rows]
        say = (standing >= 0) & (rows >= self._ledger.warmup) & self._tradable[symbols]
        rows, standing, forecast, symbols = (a[say] for a in (rows, standing, forecast, symbols))
        if not len(rows):
            return
        self._wanted[rows] = sized(self._ledger, self._rules, forecast, standing)
        self._trader.stand_at(symbols, standing)
        try:
            self._trader.run_at(rows)
        except Uncompiled:
            raise UsageError(
                "a fill is worth more than 64 bits of money units hold",
                place="closed loop",
                remedy="Choose larger lots in the dataset card, or a smaller position.",
            ) from None
        for fill in self._trader.confirmations(self._trader.fills):
            self._count += 1
            heappush(self._unknown, (fill.known, self._count, fill))
        self._trader.keep(self._trader.fills[:0])
