"""The sizing rules that come with the project."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from backtest.core.arrays import Float32Array, Int64Array
from backtest.market.quotes import Quotes
from backtest.plugins.hookspecs import hookimpl
from backtest.trading.sizing import MOST_LOTS, SizingRule


@dataclass(frozen=True)
class Sign(SizingRule):
    """``lots`` in the direction of the forecast; flat if it is within ``threshold`` of zero."""

    lots: int = 1
    threshold: float = 0.0

    def __post_init__(self) -> None:
        if abs(self.lots) > MOST_LOTS:
            raise ValueError("lots may be 2^53 at most")

    def targets(self, forecast: Float32Array, quotes: Quotes) -> Int64Array:
        direction = np.sign(forecast) * (np.abs(forecast) > self.threshold)
        return (self.lots * direction).astype(np.int64)


@dataclass(frozen=True)
class Proportional(SizingRule):
    """``gain`` lots per unit of forecast, rounded to the nearest whole lot."""

    gain: float = 1.0

    def targets(self, forecast: Float32Array, quotes: Quotes) -> Int64Array:
        return np.rint(self.gain * forecast.astype(np.float64)).astype(np.int64)


@hookimpl
def backtest_register_sizing_rules(register: Callable[[str, type[SizingRule]], None]) -> None:
    register("sign", Sign)
    register("proportional", Proportional)
