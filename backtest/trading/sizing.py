"""Sizing rules: from forecasts to target positions."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from backtest.core.arrays import Float32Array, Int64Array
from backtest.errors import RunError
from backtest.market.quotes import Quotes

MOST_LOTS = 2**53
"""The largest position that can be asked for."""


class SizingRule(ABC):
    """From forecasts to target positions."""

    @abstractmethod
    def targets(self, forecast: Float32Array, quotes: Quotes) -> Int64Array:
        """The position to hold after each event.

        Args:
            forecast: float32 [n].
            quotes: the symbol's quote standing at each event [n].

        Returns:
            Signed lots, int64 [n].
        """


def target_lots(sizing: SizingRule, forecast: Float32Array, quotes: Quotes) -> Int64Array:
    """What a sizing rule makes of forecasts [n]: signed lots, int64 [n].

    Raises:
        RunError: it gave something else than whole lots, or more than any market has.
    """
    # What does not fit 64 bits becomes the least number, which is refused below.
    with np.errstate(invalid="ignore", over="ignore"):
        lots = np.asarray(sizing.targets(forecast, quotes))
    place = f"sizing rule {type(sizing).__name__}"
    if lots.shape != forecast.shape or lots.dtype.kind != "i":
        raise RunError(
            f"it gave {lots.dtype} {list(lots.shape)}, not whole lots [{len(forecast)}]",
            place=place,
        )
    extremes = (int(lots.min(initial=0)), int(lots.max(initial=0)))
    if max(map(abs, extremes)) > MOST_LOTS:
        raise RunError(
            f"it wants a position of {max(extremes, key=abs)} lots",
            place=place,
            remedy="The most is 2^53. A NaN that is made an integer looks like this.",
        )
    return lots.astype(np.int64, copy=False)
