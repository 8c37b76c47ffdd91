"""A strategy for ticktoll in a package of its own: it bets that a move of the mid goes on."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

import backtest
from backtest.core.arrays import Float32Array
from backtest.plugins.hookspecs import Register


@dataclass
class LastMove(backtest.Strategy):
    """The symbol's last move of the mid, in ticks, times a gain."""

    gain: float = 1.0
    needs_features = False
    _mids: dict[int, float] = field(default_factory=dict, init=False)

    def predict(self, batch: backtest.EventBatch) -> Float32Array:
        answers = np.zeros((len(batch), 1), dtype=np.float32)
        if batch.bid is None or batch.ask is None:
            return answers
        for row in np.flatnonzero(batch.valid_quote()):
            symbol, mid = int(batch.symbol[row]), (batch.bid[row] + batch.ask[row]) / 2
            answers[row] = self.gain * (mid - self._mids.get(symbol, mid))
            self._mids[symbol] = mid
        return answers


@backtest.hookimpl
def backtest_register_strategies(register: Register[backtest.Strategy]) -> None:
    register("last-move", LastMove)
