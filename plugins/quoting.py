"""The quoting rules that come with the project."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from backtest.core.arrays import Float32Array, Int64Array
from backtest.core.parameters import Nanoseconds
from backtest.market.quotes import Quotes
from backtest.plugins.hookspecs import hookimpl
from backtest.trading.quoting import QuotingRule


@dataclass(frozen=True)
class TwoSided(QuotingRule):
    """A bid and an ask of ``lots`` each, at the touch or away from it, whatever is forecast.

    Attributes:
        lots: of each quote.
        away: ticks that a quote lies behind the touch of its side; below 0, before it.
        skew: half ticks by which a lot that is held moves both prices down.
        requote_band: a price is left as it is if it is wrong by this many ticks at most.
        resize_band: a size is left as it is if it is wrong by this many lots at most.
        min_interval: between two messages of one side.
        post_only: what becomes of a quote that would take.
    """

    lots: int = 1
    away: int = 0
    skew: float = 0.0
    requote_band: int = 0
    resize_band: int = 0
    min_interval: Nanoseconds = 0
    post_only: Literal["reject", "slide", "no"] = "reject"

    def __post_init__(self) -> None:
        for name in ("lots", "requote_band", "resize_band", "min_interval"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, but cannot be negative")

    def quote(self, predictions: Float32Array, quotes: Quotes) -> Int64Array:
        # Half of a spread of s ticks is s half ticks.
        offset = quotes.ask - quotes.bid + 2 * self.away
        lots = np.full(len(offset), self.lots, dtype=np.int64)
        return np.stack([offset, lots, offset, lots], axis=1)


@dataclass(frozen=True)
class Leaning(TwoSided):
    """A bid and an ask that lean towards the forecast: the mean of the outputs.

    They are those of ``TwoSided`` where the forecast is 0. A quote is withdrawn where the forecast
    is against it by more than ``pull``, since it would be filled by those who know; a forecast in
    its favour brings it nearer by ``gain`` half ticks for each unit.

    Attributes:
        gain: half ticks for each unit of the forecast.
        pull: in units of the forecast; ``None``: never.
    """

    gain: float = 0.0
    pull: float | None = None

    def quote(self, predictions: Float32Array, quotes: Quotes) -> Int64Array:
        wanted = super().quote(predictions, quotes)
        forecast = predictions.mean(axis=1, dtype=np.float64)
        lean = np.clip(self.gain * forecast, -1e9, 1e9)
        wanted[:, 0] -= np.floor(lean).astype(np.int64)
        wanted[:, 2] += np.ceil(lean).astype(np.int64)
        if self.pull is not None:
            wanted[forecast < -self.pull, 1] = 0
            wanted[forecast > self.pull, 3] = 0
        return wanted


@hookimpl
def backtest_register_quoting_rules(register: Callable[[str, type[QuotingRule]], None]) -> None:
    register("two-sided", TwoSided)
    register("leaning", Leaning)
