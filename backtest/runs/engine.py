"""One backtest in three passes: time, then think, then charge.

When an answer is ready depends on arrivals, batching and service times, never on what is predicted;
what is predicted depends on which events were answered, never on when. So the simulated server runs
first without the model, then the model runs as fast as the device can, then the accountant settles.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from backtest.core.arrays import Float32Array, Int64Array, chunks
from backtest.core.compiled import COMPILED_FROM
from backtest.core.parameters import as_table, as_text
from backtest.core.parts import Kind, Parts
from backtest.core.room import RELEASE, Room
from backtest.data.dataset import Dataset, open_dataset
from backtest.data.reading.bus import EventBus, read_targets
from backtest.errors import UsageError
from backtest.inference.accuracy import accuracy
from backtest.inference.answering import Thinking
from backtest.inference.answers import Answers
from backtest.inference.bound_strategy import Inference, bind
from backtest.inference.prediction import session_numbers
from backtest.inference.prediction_store import PredictionStore
from backtest.market.events import EventBatch
from backtest.plugins.accountants.market import MarketAccountant
from backtest.runs.closed_loop import ClosedLoop, Loop, why_closed
from backtest.runs.folder import MANIFEST, Run, RunWriter, identify
from backtest.runs.run_config import RunConfig
from backtest.strategies.base import Session
from backtest.timing.latency import LatencyModel, messages, scaled
from backtest.timing.metrics import timing_metrics
from backtest.timing.outcomes import Timing
from backtest.timing.policies import BatchingPolicy
from backtest.timing.server import InferenceServer
from backtest.timing.simulation import Settled, simulate
from backtest.trading.accountant import Accountant, Ledger, TableSink
from backtest.trading.live_desk import LiveDesk
from backtest.trading.sizing import SizingRule

Progress = Callable[[str, int, int], None]
"""Told what is being done, and how much of how much is done."""


def silent(stage: str, done: int, total: int) -> None:
    """A progress report that goes nowhere."""


_TIMING = (np.int64, np.int64, np.int64, np.uint8, np.int64)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A configuration with every part of it made."""

    config: RunConfig
    dataset: Dataset
    inference: Inference
    policy: BatchingPolicy
    service: LatencyModel
    feed: LatencyModel
    entry: LatencyModel
    response: LatencyModel
    accountant: Accountant
    sizing: SizingRule
    resolved: dict[str, Any]
    labels: dict[str, str]

    @property
    def selection(self) -> dict[str, Any]:
        """Which events of the dataset it is about, as the bus takes it."""
        window = self.config.window
        return {"start": window.start, "end": window.end, "symbols": self.config.symbols}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do.

    Attributes:
        run_id: the run's id.
        finished: whether it stands there already; nothing more is known of it then.
        events: events of its window.
        predictions: what pass 2 needs, by role, as the manifest says it; ``reused`` is whether
            the store has it.
    """

    run_id: str
    finished: bool
    events: int
    predictions: dict[str, Any]


def resolve(config: RunConfig, plugins: Parts) -> Scenario:
    """Make every part of a run: open its dataset, load its strategy.

    Raises:
        BacktestError: something asked for does not exist or does not fit.
    """
    dataset = open_dataset(config.dataset)
    feed = config.latency.feed or ("recorded" if dataset.layout.has("ts_recv") else "constant:0ns")
    session = Session(
        dataset.symbols, dataset.features, config.device, config.capacity, config.seed
    )
    parts: dict[str, tuple[Kind, Any]] = {
        "policy": ("batching policy", config.policy),
        "service": ("latency model", config.latency.service),
        "feed": ("latency model", feed),
        "entry": ("latency model", config.latency.entry),
        "response": ("latency model", config.latency.response),
        "accountant": ("accountant", config.accountant),
        "sizing": ("sizing rule", config.sizing),
    }
    made = {place: plugins.create(kind, part, place=place) for place, (kind, part) in parts.items()}
    _check_data(made["accountant"], _name(config.accountant), dataset)
    inference = bind(plugins, config.strategy, session, dataset)
    tables = {place: as_table(made[place], _name(part)) for place, (_, part) in parts.items()}
    resolved = config.model_dump() | {
        "strategy": inference.table,
        "policy": tables["policy"],
        "accountant": tables["accountant"],
        "sizing": tables["sizing"],
        "latency": {k: tables[k] for k in ("service", "feed", "entry", "response")}
        | {"scale": config.latency.scale},
    }
    labels = {place: as_text(made[place], _name(part)) for place, (_, part) in parts.items()}
    labels["strategy"] = as_text(inference.strategy, inference.table["name"])
    return Scenario(config, dataset, inference, **made, resolved=resolved, labels=labels)


@dataclass(frozen=True, slots=True)
class Engine:
    """Runs scenarios.

    Attributes:
        plugins: where parts come from.
        runs: folder of run folders; predictions are stored beside them.
        reuse: take finished runs and stored predictions where they exist.
        progress: told what is being done.
    """

    plugins: Parts
    runs: Path
    reuse: bool = True
    progress: Progress = silent

    def run(self, config: RunConfig) -> Run:
        """Run one scenario, or return its finished run.

        Raises:
            BacktestError: it cannot be run; at most a checkpoint of its answers is left behind.
        """
        began = perf_counter()
        scenario = resolve(config, self.plugins)
        run_id, inputs = identify(scenario, self.plugins)
        folder = self.runs / run_id
        if self.reuse and (folder / MANIFEST).exists():
            return Run(folder, reused=True)
        events, room = self.events(scenario)
        hook = self.plugins.hook
        hook.backtest_run_started(run_id=run_id, config=scenario.resolved)
        thinking = self._thinking(scenario, run_id, events, room)
        end = _end(config, events)
        # Before anything is computed: whether they can be known at all.
        delays = (
            _messages(scenario.entry, config, "entry", room),
            _messages(scenario.response, config, "response", room),
        )
        strategy = scenario.inference.strategy
        why = why_closed(scenario.service, strategy, config.latency.scale)
        loop: Loop | None = None
        undropped, reference = None, None
        with RunWriter(folder, run_id, scenario, inputs).writing(room) as opened:
            if why is None:
                write = partial(opened.write_timing, events)
                timing = self._time(scenario, events, end, room, write)
                answers = thinking.answers(timing)
            else:
                loop = self._closed(scenario, events, end, delays, room)
                timing, answers = loop.timing, loop.answers
                thinking.notes["answers"] = {"key": None, "reused": False}
                opened.tables.write("service", loop.frame())
                for first, last in chunks(len(events)):
                    opened.write_timing(events, timing, slice(first, last))
            opened.write_answers(answers)
            # What a strategy that reacts would have answered to other fills, nobody knows.
            if scenario.config.undropped and not hasattr(strategy, "on_fills"):
                reference = thinking.reference(answers)
                undropped = thinking.undropped(answers, reference)
            sink = opened.tables if len(events) >= COMPILED_FROM else None
            ledger = self._ledger(
                scenario, events, timing, answers, undropped, end, delays, room, sink
            )
            self.progress("charge", 0, len(events))
            account = scenario.accountant.account(ledger)
            accuracies = {
                "reference": reference
                and accuracy(
                    answers, reference.predictions, reference.forecast, config.warmup, room
                ),
                "targets": self._accuracy_on_targets(scenario, ledger),
            }
            opened.tables.finish()  # the tally is made as the timing is written
            metrics = {
                "timing": timing_metrics(timing, events.ts_event, opened.tally),
                "accuracy": accuracies,
                "account": dict(account.metrics),
            }
            run = opened.finish(
                account=account,
                metrics=metrics,
                predictions=thinking.notes,
                loop={"kind": "closed", "why": why} if why else {"kind": "three passes"},
                span=(int(events.ts_event[0]), int(events.ts_event[-1])),
                seconds=perf_counter() - began,
            )
        self.progress("charge", len(events), len(events))
        hook.backtest_run_finished(run_id=run_id, folder=run.folder, metrics=metrics)
        return run

    def _ledger(
        self,
        scenario: Scenario,
        events: EventBatch,
        timing: Timing,
        answers: Answers,
        undropped: Answers | None,
        end: int,
        delays: tuple[Int64Array, Int64Array],
        room: Room,
        sink: TableSink | None,
    ) -> Ledger:
        config, count = scenario.config, len(events)
        sessions = scenario.dataset.sessions
        return Ledger(
            symbols=scenario.dataset.symbols,
            instruments=scenario.dataset.instruments,
            events=events,
            timing=timing,
            answers=answers,
            undropped=undropped,
            targets=self._targets(scenario, count),
            sizing=scenario.sizing,
            entry=delays[0],
            response=delays[1],
            sessions=None if sessions is None else [(int(a), int(b)) for a, b in sessions],
            warmup=config.warmup,
            end=end,
            room=room,
            sink=sink,
            progress=lambda done: self.progress("charge", done, count),
        )

    def plan(self, config: RunConfig) -> Plan:
        """What running one scenario would do; of the three passes only the first is made.

        Raises:
            BacktestError: it cannot be run.
        """
        scenario = resolve(config, self.plugins)
        run_id, _ = identify(scenario, self.plugins)
        if self.reuse and (self.runs / run_id / MANIFEST).exists():
            return Plan(run_id, True, 0, {})
        events, room = self.events(scenario)
        strategy = scenario.inference.strategy
        if why_closed(scenario.service, strategy, config.latency.scale) is not None:
            return Plan(run_id, False, len(events), {})
        thinking = self._thinking(scenario, run_id, events, room, dry=True)
        answers = thinking.answers(self._time(scenario, events, _end(config, events), room))
        if config.undropped:
            thinking.undropped(answers, thinking.reference(answers))
        return Plan(run_id, False, len(events), thinking.notes)

    def events(self, scenario: Scenario) -> tuple[EventBatch, Room]:
        """The window's events without features, and a room of their number, which keeps them."""
        config = scenario.config
        bus = EventBus(scenario.dataset, features=False, **scenario.selection)
        events, collecting = collected(bus, self.runs, config.limit)
        if events is None:
            raise UsageError(
                "no event lies in the window",
                place=f"dataset {scenario.dataset.name!r}",
                remedy="`backtest data describe` shows the dataset's span.",
            )
        room = Room(len(events), self.runs)
        room.adopt(collecting)
        return events, room

    def _thinking(
        self, scenario: Scenario, run_id: str, events: EventBatch, room: Room, *, dry: bool = False
    ) -> Thinking:
        def told(role: str, done: int, total: int) -> None:
            self.progress(role, done, total)
            if role == "answers":
                self.plugins.hook.backtest_batch_done(run_id=run_id, answered=done, total=total)

        return Thinking(
            scenario,
            events,
            room,
            plugins=self.plugins,
            store=PredictionStore(self.runs / "predictions"),
            reuse=self.reuse,
            dry=dry,
            told=told,
        )

    def _closed(
        self,
        scenario: Scenario,
        events: EventBatch,
        end: int,
        delays: tuple[Int64Array, Int64Array],
        room: Room,
    ) -> Loop:
        config, count, dataset = scenario.config, len(events), scenario.dataset
        strategy = scenario.inference.strategy
        desk = None
        if hasattr(strategy, "on_fills"):
            unknown = [room.column(kind) for kind in _TIMING]
            nothing = Answers(*(np.empty(0) for _ in range(3)))  # type: ignore[arg-type]
            ledger = self._ledger(
                scenario, events, Timing(*unknown), nothing, None, end, delays, room, None
            )
            accountant = scenario.accountant
            if not isinstance(accountant, MarketAccountant):
                raise UsageError(
                    "the strategy reacts to its fills, but the accountant makes none",
                    place=f"accountant {_name(config.accountant)!r}",
                    remedy="Choose the accountant market.",
                )
            rules = accountant.rules(ledger.sessions, end)
            desk = LiveDesk(ledger, rules, scenario.inference)
        if strategy.needs_features:
            bus = EventBus(dataset, features=True, nonfinite=config.nonfinite, **scenario.selection)
            featured, other = collected(bus, self.runs, config.limit)
            events = featured or events
            room.adopt(other)
        breaks = dataset.sessions is not None and dataset.session_breaks == "reset"
        closed = ClosedLoop(
            self.server(scenario),
            scenario.inference,
            events,
            scenario.feed,
            end=end,
            room=room,
            session_of=(lambda ts: session_numbers(dataset, ts)) if breaks else None,
            desk=desk,
            progress=lambda done: self.progress("loop", done, count),
        )
        self.progress("loop", 0, count)
        done = closed.run()
        self.progress("loop", count, count)
        return done

    def server(self, scenario: Scenario) -> InferenceServer:
        """The scenario's simulated server."""
        config = scenario.config
        return InferenceServer(
            scenario.policy,
            scenario.service,
            scenario.inference.strategy.duplicates,
            config.server.line_limit,
            config.server.max_batch,
            config.server.max_age,
            config.latency.scale,
            config.seed,
        )

    def _time(
        self,
        scenario: Scenario,
        events: EventBatch,
        end: int,
        room: Room,
        settled: Settled = lambda timing, rows: None,
    ) -> Timing:
        count = len(events)
        self.progress("time", 0, count)
        return simulate(
            self.server(scenario),
            events,
            scenario.feed,
            symbols=len(scenario.dataset.symbols),
            end=end,
            room=room,
            progress=lambda done: self.progress("time", done, count),
            settled=settled,
        )

    def _targets(self, scenario: Scenario, count: int) -> Float32Array | None:
        if not scenario.dataset.targets:
            return None
        return read_targets(scenario.dataset, **scenario.selection)[:count]

    def _accuracy_on_targets(self, scenario: Scenario, ledger: Ledger) -> dict[str, Any] | None:
        targets = ledger.targets
        if targets is None or targets.shape != ledger.answers.predictions.shape:
            return None
        forecast = scenario.inference.strategy.forecast(targets)
        return accuracy(ledger.answers, targets, forecast, ledger.warmup, ledger.room)


