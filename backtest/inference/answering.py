"""Pass 2 of one run: its own answers, and those to every event that they are judged by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.core.marks import Marks
from backtest.core.parameters import parameters
from backtest.core.spool import Spool
from backtest.data.reading.stream import Stream
from backtest.inference.answers import (
    AnswerStream,
    ComputedAnswers,
    SpooledAnswers,
    StoredAnswers,
)
from backtest.inference.bound_strategy import BoundStrategy, bind
from backtest.inference.prediction import predict
from backtest.inference.prediction_store import PredictionStore
from backtest.strategies.base import can_fit

if TYPE_CHECKING:
    from backtest.core.parts import Parts

RoleProgress = Callable[[str, int, int], None]
"""Called with the role of the answers that are computed, and how many of how many are."""


@dataclass(frozen=True, slots=True)
class Served:
    """What pass 2 has to know of pass 1.

    Attributes:
        answered: which events are, [n].
        unbroken: whether no event is answered after one of its symbol (of all, where state is
            shared across symbols) that is not: then what is missing is missing from the end.
        batches: event numbers of each batch in order of dispatch, where answers depend on them.
    """

    answered: Marks
    unbroken: bool
    batches: Sequence[Int64Array] | None = None


@dataclass(frozen=True, slots=True)
class RunAnswers:
    """The answers that pass 3 reads; those that are the same are the same object.

    As a context manager it closes them; after an error no answer counts as taken.

    Attributes:
        answers: the run's own.
        reference: to every event, by the strategy that judges this one; ``None``: not wanted.
        undropped: to every event, by the strategy itself; ``None``: not wanted.
    """

    answers: AnswerStream
    reference: AnswerStream | None = None
    undropped: AnswerStream | None = None

    def __enter__(self) -> RunAnswers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        streams = (self.answers, self.reference, self.undropped)
        for stream in {id(s): s for s in streams if s is not None}.values():
            (stream.close if error is None else stream.abandon)()


@dataclass(frozen=True, slots=True)
class _Need:
    """Answers that are needed, whoever computes them."""

    role: str
    bound: BoundStrategy
    key: str
    reaching: Marks
    batches: Sequence[Int64Array] | None


class Answering:
    """Pass 2 of one run.

    Args:
        bound: the strategy.
        stream: the window's events.
        undropped: whether every event is to be answered as well, for comparison.
        plugins: where the strategy that judges the answers comes from.
        store: where predictions are kept.
        reuse: take stored predictions where they exist.
        progress: called as answers are computed.

    Attributes:
        notes: by role what the manifest says of its predictions.
    """

    def __init__(
        self,
        bound: BoundStrategy,
        stream: Stream,
        *,
        undropped: bool,
        plugins: Parts,
        store: PredictionStore,
        reuse: bool,
        progress: RoleProgress,
    ) -> None:
        self._bound = bound
        self._stream = stream
        self._undropped = undropped
        self._plugins = plugins
        self._store = store
        self._reuse = reuse
        self._progress = progress
        self._every = Marks(stream.count, True)
        self.notes: dict[str, Any] = {}

    @property
    def needs_timing(self) -> bool:
        """Whether what is predicted depends on which events are answered, or in which batches."""
        return self._bound.strategy.stateful or not self._bound.strategy.batch_invariant

    def plan(self, served: Served | None) -> None:
        """Note which predictions are needed, and whether the store has them."""
        for need in (self._own(served), *(self._compared(served) if self._undropped else ())):
            if need is not None:
                self._note(need, self._reuse and self._store.has(need.key))

    def answers(self, served: Served | None) -> RunAnswers:
        """Every answer that pass 3 reads, taken from the store or computed.

        Args:
            served: pass 1's result; may be ``None`` unless ``needs_timing``.

        Raises:
            RunError: the strategy cannot be run.
            DataError: stored predictions are damaged.
        """
        own = self._own(served)
        return self._compared_with(self._stream_of(own), own.key, served)

    def in_full(self) -> RunAnswers | None:
        """The answers to all events, where they may well be the run's own; ``None``: that is not
        known to be so, or they are not at hand.

        They are if no event turns out to be answered after one of its symbol that is not, and if
        not a bit of them depends on how events are grouped. Then one pass over the events does.
        """
        if not self._in_full(unbroken=True):
            return None
        need = self._need("answers", self._bound, self._every, None)
        strategy, computed = self._bound.strategy, not (self._reuse and self._store.has(need.key))
        # A long pass needs checkpoints, which are made where it runs by itself.
        if computed and (strategy.needs_features or self._bound.session.device != "cpu"):
            return None
        answers = self._stream_of(need, computed=computed)
        return RunAnswers(answers, answers, answers)

    def compared_with(self, own: AnswerStream, served: Served) -> RunAnswers:
        """The same for answers that a closed loop gave: those that they are compared with."""
        return self._compared_with(own, None, served)

    def _compared_with(
        self, own: AnswerStream, key: str | None, served: Served | None
    ) -> RunAnswers:
        if not self._undropped:
            return RunAnswers(own)
        found = {key: own}
        streams = []
        try:
            for need in self._compared(served):
                if need is not None and need.key not in found:
                    found[need.key] = self._stream_of(need)
                elif need is not None:
                    self._note(need, True)
                streams.append(own if need is None else found[need.key])
        except BaseException:
            for stream in found.values():
                stream.abandon()
            raise
        return RunAnswers(own, *streams)

    def _own(self, served: Served | None) -> _Need:
        """The run's own answers."""
        strategy = self._bound.strategy
        reaching, batches = self._every, None
        if served is not None:
            batches = served.batches
            if strategy.stateful and not self._in_full(served.unbroken):
                reaching = served.answered
        return self._need("answers", self._bound, reaching, batches)

    def _in_full(self, unbroken: bool) -> bool:
        """Whether answering every event, as is done for comparison, gives the run's own answers."""
        strategy = self._bound.strategy
        own = strategy.reference in (None, self._bound.name)
        invariant = strategy.bitwise_invariant and strategy.batch_invariant
        return self._undropped and invariant and own and unbroken

    def _compared(self, served: Served | None) -> tuple[_Need | None, _Need | None]:
        """The reference and the undropped answers; ``None``: the run's own, which are these.

        Where not all is answered, the reference of an exact strategy stands for its own answers.
        """
        strategy = self._bound.strategy
        all_answered = served is not None and served.answered.all
        judge = self._judge()
        reference = None if judge is None else self._need("reference", judge, self._every, None)
        if reference is not None and strategy.conformance == "exact" and not all_answered:
            return reference, reference
        undropped = None
        if not all_answered:
            batches = None if strategy.batch_invariant else [np.arange(self._stream.count)]
            undropped = self._need("undropped", self._bound, self._every, batches)
        return (undropped if judge is None else reference), undropped

    def _judge(self) -> BoundStrategy | None:
        """The strategy whose answers are the reference; ``None``: this one's own."""
        bound = self._bound
        name = bound.strategy.reference
        if name is None or name == bound.name:
            return None
        known = {p.name for p in parameters(self._plugins.get("strategy", name))}
        shared = {p: value for p, value in bound.table.items() if p in known}
        judge = bind(self._plugins, {**shared, "name": name}, bound.session, self._stream.dataset)
        # A variant is judged by what its reference answers with the same weights.
        return judge.with_fit(bound.fit) if bound.fit and can_fit(judge.strategy) else judge

    def _need(
        self,
        role: str,
        bound: BoundStrategy,
        reaching: Marks,
        batches: Sequence[Int64Array] | None,
    ) -> _Need:
        return _Need(role, bound, bound.key(self._stream, reaching, batches), reaching, batches)

    def _note(self, need: _Need, reused: bool) -> None:
        known = need.key in [note["key"] for note in self.notes.values()]
        if need.role in self.notes or (known and not need.bound.strategy.stateful):
            return
        self.notes[need.role] = {
            "key": need.key,
            "reused": reused or known,
            "strategy": need.bound.name,
            "answered": need.reaching.count(),
        }

    def _stream_of(self, need: _Need, *, computed: bool = False) -> AnswerStream:
        """The answers from the store, or computed: at once, or, if asked for or if they depend on
        their own event alone, as they are taken."""
        bound, key = need.bound, need.key
        pieces = self._store.get(key, self._stream.count) if self._reuse else None
        self._note(need, pieces is not None)
        if pieces is not None:
            self._store.checkpoint(key).discard()  # of a process killed right after storing them
            return StoredAnswers(bound, pieces)
        strategy = bound.strategy
        alone = not (strategy.stateful or strategy.needs_features) and strategy.batch_invariant
        if computed or alone:
            writer = self._store.writer(key, strategy.outputs)
            timed = partial(self.notes[need.role].__setitem__, "seconds")
            return ComputedAnswers(bound, self._stream.dataset, writer, timed)
        return SpooledAnswers(bound, self._computed(need))

    def _computed(self, need: _Need) -> Spool:
        """Predictions that the store lacks, put there; the checkpoint of a killed run is used."""
        spool = Spool(self._store.folder, self._stream.count, need.bound.strategy.outputs)
        try:
            self._compute(need, spool)
        except BaseException:
            spool.close()
            raise
        return spool

    def _compute(self, need: _Need, spool: Spool) -> None:
        began = perf_counter()
        with self._store.checkpoint(need.key) as checkpoint:
            if not self._reuse:
                checkpoint.discard()
            predict(
                need.bound,
                self._stream,
                need.reaching,
                need.batches,
                spool,
                progress=partial(self._progress, need.role),
                checkpoint=checkpoint,
            )
            self.notes[need.role]["seconds"] = perf_counter() - began
            if checkpoint.resumed is not None:
                self.notes[need.role]["resumed"] = checkpoint.resumed
            self._store.put(need.key, spool)
            checkpoint.discard()
        self._store.sweep()
