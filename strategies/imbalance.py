"""``imbalance``: a rule on quotes alone. Where more is bid than offered, expect a rise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from backtest.core.arrays import Float32Array
from backtest.errors import UsageError
from backtest.market.events import EventBatch, locked
from backtest.strategies.base import Session, StateArrays, Strategy

_COMPILED_FROM = 4096
"""Events in a call from which on the compiled loop is taken."""


@dataclass
class Imbalance(Strategy):
    """Order-book imbalance at the touch, smoothed over a symbol's events.

    The imbalance (bid size - ask size) / (bid size + ask size) lies in [-1, 1]; it predicts the
    next mid move's sign (Cartea, Donnelly, Jaimungal, "Enhancing Trading Strategies with Order Book
    Signals", 2018). An event without a two-sided quote, or with nothing displayed, repeats the
    symbol's last answer; before its first such quote a symbol's answer is 0.

    Args:
        smoothing: weight of the newest imbalance in the moving average, in (0, 1]; 1 for none.
    """

    smoothing: float = 1.0

    bitwise_invariant: ClassVar[bool] = True
    needs_features: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 < self.smoothing <= 1:
            raise ValueError(f"smoothing is {self.smoothing}; it must be above 0 and at most 1")

    def bind(self, session: Session) -> None:
        """No symbol has a level yet."""
        self._level = np.full(len(session.symbols), np.nan)

    def predict(self, batch: EventBatch) -> Float32Array:
        """float32 [n, 1] in [-1, 1].

        Raises:
            UsageError: the dataset has no quote sizes.
        """
        if batch.bid_size is None or batch.ask_size is None:
            raise UsageError(
                "the strategy reads the sizes of bid and ask, and the dataset has none",
                remedy="Choose a dataset with quote sizes, or another strategy.",
            )
        if batch.bid is not None and batch.ask is not None and len(batch) >= _COMPILED_FROM:
            return self._compiled(batch)
        shown = batch.bid_size + batch.ask_size
        usable = batch.valid_quote() & (shown > 0)
        newest = (batch.bid_size - batch.ask_size) / np.where(usable, shown, 1)
        level = self._level.tolist()
        answers = []
        # A plain loop: each average needs the one before it.
        for symbol, good, now in zip(
            batch.symbol.tolist(), usable.tolist(), newest.tolist(), strict=True
        ):
            if good:
                old = level[symbol]
                level[symbol] = now if isnan(old) else old + self.smoothing * (now - old)
            answers.append(level[symbol])
        self._level[:] = level
        return np.nan_to_num(np.array(answers, dtype=np.float32)).reshape(-1, 1)

    def _compiled(self, batch: EventBatch) -> Float32Array:
        """The same, in a compiled loop that is worth loading for many events."""
        from backtest.strategies.imbalance_loops import smoothed_imbalance

        columns = (batch.symbol, batch.bid, batch.ask, batch.bid_size, batch.ask_size)
        answers = np.empty(len(batch), dtype=np.float32)
        # All of one type, since loops are compiled again for each type of array.
        alike = (locked(np.require(column, requirements="C")) for column in columns)
        smoothed_imbalance(*alike, float(self.smoothing), self._level, answers)
        return answers.reshape(-1, 1)

    def snapshot(self, symbols: Sequence[int]) -> dict[str, NDArray[Any]]:
        """``{"level": float64 [len(symbols)]}``; NaN for a symbol without a level."""
        return {"level": self._level[list(symbols)]}

    def restore(self, symbols: Sequence[int], state: StateArrays) -> None:
        """Set the symbols' levels to what ``snapshot`` returned."""
        self._level[list(symbols)] = state["level"]

    def reset(self, symbols: Sequence[int]) -> None:
        """Forget the symbols' levels."""
        self._level[list(symbols)] = np.nan
