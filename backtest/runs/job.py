"""One run while it is carried out: its passes in their order, and what each hands to the next."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backtest.core.arrays import Float32Array, Int64Array
from backtest.core.parts import Parts
from backtest.core.spool import Spool
from backtest.data.reading.stream import Stream
from backtest.errors import UsageError
from backtest.inference.answering import Answering, RunAnswers, Served
from backtest.inference.answers import SpooledAnswers
from backtest.inference.prediction import session_numbers
from backtest.inference.prediction_store import PredictionStore
from backtest.runs.closed_loop import LiveStrategy, Rows, loop_columns, why_closed
from backtest.runs.limit_terms import limits_of
from backtest.runs.replay import EVENT_COLUMNS, Gaps, Replay, ServedTally
from backtest.runs.scenario import Scenario
from backtest.runs.settling import Interrupted, Settling, answer_columns, event_columns
from backtest.runs.trader import Trader
from backtest.runs.venues import depth_feed, order_metrics, order_terms, venue_columns, venues
from backtest.strategies.reacting import reacts, timer_of
from backtest.timing.latency import (
    LatencyModel,
    OrderMessage,
    RecordedService,
    message_latency,
)
from backtest.trading.accountant import Account, RunTerms, SettledEvents
from backtest.trading.depth_window import DepthWindow
from backtest.trading.desk_venue import DeskVenue
from backtest.trading.fill_table import instrument_table
from backtest.trading.orders import Latency, OrderRules
from backtest.trading.terms import ClosingQuotes, Terms
from backtest.trading.venue import Venue

if TYPE_CHECKING:
    from backtest.runs.writer import OpenRun

StageProgress = Callable[[str, int, int], None]
"""Called with the stage that a run is in, and how much of how much of it is done."""


class Job:
    """One run.

    Args:
        scenario: what is run.
        plugins: where the strategy that judges the answers comes from.
        predictions: folder of the stored predictions.
        reuse: take stored predictions where they exist.
        progress: called as it goes on.

    Attributes:
        stream: the events of its window.
        end: when the window ends, ns.
        answering: its pass 2.
        why: why its passes cannot be separate; ``None``: they can.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        plugins: Parts,
        predictions: Path,
        reuse: bool,
        progress: StageProgress,
    ) -> None:
        config, bound = scenario.config, scenario.bound
        self._scenario = scenario
        self._bound = bound
        self._dataset = scenario.dataset
        self._predictions = predictions
        self._progress = progress
        self.stream: Stream = scenario.stream
        # Without an end of its own the window closes right after the last event that is taken.
        asked = config.window.end
        after = self.stream.extent.last + 1
        self.end = after if asked is None or config.limit is not None else asked
        self.why = why_closed(scenario.service, bound.strategy, config.latency.scale)
        # What a strategy that reacts would have answered to other fills, nobody knows.
        self._reacts = reacts(bound.strategy)
        self.answering = Answering(
            bound,
            self.stream,
            undropped=config.undropped and not self._reacts,
            plugins=plugins,
            store=PredictionStore(predictions),
            reuse=reuse,
            progress=progress,
        )

    def plan(self) -> None:
        """Note which predictions it needs, as far as that is known beforehand."""
        if self.why is None:
            self.answering.plan(self._served() if self.answering.needs_timing else None)

    def carry_out(self, opened: OpenRun) -> tuple[Account, dict[str, Any]]:
        """Make all passes: the account, and the metrics of the run."""
        # Before anything is computed: whether these latencies can be known at all.
        orders = self._latency("entry"), self._latency("response")
        rules = self._scenario.server
        answers: RunAnswers | None = None
        if self.why is None:
            in_full = self.answering.in_full()
            if in_full is not None:
                try:
                    with in_full:
                        return self._settle(opened, rules, in_full, orders, gaps=Gaps(self._lines))
                except Interrupted:
                    opened.begin_anew()
                    self.answering.notes.clear()
            answers = self.answering.answers(
                self._served() if self.answering.needs_timing else None
            )
        else:
            self.answering.notes["answers"] = {"key": None, "reused": False}
            if not self._reacts:
                answers, spans = self._measure(opened)
                # Given the service times, the other passes are those of any other run.
                service = RecordedService(spans, rules.latency.max_batch)
                rules = replace(rules, latency=service, duplicates="packed")
        with nullcontext() if answers is None else answers:
            return self._settle(opened, rules, answers, orders)

    def _served(self) -> Served:
        """Pass 1 by itself, for what pass 2 has to know of it."""
        replay, tally = self._replay(), self._served_tally()
        for progress in replay.run():
            tally.add(replay, progress)
            self._progress("time", progress.stop, self.stream.count)
        return tally.served()

    def _served_tally(self) -> ServedTally:
        batches = not self._bound.strategy.batch_invariant
        return ServedTally(self.stream.count, self._lines, batches=batches)

    @property
    def _lines(self) -> int:
        """Lines of events each of which decides on the answers to those after it."""
        return len(self._dataset.symbols) if self._bound.strategy.scope == "symbol" else 1

    def _replay(self, **options: Any) -> Replay:
        return Replay(
            self.stream,
            options.pop("rules", self._scenario.server),
            self._scenario.feed,
            symbols=len(self._dataset.symbols),
            end=self.end,
            **options,
        )

    def _measure(self, opened: OpenRun) -> tuple[RunAnswers, Int64Array]:
        """Pass 1 and 2 interleaved: the answers, and unscaled service times, int64 ns [batches]."""
        bound, count = self._bound, self.stream.count
        replay = self._replay(
            columns=self._loop_columns(), features=bound.strategy.needs_features, live=True
        )
        live = replay.live = self._live(replay)
        spool = Spool(self._predictions, count, bound.strategy.outputs)
        tally = self._served_tally()
        try:
            for progress in replay.run():
                live.check()
                spool.write(progress.first, replay.window["predictions"][replay.rows(progress)])
                tally.add(replay, progress)
                self._progress("loop", progress.stop, count)
            opened.tables.write("service", live.table())
        except BaseException:
            spool.close()
            raise
        answers = self.answering.compared_with(SpooledAnswers(bound, spool), tally.served())
        return answers, live.spans

    def _live(self, replay: Replay, **hooks: Any) -> LiveStrategy:
        dataset = self._dataset
        breaks = dataset.sessions is not None and dataset.session_breaks == "reset"
        session_of = partial(session_numbers, dataset) if breaks else None
        return LiveStrategy(
            self._bound, self._scenario.server, replay.window, session_of=session_of, **hooks
        )

    def _loop_columns(self) -> dict[str, Any]:
        layout = self._dataset.layout
        present = [name for name in EVENT_COLUMNS if layout.has(name)]
        return loop_columns(self._bound, present)

    def _settle(
        self,
        opened: OpenRun,
        rules: Any,
        answers: RunAnswers | None,
        orders: tuple[Latency, Latency],
        gaps: Gaps | None = None,
    ) -> tuple[Account, dict[str, Any]]:
        """Pass 3 beside pass 1, which is made again; or a closed loop that reacts to its fills."""
        scenario, dataset, strategy = self._scenario, self._dataset, self._bound.strategy
        compared = answers is not None and answers.reference is not None
        targets = len(dataset.targets)
        sessions = _hours(dataset)
        order_rules = scenario.accountant.order_rules(sessions, self.end)
        limited = "limits" in scenario.resolved
        if order_rules is None and (self._reacts or scenario.rests or limited):
            raise UsageError(
                "the strategy reacts to its fills, but the accountant makes none"
                if self._reacts
                else "orders are to rest, but the accountant makes none"
                if scenario.rests
                else "limits are set, but the accountant trades nothing",
                place=f"accountant {scenario.resolved['accountant']['name']!r}",
                remedy="Choose the accountant market.",
            )
        columns = answer_columns(strategy.outputs, targets, answers)
        columns |= event_columns(quotes=dataset.has_quotes)
        if order_rules is not None:
            columns |= venue_columns(scenario)
        columns |= self._loop_columns() if self._reacts else {}
        replay = self._replay(
            rules=rules,
            columns=columns,
            features=self._reacts and strategy.needs_features,
            live=self._reacts,
        )
        terms = RunTerms(
            symbols=dataset.symbols,
            instruments=dataset.instruments,
            sessions=sessions,
            warmup=scenario.config.warmup,
            start=self.stream.extent.first,
            end=self.end,
            outputs=strategy.outputs,
            targets=targets,
            has_sizes=dataset.layout.has("bid_size"),
            sink=opened.tables,
        )
        venue: Venue | None = None
        bracket: dict[str, Venue] = {}
        depth: DepthWindow | None = None
        if scenario.rests and dataset.has_depth:
            depth = DepthWindow(len(terms.symbols), orders=dataset.depth_orders)
        if order_rules is not None:
            venue_terms = self._venue_terms(terms, order_rules, orders, compared)
            venue, bracket = venues(replay.window, venue_terms, depth)
            traded = instrument_table(terms.symbols, terms.instruments)
            opened.tables.write("instruments", traded)
        settlement = scenario.accountant.open(replace(terms, venue=venue))
        settling = Settling(
            replay,
            self._bound,
            answers,
            self.stream.targets() if targets else None,
            target_names=dataset.targets,
            warmup=terms.warmup,
            settlement=settlement,
            venue=venue,
            bracket=[*bracket.values()],
            depth=depth_feed(self.stream, depth, [*bracket.values(), *([venue] if venue else [])]),
            sink=opened.tables,
            write=partial(self._write, opened),
            gaps=gaps,
        )
        live = None
        if self._reacts:
            if isinstance(venue, DeskVenue):
                settling.trader = self._trader(replay, venue, settling)
            live = replay.live = self._reacting(replay, settling)
        settling.run()
        if live is not None:
            opened.tables.write("service", live.table())
        account = settlement.finish()
        metrics = {
            "timing": opened.timing_metrics(),
            "accuracy": settling.accuracies(),
            "account": dict(account.metrics),
        }
        if venue is not None and venue.terms.limits is not None:
            metrics["limits"] = venue.limit_figures()
        if scenario.rests:
            assert venue is not None
            open_ns = dataset.hours.span(terms.start, self.end)
            metrics["orders"] = order_metrics(venue, bracket, open_ns)
        if settling.trader is not None:
            metrics["decisions"] = settling.trader.figures()
        return account, metrics

    def _venue_terms(
        self, run: RunTerms, rules: OrderRules, orders: tuple[Latency, Latency], ideal: bool
    ) -> Terms:
        closing, hours = ClosingQuotes(len(run.symbols), rules), self._dataset.hours
        ends = self._scenario.accountant.bucket_ends(run.start, run.end, hours)
        self.stream.look_back(closing.look_back)
        sizing = self._scenario.sizing
        if sizing is not None:
            sizing.bind(run.instruments)
        return Terms(
            symbols=run.symbols,
            instruments=run.instruments,
            rules=rules,
            sizing=sizing,
            entry=orders[0],
            response=orders[1],
            warmup=run.warmup,
            ends=ends,
            spans=None if hours.always else hours.spans(run.start, ends),
            closing=closing,
            ideal=ideal and not self._scenario.rests and not self._scenario.holds_portfolio,
            reports=self._reacts,
            orders=order_terms(self._scenario, run, self._latency),
            limits=limits_of(
                self._scenario.config.limits, run.symbols, run.instruments, hours, run.start,
                run.end,
            ),
        )  # fmt: skip

    def _reacting(self, replay: Replay, settling: Settling) -> LiveStrategy:
        """The strategy of a closed loop that hears of its fills before each batch."""
        bound, trader = self._bound, settling.trader

        def before(now: int) -> None:
            reacting: Any = live.strategy
            reacting.on_fills(settling.confirmed(now))

        def predicted(rows: Rows, predictions: Float32Array) -> None:
            replay.window["forecast"][rows] = bound.forecast(predictions)

        live = self._live(
            replay, before=None if trader else before, predicted=predicted, trader=trader
        )
        return live

    def _trader(self, replay: Replay, venue: DeskVenue, settling: Settling) -> Trader:
        """The desk of a strategy that sends its own orders."""
        config, strategy = self._scenario.config, self._bound.strategy
        start = config.window.start
        return Trader(
            self._bound,
            replay.server,
            replay.window,
            venue,
            settling.heard,
            warmup=config.warmup,
            end=self.end,
            timer=timer_of(strategy, f"strategy {self._bound.name!r}"),
            start=self.stream.extent.first if start is None else start,
        )

    def _write(self, opened: OpenRun, settled: SettledEvents) -> None:
        opened.write_events(settled)
        self._progress("charge", settled.first + len(settled), self.stream.count)

    def _latency(self, stream: OrderMessage) -> Latency:
        config = self._scenario.config
        model: LatencyModel = getattr(self._scenario, stream)
        return message_latency(model, config.seed, stream, config.latency.scale)


def _hours(dataset: Any) -> list[tuple[int, int]] | None:
    """Trading hours [open, close), ns."""
    if dataset.sessions is None:
        return None
    return [(int(opens), int(closes)) for opens, closes in dataset.sessions]
