"""Sizing rules: from forecasts to target positions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np

from backtest.core.arrays import Float32Array, Int64Array
from backtest.errors import PluginError, RunError
from backtest.market.instruments import Instrument
from backtest.market.quotes import Quotes
from backtest.trading.layout import SILENT

MOST_LOTS = 2**53
"""The largest position that can be asked for."""


KEEP = SILENT
"""A target of a portfolio rule: the symbol's last one stays, and nothing is ordered."""


class SizingRule(ABC):
    """From forecasts to target positions."""

    scope: ClassVar[Literal["symbol", "market"]] = "symbol"
    """``market``: targets are those of a ``PortfolioRule``."""

    def __init_subclass__(cls) -> None:
        portfolio = "PortfolioRule" in {kind.__name__ for kind in cls.__mro__}
        if portfolio != (cls.scope == "market"):
            raise PluginError(
                f"the sizing rule {cls.__name__!r} has the scope {cls.scope!r}",
                remedy="Derive it from PortfolioRule if it gives the targets of all symbols at "
                "once, else from SizingRule, and leave scope as it is.",
            )

    def bind(self, instruments: Sequence[Instrument]) -> None:
        """Called once before the first event of a run; does nothing by default.

        Args:
            instruments: of each symbol, [S]; ``quotes.symbol`` of ``targets`` indexes them.
        """

    @abstractmethod
    def targets(self, forecast: Float32Array, quotes: Quotes) -> Int64Array:
        """The position to hold after each event.

        Args:
            forecast: float32 [n].
            quotes: the symbol's quote standing at each event [n].

        Returns:
            Signed lots, int64 [n].
        """


class PortfolioRule(SizingRule):
    """From the forecasts of all symbols to the targets of all, whenever one of them is answered."""

    scope: ClassVar[Literal["symbol", "market"]] = "market"

    def targets(self, forecast: Float32Array, quotes: Quotes) -> Int64Array:
        raise NotImplementedError("a portfolio is asked for all symbols at once")

    @abstractmethod
    def rebalance(
        self,
        now: int,
        forecasts: Float32Array,
        quotes: Quotes,
        positions: Int64Array,
        outstanding: Int64Array,
        instruments: Sequence[Instrument],
    ) -> Int64Array:
        """The position to hold of each symbol.

        Args:
            now: when answers became ready, ns.
            forecasts: the last one of each symbol, float32 [S]; NaN where none has been answered.
            quotes: those standing at the events that these are answers to, [S]; where there is
                none, ``bid`` and ``ask`` are ``NO_PRICE``.
            positions: lots held, as far as the trader knows, int64 [S].
            outstanding: signed lots of orders of whose outcome it does not know, int64 [S].
            instruments: of each symbol, [S].

        Returns:
            Signed lots, int64 [S]; ``KEEP``: nothing is ordered. Those of symbols that do not
            trade, or that have not been answered yet, do not matter.
        """


def portfolio_lots(
    rule: SizingRule,
    now: int,
    forecasts: Float32Array,
    quotes: Quotes,
    positions: Int64Array,
    outstanding: Int64Array,
    instruments: Sequence[Instrument],
) -> Int64Array:
    """What a portfolio rule wants to hold: signed lots or ``KEEP``, int64 [S].

    Raises:
        RunError: it gave something else than whole lots, or more than any market has.
    """
    assert isinstance(rule, PortfolioRule)
    with np.errstate(invalid="ignore", over="ignore"):
        lots = np.asarray(
            rule.rebalance(now, forecasts, quotes, positions, outstanding, instruments)
        )
    place = f"sizing rule {type(rule).__name__}"
    if lots.shape != forecasts.shape or lots.dtype.kind != "i":
        raise RunError(
            f"it gave {lots.dtype} {list(lots.shape)}, not whole lots [{len(forecasts)}]",
            place=place,
        )
    lots = lots.astype(np.int64, copy=False)
    wrong = (lots != KEEP) & ((lots > MOST_LOTS) | (lots < -MOST_LOTS))
    if wrong.any():
        symbol = int(wrong.argmax())
        raise RunError(
            f"it wants a position of {lots[symbol]} lots of symbol number {symbol}",
            place=place,
            remedy="The most is 2^53; KEEP leaves a symbol as it is.",
        )
    return lots


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
