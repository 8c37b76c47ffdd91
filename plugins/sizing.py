"""The sizing rules that come with the project."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from backtest.core.arrays import Float32Array, Int64Array
from backtest.market.instruments import Instrument
from backtest.market.quotes import Quotes
from backtest.plugins.hookspecs import hookimpl
from backtest.trading.sizing import KEEP, MOST_LOTS, PortfolioRule, SizingRule


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


@dataclass
class Notional(SizingRule):
    """Lots worth ``amount`` at the mid, in the direction of the forecast; flat if it is within
    ``threshold`` of zero.

    Whole lots, as many as come nearest: every symbol is held for about the same amount, whatever
    its price, lot and multiplier.

    Attributes:
        amount: in the currency of the instrument.
        threshold: in units of the forecast.
    """

    amount: float = 1_000.0
    threshold: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.amount <= MOST_LOTS:
            raise ValueError(f"amount is {self.amount}, but must be above 0 and 2^53 at most")

    def bind(self, instruments: Sequence[Instrument]) -> None:
        # Of a lot, by half ticks of its price.
        worth = [float(i.tick_size * i.lot_size * i.multiplier) / 2 for i in instruments]
        self._worth = np.array(worth)

    def targets(self, forecast: Float32Array, quotes: Quotes) -> Int64Array:
        lot = np.abs(quotes.doubled_mid) * self._worth[quotes.symbol]
        lots = np.rint(self.amount / np.where(lot > 0, lot, np.inf))
        direction = np.sign(forecast) * (np.abs(forecast) > self.threshold)
        return (lots * direction).astype(np.int64)


@dataclass(frozen=True)
class LongShort(PortfolioRule):
    """Long of the symbols with the highest forecasts, and short of as many with the lowest.

    The highest is paired with the lowest, and so on: a pair whose forecasts differ by more than
    ``threshold`` is held, and everything else is flat.

    Attributes:
        count: pairs.
        lots: of each symbol of a pair.
        threshold: in units of the forecast.
    """

    count: int = 1
    lots: int = 1
    threshold: float = 0.0

    def __post_init__(self) -> None:
        if self.count < 1 or not 1 <= self.lots <= MOST_LOTS:
            raise ValueError("count must be 1 or more, and lots 1 to 2^53")

    def rebalance(
        self,
        now: int,
        forecasts: Float32Array,
        quotes: Quotes,
        positions: Int64Array,
        outstanding: Int64Array,
        instruments: Sequence[Instrument],
    ) -> Int64Array:
        targets = np.full(len(forecasts), KEEP, dtype=np.int64)
        tradable = np.array([instrument.tradable for instrument in instruments])
        known = np.flatnonzero(tradable & ~np.isnan(forecasts))
        ranked = known[np.argsort(forecasts[known], kind="stable")]
        pairs = min(self.count, len(ranked) // 2)
        low, high = ranked[:pairs], ranked[::-1][:pairs]
        apart = forecasts[high] - forecasts[low] > self.threshold
        targets[known] = 0
        targets[high[apart]], targets[low[apart]] = self.lots, -self.lots
        return targets


@hookimpl
def backtest_register_sizing_rules(register: Callable[[str, type[SizingRule]], None]) -> None:
    register("sign", Sign)
    register("proportional", Proportional)
    register("notional", Notional)
    register("long-short", LongShort)
