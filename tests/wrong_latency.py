"""Latency models that give what is no span, or change what they are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from backtest.core.arrays import Float64Array, Int64Array
from backtest.market.events import EventBatch
from backtest.plugins.latency_models import Constant
from backtest.timing.latency import LatencyModel, SpanTable

_WRONG: dict[str, Any] = {
    "negative": lambda n: np.full(n, -1, dtype=np.int64),
    "fractions": lambda n: np.full(n, 1e6),
    "unknown": lambda n: np.full(n, np.nan),
    "a list": lambda n: [1000] * n,
    "too few": lambda n: np.ones(n - 1, dtype=np.int64),
}


@dataclass(frozen=True)
class Wrong(LatencyModel):
    """Gives what is no spans."""

    how: str

    def spans(self, sizes: Int64Array, u: Float64Array) -> Int64Array:
        found: Int64Array = _WRONG[self.how](len(sizes))
        return found


@dataclass(frozen=True)
class Tabled(LatencyModel):
    """Gives negative spans, one by one and as a table."""

    base: int = 0
    per_event: int = 0

    def spans(self, sizes: Int64Array, u: Float64Array) -> Int64Array:
        return self.base + self.per_event * sizes

    def table(self, u: Float64Array) -> SpanTable:
        return SpanTable(np.array([self.base], dtype=np.int64), self.per_event)


WRONG_SPANS: list[LatencyModel] = [*map(Wrong, _WRONG), Tabled(-1), Tabled(0, -1)]


class Writing(Constant):
    """Moves events in time instead of saying how late they come."""

    def feed(self, events: EventBatch, u: Float64Array) -> Int64Array:
        events.ts_event[:] += self.span
        return np.zeros(len(events), dtype=np.int64)