def _check_data(accountant: Accountant, name: str, dataset: Dataset) -> None:
    for needed, present, what in (
        (accountant.needs_quotes, dataset.has_quotes, "quotes to trade at"),
        (accountant.needs_targets, dataset.has_targets, "targets to judge answers by"),
    ):
        if needed and not present:
            raise UsageError(
                f"the dataset {dataset.name!r} has no {what}",
                place=f"accountant {name!r}",
                remedy="Choose another accountant (`backtest plugins` lists them) or dataset.",
            )


def _end(config: RunConfig, events: EventBatch) -> int:
    """Where the window ends, ns: where asked, or right after the last event that is taken."""
    if config.window.end is None or config.limit is not None:
        return int(events.ts_event[-1]) + 1
    return config.window.end


def _messages(model: LatencyModel, config: RunConfig, stream: Any, room: Room) -> Int64Array:
    """Scaled latency of a message from each event, int64 ns [n]."""
    if not model.uses_draws:
        one = scaled(messages(model, config.seed, stream, 0, 1), config.latency.scale)
        return np.broadcast_to(one, room.rows)
    spans: Int64Array = room.column(np.int64)
    for first, last in chunks(room.rows):
        drawn = messages(model, config.seed, stream, first, last)
        spans[first:last] = scaled(drawn, config.latency.scale)
        room.release()
    return spans


def collected(bus: EventBus, folder: Path, limit: int | None) -> tuple[EventBatch | None, Room]:
    """A bus's first ``limit`` events as one batch, ``None`` if there are none, and their room."""
    most = bus.most_rows if limit is None else min(limit, bus.most_rows)
    room = Room(most, folder)
    columns: dict[str, Any] = {}
    count = 0
    for batch in bus:
        taken = batch.select(slice(0, most - count))
        for part in fields(EventBatch):
            values = getattr(taken, part.name)
            if values is None:
                continue
            if part.name not in columns:
                width = values.shape[1] if values.ndim > 1 else None
                columns[part.name] = room.column(values.dtype, width)
            columns[part.name][count : count + len(taken)] = values
        if (count + len(taken)) // RELEASE > count // RELEASE:
            room.release()
        count += len(taken)
        if count == most:
            break
    if not count:
        return None, room
    return EventBatch(**{name: column[:count] for name, column in columns.items()}), room


def _name(part: Any) -> str:
    return str(part["name"]) if isinstance(part, dict) else part.partition(":")[0]
