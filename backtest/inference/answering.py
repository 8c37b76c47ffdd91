"""Pass 2 of one run: its own answers, and those of every event that they are judged by."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.core.arrays import BoolArray, Float32Array, Int64Array, chunks
from backtest.core.parameters import parameters
from backtest.core.room import Room
from backtest.inference.answers import Answers
from backtest.inference.bound_strategy import Inference, bind
from backtest.inference.calls import Stream
from backtest.inference.prediction import predict
from backtest.inference.prediction_store import PredictionStore
from backtest.market.events import EventBatch
from backtest.timing.outcomes import Status, Timing

if TYPE_CHECKING:
    from backtest.core.parts import Parts
    from backtest.runs.engine import Scenario


Told = Callable[[str, int, int], None]
"""Told which answers are computed, and how many of how many are."""


class Thinking:
    """Pass 2 of one run.

    Args:
        scenario: what is run.
        events: the window's events without features.
        room: where answers lie.
        plugins: where the strategy that judges the answers comes from.
        store: where predictions are kept.
        reuse: take stored predictions where they exist.
        dry: only note which predictions are needed, and put zeros for those that the store lacks.
        told: told as answers are computed.

    Attributes:
        notes: by role what the manifest says of its predictions.
    """

    def __init__(
        self,
        scenario: Scenario,
        events: EventBatch,
        room: Room,
        *,
        plugins: Parts,
        store: PredictionStore,
        reuse: bool,
        dry: bool,
        told: Told,
    ) -> None:
        self._scenario = scenario
        self._room = room
        self._plugins = plugins
        self._store = store
        self._reuse = reuse
        self._dry = dry
        self._told = told
        self._stream = Stream(
            scenario.dataset,
            **scenario.selection,
            count=len(events),
            nonfinite=scenario.config.nonfinite,
            events=events,
        )
        self._symbols = events.symbol
        self._all = np.broadcast_to(np.True_, len(events))
        self._found: dict[str, Answers] = {}
        self.notes: dict[str, Any] = {}

    def answers(self, timing: Timing) -> Answers:
        """The run's own answers."""
        inference = self._scenario.inference
        batches = None if inference.strategy.batch_invariant else list(timing.batches())
        answered: BoolArray = self._room.column(np.bool_)
        for first, last in chunks(len(answered), self._room):
            np.equal(timing.status[first:last], Status.ANSWERED, out=answered[first:last])
        in_full = not self._every(answered) and self._in_full(timing)
        reaching = self._all if in_full or not inference.strategy.stateful else answered
        found = self._predictions("answers", inference, reaching, batches)
        if in_full:
            note = {name: self.notes["answers"][name] for name in ("key", "strategy", "answered")}
            self.notes["undropped"] = {**note, "reused": True}
        return Answers(found.predictions, found.forecast, answered)

    def _in_full(self, timing: Timing) -> bool:
        """Whether answering every event, as is done for comparison, gives the run's own answers."""
        strategy, table = self._scenario.inference.strategy, self._scenario.inference.table
        if not (self._scenario.config.undropped and strategy.bitwise_invariant):
            return False
        symbols = self._symbols if strategy.scope == "symbol" else np.zeros_like(self._symbols)
        if strategy.reference not in (None, table["name"]):
            return False
        return timing.unbroken(symbols, self._room.release)

    def _every(self, answered: BoolArray) -> bool:
        return self._room.count(answered) == len(answered)

    def reference(self, answers: Answers) -> Answers:
        """Every event answered by the strategy that judges this one."""
        inference = self._scenario.inference
        name = inference.strategy.reference
        if name is None or name == inference.table["name"]:
            return self._own(answers)
        known = {p.name for p in parameters(self._plugins.get("strategy", name))}
        shared = {p: value for p, value in inference.table.items() if p in known}
        judge = bind(
            self._plugins,
            {**shared, "name": name},
            inference.session,
            self._scenario.dataset,
        )
        return self._predictions("reference", judge, self._all, None)

    def undropped(self, answers: Answers, reference: Answers) -> Answers:
        """Every event answered by the strategy itself; an exact one's reference stands for it."""
        if self._scenario.inference.strategy.conformance == "exact" and not self._every(
            answers.answered
        ):
            return reference
        name = self._scenario.inference.strategy.reference
        if name is None or name == self._scenario.inference.table["name"]:
            return reference
        return self._own(answers)

    def _own(self, answers: Answers) -> Answers:
        strategy = self._scenario.inference.strategy
        if self._every(answers.answered):
            return answers
        batches = None if strategy.batch_invariant else [np.arange(len(self._all))]
        return self._predictions("undropped", self._scenario.inference, self._all, batches)

    def _predictions(
        self, role: str, inference: Inference, answered: Any, batches: list[Int64Array] | None
    ) -> Answers:
        key = inference.key(self._stream, answered, batches, self._room.release)
        if key in self._found:
            return self._found[key]
        predictions = self._store.get(key, self._room) if self._reuse else None
        self.notes[role] = {
            "key": key,
            "reused": predictions is not None,
            "strategy": inference.table["name"],
            "answered": self._room.count(answered),
        }
        if predictions is not None and not self._dry:
            self._store.checkpoint(key).discard()  # of a process killed right after storing them
        if predictions is None and self._dry:
            predictions = np.zeros((len(answered), inference.strategy.outputs), dtype=np.float32)
        if predictions is None:
            predictions = self._computed(role, key, inference, answered, batches)
        forecast: Float32Array
        if np.may_share_memory(inference.forecast(predictions[:1]), predictions):
            forecast = inference.forecast(predictions)  # one output of several, as it is
        else:
            forecast = self._room.column(np.float32)
            for first, last in chunks(len(forecast)):
                forecast[first:last] = inference.forecast(predictions[first:last])
                self._room.release()
        self._found[key] = Answers(predictions, forecast, answered)
        return self._found[key]

    def _computed(
        self,
        role: str,
        key: str,
        inference: Inference,
        answered: BoolArray,
        batches: list[Int64Array] | None,
    ) -> Float32Array:
        """Predictions that the store lacks, put there; the checkpoint of a killed run is used."""
        began = perf_counter()
        with self._store.checkpoint(key) as checkpoint:
            if not self._reuse:
                checkpoint.discard()
            predictions = predict(
                inference,
                self._stream,
                answered,
                batches,
                lambda done, total: self._told(role, done, total),
                self._room,
                checkpoint,
            )
            self.notes[role]["seconds"] = perf_counter() - began
            if checkpoint.resumed is not None:
                self.notes[role]["resumed"] = checkpoint.resumed
            self._store.put(key, predictions, self._room)
            checkpoint.discard()
        self._store.sweep()
        return predictions
