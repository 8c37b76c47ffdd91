"""Pass 3 of one run: answers become orders, fills and figures, while the events stream by again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from backtest.core.arrays import BoolArray, Float32Array, Int64Array
from backtest.core.rows import Rows
from backtest.inference.accuracy import AccuracyTally, OpinionTally, TargetTally
from backtest.inference.answering import RunAnswers
from backtest.inference.answers import Answers
from backtest.inference.bound_strategy import BoundStrategy
from backtest.market.events import EventBatch
from backtest.market.window import ColumnType, Window
from backtest.runs.depth_feed import DepthFeed
from backtest.runs.replay import EVENT_COLUMNS, Gaps, Progress, Replay
from backtest.runs.trader import Trader
from backtest.timing.outcomes import Status, Timing
from backtest.trading.accountant import SettledEvents, Settlement, TableSink
from backtest.trading.desk_venue import DeskVenue
from backtest.trading.fill_table import FillTable
from backtest.trading.orders import Confirmation
from backtest.trading.venue import Venue

_QUOTES = ("bid", "ask", "bid_size", "ask_size")


def answer_columns(outputs: int, targets: int, answers: RunAnswers | None) -> dict[str, ColumnType]:
    """Columns of the window that hold answers until the outcome of their events is final.

    Args:
        outputs: predictions an event.
        targets: true values an event; 0: none.
        answers: where they come from; those that are the run's own need no columns besides.
    """
    columns: dict[str, ColumnType] = {
        "predictions": (np.float32, outputs),
        "forecast": np.float32,
    }
    if answers is not None and answers.undropped not in (None, answers.answers):
        columns["undropped"] = np.float32
    if answers is not None and answers.reference not in (None, answers.answers):
        columns["reference"] = (np.float32, outputs)
        columns["reference_forecast"] = np.float32
    if targets:
        columns["targets"] = (np.float32, targets)
    return columns


class Interrupted(Exception):
    """The answers turned out not to be the run's own."""


