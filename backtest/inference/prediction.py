"""Pass 2: events through a strategy.

A prediction depends on the answered events of its symbol, the strategy and its weights; not on how
events were batched. So events run in large pieces, whatever the simulated batches were.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.core.arrays import Float32Array, Int64Array
from backtest.core.marks import Marks
from backtest.core.spool import Spool
from backtest.data.reading.stream import Stream
from backtest.errors import RunError
from backtest.inference.bound_strategy import BoundStrategy
from backtest.inference.calls import Calls
from backtest.inference.checkpoints import Checkpoint, Position, resumable
from backtest.market.events import EventBatch

if TYPE_CHECKING:
    from backtest.data.dataset import Dataset

AnswerProgress = Callable[[int, int], None]
"""Called after each call with how many events of how many are answered."""


def predict(
    bound: BoundStrategy,
    stream: Stream,
    answered: Marks,
    batches: Sequence[Int64Array] | None,
    out: Spool,
    *,
    progress: AnswerProgress,
    checkpoint: Checkpoint | None = None,
) -> None:
    """Answers of a freshly reset strategy.

    Args:
        bound: the strategy.
        stream: ``n`` events.
        answered: which of them reach the strategy, [n].
        batches: event numbers of each call, for a strategy whose answers depend on them;
            otherwise ``None``: it is called piece by piece.
        out: takes the answers, [n, outputs]; what is not answered stays zero.
        progress: called after each call.
        checkpoint: where an earlier process may have left off, and where this one notes how far it
            is, if the strategy is ``resumable``.

    Raises:
        RunError: an answer of the wrong shape, or one that the strategy may not give.
    """
    predictor = Predictor(bound, stream.dataset)
    strategy, symbols = predictor.bound.strategy, len(bound.session.symbols)
    calls = Calls(stream, strategy.needs_features, answered, batches)
    if checkpoint is not None and not resumable(strategy):
        checkpoint = None
    at = None if checkpoint is None else checkpoint.load(strategy, symbols, calls, out)
    at = predictor.position = at or predictor.position
    total = answered.count()
    for numbers, batch in calls.read(at.call):
        if len(batch):
            out.put(numbers, predictor.predict(batch))
        at.call += 1
        at.answered += len(numbers)
        if len(numbers):
            progress(at.answered, total)
        if checkpoint is not None and at.call < len(calls) and checkpoint.due():
            checkpoint.save(strategy, calls, out, at)


class Predictor:
    """A strategy that is handed a run's events in order, and reset where its state must be.

    Args:
        bound: the strategy; it is restarted first.
        dataset: whose sessions may be breaks in the state.

    Attributes:
        bound: the strategy as it is called.
        position: where it stands.
    """

    def __init__(self, bound: BoundStrategy, dataset: Dataset) -> None:
        self.bound = bound.restarted()
        self._dataset = dataset
        self.position = Position(np.zeros(len(bound.session.symbols), dtype=np.bool_))

    def predict(self, batch: EventBatch) -> Float32Array:
        """Answers to the next events, of which there is at least one: float32 [n, outputs].

        Raises:
            RunError: an answer of the wrong shape, or one that the strategy may not give.
        """
        at, parts = self.position, []
        for session, rows in by_session(self._dataset, batch.ts_event):
            if at.session not in (None, session):
                self.bound = self.bound.restarted()
                at.advanced[:] = False
            at.session = session
            part = batch.select(rows).read_only()
            parts.append(answer(self.bound, part))
            if not at.advanced.all():
                at.advanced[part.symbol] = True
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def by_session(dataset: Dataset, ts_event: Int64Array) -> Iterator[tuple[int, slice]]:
    """Slices of a batch that lie in one session each; one slice where state carries over breaks."""
    if not len(ts_event):
        return
    if dataset.sessions is None or dataset.session_breaks == "carry":
        yield 0, slice(0, len(ts_event))
        return
    session = session_numbers(dataset, ts_event)
    cuts = [0, *(np.flatnonzero(np.diff(session)) + 1).tolist(), len(session)]
    for first, last in itertools.pairwise(cuts):
        yield int(session[first]), slice(first, last)


def session_numbers(dataset: Dataset, ts_event: Int64Array) -> Int64Array:
    """The session that each instant lies in or follows, int64 [n]."""
    assert dataset.sessions is not None
    return np.searchsorted(dataset.sessions[:, 0], ts_event, side="right")


def answer(bound: BoundStrategy, batch: EventBatch) -> Float32Array:
    """Checked predictions; a call that the device has no memory for is halved until it fits."""
    try:
        return bound.checked(batch, bound.strategy.predict(batch))
    except Exception as error:
        # torch's own error, by name: a strategy without torch must not import it for this.
        if type(error).__name__ != "OutOfMemoryError":
            raise
        cut = bound.strategy.batch_invariant
        if len(batch) == 1 or not cut:
            what = "a single event" if cut else f"{len(batch)} events, which must not be divided"
            raise RunError(
                f"out of memory on {bound.session.device} with {what}",
                place=f"strategy {bound.name!r}",
                remedy="Lower the capacity, so that fewer symbols' state is kept there.",
            ) from None
    # Not above: there the error's traceback keeps what the failed call had allocated.
    middle = len(batch) // 2
    halves: list[Any] = [batch.select(slice(0, middle)), batch.select(slice(middle, None))]
    return np.concatenate([answer(bound, half) for half in halves])
