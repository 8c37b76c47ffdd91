"""What is doubtful about a dataset's prices: those that are none, markers, and stray ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from backtest.core.arrays import BoolArray, Int64Array
from backtest.data.prices import MARKERS, absent_prices
from backtest.data.reading.decode import Columns
from backtest.market.events import NO_PRICE
from backtest.market.instruments import Instrument

FAR = 20
"""A price so many times above or below its symbol's running median is doubtful."""

_PRICES = ("bid", "ask", "trade_price")

Float64Array: TypeAlias = NDArray[np.float64]

RowFlags: TypeAlias = tuple[str, BoolArray, Callable[[int], str]]
"""A rule, the rows [n] that break it, and what one of them holds."""


class PriceChecks:
    """Checks prices of successive batches, through all files of a dataset.

    Args:
        instruments: one for each symbol [S].
    """

    def __init__(self, instruments: Sequence[Instrument]) -> None:
        signed = np.array([i.signed_prices for i in instruments], dtype=np.bool_)
        self._signed = signed if signed.any() else None
        # The same markers in ticks, as a source that does not know them would have converted them.
        self._markers = [
            {int(m / float(i.tick_size)) for m in MARKERS if m / float(i.tick_size) < 2**62}
            | {9_999_999_999}
            for i in instruments
        ]
        self._median = np.zeros(len(instruments))  # 0: not known yet

    def check(self, columns: Columns, good: BoolArray) -> Iterator[RowFlags]:
        """Each rule with the rows that break it; prices that are none become absent in ``columns``.

        Args:
            columns: a batch as the files have it; ``symbol`` is an id wherever ``good``.
            good: rows without an error, bool [n].
        """
        symbol = np.where(good, columns["symbol"], 0)
        original = {name: columns[name] for name in _PRICES if name in columns}
        below: BoolArray = np.zeros(len(symbol), dtype=np.bool_)
        marked = below.copy()
        for name, ticks in original.items():
            absent = absent_prices(ticks, symbol, self._signed)
            if absent is not None:
                marked |= absent & (ticks > 0)
                below |= absent & (ticks <= 0)
                columns[name] = np.where(absent, NO_PRICE, ticks)
        if "bid" in columns:
            marked |= self._dummies(original["bid"], original["ask"], symbol)
        yield "price", good & below, _holds(original, lambda v: v <= 0)
        yield "marker", good & marked, _holds(original, lambda v: v != NO_PRICE)
        yield "stray", good & ~marked & self._stray(columns, symbol, good), _holds(columns)

    def _dummies(self, bid: Int64Array, ask: Int64Array, symbol: Int64Array) -> BoolArray:
        """Both sides are the same marker, of either sign, or 0 where that may be a price."""
        found = bid == ask
        if found.any():
            rows = np.flatnonzero(found)
            signed = self._signed
            found[rows] = [
                abs(price) in self._markers[s]
                or (price == 0 and signed is not None and bool(signed[s]))
                for price, s in zip(bid[rows].tolist(), symbol[rows].tolist(), strict=True)
            ]
        return found

    def _stray(self, columns: Columns, symbol: Int64Array, good: BoolArray) -> BoolArray:
        """Prices ``FAR`` times away from the running median of their symbol, bool [n].

        The median runs batch by batch: it is that of the symbol's prices in the batch before, or
        of its first. Prices that are stray do not move it, unless most of a batch are: then the
        market is elsewhere.
        """
        stray: BoolArray = np.zeros(len(symbol), dtype=np.bool_)
        for name in _PRICES:
            if name not in columns:
                continue
            ticks = columns[name]
            known = good & (ticks > 0)
            if self._signed is not None:
                known &= ~self._signed[symbol]
            rows = np.flatnonzero(known)
            price, own = ticks[rows].astype(np.float64), symbol[rows]
            self._learn(price, own, new=self._median[own] == 0)
            far = (price > FAR * self._median[own]) | (FAR * price < self._median[own])
            crowd = np.bincount(own, far, len(self._median)) * 2 > np.bincount(
                own, minlength=len(self._median)
            )
            self._learn(price, own, new=~far | crowd[own])
            stray[rows[far]] = True
        return stray

    def _learn(self, price: Float64Array, symbol: Int64Array, new: BoolArray) -> None:
        """Set the median of every symbol to that of its prices among ``new``."""
        price, symbol = price[new], symbol[new]
        order = np.lexsort((price, symbol))
        own, first, count = np.unique(symbol[order], return_index=True, return_counts=True)
        self._median[own] = price[order][first + count // 2]


def _holds(
    columns: Columns, broken: Callable[[Int64Array], BoolArray] = lambda v: v != NO_PRICE
) -> Callable[[int], str]:
    def describe(i: int) -> str:
        found = [
            f"{name} {columns[name][i]}"
            for name in _PRICES
            if name in columns and columns[name][i] != NO_PRICE and broken(columns[name][i])
        ]
        return f"{', '.join(found)} ticks"

    return describe
