"""A strategy for comparing engines: every hundredth tick buys one lot of its symbol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from backtest import EventBatch, Session, Strategy, hookimpl
from backtest.core.arrays import Float32Array


@dataclass
class EveryHundredth(Strategy):
    """Answers with the lots that a symbol should have been bought by now."""

    scope: ClassVar[Literal["symbol", "market"]] = "market"
    bitwise_invariant: ClassVar[bool] = True
    needs_features: ClassVar[bool] = False

    def bind(self, session: Session) -> None:
        self._lots = np.zeros(len(session.symbols), dtype=np.int64)
        self._ticks = 0

    def reset(self, symbols: object) -> None:
        self._lots[:] = 0
        self._ticks = 0

    def predict(self, batch: EventBatch) -> Float32Array:
        count = len(batch)
        numbers = np.arange(self._ticks + 1, self._ticks + count + 1)
        buys = np.flatnonzero(numbers % 100 == 0)
        self._ticks += count
        answers = np.empty(count, dtype=np.float32)
        first = 0
        # Between two purchases nobody's lots change.
        for row in [*buys.tolist(), count - 1]:
            answers[first : row + 1] = self._lots[batch.symbol[first : row + 1]]
            if row < count and numbers[row] % 100 == 0:
                self._lots[batch.symbol[row]] += 1
                answers[row] = self._lots[batch.symbol[row]]
            first = row + 1
        return answers.reshape(-1, 1)


@hookimpl
def backtest_register_strategies(register: Callable[[str, type[Strategy]], None]) -> None:
    register("every-hundredth", EveryHundredth)
