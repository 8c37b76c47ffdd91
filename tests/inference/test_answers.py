"""Answers stretch by stretch: the same wherever they come from and however they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backtest.core.arrays import Float32Array
from backtest.core.spool import Spool
from backtest.data.dataset import Dataset, open_dataset
from backtest.data.reading.bus import read_events
from backtest.errors import RunError
from backtest.inference.answers import AnswerStream, ComputedAnswers, SpooledAnswers, StoredAnswers
from backtest.inference.bound_strategy import BoundStrategy
from backtest.inference.prediction_store import PredictionStore
from backtest.market.events import EventBatch
from backtest.strategies.base import Session, Strategy

COUNT = 600


@dataclass
class Waiting(Strategy):
    """Answers with the events of the symbol so far, and the spread."""

    outputs = 2
    needs_features = False
    fails_at: int = 10**9

    def bind(self, session: Session) -> None:
        self.seen = np.zeros(len(session.symbols))
        self.events = 0

    def predict(self, batch: EventBatch) -> Float32Array:
        assert batch.bid is not None
        assert batch.ask is not None
        out = np.empty((len(batch), 2), dtype=np.float32)
        for row, symbol in enumerate(batch.symbol):
            self.seen[symbol] += 1
            out[row] = self.seen[symbol], batch.ask[row] - batch.bid[row]
        self.events += len(batch)
        if self.events > self.fails_at:
            out[-1] = np.nan
        return out

    def reset(self, symbols: Any) -> None:
        self.seen[list(symbols)] = 0

    def forecast(self, predictions: Float32Array) -> Float32Array:
        return np.ascontiguousarray(predictions[:, 0] - predictions[:, 1])


@pytest.fixture
def dataset(small_dataset: Path) -> Dataset:
    return open_dataset(small_dataset)


@pytest.fixture
def bound(dataset: Dataset) -> BoundStrategy:
    session = Session(dataset.symbols, dataset.features)
    strategy = Waiting()
    strategy.bind(session)
    return BoundStrategy(strategy, {"name": "waiting"}, {}, session)


@pytest.fixture
def store(tmp_path: Path) -> PredictionStore:
    return PredictionStore(tmp_path / "predictions")


def computed(bound: BoundStrategy, dataset: Dataset, store: PredictionStore) -> AnswerStream:
    bound.strategy.reset(range(3))
    return ComputedAnswers(bound, dataset, store.writer("a", 2), lambda seconds: None)


def spooled(bound: BoundStrategy, dataset: Dataset, store: PredictionStore) -> AnswerStream:
    spool = Spool(store.folder, COUNT, 2)
    bound.strategy.reset(range(3))
    spool.write(0, bound.strategy.predict(read_events(dataset)))
    return SpooledAnswers(bound, spool)


def stored(bound: BoundStrategy, dataset: Dataset, store: PredictionStore) -> AnswerStream:
    bound.strategy.reset(range(3))
    with Spool(store.folder, COUNT, 2) as spool:
        spool.write(0, bound.strategy.predict(read_events(dataset)))
        pieces = np.array_split(spool.read(0, COUNT), 7)
    return StoredAnswers(bound, iter(pieces))


def stretches(events: EventBatch, size: int) -> Iterator[EventBatch]:
    for first in range(0, len(events), size):
        yield events.select(slice(first, first + size))


@pytest.mark.parametrize("size", [1, 37, 100, COUNT])
@pytest.mark.parametrize("source", [computed, spooled, stored])
def test_answers_do_not_depend_on_where_they_come_from(
    source: Callable[..., AnswerStream],
    size: int,
    bound: BoundStrategy,
    dataset: Dataset,
    store: PredictionStore,
) -> None:
    events = read_events(dataset)
    bound.strategy.reset(range(3))
    wanted = bound.strategy.predict(events)
    stream = source(bound, dataset, store)
    taken = [stream.take(some) for some in stretches(events, size)]
    stream.close()
    np.testing.assert_array_equal(np.concatenate([a.predictions for a in taken]), wanted)
    forecast = np.concatenate([a.forecast for a in taken])
    np.testing.assert_array_equal(forecast, wanted[:, 0] - wanted[:, 1])


def test_what_is_computed_is_stored_once_all_was_taken(
    bound: BoundStrategy, dataset: Dataset, store: PredictionStore
) -> None:
    events = read_events(dataset)
    seconds: list[float] = []
    first = ComputedAnswers(bound, dataset, store.writer("a", 2), seconds.append)
    first.take(events.select(slice(0, 100)))
    first.abandon()
    assert not store.has("a")
    second = ComputedAnswers(bound, dataset, store.writer("a", 2), seconds.append)
    taken = [second.take(some).predictions for some in stretches(events, 90)]
    assert not store.has("a")
    assert not seconds
    second.close()
    assert len(seconds) == 1
    assert seconds[0] > 0
    pieces = store.get("a", COUNT)
    assert pieces is not None
    np.testing.assert_array_equal(np.concatenate([*pieces]), np.concatenate(taken))


def test_computed_answers_are_checked(
    bound: BoundStrategy, dataset: Dataset, store: PredictionStore
) -> None:
    assert isinstance(bound.strategy, Waiting)
    bound.strategy.fails_at = 250
    stream = computed(bound, dataset, store)
    events = read_events(dataset)
    for first in (0, 100):
        stream.take(events.select(slice(first, first + 100)))
    with pytest.raises(RunError, match="strategy 'waiting': predict gave"):
        stream.take(events.select(slice(200, 300)))
    stream.abandon()
    assert list(store.folder.iterdir()) == []
