"""The closed loop: server and strategy interleaved batch by batch, in virtual time.

Two things need it: service times measured on the running model, and strategies that react to their
own fills or send their own orders. Everything else is faster, and the same, in three passes.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from backtest.core.arrays import Float32Array, Int64Array
from backtest.errors import RunError
from backtest.inference.bound_strategy import BoundStrategy
from backtest.market.events import COLUMNS, EventBatch, locked
from backtest.market.window import ColumnType, Window
from backtest.runs.replay import EVENT_COLUMNS
from backtest.runs.trader import Trader
from backtest.strategies.reacting import decides, reacts
from backtest.timing.draws import Draws
from backtest.timing.latency import Composition, LatencyModel, pass_sizes, scaled_span, service_time
from backtest.timing.server import Batch
from backtest.timing.server_rules import ServerRules

if TYPE_CHECKING:
    import pyarrow as pa

_FLOAT32 = np.dtype(np.float32)

Rows: TypeAlias = slice | Int64Array
"""Rows of a window: a slice where they follow each other without a gap."""


def why_closed(service: LatencyModel, strategy: Any, scale: float) -> str | None:
    """Why a run cannot be done in three passes; ``None`` where it can."""
    if decides(strategy):
        return "the strategy sends its own orders"
    if reacts(strategy):
        return "the strategy reacts to its fills"
    if service.live and scale != 0:
        return "service times are measured on the running model"
    return None


def loop_columns(bound: BoundStrategy, events: Sequence[str]) -> dict[str, ColumnType]:
    """Columns of the window that a closed loop reads and writes.

    Args:
        bound: the strategy.
        events: columns that the dataset has, by their names in ``EventBatch``.
    """
    columns = {name: EVENT_COLUMNS[name] for name in events}
    if bound.strategy.needs_features:
        columns["features"] = (np.float32, len(bound.session.features))
    return columns | {"predictions": (np.float32, bound.strategy.outputs)}


class LiveStrategy:
    """Serves the batches of a closed loop by a bound strategy, which is restarted first.

    Args:
        bound: the strategy.
        rules: of the server.
        window: where the events lie, and their predictions go; it has ``loop_columns``.
        session_of: session of each instant, ns [n] to int64 [n], where state is reset at breaks.
        before: called with the instant of each batch before the strategy is.
        predicted: called with each batch's rows and predictions once they are known.
        trader: tells the strategy of its reports before each batch, and sends what it decides.

    Attributes:
        strategy: the strategy as it is called.

    Raises:
        RunError: state must be reset at breaks, and the strategy cannot.
    """

    def __init__(
        self,
        bound: BoundStrategy,
        rules: ServerRules,
        window: Window,
        *,
        session_of: Callable[[Int64Array], Int64Array] | None = None,
        before: Callable[[int], None] | None = None,
        predicted: Callable[[Rows, Float32Array], None] | None = None,
        trader: Trader | None = None,
    ) -> None:
        if session_of is not None and not bound.resets:
            raise RunError(
                "its state must be reset at session breaks, symbol by symbol",
                place=f"strategy {bound.name!r}",
                remedy='Implement reset, or set session_breaks = "carry" in the dataset card.',
            )
        bound = bound.restarted()
        self._bound = bound
        self._rules = rules
        self._window = window
        self._session_of = session_of
        self._before = before
        self._predicted = predicted
        self._trader = trader
        self.strategy = bound.strategy
        self._outputs = bound.strategy.outputs
        self._live = rules.latency.live
        self._draws = Draws(rules.seed, "service")
        symbols = len(bound.session.symbols)
        self._sessions = np.full(symbols, -1, dtype=np.int64)
        self._slides = -1
        self._columns: list[Any] = []
        self._unchecked: list[Rows] = []
        self._sizes, self._spans = array("q"), array("q")

    def __call__(self, batch: Batch) -> int:
        """Hand a batch or a timer to the strategy: its scaled service time, ns."""
        if self._before is not None:
            self._before(batch.now)
        trader = self._trader
        spent = 0 if trader is None else trader.report(self.strategy, batch.now)
        rows = self._rows(batch)
        events = self._batch(rows)
        span = self._predict(rows, events) if batch.size else 0
        if trader is not None:
            spent += trader.decide(self.strategy, batch, events)
        span = span + spent if self._live else self._asked(events)
        self._sizes.append(batch.size)
        self._spans.append(span)
        span = scaled_span(span, self._rules.scale)
        if trader is not None:
            trader.send(batch, span)
        return span

    def _predict(self, rows: Rows, events: EventBatch) -> int:
        """Have a batch answered: the time that the strategy takes over it, ns."""
        if self._session_of is None:
            begun = perf_counter_ns()
            predictions = self.strategy.predict(events)
            span = perf_counter_ns() - begun
        else:
            predictions, span = self._predict_by_session(events)
        count = len(events)
        if (
            type(predictions) is not np.ndarray
            or predictions.shape != (count, self._outputs)
            or predictions.dtype != _FLOAT32
        ):
            self._bound.checked(events, predictions)
        self._predictions[rows] = predictions
        self._unchecked.append(rows)
        if self._predicted is not None:
            self.check()
            self._predicted(rows, predictions)
        return span

    def check(self) -> None:
        """Check that what was predicted since the last check is what the strategy may predict.

        For every batch by itself it would take as long as a small strategy does, so whoever does
        not use predictions at once asks for it after each piece of events.

        Raises:
            RunError: it is not.
        """
        stretches = [rows for rows in self._unchecked if isinstance(rows, slice)]
        some = [self._predictions[rows] for rows in self._unchecked if not isinstance(rows, slice)]
        if stretches:
            # What lies between two batches has been checked before, or is that of an older event.
            first = min(rows.start for rows in stretches)
            some.append(self._predictions[first : max(rows.stop for rows in stretches)])
        if any(self._bound.unusable(predictions).any() for predictions in some):
            for rows in self._unchecked:
                self._bound.checked(self._batch(rows), self._predictions[rows])
        self._unchecked.clear()

    @property
    def spans(self) -> Int64Array:
        """Unscaled service time of each batch so far, int64 ns [batches]."""
        return np.array(self._spans, dtype=np.int64)

    def table(self) -> pa.Table:
        """A row for each batch: its size, and how long it was served, unscaled ns; a timer's size
        is 0."""
        import pyarrow as pa

        sizes = np.array(self._sizes, dtype=np.int64)
        return pa.table({"size": pa.array(sizes), "service_ns": pa.array(self.spans)})

    def _rows(self, batch: Batch) -> Rows:
        first = self._window.first
        if not batch.size:
            return slice(0, 0)
        if batch.first < 0:
            return batch.events - first
        return slice(batch.first - first, batch.first - first + batch.size)

    def _batch(self, rows: Rows) -> EventBatch:
        window = self._window
        if self._slides != window.slides:
            self._slides = window.slides
            self._predictions = window["predictions"]
            self._columns = [locked(window[name]) if name in window else None for name in COLUMNS]
        columns: Any = [None if column is None else column[rows] for column in self._columns]
        return EventBatch(*columns)

    def _asked(self, events: EventBatch) -> int:
        """What the latency model says of a batch, unscaled ns."""
        rules = self._rules
        if rules.scale == 0:
            return 0
        # A timer takes what a batch of one event takes.
        symbols = events.symbol if len(events) else np.zeros(1, dtype=np.int32)
        composition = Composition(symbols, pass_sizes(symbols.tolist(), rules.duplicates))
        u = self._draws[len(self._spans)] if rules.latency.uses_draws else 0.0
        return service_time(rules.latency, composition, u)

    def _predict_by_session(self, batch: EventBatch) -> tuple[Float32Array, int]:
        """The same where a symbol's state is reset before its first event of a session."""
        assert self._session_of is not None
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
                self.strategy.reset([reset])
                continue
            part = batch.select(rows)
            begun = perf_counter_ns()
            predictions = self.strategy.predict(part)
            spent += perf_counter_ns() - begun
            found.append(self._bound.checked(part, predictions))
        return np.concatenate(found), spent
