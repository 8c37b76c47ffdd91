"""Pass 2: events through a strategy, in the groups that are fastest.

A prediction depends on the answered events of its symbol, the strategy and its weights; not on how
events were batched. So events run in large chunks, whatever the simulated batches were.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.core.arrays import BoolArray, Float32Array, Int64Array
from backtest.core.room import RELEASE, Room
from backtest.errors import RunError
from backtest.inference.bound_strategy import Inference
from backtest.inference.calls import Calls, Stream
from backtest.inference.checkpoints import Checkpoint, Position, resumable
from backtest.market.events import EventBatch
from backtest.strategies.base import form_problem

if TYPE_CHECKING:
    from backtest.data.dataset import Dataset

Progress = Callable[[int, int], None]
"""Told after each chunk how many events of how many are answered."""


def predict(
    inference: Inference,
    stream: Stream,
    answered: BoolArray,
    batches: list[Int64Array] | None,
    progress: Progress,
    room: Room | None = None,
    checkpoint: Checkpoint | None = None,
) -> Float32Array:
    """Answers of a freshly reset strategy.

    Args:
        inference: the strategy, bound.
        stream: ``n`` events.
        answered: which of them reach the strategy, bool [n].
        batches: event numbers of each call, for a strategy whose answers depend on them;
            otherwise ``None``: it is called chunk by chunk.
        progress: told after each call.
        room: where the answers lie; by default in memory.
        checkpoint: where an earlier process may have left off, and where this one says how far it
            is, if the strategy is ``resumable``.

    Returns:
        float32 [n, outputs], zero where not answered.

    Raises:
        RunError: an answer of the wrong shape, or not finite.
    """
    strategy = inference.strategy
    symbols = len(inference.session.symbols)
    strategy.reset(range(symbols))
    room = room or Room(len(answered))
    out: Float32Array = room.column(np.float32, strategy.outputs)
    calls = Calls(stream, strategy.needs_features, answered, batches)
    if checkpoint is not None and not resumable(strategy):
        checkpoint = None
    at = None if checkpoint is None else checkpoint.load(strategy, symbols, calls, out)
    at = at or Position(np.zeros(symbols, dtype=np.bool_))
    total = room.count(answered)
    for numbers, batch in calls.read(at.call):
        for now, rows in _by_session(stream.dataset, batch.ts_event):
            if at.session not in (None, now):
                strategy.reset(range(symbols))
                at.advanced[:] = False
            at.session = now
            part = batch.select(rows).read_only()
            places: Any = numbers[rows]
            if batches is None and places[-1] - places[0] + 1 == len(places):
                places = slice(int(places[0]), int(places[-1]) + 1)
            out[places] = _answer(inference, part)
            if not at.advanced.all():
                at.advanced[part.symbol] = True
        before = at.answered
        at.call += 1
        at.answered += len(numbers)
        if at.answered // RELEASE > before // RELEASE:
            room.release()
        if len(numbers):
            progress(at.answered, total)
        if checkpoint is not None and at.call < len(calls) and checkpoint.due():
            checkpoint.save(strategy, calls, out, at)
    return out


def _by_session(dataset: Dataset, ts_event: Int64Array) -> Iterator[tuple[int, slice]]:
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


def _answer(inference: Inference, batch: EventBatch) -> Float32Array:
    """Checked predictions; a call that the device has no memory for is halved until it fits."""
    try:
        return checked(inference, batch, inference.strategy.predict(batch))
    except Exception as error:
        # torch's own error, by name: a strategy without torch must not import it for this.
        if type(error).__name__ != "OutOfMemoryError":
            raise
        cut = inference.strategy.batch_invariant
        if len(batch) == 1 or not cut:
            what = "a single event" if cut else f"{len(batch)} events, which must not be divided"
            raise RunError(
                f"out of memory on {inference.session.device} with {what}",
                place=f"strategy {inference.table['name']!r}",
                remedy="Lower the capacity, so that fewer symbols' state is kept there.",
            ) from None
    # Not above: there the error's traceback keeps what the failed call had allocated.
    middle = len(batch) // 2
    halves = (batch.select(slice(0, middle)), batch.select(slice(middle, None)))
    return np.concatenate([_answer(inference, half) for half in halves])


def checked(inference: Inference, batch: EventBatch, predictions: Float32Array) -> Float32Array:
    """The predictions of a batch, float32 [n, outputs] and finite.

    Raises:
        RunError: they are not.
    """
    name = inference.table["name"]
    problem = form_problem(predictions, len(batch), inference.strategy.outputs)
    if problem is not None:
        raise RunError(problem, place=f"strategy {name!r}")
    if not np.isfinite(predictions).all():
        row = int(np.flatnonzero(~np.isfinite(predictions).all(axis=1))[0])
        symbol = inference.session.symbols[batch.symbol[row]]
        raise RunError(
            f"predict gave {predictions[row].tolist()} for symbol {symbol!r} at ts_event "
            f"{batch.ts_event[row]}",
            place=f"strategy {name!r}",
            remedy="A prediction that is not finite cannot be traded: check the model and its "
            "inputs from that event on.",
        )
    return predictions
