"""Answers to the events of a run, one stretch after another, wherever they come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from backtest.core.arrays import Float32Array
from backtest.core.rows import Rows
from backtest.core.spool import Spool
from backtest.inference.bound_strategy import BoundStrategy
from backtest.inference.prediction import Predictor
from backtest.inference.prediction_store import PredictionWriter
from backtest.market.events import EventBatch

if TYPE_CHECKING:
    from backtest.data.dataset import Dataset


class Answers(NamedTuple):
    """A strategy's answers to ``n`` consecutive events, meaningless where one is not answered.

    Attributes:
        predictions: float32 [n, outputs].
        forecast: what sizing reads, float32 [n]; NaN where the strategy has no opinion.
    """

    predictions: Float32Array
    forecast: Float32Array


class AnswerStream(ABC):
    """The answers of one strategy to every event of a stream, in its order.

    Args:
        bound: whose they are.
    """

    def __init__(self, bound: BoundStrategy) -> None:
        self.bound = bound

    def take(self, events: EventBatch) -> Answers:
        """The answers to the next events, which are given without features.

        Raises:
            RunError: the strategy gave something that it may not.
            DataError: they are read from a damaged file.
        """
        predictions = self._predictions(events)
        return Answers(predictions, self.bound.forecast(predictions))

    @abstractmethod
    def _predictions(self, events: EventBatch) -> Float32Array:
        """Float32 [n, outputs] for the next events."""

    def close(self) -> None:
        """All were taken."""

    def abandon(self) -> None:
        """No more are taken, though not all were."""
        self.close()


class ComputedAnswers(AnswerStream):
    """Answers to all events, computed as they are asked for by a strategy that reads no features.

    Args:
        bound: the strategy; it is reset first.
        dataset: where the events come from.
        writer: keeps all predictions as they are made.
        timed: called with the seconds that computing and keeping them took, when all were taken.
    """

    def __init__(
        self,
        bound: BoundStrategy,
        dataset: Dataset,
        writer: PredictionWriter,
        timed: Callable[[float], None],
    ) -> None:
        super().__init__(bound)
        self._predictor = Predictor(bound, dataset)
        self._writer = writer
        self._timed = timed
        self._seconds = 0.0

    def _predictions(self, events: EventBatch) -> Float32Array:
        began = perf_counter()
        predictions = self._predictor.predict(events)
        self._writer.write(predictions)
        self._seconds += perf_counter() - began
        return predictions

    def close(self) -> None:
        self._writer.finish()
        self._timed(self._seconds)

    def abandon(self) -> None:
        self._writer.abandon()


class SpooledAnswers(AnswerStream):
    """Answers that an earlier pass of this run computed."""

    def __init__(self, bound: BoundStrategy, spool: Spool) -> None:
        super().__init__(bound)
        self._spool = spool
        self._next = 0

    def _predictions(self, events: EventBatch) -> Float32Array:
        first, self._next = self._next, self._next + len(events)
        return self._spool.read(first, self._next)

    def close(self) -> None:
        self._spool.close()


class StoredAnswers(AnswerStream):
    """Answers that an earlier run computed.

    Args:
        bound: whose they are.
        pieces: the predictions in order, float32 [n, outputs] each.
    """

    def __init__(self, bound: BoundStrategy, pieces: Iterator[Float32Array]) -> None:
        super().__init__(bound)
        nothing = np.empty((0, bound.strategy.outputs), dtype=np.float32)
        self._rows = Rows(pieces, nothing)

    def _predictions(self, events: EventBatch) -> Float32Array:
        return self._rows.take(len(events))