class Settling:
    """Feeds a venue and a settlement from a replay.

    Args:
        replay: whose window has ``answer_columns``.
        bound: the strategy.
        answers: where answers come from; ``None`` where the window is given them otherwise.
        targets: true values in the events' order, or ``None``.
        target_names: names of the dataset's targets.
        warmup: events at the beginning that do not count.
        settlement: the accountant's.
        venue: where orders are filled, if anything is traded.
        bracket: other venues that are given the same answers, whose fills are not written.
        depth: gives the venues rows of depth, where the dataset has them.
        sink: takes the fills.
        write: given what is final before it is overwritten.
        gaps: where an answer may turn out to be wrong because an event before it has none.

    Attributes:
        trader: of a strategy that sends its own orders; to be set before ``run``.
    """

    def __init__(
        self,
        replay: Replay,
        bound: BoundStrategy,
        answers: RunAnswers | None,
        targets: Iterator[Float32Array] | None,
        *,
        target_names: Sequence[str] = (),
        warmup: int,
        settlement: Settlement,
        venue: Venue | None,
        bracket: Sequence[Venue] = (),
        depth: DepthFeed | None = None,
        sink: TableSink,
        write: Callable[[SettledEvents], None],
        gaps: Gaps | None = None,
    ) -> None:
        self._replay = replay
        self._window: Window = replay.window
        self._bound = bound
        self._answers = answers
        nothing = np.empty((0, len(target_names)), dtype=np.float32)
        self._targets = None if targets is None else Rows(targets, nothing)
        self._warmup = warmup
        self._settlement = settlement
        self._venue = venue
        self._venues = [*bracket, *([venue] if venue is not None else [])]
        self._depth = depth
        self._sink = sink
        self._fills: FillTable | None = None
        self._write = write
        self._gaps = gaps
        self.trader: Trader | None = None
        outputs = bound.strategy.outputs
        compared = answers is not None and answers.reference is not None
        self._opinions = OpinionTally() if bound.strategy.no_opinion else None
        self._against_reference = AccuracyTally(outputs) if compared else None
        self._errors = AccuracyTally(outputs) if len(target_names) == outputs else None
        self._against_targets = TargetTally(outputs, target_names) if target_names else None

    def run(self) -> None:
        """Go through all events.

        Raises:
            Interrupted: an event was answered after one of its line that was not.
        """
        venues = self._venues
        needs = (lambda: min(venue.needs for venue in venues)) if venues else None
        for progress in self._replay.run(self._appended, needs):
            self._settle(progress)
        for venue in venues:
            venue.finish()
            self._take_fills(venue)

    def confirmed(self, now: int) -> list[Confirmation]:
        """Fills that became known by ``now`` since this was last asked, by when they did.

        A closed loop asks before each batch, so everything is traded that was ready before.
        """
        venue = self._venue
        assert venue is not None
        self._trade(now)
        return venue.confirmed(now)

    def heard(self, now: int) -> Int64Array:
        """Reports that became known by ``now`` since this was last asked, [n, REPORT_SIZE]."""
        venue = self._venue
        assert isinstance(venue, DeskVenue)
        return venue.hear(now)

    def _trade(self, now: int) -> None:
        """Trade what has been answered, as far as it is ready before ``now``."""
        window = self._window
        numbers = self._replay.server.take_answered()
        for venue in self._venues:
            if len(numbers):
                venue.answer(numbers, window["forecast"][numbers - window.first])
            venue.advance(now)

    def accuracies(self) -> dict[str, Any]:
        """How far the run's answers lie from the reference, and from the targets.

        Where the strategy may have no opinion, also the share of answers that are none.
        """
        targets = None if self._against_targets is None else self._against_targets.figures()
        if targets is not None and self._errors is not None:
            targets = self._errors.figures() | targets
        found: dict[str, Any] = {
            "reference": self._against_reference and self._against_reference.figures(),
            "targets": targets,
        }
        return found if self._opinions is None else found | {"no_opinion": self._opinions.share}

    def _appended(self, events: EventBatch, rows: slice) -> None:
        """Put what is known of new events beside them, before they are served."""
        window = self._window
        if self._answers is not None:
            self._put_answers(self._answers, events, rows)
        if self._targets is not None:
            window["targets"][rows] = self._targets.take(len(events))
        for venue in self._venues:
            first = window.stop - len(events)
            venue.follow(first, window.stop, last=self._replay.complete)
        if self._depth is not None:
            self._depth.feed(window.stop, last=self._replay.complete)

    def _put_answers(self, answers: RunAnswers, events: EventBatch, rows: slice) -> None:
        window = self._window
        own = answers.answers.take(events)
        window["predictions"][rows] = own.predictions
        window["forecast"][rows] = own.forecast
        undropped = None
        if "undropped" in window and answers.undropped is not None:
            undropped = answers.undropped.take(events)
            window["undropped"][rows] = undropped.forecast
        if "reference" in window and answers.reference is not None:
            reference = undropped
            if reference is None or answers.reference is not answers.undropped:
                reference = answers.reference.take(events)
            window["reference"][rows] = reference.predictions
            window["reference_forecast"][rows] = reference.forecast

    def _settle(self, progress: Progress) -> None:
        rows = self._replay.rows(progress)
        settled = _settled_events(self._window, progress.first, rows)
        if self._gaps is not None:
            self._gaps.add(settled.events.symbol, settled.answered)
            if self._gaps.found:
                raise Interrupted
        if self.trader is not None:
            self.trader.settle()
        if self._venues:
            self._trade(self._replay.server.now)
        for venue in self._venues:
            forecast = settled.answers.forecast
            undropped: Float32Array | None = forecast  # the same array, where they are the same
            if "undropped" in self._window:
                undropped = self._window["undropped"][rows]
            venue.settle(progress.first, progress.stop, forecast, undropped)
            self._take_fills(venue)
        if self._depth is not None:
            self._depth.release()
        self._settlement.add(settled)
        self._compare(settled, rows)
        self._write(settled)

    def _take_fills(self, venue: Venue) -> None:
        """Take the fills and reports that are final, and write those of the run's own venue."""
        fills, log, first = venue.take_fills(), venue.take_log(), self._fills is None
        breaches, limits = venue.take_breaches(), venue.terms.limits
        if venue is not self._venue:
            return
        if self._fills is None:
            self._fills = FillTable(
                venue.terms.symbols, venue.terms.instruments, rests=venue.terms.names_orders
            )
        if fills.shape[1] or first:  # even without a row the table is written
            self._sink.write("fills", self._fills.rows(fills))
        if log is not None and (len(log) or first):
            self._sink.write("orders", self._fills.reports(log))
        if limits is not None and (len(breaches) or first):
            self._sink.write("breaches", self._fills.breaches(breaches, limits.names))

    def _compare(self, settled: SettledEvents, rows: slice) -> None:
        """Add the answers after the warm-up to the accuracies, but those without an opinion."""
        counted: BoolArray = settled.answered
        if settled.first < self._warmup:
            counted = counted.copy()
            counted[: self._warmup - settled.first] = False
        if self._opinions is not None:
            self._opinions.add(settled.answers.forecast[counted])
            counted = counted & ~np.isnan(settled.answers.forecast)
        if self._against_reference is None and self._against_targets is None:
            return
        window, answers = self._window, settled.answers
        if self._against_reference is not None and "reference" in window:
            forecast = window["reference_forecast"][rows]
            both = _rows_of(counted & ~np.isnan(forecast))
            own = Answers(answers.predictions[both], answers.forecast[both])
            self._against_reference.add(own, window["reference"][rows][both], forecast[both])
        chosen = _rows_of(counted)
        if self._against_reference is not None and "reference" not in window:
            self._against_reference.add_same(answers.forecast[chosen])
        if self._against_targets is not None:
            own = Answers(answers.predictions[chosen], answers.forecast[chosen])
            targets = window["targets"][rows][chosen]
            self._against_targets.add(own, targets)
            if self._errors is not None:
                self._errors.add(own, targets, self._bound.strategy.forecast(targets))


def _rows_of(chosen: BoolArray) -> Any:
    """Rows as numpy takes them without a copy if they are all."""
    return slice(None) if chosen.all() else chosen


def event_columns(*, quotes: bool) -> Mapping[str, ColumnType]:
    """Columns of events that pass 3 reads."""
    names = ("ts_event", *(_QUOTES if quotes else ()))
    return {name: EVENT_COLUMNS[name] for name in names}


def _settled_events(window: Window, first: int, rows: slice) -> SettledEvents:
    """Views of some rows of a window."""

    def column(name: str) -> Any:
        return window[name][rows] if name in window else None

    events = EventBatch(
        column("symbol"), column("ts_event"), **{name: column(name) for name in _QUOTES}
    )
    timing = Timing(*(column(n) for n in ("received", "begun", "ended", "status", "batch")))
    answers = Answers(column("predictions"), column("forecast"))
    answered = timing.status == Status.ANSWERED
    return SettledEvents(first, events, timing, answered, answers, column("targets"))
