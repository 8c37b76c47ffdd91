"""The conformance checks themselves: each must catch a strategy that breaks its property."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from backtest.core.arrays import Float32Array
from backtest.market.events import EventBatch
from backtest.strategies.base import Session, StateArrays
from backtest.strategies.imbalance import Imbalance
from tests.conformance_inputs import CHECKS, Case, random_events


class Peeking(Imbalance):
    """Answers with the imbalance of the symbol's last event in the call."""

    def predict(self, batch: EventBatch) -> Float32Array:
        found = super().predict(batch)
        for symbol in np.unique(batch.symbol):
            found[batch.symbol == symbol] = found[batch.symbol == symbol][-1]
        return found


class PerCall(Imbalance):
    """Depends on how many events share the call."""

    def predict(self, batch: EventBatch) -> Float32Array:
        return super().predict(batch) + np.float32(len(batch))


class ByNumber(Imbalance):
    """Knows symbols by their number."""

    def predict(self, batch: EventBatch) -> Float32Array:
        return super().predict(batch) + batch.symbol[:, None].astype(np.float32)


class Unresettable(Imbalance):
    """Keeps its state on reset."""

    def reset(self, symbols: Sequence[int]) -> None:
        pass


class ZeroReset(Imbalance):
    """Fills a reset symbol's state with zeros."""

    def reset(self, symbols: Sequence[int]) -> None:
        self._level[list(symbols)] = 0


class Unrestorable(Imbalance):
    """Ignores what it is to restore."""

    def restore(self, symbols: Sequence[int], state: StateArrays) -> None:
        pass


class LiveSnapshot(Imbalance):
    """Hands out its own memory as a snapshot."""

    def snapshot(self, symbols: Sequence[int]) -> dict[str, Any]:
        return {"level": self._level} if list(symbols) != [0] else super().snapshot(symbols)

    def restore(self, symbols: Sequence[int], state: StateArrays) -> None:
        self._level[:] = state["level"]


class Forgetful(Imbalance):
    """Loses the state of symbols beyond its capacity."""

    def bind(self, session: Session) -> None:
        super().bind(session)
        self.slots = session.capacity or len(session.symbols)

    def predict(self, batch: EventBatch) -> Float32Array:
        found = super().predict(batch)
        self._level[self.slots :] = np.nan
        return found


class Contagious(Imbalance):
    """Adds what all symbols have in common."""

    def predict(self, batch: EventBatch) -> Float32Array:
        found = super().predict(batch)
        return found + np.float32(np.nansum(self._level))


@pytest.mark.parametrize(
    ("check", "broken"),
    [
        ("batching", PerCall),
        ("batching", Peeking),
        ("symbol permutation", ByNumber),
        ("no look-ahead", Peeking),
        ("reset", Unresettable),
        ("reset", ZeroReset),
        ("eviction", Forgetful),
        ("snapshot", Unrestorable),
        ("snapshot", LiveSnapshot),
        ("isolation", Contagious),
    ],
)
def test_a_broken_strategy_is_caught(check: str, broken: type[Imbalance]) -> None:
    events = random_events(60, symbols=5, features=1, seed=9)
    case = Case(lambda: broken(0.3), Session(tuple("ABCDE")), events, tolerance=0)
    with pytest.raises(AssertionError):
        CHECKS[check](case, 4)
